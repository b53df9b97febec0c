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

from sentiment_tf.config import TrainConfig  # noqa: E402
from sentiment_tf.data.registry import parse_depth  # noqa: E402
from sentiment_tf.data.tokenization import Tokens  # noqa: E402
from sentiment_tf.distributed import collectives, strategies  # noqa: E402
from sentiment_tf.modeling import features, trainable  # noqa: E402
from sentiment_tf.training import fitting  # noqa: E402

ROWS, BATCH = 45, 16


def main(output: str, depths: list[str]) -> None:
    strategy = strategies.make_strategy("auto", batch_size=BATCH, startup_timeout=120)
    found = {}
    for depth in depths:
        weights, history, moments = train(strategy, parse_depth(depth))
        found |= {f"{depth}.{number:03d}": value for number, value in enumerate(weights)}
        found |= {f"{depth}.gradient.{number:03d}": 10 * value for number, value in enumerate(moments)}
        found[f"{depth}.loss"] = np.array([row["loss"] for row in history])
        found[f"{depth}.accuracy"] = np.array([row["accuracy"] for row in history])
        found[f"{depth}.gradient_norm"] = np.array([row["gradient_norm"] for row in history])  # AdamW hides a scale
    np.savez(output, **found)
    index, _ = collectives.workers(strategy)
    print(
        json.dumps(
            {
                "replicas": strategy.num_replicas_in_sync,
                "broadcast": [
                    collectives.broadcast(strategy, {"from": index}),
                    collectives.broadcast(strategy, b"chief" if index == 0 else b"").decode(),
                ],
                "gathered": collectives.all_gather_object(strategy, ["worker", index]),
            }
        )
    )


def train(strategy, depth):
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
        config = DistilBertConfig(vocab_size=200, dim=32, n_layers=2, n_heads=4, hidden_dim=64, initializer_range=0.2)
        config.dropout = config.attention_dropout = config.seq_classif_dropout = 0.0
        model = TFDistilBertForSequenceClassification(config)
        model(model.dummy_inputs)
        layers = trainable.TrainableLayers(model, depth=depth, compute_dtype=tf.float32, seed=3, parts=1)
    inputs = features.compute(
        model,
        {"train": tokens},
        depth=depth,
        compute_dtype=tf.float32,
        max_length=64,
        cache_dir=None,
        strategy=strategy,
    )["train"]
    settings = TrainConfig(epochs=2, batch_size=BATCH, seed=9, learning_rate=5e-3)
    fitting.compile_model(settings, layers, rows=ROWS)
    moments = []  # after the first step (the head: the first three), a tenth of the gradient (its running mean)

    def keep(batch, logs):
        if not moments:
            moments.extend(first.numpy() for first, _ in layers.optimizer.moments)

    history = fitting.fit(
        settings,
        layers,
        inputs,
        labels,
        validate=lambda: fitting.loss_and_accuracy(fitting.predict_logits(layers, inputs), labels),
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=keep)],
    )
    return model.get_weights(), history, moments


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
