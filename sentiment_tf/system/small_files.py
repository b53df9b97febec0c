"""Reading the small files of a model folder, which a stranger may have made: regular files of a usual size only."""

import json
from pathlib import Path

# Bytes. Settings have kilobytes, or megabytes with a thousand long class names; the largest tokenizers in use 40 MB.
LARGEST_SETTINGS, LARGEST_TOKENIZER = 1 << 24, 1 << 26


def check_size(path: Path, *, most: int) -> Path:
    """Returns the path of a regular file that is not larger than ``most`` bytes.

    Raises:
      ValueError: it is larger, or it is a device or a pipe, which may have no end.
      OSError: there is no such file.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError(f"{path.name} is not a regular file")
    if size > most:
        raise ValueError(f"{path.name} has {size:,} bytes; at most {most:,} are read")
    return path


def read_object(path: Path, *, most: int = LARGEST_SETTINGS) -> dict:
    """Returns the content of a JSON file that holds an object.

    Raises:
      ValueError, RecursionError: the file is no such file, or too large.
      OSError: it cannot be read.
    """
    content = json.loads(check_size(path, most=most).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"it holds {type(content).__name__}, not an object")
    return content
