"""One worker and two, each on a core of its own: what the second one is worth.

  .venv/bin/python benchmarks/scaling.py --rounds=3 --output=benchmarks/results/scaling

Runs the whole command on packaged reviews with TF_CONFIG, workers pinned to cores, and reads the times that the
run itself recorded. Weak scaling: --batch_size is 32 per worker, so two workers take half the steps.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from sentiment_tf.reporting import record

ROWS_PER_WORKER = 32
LAYERS = ("0", "1", "all")


def main() -> None:
    """Runs each layout once per round, in alternating order, and prints medians."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--limit", type=int, default=1600, help="Training rows.")
    options.add_argument("--output", type=Path, required=True, help="Without suffix: .json and .md.")
    options = options.parse_args()
    found = {f"{layers}/{workers}": [] for layers in LAYERS for workers in (1, 2)}
    for number in range(options.rounds):
        for name in list(found)[:: -1 if number % 2 else 1]:
            layers, workers = name.split("/")
            found[name].append(run(layers, int(workers), options.limit))
            print(f"round {number + 1}, {layers} trained, {workers} workers: {found[name][-1]}", file=sys.stderr)
    content = {
        "command": f"python benchmarks/scaling.py --rounds={options.rounds} --limit={options.limit}",
        "commit": record.commit(),
        "hardware": record.hardware(),
        "seconds": found,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n")
    options.output.with_suffix(".md").write_text(table(found))
    print(table(found))


def run(layers: str, workers: int, limit: int) -> dict[str, float]:
    """Trains once; returns the chief's seconds by step, without what is spent before the first one."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for index in range(workers):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            flags = ["--dataset=rotten_tomatoes", "--offline", "--model=minilm-l6", f"--limit={limit}", "--epochs=2"]
            flags += [f"--trainable_layers={layers}", f"--batch_size={ROWS_PER_WORKER * workers}", "--run_name=run"]
            flags += [f"--output_dir={folder}/{index}", f"--cache_dir={folder}/cache{index}"]
            call = [sys.executable, "-m", "sentiment_tf.train", *flags]
            processes.append(
                subprocess.Popen(
                    call,
                    env=os.environ | {"TF_CONFIG": json.dumps(config)},
                    stdout=subprocess.DEVNULL,
                    preexec_fn=lambda core=index: os.sched_setaffinity(0, {core}),
                )
            )
        if any(process.wait() for process in processes):
            sys.exit("a worker failed")
        content = json.loads(Path(folder, "0/run/run.json").read_text())
    # The second epoch: in the first, TensorFlow compiles.
    return {"features": content["times"]["features"], "epoch": content["history"][1]["seconds"]}


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def table(found: dict[str, list[dict]]) -> str:
    """Returns medians and ratios as Markdown."""
    lines = [
        "| blocks trained | step | 1 worker | 2 workers | times as fast |",
        "|---|---|---|---|---|",
    ]
    for layers in LAYERS:
        for step in ("features", "epoch"):
            if layers == "all" and step == "features":
                continue  # there is no frozen part
            one, two = (statistics.median(row[step] for row in found[f"{layers}/{count}"]) for count in (1, 2))
            lines.append(f"| {layers} | {step} | {one:.1f} s | {two:.1f} s | {one / two:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
