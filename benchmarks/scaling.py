"""One worker and two, each on a core of its own: what the second one is worth.

  .venv/bin/python benchmarks/scaling.py --rounds=3 --output=benchmarks/results/scaling

Runs the whole command on packaged reviews with TF_CONFIG, workers pinned to cores, and reads the times that the
run itself recorded. Weak scaling: --batch_size is 32 per worker, so two workers take half the steps. Then it
prints what the same would take on many machines, on paper.
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

from sentiment_tf.system import provenance

ROWS_PER_WORKER = 32
LAYERS = ("0", "1", "all")

# For the model on paper: MiniLM as a DistilBERT, Rotten Tomatoes' texts, and a network.
WIDTH, HIDDEN, BLOCKS, POSITIONS, CLASSES = 384, 1536, 6, 512, 2
TOKENS = 27  # of a text, on average
ROWS_OF_WORDS = 500  # of the embeddings that a worker's 32 texts touch, about
BANDWIDTH, LATENCY = 1.25e9, 50e-6  # bytes per second and seconds: 10 Gbit/s Ethernet
WORKERS = (1, 4, 16, 64, 256)
TEXTS = (10**6, 10**7, 10**8, 10**9)


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
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "seconds": found,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n")
    page = "\n".join([table(found), *on_paper(found, options.limit)])
    options.output.with_suffix(".md").write_text(page)
    print(page)


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
    texts = sum(content["data"]["rows"].values())
    return {"features": content["times"]["features"], "epoch": content["history"][1]["seconds"], "texts": texts}


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


def on_paper(found: dict[str, list[dict]], rows: int) -> list[str]:
    """Returns tables of what many workers would do, from the times that one took here and a ring all-reduce.

    A step costs its computation, which stays the same (32 texts per worker), and the exchange of gradients:
    2 (W - 1) messages of 1/W of the bytes each (Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for
    clusters of workstations", 2009). The words' gradients are rows, which every worker gets from every other.
    """
    lines = [
        "| blocks trained | workers | bytes of gradients | step | texts/s | of ideal |",
        "|---|---|---|---|---|---|",
    ]
    for layers in LAYERS:
        compute = statistics.median(row["epoch"] for row in found[f"{layers}/1"]) / (rows / ROWS_PER_WORKER)
        for workers in WORKERS:
            dense, sparse = gradient_bytes(layers)
            exchange = 2 * (workers - 1) * (LATENCY + dense / workers / BANDWIDTH) + (workers - 1) * sparse / BANDWIDTH
            step = compute + exchange
            lines.append(
                f"| {layers} | {workers} | {(dense + sparse) / 1e6:.1f} MB | {1000 * step:,.0f} ms "
                f"| {workers * ROWS_PER_WORKER / step:,.0f} | {compute / step:.0%} |"
            )
    trunk = statistics.median(row["texts"] / row["features"] for row in found["0/1"])
    lines += ["", "| texts | features of the head | of deeper cuts | trunk, 1 worker | 16 workers | 256 workers |"]
    lines += ["|---|---|---|---|---|---|"]
    for texts in TEXTS:
        head, deeper = texts * WIDTH * 4, texts * TOKENS * WIDTH * 2
        hours = [texts / (trunk * workers) / 3600 + head / BANDWIDTH / 3600 * (workers > 1) for workers in (1, 16, 256)]
        cells = [f"{hour:,.1f} h" for hour in hours]
        lines.append(f"| {texts:,} | {head / 1e9:,.1f} GB | {deeper / 1e9:,.0f} GB | {' | '.join(cells)} |")
    return [*lines, ""]


def gradient_bytes(layers: str) -> tuple[int, int]:
    """Returns the bytes of a worker's gradients: those of whole matrices, and those of rows of the words."""
    head = WIDTH * WIDTH + WIDTH + CLASSES * (WIDTH + 1)
    block = 4 * (WIDTH * WIDTH + WIDTH) + 2 * WIDTH * HIDDEN + WIDTH + HIDDEN + 4 * WIDTH
    if layers == "all":
        return 4 * (head + BLOCKS * block + POSITIONS * WIDTH + 2 * WIDTH), 4 * ROWS_OF_WORDS * WIDTH
    return 4 * (head + int(layers) * block), 0


if __name__ == "__main__":
    main()
