"""Reads a data set's splits from the hub, a Python package, a folder or files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import huggingface_hub
import numpy as np

from sentiment_tf.data import labels, packaged, readers, registry, settings
from sentiment_tf.data.readers import Raw
from sentiment_tf.data.registry import DatasetSpec
from sentiment_tf.data.settings import DataSettings
from sentiment_tf.errors import UserError

_STEMS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_HUB_TIMEOUT = 10  # seconds to wait for the hub's answer


class Source(NamedTuple):
    """What was read; labels are still as the data spells them.

    name: the data set's name, "custom" for the user's own.
    splits: "train", "validation" and "test", as far as they exist and have labels.
    label_names: class names of a named data set; None if they have to be found in the data.
    described: kind ("hub", "packaged" or "files"), id, revision and files, for run.json.
    notes: one sentence for each split that was dropped or does not exist.
    """

    name: str
    splits: dict[str, Raw]
    label_names: tuple[str, ...] | None
    described: dict
    notes: tuple[str, ...] = ()


def find(data: DataSettings) -> Source:
    """Reads every split of the data that the settings name.

    Raises:
      UserError: the settings contradict each other; the data is missing or malformed; a split is empty.
    """
    if problems := settings.problems(data):
        raise UserError(*problems)
    spec = None if data.dataset is None else registry.lookup(data.dataset)
    if data.given_files:
        source = _read_files(data)
    elif data.folder is not None:
        source = _drop_unlabelled_test(_read_folder(data, spec))
    elif data.offline:
        source = _read_package(spec)
    else:
        source = _drop_unlabelled_test(_read_hub(spec, data.revision))
    for raw in source.splits.values():
        if len(raw.rows) == 0:
            raise UserError(f"{raw.name}: holds no rows")
    return source


def _source(spec: DatasetSpec | None, splits: dict[str, Raw], *notes: str, **described) -> Source:
    """Returns a Source; label numbers without names of their own get those of a named data set."""
    if spec is None:
        return Source("custom", splits, None, _described(**described), notes)
    splits = {split: raw._replace(class_names=raw.class_names or spec.label_names) for split, raw in splits.items()}
    return Source(spec.name, splits, spec.label_names, _described(**described), notes)


def _described(kind: str, *, id: str | None = None, revision: str | None = None, files: Iterable = ()) -> dict:
    return {"kind": kind, "id": id, "revision": revision, "files": [str(Path(file).resolve()) for file in files]}


def _drop_unlabelled_test(source: Source) -> Source:
    """Drops a test split without labels, as GLUE distributes them."""
    test = source.splits.get("test")
    if test is None or len(test.rows) == 0 or not labels.is_unlabelled(test):
        return source
    splits = {split: raw for split, raw in source.splits.items() if split != "test"}
    note = f"The test split ({test.name}) has no labels and is left out."
    return source._replace(splits=splits, notes=(*source.notes, note))


def _read_files(data: DataSettings) -> Source:
    files = data.given_files
    splits = {split: readers.read_file(file, **data.columns) for split, file in files.items()}
    return _source(None, splits, kind="files", files=files.values())


def _read_package(spec: DatasetSpec) -> Source:
    """Reads the packaged copy of a named data set, which holds the train split only."""
    file = packaged.data_file(spec.packaged)
    rows = readers.load_table(file)
    raw = readers.select_columns(rows, str(file))
    if spec.packaged.source is not None:
        wanted = np.flatnonzero(np.asarray(rows.with_format("numpy")["source"][:]) == spec.packaged.source)
        raw = raw._replace(rows=raw.rows.select(wanted), numbers=wanted + 1)
    splits = {"train": raw}
    note = "The packaged copy holds the train split only."
    return _source(spec, splits, note, kind="packaged", id=spec.packaged.package, files=[file])


def _read_folder(data: DataSettings, spec: DatasetSpec | None) -> Source:
    """Reads a folder in aclImdb's layout, or one with a file for each split, such as GLUE's."""
    folder, layout = data.folder, spec and spec.folder_layout
    reviews = {split: folder / split for split in ("train", "test") if (folder / split / "pos").is_dir()}
    files = _split_files(folder)
    if "train" in reviews and layout in (None, registry.ACL_IMDB):
        splits = {split: readers.read_review_folder(path) for split, path in reviews.items()}
    elif "train" in files and (layout is None or (layout == registry.GLUE and files["train"].suffix == ".tsv")):
        columns: dict[str, Any] = data.columns
        splits = {
            split: readers.read_file(file, labels_required=split != "test", **columns) for split, file in files.items()
        }
    elif layout is not None:
        raise UserError(f"--data_dir={folder}: --dataset={spec.name} expects the layout of {layout}")
    else:
        raise UserError(
            f"--data_dir={folder}: no training rows in it; expected the layout of {registry.GLUE} or "
            f"{registry.ACL_IMDB}, or train with one of {', '.join(readers.FORMATS)}"
        )
    return _source(spec, splits, kind="files", files=[raw.name for raw in splits.values()])


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


def _read_hub(spec: DatasetSpec, revision: str | None) -> Source:
    """Reads a named data set from the hub at one commit, or, with HF_HUB_OFFLINE=1, from the cache."""
    with readers.quiet():
        offline = datasets.config.HF_HUB_OFFLINE
        commit = revision if offline else _resolve(spec, revision)
        try:
            builder = datasets.load_dataset_builder(spec.hub_id, spec.hub_config, revision=None if offline else commit)
            # Without a network `datasets` takes the newest commit in its cache, whatever was asked for.
            if commit is not None and builder.hash != commit:
                raise UserError(
                    f"--dataset_revision={commit}: is not in the cache, which holds {spec.hub_id} at {builder.hash}; "
                    "pass that, or unset HF_HUB_OFFLINE"
                )
            builder.download_and_prepare()
            rows = builder.as_dataset()
        except (ConnectionError, OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            state = "is not in the cache and HF_HUB_OFFLINE is set" if offline else "could not be fetched"
            raise UserError(f"--dataset={spec.name}: {spec.hub_id} {state} ({error}); {_without_hub()}") from error
    columns: dict[str, Any] = {"text_column": spec.text_column, "label_column": spec.label_column}
    splits = {  # others, such as IMDb's "unsupervised", have no labels
        split: readers.select_columns(rows[split], f"{spec.hub_id} {split}", **columns)
        for split in settings.SPLITS
        if split in rows
    }
    return _source(spec, splits, kind="hub", id=spec.hub_id, revision=builder.hash)


def _resolve(spec: DatasetSpec, revision: str | None) -> str:
    """Returns the commit that a revision of a named data set stands for; one request with a short time limit."""
    try:
        return huggingface_hub.HfApi().dataset_info(spec.hub_id, revision=revision, timeout=_HUB_TIMEOUT).sha
    except huggingface_hub.errors.RevisionNotFoundError:
        raise UserError(f"--dataset_revision={revision}: {spec.hub_id} has no such commit, tag or branch") from None
    except OSError as error:  # no connection, or an HTTP error, which has a response
        status = getattr(getattr(error, "response", None), "status_code", None)
        how = f"answers with HTTP {status}" if status else f"is out of reach ({type(error).__name__})"
        hub = huggingface_hub.constants.ENDPOINT
        raise UserError(f"--dataset={spec.name}: the hub {hub} {how}; {_without_hub()}") from error


def _without_hub() -> str:
    """Returns what works without a hub, for error messages."""
    names = registry.alternatives(registry.packaged_names())
    return (
        f"without a hub these work: --offline with --dataset={names}, --data_dir=FOLDER, --train_file=FILE, "
        "and HF_HUB_OFFLINE=1 for what an earlier run has fetched"
    )
