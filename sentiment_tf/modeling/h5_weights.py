"""Weights in HDF5, the format of old checkpoints."""

from pathlib import Path

import h5py

from sentiment_tf.errors import UserError


def check(path: Path, name: str) -> None:
    """Checks that a file of weights in HDF5 refers to no other file: a link in it may name any on this machine.

    Raises:
      UserError: A part of it is in another file; ``name`` is the model as the user gave it.
    """

    def link_outside(key, link) -> str | None:
        return key if isinstance(link, h5py.ExternalLink) else None

    def data_outside(key, item) -> str | None:
        return key if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual) else None

    with h5py.File(path) as file:
        outside = file.visititems_links(link_outside) or file.visititems(data_outside)
    if outside:
        raise UserError(
            f"--model={name}: {outside} of {path.name} is in another file; pass a model with all its weights"
        )
