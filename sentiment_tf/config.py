"""The settings of a training run: the one source of their defaults, documentation and limits.

`pipeline.checks` holds them against each other, and against the data, the model and the disk that they name.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from sentiment_tf.data import registry
from sentiment_tf.data.registry import Depth, DepthSetting, parse_depth
from sentiment_tf.data.settings import DataSettings
from sentiment_tf.exporting import formats

DEFAULT_MODEL = "distilbert/distilbert-base-uncased"
STRATEGIES = ("auto", "default", "mirrored", "multi_worker", "tpu")
SCHEDULES = ("linear", "cosine")
CLASS_WEIGHTS = ("none", "balanced")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16", "int8")


def _setting(default: Any, help: str, **rules: Any) -> Any:
    """A field with its documentation and its rules: ``choices``, ``least``, ``above``, ``most``, ``below``."""
    return dataclasses.field(default=default, metadata={"help": help, **rules})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run. Each field is a flag of the same name; None means "decided by the run"."""

    dataset: str | None = _setting(
        None, f"Data set by name: {registry.alternatives()}. With --data_dir: the data set that the folder holds."
    )
    data_dir: str | None = _setting(None, f"Folder with your own copy: {registry.GLUE} or {registry.ACL_IMDB}.")
    train_file: str | None = _setting(None, "File with your training rows: .csv, .tsv, .jsonl or .parquet.")
    validation_file: str | None = _setting(None, "File with your validation rows (default: a tenth of train).")
    test_file: str | None = _setting(None, "File with your test rows; if given, results are reported on them.")
    text_column: str | None = _setting(None, "Column that holds the text (default: text, sentence, review, …).")
    label_column: str | None = _setting(None, "Column that holds the label, a number or a name (default: label, …).")
    dataset_revision: str | None = _setting(None, "Commit, tag or branch of the data set on the hub.")
    offline: bool = _setting(False, "Use the packaged copy of the data set, without network access.")
    limit: int | None = _setting(None, "Number of training rows, drawn at random with --seed (default: all).", least=2)

    model: str = _setting(
        DEFAULT_MODEL, "Hub id or folder of a DistilBERT, or minilm-l6: the packaged MiniLM as a DistilBERT."
    )
    model_revision: str | None = _setting(None, "Commit, tag or branch of the model on the hub.")
    max_length: int | None = _setting(
        None,
        f"Texts are truncated to this many tokens, with [CLS] and [SEP] (default: {registry.describe_max_lengths()}).",
        least=3,
    )
    trainable_layers: str = _setting(
        "0",
        "Number of transformer blocks trained below the head: 0 trains the head only; all trains every layer; auto "
        "tries several depths and keeps the cheapest one that is nearly as accurate as the best.",
    )
    accuracy_tolerance: float = _setting(
        0.5, "With --trainable_layers=auto: how many points of validation accuracy a cheaper depth may lose.", least=0
    )
    time_budget: float | None = _setting(
        None,
        "With --trainable_layers=auto: minutes for the search; depths that would take longer are skipped (default: "
        "three depths are tried, the head, one block, and all blocks but one).",
        above=0,
    )
    precision: str = _setting(
        "auto",
        "Dtype of matrix multiplications; auto: bfloat16 if the hardware supports it, float16 on older GPUs, else "
        "float32, and int8 for the frozen layers of training rows on CPUs that support it; int8: the same, on any CPU.",
        choices=PRECISIONS,
    )

    head: str | None = _setting(
        None,
        "How the head is trained where it is trained alone: solve finds the best linear head at once (default); sgd "
        "trains both of its layers step by step.",
        choices=("solve", "sgd"),
    )
    epochs: int = _setting(3, "Passes over the training rows.", least=1)
    batch_size: int = _setting(32, "Texts per training step, on all devices together.", least=1)
    learning_rate: float | None = _setting(
        None,
        f"Peak learning rate (default: {registry.describe_learning_rates()}).",
        above=0,
        most=1,
    )
    warmup_ratio: float = _setting(0.1, "Fraction of the steps with a rising learning rate.", least=0, below=1)
    schedule: str = _setting("linear", "How the learning rate falls to 0 after its peak.", choices=SCHEDULES)
    weight_decay: float = _setting(0.01, "AdamW's weight decay; biases and LayerNorm have none.", least=0, most=1)
    layer_decay: float = _setting(
        1.0, "Factor from one block's learning rate to that of the block below it.", above=0, most=1
    )
    label_smoothing: float = _setting(
        0.0, "Probability that is taken from the true class and spread over all classes.", least=0, below=1
    )
    class_weight: str = _setting("none", "balanced gives all classes the same total weight.", choices=CLASS_WEIGHTS)
    early_stopping_patience: int | None = _setting(
        None,
        "Stop after this many epochs without better validation accuracy, and keep the best weights.",
        least=1,
    )
    stages: bool = _setting(False, "Train the head until it converges, then the blocks below it.")
    seed: int = _setting(
        0, "Random seed for head initialisation, batch order, dropout and splits.", least=0, below=2**31
    )
    seeds: int = _setting(
        1,
        "Number of trainings on the same rows and features, with seeds counted from --seed; the one with the best "
        "validation accuracy is exported, mean and range of all are reported.",
        least=1,
    )
    deterministic: bool = _setting(False, "Use reproducible kernels on GPUs too, where they are slower.")
    strategy: str = _setting(
        "auto",
        "Distribution strategy; auto uses every worker of TF_CONFIG, every GPU, or else one device.",
        choices=STRATEGIES,
    )
    pad_to_max_length: bool = _setting(
        False, "Pad every training batch to --max_length, so that shapes are static, as a TPU needs (tpu implies it)."
    )
    startup_timeout: float = _setting(
        600.0, "Seconds that a worker of TF_CONFIG waits for the others to start.", above=0
    )

    calibrate: str = _setting(
        "on", "Fit a temperature on the validation rows and fold it into every export.", choices=("on", "off")
    )

    threshold: str | None = _setting(
        None,
        "With two classes, the probability from which a text gets the second one, 0 to 1, or auto: the best macro F1 "
        "on the validation rows (default: the larger probability decides).",
    )
    threshold_for: str | None = _setting(
        None,
        "Threshold with this precision of the second class on the validation rows and the most recall, such as "
        "precision:0.9; or with this recall and the most precision, such as recall:0.9.",
    )
    audit_labels: str = _setting(
        "auto",
        "Look for wrong labels among the training rows: head by a solved head, deep by training once more per fold, "
        "auto by the head if its features are at hand.",
        choices=("auto", "head", "deep", "off"),
    )

    exports: str = _setting(formats.ALL, "Export formats, separated by commas.")
    quantization_tolerance: float = _setting(
        0.5, "Points of accuracy that an int8 file may lose; a file that loses more is not kept.", least=0
    )

    checkpoint_every: int | None = _setting(
        None,
        "Training steps between checkpoints, in addition to the one after each epoch (default: only that one); when "
        "only the head is trained, at every tenth step at most.",
        least=1,
    )
    cache: str = _setting(
        "on",
        "Keep tokens and the output of the frozen layers on disk and reuse them in later runs.",
        choices=("on", "off"),
    )
    cache_dir: str | None = _setting(
        None, "Folder for cached features and the converted model (default: ~/.cache/sentiment_tf)."
    )
    cache_limit: str = _setting(
        "25%",
        "Maximum size of the cache, in percent of its disk or as in 50GB; beyond it, what other runs used least "
        "recently is deleted.",
    )
    output_dir: str = _setting("saved_models", "Folder that holds the runs' folders.")
    run_name: str | None = _setting(None, "Name of the run's folder (default: the data set's name).")
    overwrite: bool = _setting(False, "Train again if the run exists, and replace it when the new one is complete.")
    quiet: bool = _setting(False, "Print errors only.")
    profile_steps: str | None = _setting(
        None, "First and last training step that TensorBoard's profiler records, counted from 1, such as 10,20."
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
    def depth(self) -> DepthSetting:
        """What ``trainable_layers`` says; of a validated config."""
        return parse_depth(self.trainable_layers)

    @property
    def fixed_depth(self) -> Depth:
        """`depth`, of a config that does not look for it."""
        depth = self.depth
        assert depth != "auto"
        return depth

    @property
    def least_width(self) -> int:
        """Tokens that a training batch is padded to at least; of a resolved config."""
        return self.max_length if self.pad_to_max_length else 2

    @property
    def profiled_steps(self) -> tuple[int, int] | None:
        """First and last profiled step, or None."""
        if not self.profile_steps:
            return None
        first, last = map(int, self.profile_steps.split(","))
        return first, last


# Settings that say where and how loudly, not what is trained: two runs that differ in these alone are the same.
INCIDENTAL = (
    "cache",
    "cache_dir",
    "cache_limit",
    "checkpoint_every",
    "startup_timeout",
    "output_dir",
    "run_name",
    "overwrite",
    "quiet",
    "profile_steps",
)

# Settings of training step by step, which have no effect on a solved head.
OF_STEPS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup_ratio",
    "schedule",
    "weight_decay",
    "early_stopping_patience",
    "checkpoint_every",
    "profile_steps",
)

