"""Which data the settings name: checked before anything is loaded, for every command alike."""

import os.path
from collections.abc import Mapping
from pathlib import Path

from sentiment_tf.data.packaged import REVIEWS

DATASETS = ("sst2", "imdb", "rotten_tomatoes")


def problems(
    *,
    dataset: str | None,
    data_dir: str | Path | None,
    files: Mapping[str, str | Path | None],
    text_column: str | None,
    label_column: str | None,
    offline: bool,
    revision: str | None,
) -> list[str]:
    """Returns what is wrong with these settings, all of it; and where nothing is, which of the places is missing.

    Args:
      files: split → the user's file or None, for the splits that the command takes as files.
      dataset, data_dir, text_column, label_column, offline, revision: as in `datasets.load`.
    """
    named = f"--dataset={dataset}"
    own = f"--data_dir or --{next(iter(files))}_file"  # the flags that name the user's own data
    given = {f"--{split}_file": Path(file).expanduser() for split, file in files.items() if file is not None}
    found = []
    if dataset is not None and dataset not in DATASETS:
        found.append(f"{named}: unknown; known are {', '.join(DATASETS)}; or pass {own}")
    if not given and data_dir is None and dataset is None:
        found.append(f"--dataset: name one of {', '.join(DATASETS)}, or pass {own}")
    if given and data_dir is not None:
        found.append(f"--data_dir={data_dir}: pass it or {', '.join(given)}, not both")
    if given and dataset is not None:
        found.append(f"{named}: pass it or {', '.join(given)}, not both")
    if given and "train" in files and files["train"] is None and data_dir is None and dataset is None:
        found.append(f"--train_file: is missing; {', '.join(given)} go with it")
    if len(set(given.values())) < len(given):
        found.append(f"{', '.join(given)}: each split needs a file of its own")
    if revision is not None and (given or data_dir is not None or offline):
        found.append(f"--dataset_revision={revision}: is the hub's; it can't be had from files or --offline")
    if dataset is not None and not given and data_dir is None:
        columns = {"--text_column": text_column, "--label_column": label_column}
        found += [
            f"{flag}={column}: is for your own files; {named} knows its columns"
            for flag, column in columns.items()
            if column is not None
        ]
        if offline and dataset in DATASETS and dataset not in REVIEWS:
            found.append(
                f"--offline: {named} has no packaged copy; {' and '.join(REVIEWS)} have; "
                "or pass --data_dir=FOLDER with its train.tsv and dev.tsv"
            )
    if found:
        return found
    # Path's own is_dir and is_file raise for a name that is too long or below a folder that can't be read.
    if data_dir is not None and not os.path.isdir(Path(data_dir).expanduser()):
        return [f"--data_dir={data_dir}: no such folder"]
    return [f"{flag}={file}: no such file" for flag, file in given.items() if not os.path.isfile(file)]
