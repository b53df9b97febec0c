"""Several workers on loopback run the whole command: what the chief leaves, and what a lost worker means."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support import faults
from tests.support.addresses import free_addresses
from tests.support.commands import succeeded, train_here

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    own = faults.prepare(tmp_path_factory.mktemp("own"))
    return [*own, "--startup_timeout=120", "--epochs=8", "--exports=hf"]


@pytest.fixture(scope="module")
def undisturbed(flags, tmp_path_factory) -> tuple[Path, list[str]]:
    """A run of two workers: the folder of their folders, and what each printed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, finish(start(flags, folder))


def start(flags, folder, *, workers: int = 2) -> list[subprocess.Popen]:
    """Starts the command once for each worker; the chief alone is given the folder of the results."""
    addresses, processes = free_addresses(workers), []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", faults.QUICK, *flags, *faults.places(folder / f"worker{index}")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ
                | {"HF_HUB_OFFLINE": "1", "TF_CONFIG": json.dumps(config)}
                | {"PYTHONHASHSEED": str(index + 1)},  # with these two, sets of words have other orders
            )
        )
    return processes


def finish(processes) -> list[str]:
    """Waits for all; returns what they printed."""
    printed = []
    for process in processes:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, out + errors
        printed.append(out)
    return printed


def wait_for(folder: Path, pattern: str, processes) -> None:
    while not list(folder.glob(pattern)):
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        time.sleep(0.05)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "saved_models" / "run" / "hf" / "model.safetensors")


def test_the_chief_leaves_the_run_of_one_process_and_the_others_nothing(flags, undisturbed, tmp_path):
    folder, (chief, other) = undisturbed
    assert "2 replicas" in chief
    assert other == ""
    assert not list((folder / "worker1").rglob("saved_models/*"))
    succeeded(train_here(*flags, "--epochs=1", "--nodeterministic", *faults.places(tmp_path)))
    runs = [place / "saved_models" / "run" for place in (folder / "worker0", tmp_path)]
    records = [json.loads((run / "run.json").read_text()) for run in runs]
    for name in ("loss", "accuracy"):
        before = [record["metrics"]["before"][name] for record in records]
        assert before[0] == pytest.approx(before[1], rel=1e-5)
    files = [{path.name for path in run.iterdir()} for run in runs]
    assert files[0] == files[1]
    # Each computed half of the features, and both keep all of them: train, validation, test.
    cached = [sorted(path.parent.name for path in (folder / name).rglob("values")) for name in ("worker0", "worker1")]
    assert cached[0] == cached[1]
    assert len(cached[0]) == 3


def test_workers_search_the_depth_together(flags, tmp_path):
    chief, _ = finish(start([*flags, "--epochs=1", "--trainable_layers=auto", "--time_budget=60"], tmp_path))
    record = json.loads((tmp_path / "worker0" / "saved_models" / "run" / "run.json").read_text())
    assert [row["trainable_layers"] for row in record["depths"]][:2] == [0, 1]
    assert "blocks trained" in chief


def test_a_lost_worker_ends_the_run_which_then_goes_on(flags, undisturbed, tmp_path):
    processes = start(flags, tmp_path)
    wait_for(tmp_path / "worker0" / "saved_models", ".run.partial/checkpoints/train/*.npz", processes)
    processes[1].send_signal(signal.SIGKILL)
    began = time.monotonic()
    _, errors = processes[0].communicate(timeout=60)
    processes[1].communicate()
    assert processes[0].returncode != 0
    assert "another worker has ended" in errors, errors
    assert len(errors.splitlines()) == 1, errors
    assert time.monotonic() - began < 60
    chief, _ = finish(start(flags, tmp_path))
    assert "continuing after step" in chief
    for name, value in weights(undisturbed[0] / "worker0").items():
        np.testing.assert_array_equal(weights(tmp_path / "worker0")[name], value, err_msg=name)


def test_a_worker_that_never_arrives_is_named(flags, tmp_path):
    addresses = free_addresses(2)
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
    call = [sys.executable, "-m", faults.QUICK, *flags, "--startup_timeout=1", *faults.places(tmp_path)]
    done = subprocess.run(
        call, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1", "TF_CONFIG": json.dumps(config)}
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --startup_timeout=1: ")
    assert f"worker 1 ({addresses[1]})" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not any((tmp_path / "saved_models").glob("*"))


def test_a_signal_to_one_worker_stops_all_at_a_checkpoint(flags, tmp_path):
    processes = start([*flags, "--epochs=300"], tmp_path)
    wait_for(tmp_path / "worker0" / "saved_models", ".run.partial/checkpoints/train/*.npz", processes)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 143, errors
        assert errors.startswith("terminated: a checkpoint was written after step"), errors
        assert len(errors.splitlines()) == 1, errors


def test_workers_of_different_flags_are_refused(flags, tmp_path):
    addresses, processes = free_addresses(2), []
    for index, rate in enumerate(("0.01", "0.02")):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        call = [sys.executable, "-m", faults.QUICK, *flags, f"--learning_rate={rate}"]
        processes.append(
            subprocess.Popen(
                [*call, *faults.places(tmp_path / str(index))],
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
                env=os.environ | {"HF_HUB_OFFLINE": "1", "TF_CONFIG": json.dumps(config)},
            )
        )
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2, errors
        assert "worker 1 differs from the chief in --learning_rate" in errors
        assert len(errors.splitlines()) == 1, errors
    assert not any((tmp_path / "0" / "saved_models").glob("*"))
