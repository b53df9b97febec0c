"""The README tells the truth about flags and files."""

import dataclasses
import re
from pathlib import Path

from sentiment_tf.config import TrainConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def flags_table() -> str:
    """The README's table of train's flags; when a flag changes, paste this."""
    rows = []
    for field in dataclasses.fields(TrainConfig):
        default = "" if field.default is None else f"`{field.default}`"
        text = field.metadata["help"].replace("|", r"\|")  # a bare one would end the cell
        rows.append(f"| `--{field.name}` | {default} | {text} |")
    return "\n".join(["| flag | default | |", "|---|---|---|", *rows])


def test_flags_table_is_that_of_the_config():
    assert flags_table() in README


def test_files_that_the_readme_names_exist():
    names = re.findall(r"\]\(((?:docs|flags|benchmarks)/[\w./-]+)\)", README)
    assert names
    for name in names:
        assert (ROOT / name).is_file(), name


def test_flagfiles_are_in_the_results_table():
    for path in (ROOT / "flags").glob("*.flags"):
        assert f"flags/{path.name}" in README, path.name
