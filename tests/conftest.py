"""TensorFlow for the tests: quiet, and with two logical CPUs so that strategies over several devices can be tried."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks a hub; those with a loopback hub do so in their own process

import pytest

from sentiment_tf import runtime

tf = runtime.start()
CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(scope="session")
def tiny_classifier():
    """A DistilBERT of 3 blocks, 32 wide, 4 heads, with random weights large enough for differences to show."""
    return make_tiny_classifier(seed=0)


def make_tiny_classifier(*, seed: int):
    import tf_keras as keras
    from transformers import DistilBertConfig, TFDistilBertForSequenceClassification, logging

    logging.set_verbosity_error()
    keras.utils.set_random_seed(seed)
    config = DistilBertConfig(
        vocab_size=200,
        dim=32,
        n_layers=3,
        n_heads=4,
        hidden_dim=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    model = TFDistilBertForSequenceClassification(config)
    model(model.dummy_inputs)
    return model
