"""A training process that is killed, refused or runs out of disk, and what the same command makes of it then."""

import fcntl
import functools
import signal

import pytest

from sentiment_tf.training import checkpoints
from tests.support import faults
from tests.support.commands import refused

pytestmark = pytest.mark.slow
train = functools.partial(faults.train, module=faults.QUICK)


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    return faults.prepare(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def undisturbed(flags, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = train([*flags, *faults.places(folder)])
    assert done.returncode == 0, done.stderr
    return faults.left_behind(folder)


def test_killed_again_and_again_and_out_of_space_it_ends_as_if_left_alone(flags, undisturbed, tmp_path):
    flags = [*flags, *faults.places(tmp_path)]
    for moment, count in (("features", 2), ("checkpoint", 3), ("export", 1), ("completion", 1)):
        killed = faults.train_and_kill_at(moment, flags, count=count)
        assert killed.returncode == -signal.SIGKILL, (moment, killed.stdout + killed.stderr)
        if moment == "checkpoint":
            refused(train([*flags, "--seed=7", "--batch_size=16"]), "--seed", "--batch_size", "--overwrite")
    # Features (220 kB) and checkpoints (less) can be written, the graph of the SavedModel (760 kB) cannot.
    refused(train(flags, largest_file=500_000), "no space left", "make room")
    assert [path.name for path in (tmp_path / "saved_models").iterdir()] == [".run.partial"]
    kept = checkpoints.read_newest(tmp_path / "saved_models" / ".run.partial" / "checkpoints" / "train")
    assert kept is not None
    done = train(flags)
    assert done.returncode == 0, done.stderr
    assert "resuming from its last checkpoint" in done.stdout
    assert faults.left_behind(tmp_path) == undisturbed


def test_a_depth_search_killed_at_a_checkpoint_of_a_depth_ends_as_if_left_alone(flags, tmp_path):
    flags = [*flags, "--trainable_layers=auto", "--accuracy_tolerance=0", "--time_budget=60"]
    flags = [*flags, "--exports=hf"]
    alone, again = ([*flags, *faults.places(tmp_path / name)] for name in ("alone", "again"))
    done = train(alone)
    assert done.returncode == 0, done.stderr
    killed = faults.train_and_kill_at("depth", again, count=2)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    done = train(again)
    assert done.returncode == 0, done.stderr
    assert "resuming from its last checkpoint" in done.stdout
    assert faults.left_behind(tmp_path / "again") == faults.left_behind(tmp_path / "alone")


def test_a_second_process_of_the_same_run_is_refused(flags, tmp_path):
    (tmp_path / "saved_models").mkdir()
    with open(tmp_path / "saved_models" / ".run.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused(train([*flags, *faults.places(tmp_path)]), "another process is training this run")


def test_a_run_that_fails_by_itself_is_no_kill(flags, tmp_path):
    assert faults.train_and_kill_after("nothing", 0.05, [*flags, *faults.places(tmp_path)]) == "nothing"
    with pytest.raises(RuntimeError, match=r"exit code 2:\nerror: --epochs=-1"):
        faults.train_and_kill_after("model", 60, [*flags, "--epochs=-1", *faults.places(tmp_path)])


# Files larger than this cannot be written: first the features do not fit, then the checkpoint.
@pytest.mark.parametrize("limit", [200_000, 90_000])
def test_no_space_is_said_in_one_line_and_leaves_nothing(flags, tmp_path, limit):
    cache = [] if limit == 200_000 else ["--cache=off"]
    refused(train([*flags, *cache, *faults.places(tmp_path)], largest_file=limit), "no space left", "make room")
    assert not any((tmp_path / "saved_models").glob("*"))
    assert not any((tmp_path / "cache").rglob("values"))
