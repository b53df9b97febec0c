"""Runs a notebook from top to bottom in a folder of its own and stores its output in it.

python -m tests.notebook docs/quickstart.ipynb
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    os.environ |= {"PYTHONPATH": os.getcwd(), "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm would like to draw its bars with ipywidgets
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}})
        client.execute(env=os.environ)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of day
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
