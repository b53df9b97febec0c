"""What can be checked of a run's settings before TensorFlow loads, each by the part of the package that it concerns."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from sentiment_tf.config import TrainConfig, trains_head_alone
from sentiment_tf.data import packaged, registry, settings
from sentiment_tf.data.columns import has_control_characters
from sentiment_tf.data.registry import parse_depth
from sentiment_tf.errors import UserError
from sentiment_tf.evaluation import thresholds
from sentiment_tf.exporting import formats
from sentiment_tf.modeling import distilbert_settings
from sentiment_tf.system import cache_folder


def validate(config: TrainConfig) -> None:
    """Checks every setting that can be checked without reading data or a model.

    Raises:
      UserError: with all problems at once.
    """
    problems = [
        problem for field in dataclasses.fields(config) if (problem := _broken_rule(field, getattr(config, field.name)))
    ]
    if wrong := _depth_problems(config.trainable_layers):
        problems += wrong
        config = dataclasses.replace(config, trainable_layers="all")  # which contradicts the fewest others
    problems += (
        _contradictions(config)
        + settings.problems(config.data)
        + _model_problems(config)
        + _name_problems(config)
        + _profile_problems(config.profile_steps)
        + _export_problems(config.exports)
        + thresholds.problems(config.threshold, config.threshold_for)
        + _cache_problems(config.cache_limit)
    )
    if problems:
        raise UserError(*problems)


def _broken_rule(field: dataclasses.Field, value: Any) -> str | None:
    """Returns the problem with one value, or None."""
    rules = field.metadata
    if value is None:
        return None
    if isinstance(value, str) and has_control_characters(value):
        return f"--{field.name}={value!r}: holds a line end or another control character; leave it out"
    if isinstance(value, str) and value != value.rstrip():
        return f"--{field.name}={value!r}: ends with a space, which a flagfile cannot hold; leave it out"
    if "choices" in rules and value not in rules["choices"]:
        return f"--{field.name}={value}: not known; choose from {', '.join(rules['choices'])}"
    limits = {
        "least": ("at least", lambda limit: value >= limit),
        "above": ("more than", lambda limit: value > limit),
        "most": ("at most", lambda limit: value <= limit),
        "below": ("less than", lambda limit: value < limit),
    }
    present = {name: rule for name, rule in limits.items() if name in rules}
    if all(rule(rules[name]) for name, (_, rule) in present.items()) and not (
        isinstance(value, float) and math.isnan(value)
    ):
        return None
    allowed = " and ".join(f"{words} {rules[name]}" for name, (words, _) in present.items())
    return f"--{field.name}={value}: out of range; pass {allowed}" if present else None


def _depth_problems(trainable_layers: str) -> list[str]:
    try:
        parse_depth(trainable_layers)
    except ValueError as error:
        return [str(error)]
    return []


def _contradictions(config: TrainConfig) -> list[str]:
    problems = []
    if config.stages and config.depth in (0, "auto"):
        does = "trains the head alone" if config.depth == 0 else "compares depths trained alike"
        problems.append(
            f"--stages: contradicts --trainable_layers={config.trainable_layers}, which {does}; pass 1 or more blocks"
        )
    if config.seeds > 1 and config.depth == "auto":
        problems.append(
            f"--seeds={config.seeds}: contradicts --trainable_layers=auto, which compares depths by one training each; "
            "pass the depth that it chooses"
        )
    if config.head and not trains_head_alone(config):
        problems.append(
            f"--head={config.head}: --trainable_layers={config.trainable_layers} never trains the head alone; pass "
            "--stages or --trainable_layers=0, or leave it out"
        )
    problems += [
        f"--{name}={getattr(config, name)}: bounds the search of --trainable_layers=auto; pass that, or leave it out"
        for name in ("time_budget", "accuracy_tolerance")
        if config.depth != "auto" and getattr(config, name) != getattr(TrainConfig, name)
    ]
    if config.early_stopping_patience and config.early_stopping_patience >= config.epochs >= 1:
        problems.append(
            f"--early_stopping_patience={config.early_stopping_patience}: never reached in --epochs={config.epochs}; "
            "pass fewer epochs of patience or more epochs"
        )
    return problems


def _model_problems(config: TrainConfig) -> list[str]:
    is_folder = os.path.isdir(os.path.expanduser(config.model))  # Path's own raises for a name that is too long
    if config.model_revision and (config.model == packaged.MODEL or is_folder):
        return [f"--model_revision={config.model_revision}: is the hub's; --model={config.model} is on this machine"]
    if not is_folder and (config.model.count("/") > 1 or config.model.startswith((".", "/", "~"))):
        return [f"--model={config.model}: there is no such folder"]
    if config.model == packaged.MODEL:
        return limit_problems(config, **packaged.MODEL_LIMITS)
    if not is_folder:
        return []
    try:
        model = distilbert_settings.read(os.path.expanduser(config.model), config.model)
    except UserError as error:
        return list(error.problems)
    return limit_problems(config, **model.limits)


def limit_problems(config: TrainConfig, *, blocks: int | None = None, positions: int | None = None) -> list[str]:
    """Returns which settings ask for more than a model has.

    Args:
      config: validated, or about to be.
      blocks: transformer blocks of the model, if known.
      positions: tokens that it can read at most, if known.
    """
    problems = []
    length = config.max_length or registry.default_max_length(config.dataset)
    if positions and length > positions:
        problems.append(f"--max_length={length}: {config.model} has {positions} positions; pass {positions} or less")
    if blocks and isinstance(config.depth, int) and config.depth > blocks:
        problems.append(
            f"--trainable_layers={config.trainable_layers}: {config.model} has {blocks} blocks; "
            f"pass 0 to {blocks}, or all"
        )
    return problems


def _name_problems(config: TrainConfig) -> list[str]:
    name = config.run_name
    if name is not None and (name in ("", ".", "..") or Path(name).name != name):
        return [f"--run_name={name}: must be the name of one folder, without slashes; --output_dir says where"]
    return []


def _export_problems(exports: str) -> list[str]:
    try:
        formats.parse(exports)
    except UserError as error:
        return list(error.problems)
    return []


def _cache_problems(limit: str) -> list[str]:
    if cache_folder.parse_limit(limit, ".") is None:
        return [f"--cache_limit={limit}: pass a share of the disk such as 25%, or a size such as 50GB"]
    return []


def _profile_problems(profile_steps: str | None) -> list[str]:
    if profile_steps is None:
        return []
    first, _, last = profile_steps.partition(",")
    if first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last):
        return []
    return [f"--profile_steps={profile_steps}: pass two steps, first,last, counted from 1, such as 10,20"]
