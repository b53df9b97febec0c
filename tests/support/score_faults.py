"""Kills workers, nodes and the driver of real scoring jobs, starts the command anew, and compares what they leave.

    python -m tests.support.score_faults --kills=20 --seed=0 --output=benchmarks/results/score_faults.json

Every kill is a SIGKILL at a random moment, on a Ray cluster of three nodes on this machine. What is left must be equal
byte for byte to what an undisturbed job leaves. The tests use the same parts, with one kill of each kind.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_tf.system import provenance
from tests.support import ray_cluster, tiny_export, tiny_litert

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "score_faults.json"
KINDS = ("worker", "node", "driver")
NODES = 3


def prepare(folder: Path, *, files: int, rows: int) -> list[str]:
    """Writes a tiny run and files of texts; returns the flags that name them."""
    tiny_litert.export(folder / "run")
    (folder / "in").mkdir()
    for number in range(files):
        texts = tiny_export.texts(rows, seed=number)
        pq.write_table(pa.table({"id": range(rows), "text": texts}), folder / "in" / f"{number}.parquet")
    return [f"--model={folder}/run", f"--input={folder}/in/*.parquet"]


def start(*flags: str, **settings) -> subprocess.Popen:
    """Starts the command."""
    call = [sys.executable, "-m", "sentiment_tf.score", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | ray_cluster.ENVIRONMENT
    return subprocess.Popen(call, **pipes, env=environment, start_new_session=True, **settings)


def finish(process: subprocess.Popen) -> str:
    """Waits for a command that must succeed; returns what it printed.

    Raises:
      RuntimeError: It failed by itself.
    """
    printed, problems = process.communicate(timeout=600)
    if process.returncode != 0:
        raise RuntimeError(f"exit code {process.returncode}:\n{printed}{problems}")
    return printed


def wait_for(condition: Callable[[], object], process: subprocess.Popen, *, seconds: float = 120) -> bool:
    """Waits until a condition holds or the process has ended; returns whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def written(output: Path) -> list[Path]:
    """Returns the output files that are there."""
    return list(output.glob("*.parquet"))


def kill(kind: str, cluster: ray_cluster.Cluster, process: subprocess.Popen, choose: random.Random) -> bool:
    """Kills a worker, a node other than the head, or the driver; returns whether there was one."""
    if kind == "driver":
        ray_cluster.kill_tree(process)
        process.communicate()
        return True
    if kind == "node":
        if len(cluster.nodes) == 1:
            return False
        cluster.kill_node(choose.randrange(1, len(cluster.nodes)))
        return True
    workers = cluster.workers()
    if not workers:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(choose.choice(workers), signal.SIGKILL)
    return True


def left_behind(output: Path) -> dict[str, bytes]:
    """Returns the content of every file of a finished job."""
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--files", type=int, default=24)
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--output", type=Path, default=RESULTS, help="JSON file with the figures")
    options = options.parse_args()
    choose = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name, ray_cluster.cluster(nodes=NODES) as cluster:
        folder = Path(name)
        flags = [*prepare(folder, files=options.files, rows=options.rows), f"--ray_address={cluster.address}"]
        began = time.perf_counter()
        finish(start(*flags, f"--output={folder}/undisturbed"))
        whole, expected = time.perf_counter() - began, left_behind(folder / "undisturbed")
        kills, jobs, unequal = [], 0, []
        while len(kills) < options.kills:
            jobs += 1
            output = folder / f"job{jobs}"
            process = start(*flags, f"--output={output}")
            for _ in range(choose.randint(1, 4)):
                kind = choose.choice(KINDS)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=choose.random() * whole / 2)
                if process.poll() is not None or len(kills) == options.kills:
                    break
                if kill(kind, cluster, process, choose):
                    kills.append(kind)
                    print(f"kill {len(kills)}: {kind}; {len(written(output))} files written", flush=True)
                if kind == "driver":
                    process = start(*flags, f"--output={output}")
                while len(cluster.nodes) < NODES:
                    cluster.add_node()
            finish(process)
            same = left_behind(output) == expected
            unequal += [] if same else [jobs]
            print(f"job {jobs}: {'equal' if same else 'DIFFERENT'}", flush=True)
    figures = {
        "commit": provenance.commit(),
        "seed": options.seed,
        "kills": len(kills),
        "kills_of": dict(collections.Counter(kills)),
        "jobs": jobs,
        "equal_jobs": jobs - len(unequal),
        "seconds_undisturbed": round(whole, 1),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{len(kills)} kills, {jobs} jobs, {jobs - len(unequal)} equal to the undisturbed one")
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
