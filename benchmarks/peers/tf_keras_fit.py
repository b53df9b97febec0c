"""Peer (c): transformers' TensorFlow classifier with Keras fit, padded to max_length as the tutorials do."""

import common
import numpy as np
import tf_common
import tf_keras as keras


def encode(tokenizer, texts) -> dict[str, np.ndarray]:
    """Returns the model's inputs, every text as wide as the longest that is allowed."""
    return dict(
        tokenizer(texts, padding="max_length", truncation=True, max_length=common.MAX_LENGTH, return_tensors="np")
    )


def train(loaded, arguments, texts, labels, steps) -> None:
    """Raw texts to trained weights."""
    model, tokenizer = loaded
    tf_common.freeze(model, arguments.depth)
    model.compile(
        keras.optimizers.Adam(arguments.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(
        encode(tokenizer, texts),
        np.asarray(labels),
        batch_size=common.BATCH_SIZE,
        epochs=arguments.epochs,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=steps.end)],
        verbose=0,
    )


def classify(loaded, texts) -> np.ndarray:
    """Returns a class number for each text."""
    inputs = encode(loaded.tokenizer, texts)
    return loaded.model.predict(inputs, batch_size=common.FORWARD_BATCH_SIZE, verbose=0).logits.argmax(-1)


if __name__ == "__main__":
    common.measure_training(__doc__, load=tf_common.load, train=train, classify=classify)
