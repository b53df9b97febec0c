import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.support.addresses import free_addresses

pytestmark = pytest.mark.slow

DEPTHS = ("0", "1", "all")


def start(output, configuration) -> subprocess.Popen:
    call = [sys.executable, "-m", "tests.support.worker", str(output), *DEPTHS]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"} | configuration
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, dict]:
    """What one process, and each of two workers on loopback, came to."""
    folder, addresses = tmp_path_factory.mktemp("workers"), free_addresses(2)
    configurations = {"one": {}}
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        configurations[f"worker {index}"] = {"TF_CONFIG": json.dumps(config)}
    processes = {name: start(folder / f"{name}.npz", configuration) for name, configuration in configurations.items()}
    for name, process in processes.items():
        printed, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        workers = 1 if name == "one" else 2
        assert json.loads(printed.splitlines()[-1]) == {
            "replicas": workers,
            "broadcast": [{"from": 0}, "chief"],
            "gathered": [["worker", index] for index in range(workers)],
        }
    return {name: dict(np.load(folder / f"{name}.npz")) for name in configurations}


@pytest.mark.parametrize("depth", DEPTHS)
def test_two_workers_take_the_same_steps_as_one_process(trained, depth):
    values = [name for name in trained["one"] if name.startswith(f"{depth}.")]
    assert sum("gradient." in name for name in values) >= 4
    for name in values:
        np.testing.assert_array_equal(trained["worker 0"][name], trained["worker 1"][name], err_msg=name)
        limit = 1e-5 if "gradient" in name else 2e-5
        np.testing.assert_allclose(trained["worker 0"][name], trained["one"][name], atol=limit, err_msg=name)
