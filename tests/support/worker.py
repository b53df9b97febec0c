"""One worker of a test: trains the tiny model without dropout and keeps its weights; TF_CONFIG says which worker.

python -m tests.support.worker OUTPUT DEPTH…
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from sentiment_tf.system import runtime

tf = runtime.start()

from sentiment_tf.data.tokenization import Tokens  # noqa: E402
from sentiment_tf.distributed import strategies  # noqa: E402
from sentiment_tf.modeling import features, trainable  # noqa: E402
from sentiment_tf.training import fitting  # noqa: E402

ROWS, BATCH = 45, 16


def main(output: str, depths: list[str]) -> None:
    strategy = strategies.make_strategy("auto", batch_size=BATCH, startup_timeout=120)
    found = {}
    for depth in depths:
        weights, history, moments = train(strategy, None if depth == "all" else int(depth))
        found |= {f"{depth}.{number:03d}": value for number, value in enumerate(weights)}
        found |= {f"{depth}.gradient.{number:03d}": 10 * value for number, value in enumerate(moments)}
        found[f"{depth}.loss"] = np.array([row["loss"] for row in history])
        found[f"{depth}.accuracy"] = np.array([row["accuracy"] for row in history])
        found[f"{depth}.gradient_norm"] = np.array([row["gradient_norm"] for row in history])  # AdamW hides a scale
    np.savez(output, **found)
    print(json.dumps({"replicas": strategy.num_replicas_in_sync}))


def train(strategy, depth: int | None):
    import tf_keras as keras
    from transformers import DistilBertConfig, TFDistilBertForSequenceClassification, logging

    logging.set_verbosity_error()
    random = np.random.default_rng(5)
    lengths = random.integers(3, 15, ROWS)
    tokens = Tokens(
        random.integers(1, 200, lengths.sum()).astype(np.uint16),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.zeros(ROWS, bool),
    )
    labels = np.random.default_rng(6).integers(0, 2, ROWS).astype(np.int32)
    with strategy.scope():
        keras.utils.set_random_seed(1)
        config = DistilBertConfig(vocab_size=200, dim=32, n_layers=3, n_heads=4, hidden_dim=64, initializer_range=0.2)
        config.dropout = config.attention_dropout = config.seq_classif_dropout = 0.0
        model = TFDistilBertForSequenceClassification(config)
        model(model.dummy_inputs)
        tail = trainable.TrainableLayers(model, depth=depth, compute_dtype=tf.float32, seed=3, parts=1)
    settings = {"compute_dtype": tf.float32, "max_length": 64, "cache_dir": None}
    inputs = features.compute(model, {"train": tokens}, depth=depth, strategy=strategy, **settings)["train"]
    fitting.compile_tail(tail, learning_rate=5e-3, steps=6, warmup_ratio=0.1, weight_decay=0.01, loss_scaling=False)
    moments = []  # after the first step (the head: the first three), a tenth of the gradient (its running mean)

    def keep(batch, logs):
        if not moments:
            moments.extend(first.numpy() for first, _ in tail.optimizer._moments)

    history = fitting.fit(
        tail,
        inputs,
        labels,
        epochs=2,
        batch_size=BATCH,
        seed=9,
        validate=lambda: fitting.loss_and_accuracy(fitting.predict_logits(tail, inputs), labels),
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=keep)],
    )
    return model.get_weights(), history, moments


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
