"""Machines for which TensorFlow Text has no builds."""

import importlib.util
import platform

import pytest

from sentiment_tf import doctor
from sentiment_tf.errors import UserError
from sentiment_tf.system import runtime


@pytest.fixture
def machine(monkeypatch):
    """Makes this one look like another, on which TensorFlow Text is not installed."""

    def pretend(system: str, processor: str) -> None:
        monkeypatch.setattr(platform, "system", lambda: system)
        monkeypatch.setattr(platform, "machine", lambda: processor)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    return pretend


@pytest.mark.parametrize(
    ("system", "processor", "name"), [("Windows", "AMD64", "Windows"), ("Darwin", "x86_64", "Intel Macs")]
)
def test_a_machine_without_builds_is_told_what_works(machine, system, processor, name):
    machine(system, processor)
    with pytest.raises(UserError, match=f"^TensorFlow Text has no builds for {name}: train on Linux .* LiteRT"):
        runtime.check_platform()
    (finding,) = doctor.check_imports()
    assert finding.state == doctor.BROKEN
    assert f"no builds for {name}" in finding.text


@pytest.mark.parametrize(("system", "processor"), [("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")])
def test_other_machines_are_not(machine, system, processor):
    machine(system, processor)
    runtime.check_platform()
