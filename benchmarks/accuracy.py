"""Every accuracy that README, docs and the heads of the flagfiles name: each flagfile, three seeds, one command.

  .venv/bin/python benchmarks/accuracy.py --sst2_dir=glue/SST-2                     (make results)
  .venv/bin/python benchmarks/accuracy.py --only=offline,imdb_head                  some of the flagfiles

Runs that the record holds already, of the same commit, are not repeated: an interrupted command goes on where it
stopped. The record is benchmarks/results/accuracy.json, the table beside it accuracy.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sentiment_tf.reporting import formatting
from sentiment_tf.system import provenance

HERE = Path(__file__).resolve().parent
FLAGS = HERE.parent / "flags"
RECORD = HERE / "results/accuracy.json"
SEEDS = (0, 1, 2)
STEPS = ("tokens", "features", "train")  # from raw text to trained weights


def main() -> int:
    """Runs what the record lacks; returns 1 where a run failed."""
    arguments = _parse()
    names = arguments.only.split(",") if arguments.only else sorted(path.stem for path in FLAGS.glob("*.flags"))
    rows = json.loads(RECORD.read_text()) if RECORD.exists() else []
    failed = False
    for name in names:
        for seed in SEEDS:
            key = {"flagfile": name, "seed": seed, "commit": provenance.commit()}
            if any(row.items() >= key.items() for row in rows):
                continue
            try:
                row = key | _run(name, seed, arguments)
            except subprocess.CalledProcessError as error:
                print(f"{name}, seed {seed}: {error.stderr.strip()}", file=sys.stderr)
                failed = True
                continue
            print(f"{name}, seed {seed}: {row['accuracy']:.2%} in {row['seconds']:.1f} s", file=sys.stderr)
            rows = [other for other in rows if (other["flagfile"], other["seed"]) != (name, seed)] + [row]
            RECORD.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
            RECORD.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    return int(failed)


def table(rows: list[dict]) -> str:
    """Returns the page of Markdown: a line for each flagfile, with mean and range over its seeds."""
    lines = [
        "| flagfile | reported rows | before | after, mean (range) | 95 % interval of the first seed | seconds | |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for name in sorted({row["flagfile"] for row in rows}):
        of_name = sorted((row for row in rows if row["flagfile"] == name), key=lambda row: row["seed"])
        first, accuracies = of_name[0], [row["accuracy"] for row in of_name]
        mean = formatting.value("accuracy", sum(accuracies) / len(accuracies))
        spread = formatting.interval("accuracy", [min(accuracies), max(accuracies)])
        seconds = sorted(row["seconds"] for row in of_name)[len(of_name) // 2]
        commits = ", ".join(sorted({row["commit"][:7] for row in of_name}))
        cells = [
            f"`flags/{name}.flags`",
            f"{first['rows']:,} {first['split']}",
            formatting.value("accuracy", first["before"]),
            f"{mean} ({spread}; seeds {', '.join(str(row['seed']) for row in of_name)})",
            formatting.interval("accuracy", first["interval"]),
            f"{seconds:,.0f}",
            f"{first['hardware']}; {commits}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    notes = "Seconds: raw text to trained weights (tokens, features, training), the median of the seeds."
    return f"`make results`\n\n{chr(10).join(lines)}\n\n{notes}\n"


def _run(name: str, seed: int, arguments: argparse.Namespace) -> dict:
    """Trains one flagfile from an empty cache of features, and returns what its run.json says."""
    with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
        flags = [f"--flagfile={FLAGS / name}.flags", f"--seed={seed}", "--exports=saved_model", "--run_name=run"]
        flags += [f"--output_dir={folder}", f"--cache_dir={folder}/cache"]
        if "dataset=sst2" in (FLAGS / f"{name}.flags").read_text() and arguments.sst2_dir:
            flags.append(f"--data_dir={arguments.sst2_dir}")
        command = [sys.executable, "-m", "sentiment_tf.train", *flags]
        subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
        record = json.loads(Path(folder, "run", "run.json").read_text())
    before, after = record["metrics"]["before"], record["metrics"]["after"]
    hardware = record["hardware"]
    return {
        "accuracy": after["accuracy"],
        "interval": after["intervals"]["accuracy"],
        "before": before["accuracy"],
        "rows": after["examples"],
        "split": record["data"]["report_split"],
        "seconds": sum(record["times"][step] for step in STEPS),
        "hardware": f"{hardware['processor']}, {hardware['cores']} cores",
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="Names of flagfiles, separated by commas (default: all).")
    parser.add_argument("--sst2_dir", help="GLUE's SST-2 folder, where no hub is in reach.")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
