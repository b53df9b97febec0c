"""Peer: the trick for frozen encoders: encode once by PyTorch, length-sorted; scikit-learn's LogisticRegression."""

import common
import numpy as np
import torch
import torch_common
from sklearn.linear_model import LogisticRegression


@torch.inference_mode()
def encode(loaded, texts: list[str]) -> np.ndarray:
    """Returns the [CLS] vectors, float32[texts, D]."""
    ids = torch_common.tokenize(loaded.tokenizer, texts)
    vectors = np.empty([len(texts), loaded.model.config.dim], np.float32)
    for rows in common.by_length([len(row) for row in ids]):
        with torch_common.autocast(loaded.precision):
            hidden = loaded.model.distilbert(**torch_common.pad([ids[row] for row in rows])).last_hidden_state
        vectors[rows] = hidden[:, 0].float().numpy()
    return vectors


def load(arguments):
    """Reads model and tokenizer; the head is yet to be made."""
    return {"loaded": torch_common.load(arguments), "head": None}


def train(state, arguments, texts, labels, steps) -> None:
    """Raw texts to a fitted head."""
    state["head"] = LogisticRegression(max_iter=1000).fit(encode(state["loaded"], texts), labels)


def classify(state, texts):
    """Returns a class number for each text."""
    return state["head"].predict(encode(state["loaded"], texts))


if __name__ == "__main__":
    common.measure_training(__doc__, load=load, train=train, classify=classify)
