"""Answers texts with transformers' pipeline in PyTorch; .venv-interop runs it, which has nothing of the project.

python in_pytorch.py <run>/hf <texts.json> <answers.json>
"""

import json
import sys
from pathlib import Path

import torch
import transformers


def main(folder: str, texts_file: str, answers_file: str) -> None:
    classify = transformers.pipeline("text-classification", folder)
    texts = json.loads(Path(texts_file).read_text())
    ids, probabilities = zip(*(answer(classify, text) for text in texts), strict=True)
    _, loading = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    answers = {
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "loading": {kind: sorted(map(str, found)) for kind, found in loading.items()},
        "ids": ids,
        "probabilities": probabilities,
    }
    Path(answers_file).write_text(json.dumps(answers))


def answer(classify, text: str) -> tuple[list[int], dict[str, float]]:
    """Returns a text's token ids and the probability of each label."""
    tokenizer = classify.tokenizer
    # Nothing that a folder holds makes the pipeline cut a long text: whoever calls it has to ask.
    is_long = len(tokenizer(text, verbose=False)["input_ids"]) > tokenizer.model_max_length
    options = {"truncation": True} if is_long else {}
    scores = {score["label"]: score["score"] for score in classify(text, top_k=None, **options)}
    return tokenizer(text, **options)["input_ids"], scores


if __name__ == "__main__":
    main(*sys.argv[1:])
