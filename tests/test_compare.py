"""The table of runs, and the command around it."""

import json
import subprocess
import sys

import pytest

from sentiment_tf import compare
from sentiment_tf.errors import UserError


def write_run(folder, accuracy, **more):
    folder.mkdir()
    run = {
        "config": {"dataset": "sst2", "model": "minilm-l6", "trainable_layers": "2"},
        "metrics": {"after": {"accuracy": accuracy, "examples": 872, "intervals": {"accuracy": [0.1, 0.9]}}},
        "data": {"report_split": "validation", "source": {"fingerprint": {"validation": "abc"}}},
        "times": {"data": 1.0, "train": 62.5},
        "export": {"bytes": 91_234_567},
    }
    (folder / "run.json").write_text(json.dumps(run | more))
    return str(folder)


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / name, accuracy) for name, accuracy in (("low", 0.7), ("high", 0.9), ("mid", 0.8))]


def command(*arguments):
    call = [sys.executable, "-m", "sentiment_tf.compare", *arguments]
    return subprocess.run(call, capture_output=True, text=True, timeout=120)


def test_best_run_first_with_everything_about_it(runs, tmp_path):
    lines = compare.table(compare.read(runs)).splitlines()
    assert [line.split()[0] for line in lines] == ["run", *(str(tmp_path / name) for name in ("high", "mid", "low"))]
    assert lines[1].endswith("high  90.0 %    10.0 to 90.0   872    1 min 04 s  2      91.2 MB  minilm-l6")
    assert len({line.index("minilm-l6") for line in lines[1:]} | {lines[0].index("model")}) == 1


def test_a_run_given_twice_is_shown_once(runs):
    assert len(compare.read([runs[0], runs[0] + "/"])) == 1


def test_a_name_with_a_line_break_stays_on_its_line(tmp_path):
    rows = compare.read([write_run(tmp_path / "one\ntwo", 0.8)])
    assert len(compare.table(rows).splitlines()) == 2
    assert len(compare.metrics_table(rows).splitlines()) == 2
    assert f"{tmp_path}/one two  80.0 %" in compare.table(rows)


def test_what_a_run_does_not_say_is_a_dash(tmp_path):
    run = write_run(tmp_path / "old", 0.5, times={}, export={}, metrics={"after": {"accuracy": 0.5, "examples": 9}})
    (row,) = compare.read([run])
    assert (row["seconds"], row["bytes"], row["interval"]) == (None, None, None)
    assert " ".join(compare.table([row]).split()).endswith(f"{run} 50.0 % 9 – 2 – minilm-l6")


def test_a_search_shows_the_depth_that_it_chose(tmp_path):
    config = {"dataset": "sst2", "model": "minilm-l6", "trainable_layers": "3"}
    run = write_run(tmp_path / "searched", 0.8, config=config, flags=config | {"trainable_layers": "auto"})
    (row,) = compare.read([run])
    assert row["depth"] == "3 (auto)"
    assert "  3 (auto)  " in compare.table([row])


@pytest.mark.slow
def test_output_that_exists_is_left_alone(runs, tmp_path):
    (tmp_path / "runs.png").write_text("mine")
    done = command(*runs, f"--output={tmp_path / 'runs.png'}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: --output={tmp_path / 'runs.png'}: exists; name another file or move it away\n"
    assert (tmp_path / "runs.png").read_text() == "mine"


@pytest.mark.slow
def test_command_draws_and_warns_of_different_texts(runs, tmp_path):
    other = write_run(
        tmp_path / "other", 0.6, data={"report_split": "test", "source": {"fingerprint": {"test": "xyz"}}}
    )
    done = command(*runs, other, f"--output={tmp_path / 'runs.png'}")
    assert done.returncode == 0, done.stderr
    assert "not reported on the same texts" in done.stdout
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")


def test_every_folder_that_is_no_run_is_named(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        compare.read([str(tmp_path / "absent"), str(tmp_path / "broken")])
    absent, broken = caught.value.problems
    assert absent.startswith(f"{tmp_path / 'absent'}: no run.json there")
    assert broken.startswith(f"{tmp_path / 'broken'}/run.json: not written by a run")


def test_output_that_cannot_be_written(runs, tmp_path):
    target = tmp_path / "no" / "such.png"
    with pytest.raises(UserError, match="--output=.*No such file"):
        compare.draw(compare.read(runs), str(target))


@pytest.mark.slow
def test_without_runs_the_command_says_what_it_wants():
    done = command()
    assert done.returncode == 2
    assert done.stderr == "error: no runs to compare; pass one or more folders, as in saved_models/*\n"
