"""Peer (d): KerasHub's DistilBertTextClassifier, its preprocessor padded to 128, compiled and fitted as it comes."""

import os

import common

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import keras_hub
import numpy as np


def load(arguments):
    """Reads the same model through KerasHub's own converter; a head is drawn by seed."""
    keras.utils.set_random_seed(arguments.seed)
    if arguments.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    backbone = keras_hub.models.DistilBertBackbone.from_preset(arguments.model)
    tokenizer = keras_hub.models.DistilBertTokenizer.from_preset(arguments.model)
    preprocessor = keras_hub.models.DistilBertTextClassifierPreprocessor(tokenizer, sequence_length=common.MAX_LENGTH)
    return keras_hub.models.DistilBertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)


def train(classifier, arguments, texts, labels, steps) -> None:
    """Raw texts to trained weights."""
    backbone = classifier.backbone
    if arguments.depth is not None:
        blocks = [layer for layer in backbone.layers if layer.name.startswith("transformer_layer")]
        trained = blocks[len(blocks) - arguments.depth :]
        for layer in backbone.layers:
            layer.trainable = layer in trained
    classifier.compile(
        keras.optimizers.Adam(arguments.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    classifier.fit(
        np.asarray(texts, object),
        np.asarray(labels),
        batch_size=common.BATCH_SIZE,
        epochs=arguments.epochs,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=steps.end)],
        verbose=0,
    )


def classify(classifier, texts) -> np.ndarray:
    """Returns a class number for each text."""
    return classifier.predict(np.asarray(texts, object), batch_size=common.FORWARD_BATCH_SIZE, verbose=0).argmax(-1)


if __name__ == "__main__":
    common.measure_training(__doc__, load=load, train=train, classify=classify)
