"""Models other than the English uncased one: trained, exported and asked by the commands."""

import csv
import json

import numpy as np
import pytest

from sentiment_tf.exporting.odd_texts import ODD_TEXTS
from tests.support import hub
from tests.support.commands import command, quick_train, succeeded
from tests.support.many_scripts import word_pieces

CASED = ["The", "Film", "MOVING", "Dull", *"ABCDEFGHIJKLMNOPQRSTUVWXYZÉé", *(f"##{letter}" for letter in "AEIOUÉé")]
MODELS = {
    "cased": ({"lower_case": False, "more_words": CASED}, "1"),
    "multilingual": ({"lower_case": False, "more_words": word_pieces()}, "all"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_commands_train_export_and_answer(tmp_path, kind):
    settings, depth = MODELS[kind]
    model = hub.tiny_model(tmp_path / "model", **settings)
    scripts = ["Éclair", "日本の映画", "Отличный ФИЛЬМ", "फिल्म", "영화", "فيلم"]
    with open(tmp_path / "train.csv", "w", newline="", encoding="utf-8") as file:
        texts = [f"{text.title()} {scripts[row % 6]}" for row, text in enumerate(hub.sentences(160, seed=1)[0])]
        rows = [[text, ("bad", "good")[row % 2]] for row, text in enumerate(texts)]
        csv.writer(file).writerows([["text", "label"], *rows])
    flags = [f"--model={model}", f"--trainable_layers={depth}", "--epochs=2", "--learning_rate=0.01"]
    flags += [f"--train_file={tmp_path}/train.csv", "--max_length=48", f"--cache_dir={tmp_path}/c"]
    succeeded(quick_train(*flags, f"--output_dir={tmp_path}/runs"))  # compares the export with the model, odd texts too

    run = tmp_path / "runs" / "train"
    assert json.loads((run / "hf" / "tokenizer_config.json").read_text())["do_lower_case"] is settings["lower_case"]
    texts = [*texts[:20], *(text for text in ODD_TEXTS if text.strip() and "\0" not in text and len(text) < 100)]
    answers = succeeded(command("predict", f"--model={run}", "--format=json", *texts)).splitlines()
    found = [list(json.loads(answer)["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(found, probabilities_of_transformers(run / "hf", texts), atol=1e-4)


def probabilities_of_transformers(folder, texts) -> np.ndarray:
    """Asks the exported model through transformers' own loaders."""
    import tensorflow as tf
    from transformers import AutoTokenizer, TFDistilBertForSequenceClassification

    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="tf")
    model = TFDistilBertForSequenceClassification.from_pretrained(folder)
    return tf.nn.softmax(model(tokens).logits).numpy()
