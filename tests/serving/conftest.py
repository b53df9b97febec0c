import pytest

from sentiment_tf.serving import saved_model
from tests.serving import tiny


@pytest.fixture(scope="session")
def version(tmp_path_factory):
    """A tiny run's version folder; tests must not change it."""
    return tiny.export(tmp_path_factory.mktemp("run") / "1")


@pytest.fixture(scope="session")
def model(version):
    return saved_model.load(version)
