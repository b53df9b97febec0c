"""The command's own part: flags, mistakes, progress. What it does with Ray is in tests/inference/jobs."""

import importlib.util
import re

import pytest
from absl import flags

from sentiment_tf import score
from sentiment_tf.errors import UserError
from sentiment_tf.inference.jobs.plan import Fragment
from tests.support import tiny_litert


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tiny_litert.export(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def call(monkeypatch):
    """Runs the command in this process, up to where Ray would start."""

    def call(*arguments):
        values = flags.FlagValues()
        score.define_flags(values)
        monkeypatch.setattr(flags, "FLAGS", values)
        return score.main(values(["score", *map(str, arguments)])[1:])

    return call


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--input=x", "--output=y"], "--model: which model"),
        (["--model=x", "--output=y"], "--input: which texts"),
        (["--model=x", "--input=y"], "--output: where to"),
        (["--model={run}", "--input=x", "--output=y", "more.csv"], "more.csv: unknown argument"),
        (
            ["--model={run}", "--input=x", "--output=y", "--least_workers=3", "--most_workers=2"],
            "--least_workers=3: more than --most_workers=2",
        ),
        (
            ["--model={run}", "--input={tmp}/a.csv", "--output={tmp}/out", "--engine=tensorflow"],
            "--model={run}: holds no SavedModel",
        ),
        (
            ["--model={run}", "--input={tmp}/a.csv", "--output={tmp}/out", "--engine=litert", "--precision=bfloat16"],
            "--precision=bfloat16: --engine=litert has float32, int8",
        ),
        (["--model={tmp}/none", "--input=x", "--output={tmp}/out"], "--model={tmp}/none: no such folder"),
        (["--model={run}", "--input={tmp}/*.tsv", "--output={tmp}/out"], r"--input={tmp}/\*.tsv: no file matches"),
        (["--model={run}", "--input={tmp}/a.csv", "--output=what://x"], "--output=what://x: "),
        (
            ["--model={run}", "--input={tmp}/a.csv", "--text_column=words", "--output={tmp}/out"],
            "--text_column=words: a.csv has no such column; pass one of text",
        ),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(call, run_folder, tmp_path, arguments, problem):
    (tmp_path / "a.csv").write_text("text\ngood\n")
    names = {"run": run_folder, "tmp": tmp_path}
    with pytest.raises(UserError) as raised:
        call(*(argument.format(**names) for argument in arguments))
    assert len(raised.value.problems) == 1
    assert re.search(problem.format(**names), raised.value.problems[0])
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_without_ray(call, run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"Ray is not installed.*pip install 'sentiment-tf\[ray\]'"):
        call(f"--model={run_folder}", "--input=x", f"--output={tmp_path}/out")


def test_progress_is_a_line_a_minute_where_nobody_watches(monkeypatch, capsys):
    monkeypatch.setattr(score, "REPORT_EVERY", -1)
    big, small = (Fragment(name, size, None, name) for name, size in (("big", 3000), ("small", 1000)))
    with score.Progress([big, small]) as progress:
        for fragment, item in ((big, 10), (big, None), (small, 5), (small, {"rows": 5}), (big, 5)):
            progress(fragment, item)
    *_, last = capsys.readouterr().out.splitlines()
    assert "10.0/20.0" in last  # 5 rows in 1,000 bytes make 20 in 4,000
    assert "rows/s" in last
