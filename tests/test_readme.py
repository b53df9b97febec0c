"""The documentation tells the truth about flags, commands and files."""

import dataclasses
import re
import runpy
import warnings
from pathlib import Path

import pytest
from absl import flags

from sentiment_tf.config import TrainConfig
from sentiment_tf.exporting import formats
from sentiment_tf.pipeline import checks
from tests.support import tiny_export
from tests.support.commands import flags_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = re.compile(r"python -m sentiment_tf\.(train|predict|evaluate|doctor)\b([^\n`]*)|`(--flagfile=[^`]+)`")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def shown(page: Path) -> list[str]:
    """The commands that a page shows, each with its flags; not those in which a word in capitals stands for a value."""
    found = []
    for name, rest, alone in SHOWN.findall(page.read_text(encoding="utf-8")):
        given = re.findall(r"--\w+(?:=[^\s$]+)?(?=\s|$)", (rest or alone).partition(" #")[0])
        if not any(re.search("=[A-Z]+$", flag) for flag in given):
            found.append(" ".join([name or "train", *(flag for flag in given if flag != "--help")]))
    return found


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_flags_page_is_that_of_the_config():
    page = runpy.run_path(str(ROOT / "docs" / "flags.py"))["page"]()
    assert (ROOT / "docs" / "flags.md").read_text(encoding="utf-8") == page, "run: python docs/flags.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_exists(page):
    for name, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", prose(page)):
        target = page.parent / name if name else page
        assert target.exists(), name
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(target), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", text).lower().replace(" ", "-") for text in headings}


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in shown(page)}))
def test_commands_parse_and_their_settings_agree(monkeypatch, tmp_path, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flags").symlink_to(ROOT / "flags")
    command, *given = line.split()
    with flags_of(command):
        flags.FLAGS([command, *given])
        if command == "train" and given:
            settings = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(TrainConfig)}
            for name in ("train_file", "validation_file", "test_file"):
                if settings[name]:
                    (tmp_path / settings[name]).touch()
            if settings["data_dir"]:
                (tmp_path / settings["data_dir"]).mkdir(parents=True)
            checks.validate(TrainConfig(**settings))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A tiny run in the place of the one that docs/exports.md names; returns the folder above saved_models."""
    run = tmp_path_factory.mktemp("docs") / "saved_models" / "sst2"
    bundle = tiny_export.bundle()
    for form in formats.FORMATS:
        form.write(bundle, form.path(run, 1))
    return run.parents[1]


@pytest.mark.parametrize("library", ["tensorflow", "ai_edge_litert", "onnxruntime"])
def test_examples_of_the_exports_page_run(exported, monkeypatch, library):
    pytest.importorskip(library)
    page = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if re.search(rf"^(import|from) {library}\b", block, flags=re.MULTILINE))
    monkeypatch.chdir(exported)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # an example opens files as one does at a prompt
        exec(compile(example, "docs/exports.md", "exec"), {})


def test_every_flagfile_has_its_command_and_its_result():
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for path in (ROOT / "flags").glob("*.flags"):
        assert f"flags/{path.name}" in benchmarks, path.name
