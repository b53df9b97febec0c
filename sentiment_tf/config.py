"""The settings of a training run: the one source of their defaults, documentation and validation."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from sentiment_tf.data import packaged, registry, settings
from sentiment_tf.data.settings import DataSettings
from sentiment_tf.errors import UserError
from sentiment_tf.evaluation import thresholds
from sentiment_tf.exporting import formats
from sentiment_tf.modeling import distilbert

DEFAULT_MODEL = "distilbert/distilbert-base-uncased"
STRATEGIES = ("auto", "default", "mirrored", "multi_worker", "tpu")
SCHEDULES = ("linear", "cosine")
CLASS_WEIGHTS = ("none", "balanced")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def _setting(default: Any, help: str, **rules: Any) -> Any:
    """A field with its documentation and its rules: ``choices``, ``least``, ``above``, ``most``, ``below``."""
    return dataclasses.field(default=default, metadata={"help": help, **rules})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run. Each field is a flag of the same name; None means "decided by the run"."""

    dataset: str | None = _setting(
        None, f"Data set by name: {registry.alternatives()}. With --data_dir, that folder's layout."
    )
    data_dir: str | None = _setting(None, f"Folder with your copy: {registry.GLUE} or {registry.ACL_IMDB}.")
    train_file: str | None = _setting(None, "Your training rows: .csv, .tsv, .jsonl or .parquet.")
    validation_file: str | None = _setting(None, "Your validation rows; without it a tenth of train is set aside.")
    test_file: str | None = _setting(None, "Your test rows; where given, before and after are reported on them.")
    text_column: str | None = _setting(None, "Column that holds the text (default: text, sentence, review, …).")
    label_column: str | None = _setting(None, "Column that holds the label, a number or a name (default: label, …).")
    dataset_revision: str | None = _setting(None, "Commit, tag or branch of the data set on the hub.")
    offline: bool = _setting(False, "Use the packaged copy of the data set and never ask the hub.")
    limit: int | None = _setting(None, "Train on this many rows, drawn by --seed (default: all).", least=2)

    model: str = _setting(
        DEFAULT_MODEL, "Hub id or folder of a DistilBERT, or minilm-l6: the packaged MiniLM as a DistilBERT."
    )
    model_revision: str | None = _setting(None, "Commit, tag or branch of the model on the hub.")
    max_length: int | None = _setting(
        None,
        f"Tokens a text is cut to, [CLS] and [SEP] included (default: {registry.describe_max_lengths()}).",
        least=3,
    )
    trainable_layers: str = _setting(
        "0",
        "Transformer blocks trained under the head, from the top: 0 is the head alone; all adds the embeddings; "
        "auto tries depths and keeps the cheapest good one.",
    )
    accuracy_tolerance: float = _setting(
        0.5, "With --trainable_layers=auto: points of validation accuracy given up for a cheaper depth.", least=0
    )
    time_budget: float | None = _setting(
        None,
        "With --trainable_layers=auto: minutes for the search; depths over it are skipped (default: three are tried, "
        "the head, one block and all but one).",
        above=0,
    )
    precision: str = _setting(
        "auto",
        "Dtype of matrix multiplications; auto: bfloat16 if the hardware supports it, float16 on older GPUs, else "
        "float32.",
        choices=PRECISIONS,
    )

    epochs: int = _setting(3, "Passes over the training rows.", least=1)
    batch_size: int = _setting(32, "Texts per training step, over all devices together.", least=1)
    learning_rate: float | None = _setting(
        None,
        f"Peak of the schedule (default: {registry.describe_learning_rates()}).",
        above=0,
        most=1,
    )
    warmup_ratio: float = _setting(0.1, "Share of the steps in which the rate rises to its peak.", least=0, below=1)
    schedule: str = _setting("linear", "How the rate falls to 0 after its peak.", choices=SCHEDULES)
    weight_decay: float = _setting(0.01, "AdamW's decay; biases and LayerNorm are left out.", least=0, most=1)
    layer_decay: float = _setting(
        1.0, "Each block's learning rate is this times that of the block above it.", above=0, most=1
    )
    label_smoothing: float = _setting(0.0, "Probability taken from the true class and shared by all.", least=0, below=1)
    class_weight: str = _setting("none", "balanced: every class weighs the same in the loss.", choices=CLASS_WEIGHTS)
    early_stopping_patience: int | None = _setting(
        None, "Stop after so many epochs without better validation accuracy; the best weights are kept.", least=1
    )
    stages: bool = _setting(False, "Train the head to convergence first, then the blocks under it.")
    seed: int = _setting(0, "Of everything random: head, order of batches, dropout, splits.", least=0, below=2**31)
    deterministic: bool = _setting(False, "Reproducible kernels on a GPU too, where they are slower.")
    strategy: str = _setting(
        "auto",
        "How devices are used: auto takes every worker of TF_CONFIG, every GPU, or else one device.",
        choices=STRATEGIES,
    )
    pad_to_max_length: bool = _setting(
        False, "Pad every training batch to --max_length: static shapes, which a TPU needs (implied by tpu)."
    )
    startup_timeout: float = _setting(
        600.0, "Seconds that a worker of TF_CONFIG waits for the others before it gives up.", above=0
    )

    calibrate: str = _setting(
        "on", "Fit a temperature on the validation rows and store it in the export.", choices=("on", "off")
    )

    threshold: str | None = _setting(
        None,
        "With two classes, the probability from which a text gets the second one, 0 to 1, or auto: the best macro F1 "
        "on the validation rows (default: the larger probability decides).",
    )
    threshold_for: str | None = _setting(
        None,
        "The threshold that keeps a precision of the second class on the validation rows and finds the most of it, "
        "such as precision:0.9; or recall:0.9, the other way round.",
    )

    exports: str = _setting(formats.ALL, "Formats that the model is written in, separated by commas.")
    quantization_tolerance: float = _setting(
        0.5, "Points of accuracy that an int8 file may lose; one that loses more is left out.", least=0
    )

    checkpoint_every: int | None = _setting(
        None,
        "Steps from one checkpoint to the next, beside the one after each epoch (default: that one alone); the head "
        "alone takes ten at once.",
        least=1,
    )
    cache: str = _setting(
        "on", "Keep what the frozen layers computed, so that the next run need not.", choices=("on", "off")
    )
    cache_dir: str | None = _setting(
        None, "Where that and the converted model are kept (default: ~/.cache/sentiment_tf)."
    )
    output_dir: str = _setting("saved_models", "Runs are written to a folder here.")
    run_name: str | None = _setting(None, "Name of that folder (default: the data set's name).")
    overwrite: bool = _setting(False, "Train again where the run exists, and swap the new one in when done.")
    quiet: bool = _setting(False, "Print errors only.")
    profile_steps: str | None = _setting(
        None, "first,last: training steps, counted from 1, that TensorBoard's profiler records, such as 10,20."
    )

    @property
    def data(self) -> DataSettings:
        """Which data to read: the settings that data.loading takes."""
        return DataSettings(
            dataset=self.dataset,
            data_dir=self.data_dir,
            files={"train": self.train_file, "validation": self.validation_file, "test": self.test_file},
            text_column=self.text_column,
            label_column=self.label_column,
            offline=self.offline,
            revision=self.dataset_revision,
        )

    @property
    def depth(self) -> int | None:
        """Number of trained blocks, or None for ``all`` (blocks and embeddings) and ``auto`` (found by the run)."""
        return int(self.trainable_layers) if self.trainable_layers.isdecimal() else None

    @property
    def least_width(self) -> int:
        """Tokens that a training batch is padded to at least; of a resolved config."""
        return self.max_length if self.pad_to_max_length else 2

    @property
    def profiled_steps(self) -> tuple[int, int] | None:
        """First and last profiled step, or None."""
        return tuple(map(int, self.profile_steps.split(","))) if self.profile_steps else None


