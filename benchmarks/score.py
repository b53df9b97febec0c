"""score beside predict on the same rows and cores: rate, memory of the workers, and one worker against two.

  .venv/bin/python benchmarks/score.py --model=saved_models/rotten_tomatoes --rows=1000000

Rotten Tomatoes texts, repeated, in Parquet files of 20,000 rows. Prints one line for each command: its whole time,
rows per second over that time, and the most memory that its workers had together, looked at once a second.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from sentiment_tf.data import loading  # noqa: E402
from sentiment_tf.data.settings import DataSettings  # noqa: E402
from tests.support import ray_cluster  # noqa: E402

ROWS_PER_FILE = 20_000


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", required=True, help="A finished run.")
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--precision", default="int8")
    options.add_argument("--output", type=Path, help="JSON file with the figures.")
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "in", options.rows)
        shared = [f"--model={options.model}", f"--precision={options.precision}"]
        score = [*shared, f"--input={folder}/in/*.parquet"]
        calls = {
            "predict": ["predict", *shared, f"--input={folder}/all.parquet", f"--output={folder}/predict.jsonl"],
            "score, 1 worker": ["score", *score, f"--output={folder}/one", "--most_workers=1"],
            "score": ["score", *score, f"--output={folder}/all"],
        }
        pq.write_table(pq.read_table(folder / "in"), folder / "all.parquet")
        figures = {name: measure(call, options.rows) for name, call in calls.items()}
    if options.output:
        options.output.write_text(
            json.dumps({"rows": options.rows, "precision": options.precision} | figures, indent=2)
        )


def write_rows(folder: Path, count: int) -> None:
    """Writes Parquet files with the columns id and text."""
    folder.mkdir()
    rows = loading.load(DataSettings(dataset="rotten_tomatoes", offline=True)).rows["train"]
    texts = itertools.cycle(loading.text_array(rows).to_pylist())
    for start in range(0, count, ROWS_PER_FILE):
        ids = range(start, min(start + ROWS_PER_FILE, count))
        table = pa.table({"id": ids, "text": list(itertools.islice(texts, len(ids)))})
        pq.write_table(table, folder / f"{start:09}.parquet")


def measure(call: list[str], rows: int) -> dict[str, float]:
    """Runs a command to its end: seconds, rows per second, and MiB of its workers at most."""
    began, most = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, "-m", f"sentiment_tf.{call[0]}", *call[1:]])
    while process.poll() is None:
        pids = ray_cluster.descendants(process.pid)
        workers = [pid for pid in pids if ray_cluster.is_worker(pid)] or [process.pid]
        most = max(most, sum(map(_memory, workers)))
        time.sleep(1)
    if process.returncode:
        raise SystemExit(process.returncode)
    seconds = time.perf_counter() - began
    figures = {"seconds": round(seconds, 1), "rows_per_second": round(rows / seconds, 1), "mib": round(most / 2**20)}
    print(f"{call[0]:<10} {' '.join(call[-1:])}: {figures}", flush=True)
    return figures


def _memory(pid: int) -> int:
    """Returns the bytes that a process has in memory, 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
