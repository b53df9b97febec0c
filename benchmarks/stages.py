"""Seconds per row of each stage of a head-only run with a tiny model, and its peak memory, by the number of rows.

  .venv/bin/python benchmarks/stages.py --rows 10000 100000 1000000

Texts are random words, 12 on average (see leak_audit.py); a tenth of the rows is the validation file. Prints a table in
Markdown: microseconds per row of each stage, and the last column divided by the one before it, which is about 1 for a
stage that takes time in proportion to the rows, and less where a constant part is left.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.leak_audit import make_splits  # noqa: E402
from tests.support.hub import tiny_model  # noqa: E402

_PEAK = "import resource, runpy, sys\nsys.argv = sys.argv[1:]\n" + (
    "try:\n    runpy.run_module('sentiment_tf.train', run_name='__main__', alter_sys=True)\n"
    "finally:\n    print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
)


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    options.add_argument("--validation", choices=("file", "split_off"), default="file")
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_model(folder / "model")
        measured = {rows: measure(folder, rows, options.validation == "file") for rows in options.rows}
    print(table(measured))


def measure(folder: Path, rows: int, with_file: bool) -> dict[str, float]:
    """Trains once; returns the seconds of each stage, and the peak memory in MiB as "memory"."""
    splits = make_splits(rows, seed=0)
    for split, part in splits.items():
        texts = part.with_format("arrow")[:]["text"]
        labels = np.random.default_rng(1).integers(0, 2, len(texts))
        pq.write_table(pa.table({"text": texts, "label": labels}), folder / f"{split}.parquet")
    flags = [
        f"--train_file={folder}/train.parquet",
        f"--model={folder}/model",
        "--max_length=32",
    ]
    flags += [f"--validation_file={folder}/validation.parquet"] * with_file
    flags += [
        "--epochs=1",
        "--exports=saved_model",
        f"--run_name=rows{rows}",
        f"--output_dir={folder}/runs",
        f"--cache_dir={folder}/cache",
    ]
    call = [sys.executable, "-c", _PEAK, "train", *flags]
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    seconds = json.loads((folder / "runs" / f"rows{rows}" / "run.json").read_text())["times"]
    peak = next(line for line in done.stderr.splitlines() if line.startswith("peak "))
    return seconds | {"memory": int(peak.split()[1]) / 1024}


def table(measured: dict[int, dict[str, float]]) -> str:
    """Lays the figures out in Markdown."""
    counts = list(measured)
    lines = [f"| stage | {' | '.join(f'{rows:,} rows' for rows in counts)} | last to the one before |"]
    lines.append("|---" * (len(counts) + 2) + "|")
    for stage in [name for name in measured[counts[-1]] if name != "memory"]:
        each = [1e6 * measured[rows].get(stage, 0) / rows for rows in counts]
        growth = f"{each[-1] / each[-2]:.2f}" if len(each) > 1 and each[-2] else ""
        lines.append(f"| {stage.replace('_', ' ')} | {' | '.join(f'{value:,.1f} µs' for value in each)} | {growth} |")
    memory = [f"{measured[rows]['memory']:,.0f} MiB" for rows in counts]
    lines.append(f"| peak memory | {' | '.join(memory)} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