# Settings that say where and how loudly, not what is trained: two runs that differ in these alone are the same.
INCIDENTAL = (
    "cache",
    "cache_dir",
    "checkpoint_every",
    "startup_timeout",
    "output_dir",
    "run_name",
    "overwrite",
    "quiet",
    "profile_steps",
)

# Settings that may differ between the workers of one run: where things are, and what is said.
OF_ONE_MACHINE = (
    "data_dir",
    "train_file",
    "validation_file",
    "test_file",
    "model",
    "cache_dir",
    "output_dir",
    "run_name",
    "overwrite",
    "quiet",
    "profile_steps",
    "startup_timeout",
)


def validate(config: TrainConfig) -> None:
    """Checks every setting that can be checked without reading data or a model.

    Raises:
      UserError: with all problems at once.
    """
    problems = [
        problem for field in dataclasses.fields(config) if (problem := _broken_rule(field, getattr(config, field.name)))
    ]
    problems += (
        _depth_problems(config.trainable_layers)
        + _contradictions(config)
        + settings.problems(config.data)
        + _model_problems(config)
        + _name_problems(config)
        + _profile_problems(config.profile_steps)
        + _export_problems(config.exports)
        + thresholds.problems(config.threshold, config.threshold_for)
    )
    if problems:
        raise UserError(*problems)


