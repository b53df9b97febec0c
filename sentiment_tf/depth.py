"""How much of the model is trained, from the head down."""

from typing import Literal

Depth = int | Literal["all"]
"""Trained transformer blocks under the head: 0 is the head alone; "all" is every block and the embeddings."""

DepthSetting = Depth | Literal["auto"]
"""A depth, or "auto": the run looks for it."""


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
