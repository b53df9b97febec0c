"""TensorFlow for the tests: quiet, and with two logical CPUs so that strategies over several devices can be tried."""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks a hub; those with a loopback hub do so in their own process

import hypothesis
import pytest

from sentiment_tf.system import runtime

tf = runtime.start()

from sentiment_tf.inference.engines import tensorflow  # noqa: E402
from tests.support import tiny_export  # noqa: E402
from tests.support.commands import own_texts  # noqa: E402
from tests.support.tiny_classifier import make_tiny_classifier  # noqa: E402

# The same examples every time, few enough for `make check`; `make fuzz` looks for new ones.
hypothesis.settings.register_profile("bounded", max_examples=60, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("explore", max_examples=1000, deadline=None, database=None)
hypothesis.settings.load_profile("bounded")

# Shells ignore SIGINT for jobs in the background, and children inherit that; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)


_running: list[pytest.Item] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Notes which test runs, for `refuse_processes`."""
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.clear()


def refuse_processes(event: str, arguments: tuple) -> None:
    """Fails a test that starts a Python process and is not marked slow: `make check` promises to start none."""
    if event == "subprocess.Popen" and _running and _running[0].get_closest_marker("slow") is None:
        program = os.path.basename(arguments[1][0])
        if program.startswith("python"):
            pytest.fail(f"{_running[0].nodeid} starts {program}; mark it slow", pytrace=False)


sys.addaudithook(refuse_processes)


@pytest.fixture(scope="session")
def tiny_classifier():
    """A DistilBERT of 3 blocks, 32 wide, 4 heads, with random weights large enough for differences to show."""
    return make_tiny_classifier(seed=0)


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """A tiny model in a folder, and texts to train it on; see `commands.own_texts`. Tests must not change them."""
    return own_texts(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="session")
def version(tmp_path_factory):
    """The version folder of a tiny run; tests must not change it."""
    return tiny_export.export(tmp_path_factory.mktemp("run") / "1")


@pytest.fixture(scope="session")
def model(version):
    """The exported model in ``version``."""
    return tensorflow.load(version)
