"""The versions that run.json lists."""

import importlib.metadata
import sys

from sentiment_tf.system import provenance


def install(folder, name, version, module):
    """Makes a folder look as if pip had installed a package into it."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "top_level.txt").write_text(f"{module}\n")


def test_versions_are_those_installed():
    found = provenance.versions()
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert found["scikit-learn"] == importlib.metadata.version("scikit-learn")


def test_tensorflow_by_another_name_and_packages_that_are_missing(tmp_path, monkeypatch):
    install(tmp_path, "tensorflow-cpu", "2.20.1", "tensorflow")
    install(tmp_path, "numpy", "2.4.0", "numpy")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = provenance.versions()
    assert found["tensorflow"] == "2.20.1"
    assert found["numpy"] == "2.4.0"
    assert found["tf-keras"] is None
    assert found.keys() == {"sentiment_tf", "python", *provenance.PACKAGES}