def resolve(config: TrainConfig) -> TrainConfig:
    """Returns a validated config with every default that depends on another setting filled in."""
    return dataclasses.replace(
        config,
        max_length=config.max_length or registry.default_max_length(config.dataset),
        learning_rate=config.learning_rate or default_learning_rate(config),
        pad_to_max_length=config.pad_to_max_length or config.strategy == "tpu",
        run_name=config.run_name or _default_run_name(config),
        cache_dir=str(Path(config.cache_dir or "~/.cache/sentiment_tf").expanduser()),
        output_dir=str(Path(config.output_dir).expanduser()),
        model=os.path.expanduser(config.model),
    )


def default_learning_rate(config: TrainConfig) -> float | None:
    """Returns the peak rate for a depth; None for ``auto``, which takes each depth's own."""
    if config.trainable_layers == "auto":
        return None
    return registry.default_learning_rate(config.dataset, config.depth)


def at_depth(config: TrainConfig, depth: int) -> TrainConfig:
    """Returns the config of one depth of the search of ``auto``: with this depth, and its own rate if none is set."""
    config = dataclasses.replace(config, trainable_layers=str(depth))
    return dataclasses.replace(config, learning_rate=config.learning_rate or default_learning_rate(config))


def head_learning_rate(config: TrainConfig) -> float:
    """Returns the default peak rate where the head alone is trained."""
    return default_learning_rate(dataclasses.replace(config, trainable_layers="0"))


def differences(mine: TrainConfig, flags: dict, used: dict | None = None, *, but=INCIDENTAL) -> list[str]:
    """Returns ``--flag: there …, here …`` for each setting that matters and differs from a recorded config.

    Args:
      mine: resolved.
      flags: what was asked there.
      used: what ``auto`` came to there, which may be passed by name; None where that is not known.
      but: settings that may differ.
    """
    used = used or flags
    # The depth that a search chose comes with that depth's rate; of the others each may be passed by itself.
    search = ("trainable_layers", "learning_rate")
    by_depth = used if flags.get("trainable_layers") != mine.trainable_layers else flags
    there = {name: [by_depth.get(name)] if name in search else [flags.get(name), used.get(name)] for name in flags}
    return [
        f"--{name}: there {there.get(name, [None])[0]}, here {value}"
        for name, value in dataclasses.asdict(mine).items()
        if name not in but and value not in there.get(name, [None])
    ]


def to_flags(config: TrainConfig) -> str:
    """Returns the text of a flagfile that starts the same run again."""
    lines = []
    for name, value in dataclasses.asdict(config).items():
        if value is None or name == "overwrite":
            continue
        lines.append(f"--{'' if value else 'no'}{name}" if isinstance(value, bool) else f"--{name}={value}")
    return "\n".join(lines) + "\n"


def _broken_rule(field: dataclasses.Field, value: Any) -> str | None:
    """Returns the problem with one value, or None."""
    rules = field.metadata
    if value is None:
        return None
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
    if trainable_layers in ("all", "auto") or trainable_layers.isdecimal():
        return []
    return [f"--trainable_layers={trainable_layers}: pass a number of blocks, 0 or more, or all, or auto"]


def _contradictions(config: TrainConfig) -> list[str]:
    problems = []
    if config.stages and (config.depth == 0 or config.trainable_layers == "auto"):
        does = "trains the head alone" if config.depth == 0 else "compares depths trained alike"
        problems.append(
            f"--stages: contradicts --trainable_layers={config.trainable_layers}, which {does}; pass 1 or more blocks"
        )
    problems += [
        f"--{name}={getattr(config, name)}: bounds the search of --trainable_layers=auto; pass that, or leave it out"
        for name in ("time_budget", "accuracy_tolerance")
        if config.trainable_layers != "auto" and getattr(config, name) != getattr(TrainConfig, name)
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
        model = distilbert.read_settings(os.path.expanduser(config.model), config.model)
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
    if blocks and (config.depth or 0) > blocks:
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


def _profile_problems(profile_steps: str | None) -> list[str]:
    if profile_steps is None:
        return []
    first, _, last = profile_steps.partition(",")
    if first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last):
        return []
    return [f"--profile_steps={profile_steps}: pass two steps, first,last, counted from 1, such as 10,20"]


def _default_run_name(config: TrainConfig) -> str:
    if config.dataset:
        return config.dataset
    return Path(config.data_dir or config.train_file).resolve().stem
