"""Measuring loaded models on labelled texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_tf.data import loading, settings
from sentiment_tf.data.settings import DataSettings
from sentiment_tf.errors import UserError
from sentiment_tf.evaluation import comparison, metrics, thresholds
from sentiment_tf.inference.classifier import Classifier
from sentiment_tf.reporting import diagnostics, formatting, plots, summary
from sentiment_tf.system import provenance

SMALLEST_PROBABILITY = 1e-30  # of a class; its logarithm stays finite


def evaluate(model: Classifier, data: DataSettings, *, seed: int = 0) -> dict[str, Any]:
    """Measures a model on labelled texts.

    Args:
      model: From `sentiment_tf.load`.
      data: Which texts. If a data set has several splits, the test split is used, or else the validation split.
      seed: The seed of the model's training: rows that it split off for validation are then the same ones.

    Returns:
      The metrics, as `evaluation.metrics.evaluate` gives them.

    Raises:
      UserError: The data cannot be read, or has labels that the model does not know.
    """
    if problems := settings.problems(data):
        raise UserError(*problems)
    (found,) = measure([model], data, seed=seed)["models"]
    return found


def measure(models: Sequence[Classifier], data: DataSettings, *, seed: int) -> dict[str, Any]:
    """Measures models of the same classes on the same texts.

    Args:
      models: One, or two to compare.
      data: Which texts.
      seed: As in `evaluate`.

    Returns:
      ``rows``, the name of the split; ``label_names``; ``notes`` on the data; ``models``, the metrics of each; and of
      two models ``comparison``, from `evaluation.comparison.compare`.
    """
    label_names = models[0].label_names
    splits = loading.load_rows(data, label_names=label_names, seed=seed)
    rows = splits.rows[splits.report_split]
    labels, texts = loading.label_array(rows), rows["text"]
    answers = [model.predict(texts)[1] for model in models]
    # Probabilities are calibrated; their logarithms are logits of the same answers.
    logits = [np.log(np.maximum(probabilities, SMALLEST_PROBABILITY)) for probabilities in answers]
    classes = [thresholds.decide(values, model.threshold) for model, values in zip(models, answers, strict=True)]
    found: dict[str, Any] = {"rows": splits.report_split, "label_names": list(label_names), "notes": splits.notes}
    found["models"] = [
        metrics.evaluate(values, labels, predicted=predicted, probabilities=probabilities)
        for values, predicted, probabilities in zip(logits, classes, answers, strict=True)
    ]
    if len(models) == 2:
        found["comparison"] = comparison.compare(logits[0], logits[1], labels, predicted=(classes[0], classes[1]))
    return found


def describe(result: dict[str, Any], names: Sequence[str]) -> str:
    """Returns the notes, the tables and the verdict of a measurement, in lines for a terminal.

    Args:
      result: From `measure`.
      names: The models' names.
    """
    first = result["models"][0]["confusion"]
    rows = [[name, *map(str, counts)] for name, counts in zip(result["label_names"], first, strict=True)]
    confusion = summary.aligned([["true \\ predicted", *result["label_names"]], *rows])
    parts = [*result["notes"], summary.table(dict(zip(names, result["models"], strict=True))), f"\n{confusion}"]
    if "comparison" in result:
        parts.append(formatting.verdict(result["comparison"], first=names[0], second=names[1]))
    return "\n".join(parts)


def write(result: dict[str, Any], names: Sequence[str], path: Path) -> tuple[Path, Path]:
    """Writes a measurement as JSON, and the first model's confusion matrix beside it as PNG; returns both paths.

    Args:
      result: From `measure`.
      names: The models' names.
      path: The JSON file to write.

    Raises:
      UserError: One of them cannot be written; neither is left behind.
    """
    picture = path.with_suffix(".png")
    try:
        provenance.write_json(path, result | {"models": dict(zip(names, result["models"], strict=True))})
        plots.save(diagnostics.confusion(result["models"][0]["confusion"], result["label_names"]), picture)
    except OSError as error:
        for written in (path, picture):
            written.unlink(missing_ok=True)
        raise UserError(f"--output={path}: cannot be written ({error.strerror}); name another file") from error
    return path, picture