# Settings that may differ between the workers of one run: paths, and what is logged.
OF_ONE_MACHINE = (
    "data_dir",
    "train_file",
    "validation_file",
    "test_file",
    "model",
    "cache_dir",
    "cache_limit",
    "output_dir",
    "run_name",
    "overwrite",
    "quiet",
    "profile_steps",
    "startup_timeout",
)


def resolve(config: TrainConfig) -> TrainConfig:
    """Returns a validated config with every default that depends on another setting filled in."""
    return dataclasses.replace(
        config,
        max_length=config.max_length or registry.default_max_length(config.dataset),
        learning_rate=config.learning_rate or default_learning_rate(config),
        head=config.head or ("solve" if trains_head_alone(config) else None),
        pad_to_max_length=config.pad_to_max_length or config.strategy == "tpu",
        run_name=config.run_name or _default_run_name(config),
        cache_dir=str(Path(config.cache_dir or "~/.cache/sentiment_tf").expanduser()),
        output_dir=str(Path(config.output_dir).expanduser()),
        model=os.path.expanduser(config.model),
    )


def solves_head(config: TrainConfig) -> bool:
    """Returns whether the head is all that is trained, and solved; of a resolved config."""
    return config.depth == 0 and config.head == "solve"


def trains_head_alone(config: TrainConfig) -> bool:
    """Returns whether the head is ever trained with all blocks frozen."""
    return config.depth in (0, "auto") or config.stages


def default_learning_rate(config: TrainConfig) -> float | None:
    """Returns the peak rate for a depth; None for ``auto``, which takes each depth's own, and for a solved head."""
    if config.depth == "auto" or (config.depth == 0 and config.head != "sgd"):
        return None
    return registry.default_learning_rate(config.dataset, config.depth)


def at_depth(config: TrainConfig, depth: Depth) -> TrainConfig:
    """Returns the config of one depth of the search of ``auto``: with this depth, and its own rate if none is set."""
    config = dataclasses.replace(config, trainable_layers=str(depth))
    return dataclasses.replace(config, learning_rate=config.learning_rate or default_learning_rate(config))


def head_learning_rate(config: TrainConfig) -> float:
    """Returns the default peak rate where the head alone is trained."""
    return registry.default_learning_rate(config.dataset, 0)


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


def _default_run_name(config: TrainConfig) -> str:
    if config.dataset:
        return config.dataset
    return Path(config.data_dir or config.train_file).resolve().stem
