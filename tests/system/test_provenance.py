import importlib.metadata

import tensorflow as tf

from sentiment_tf.system import provenance


def test_versions_of_packages_and_of_a_module_that_another_package_provides(monkeypatch):
    found = provenance.versions()
    assert found["numpy"] == importlib.metadata.version("numpy")
    installed = importlib.metadata.version

    def version(package):
        if package == "tensorflow":
            raise importlib.metadata.PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert provenance.versions() == found
    assert found["tensorflow"] == tf.__version__
