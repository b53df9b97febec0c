"""This project and its peers side by side: every contestant once per round, in alternating order.

Every measured run is a fresh process (benchmarks/peers/), on the CPU alone. What is inside the clock is the
same for all: see benchmarks/peers/common.py. The peers live in an environment of their own:

  python3 -m venv .venv-benchmark && .venv-benchmark/bin/pip install -r benchmarks/requirements.txt
  .venv/bin/python benchmarks/run.py                                      everything but SST-2
  .venv/bin/python benchmarks/run.py --items=forward --only=ours,float32  some of it
  .venv/bin/python benchmarks/run.py --limit=320 --steps=10 --rounds=1    a smoke test: its speeds mean nothing

Contestants that take minutes per epoch are measured over one epoch of --slow_rows rows; what they spend before the
first steps is counted once, the steps' time in proportion to rows and epochs. Such numbers carry a star.
"""

import argparse
import datetime
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import safetensors.numpy
import table
from work import ITEMS, Contestant, Item

from sentiment_tf.data import loading, packaged
from sentiment_tf.data.settings import DataSettings
from sentiment_tf.system import provenance

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def main() -> int:
    """Runs the benchmark; returns 1 where a contestant failed."""
    arguments = _parse()
    items = _chosen(arguments)
    content = {
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "rounds": arguments.rounds,
        "items": {
            name: {
                "title": item.title,
                "note": item.note,
                "ours": [contestant.name for contestant in item.contestants if contestant.ours],
                "runs": {contestant.name: [] for contestant in item.contestants},
            }
            for name, item in items.items()
        },
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running contestant and its files go, too
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        _prepare(Path(scratch), {item.data for item in items.values()}, arguments.sst2_dir)
        for number in range(arguments.rounds):
            for name, item in items.items():
                for contestant in item.contestants[:: -1 if number % 2 else 1]:
                    result = _measure(item, contestant, number, Path(scratch) / item.data, arguments)
                    content["items"][name]["runs"][contestant.name].append(result)
                    print(f"round {number + 1}, {name}, {contestant.name}: {_in_short(result)}", file=sys.stderr)
                    _save(content, arguments.output)  # each time: a benchmark that is cut off keeps what it has
    print(table.markdown(content))
    results = [run for item in content["items"].values() for runs in item["runs"].values() for run in runs]
    return int(any("error" in result for result in results))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", help=f"Comma-separated, of: {', '.join(ITEMS)}.")
    parser.add_argument("--only", help="Contestants whose names hold one of these words, comma-separated.")
    parser.add_argument("--rounds", type=int, default=3, help="Each has its own seed.")
    parser.add_argument("--epochs", type=int, default=3, help="Of items that train raw texts to trained weights.")
    parser.add_argument("--steps", type=int, default=100, help="Of items that compare the steps alone.")
    parser.add_argument("--slow_rows", type=int, default=640, help="For slow contestants, 256 or more; 0 is all rows.")
    parser.add_argument("--limit", type=int, help="Use this many rows: for trying the benchmark.")
    parser.add_argument("--sst2_dir", help="GLUE's SST-2 folder (train.tsv, dev.tsv), for sst2_head.")
    parser.add_argument("--peers_python", default=str(HERE.parent / ".venv-benchmark/bin/python"))
    parser.add_argument("--output", type=Path, default=HERE / "results/latest", help="Without suffix: .json and .md.")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> dict[str, Item]:
    """Returns the items and contestants that the flags ask for; leaves with a message where they ask nonsense."""
    names = arguments.items.split(",") if arguments.items else list(ITEMS)
    if unknown := [name for name in names if name not in ITEMS]:
        sys.exit(f"--items={','.join(unknown)}: not known; choose from {', '.join(ITEMS)}")
    if not arguments.sst2_dir:
        if arguments.items and any(ITEMS[name].data == "sst2" for name in names):
            sys.exit("--items=sst2_head: needs --sst2_dir")
        names = [name for name in names if ITEMS[name].data != "sst2"]
    words = arguments.only.split(",") if arguments.only else [""]
    items = {}
    for name in names:
        contestants = tuple(one for one in ITEMS[name].contestants if any(word in one.name for word in words))
        if contestants:
            items[name] = ITEMS[name]._replace(contestants=contestants)
    everyone = [contestant for item in items.values() for contestant in item.contestants]
    if not everyone:
        sys.exit(f"--only={arguments.only}: no contestant's name holds that")
    if not all(contestant.ours for contestant in everyone) and not Path(arguments.peers_python).exists():
        sys.exit(f"--peers_python={arguments.peers_python}: not there; see --help for how it is made")
    return items


def _prepare(scratch: Path, names: set[str], sst2_dir: str | None) -> None:
    """Writes the model's folder and each data set's rows, which every contestant reads."""
    for name in names:
        data = DataSettings(dataset=name, data_dir=sst2_dir if name == "sst2" else None, offline=name != "sst2")
        splits = loading.load(data, seed=0)
        folder = scratch / name
        packaged.convert_minilm(folder / "minilm")
        _write_random_distilbert(folder / "distilbert", tokenizer=folder / "minilm")
        rows = {split: list(splits.rows[split]) for split in ("train", "validation")}
        random.Random(0).shuffle(rows["train"])  # the first rows stand for all of them
        rows["all"] = rows["train"] + rows["validation"]
        for split, content in rows.items():
            lines = [json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in content]
            (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def _write_random_distilbert(folder: Path, *, tokenizer: Path) -> None:
    """Writes a model of DistilBERT's size: its speed does not depend on what its weights are."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copyfile(tokenizer / name, folder / name)
    sizes = {"dim": 768, "hidden_dim": 3072, "n_layers": 6, "n_heads": 12, "vocab_size": 30_522}
    config = {"model_type": "distilbert", "max_position_embeddings": 512, "activation": "gelu", "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config | sizes), encoding="utf-8")
    random_weights = np.random.default_rng(0)

    def matrix(*shape: int) -> np.ndarray:
        return random_weights.normal(scale=0.02, size=shape).astype(np.float32)

    dense = {"attention.q_lin": (768, 768), "attention.k_lin": (768, 768), "attention.v_lin": (768, 768)}
    dense |= {"attention.out_lin": (768, 768), "ffn.lin1": (3072, 768), "ffn.lin2": (768, 3072)}
    weights = {
        "distilbert.embeddings.word_embeddings.weight": matrix(30_522, 768),
        "distilbert.embeddings.position_embeddings.weight": matrix(512, 768),
    }
    norms = ["distilbert.embeddings.LayerNorm"]
    for block in range(6):
        prefix = f"distilbert.transformer.layer.{block}."
        weights |= {f"{prefix}{name}.weight": matrix(*shape) for name, shape in dense.items()}
        weights |= {f"{prefix}{name}.bias": np.zeros(shape[0], np.float32) for name, shape in dense.items()}
        norms += [f"{prefix}sa_layer_norm", f"{prefix}output_layer_norm"]
    weights |= {f"{name}.weight": np.ones(768, np.float32) for name in norms}
    weights |= {f"{name}.bias": np.zeros(768, np.float32) for name in norms}
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _measure(item: Item, contestant: Contestant, number: int, folder: Path, arguments: argparse.Namespace) -> dict:
    """Runs a contestant once in a process of its own; returns what it printed, or the error."""
    flags = [f"--model={folder / item.model}", f"--train_file={folder / item.rows}.jsonl", f"--scratch={folder}"]
    flags += [f"--seed={number}", *item.flags, *contestant.flags]
    with open(folder / f"{item.rows}.jsonl", encoding="utf-8") as file:
        rows = min(sum(1 for _ in file), arguments.limit or sys.maxsize)
    scaled = contestant.slow and 0 < arguments.slow_rows < rows
    if scaled:
        flags += [f"--limit={arguments.slow_rows}", "--epochs=1"]
    elif item.few_steps:
        flags.append(f"--steps={arguments.steps}")
    else:
        flags += [f"--limit={rows}", f"--epochs={arguments.epochs}"]
    if item.training and not scaled:
        flags.append(f"--test_file={folder / 'validation.jsonl'}")
    if contestant.before and number == 0:
        _run(contestant, contestant.before, flags, arguments)  # if it fails, so does what builds on it, and says why
    load = os.getloadavg()[0]
    result = _run(contestant, contestant.program, flags, arguments)
    if "error" not in result:
        result["rate"] = result["step_examples_per_second" if item.few_steps else "examples_per_second"]
        if scaled:
            _scale(result, rows * (arguments.epochs if item.training else 1))
    return result | {"load_before": load}


def _run(contestant: Contestant, program: str, flags: list[str], arguments: argparse.Namespace) -> dict:
    python = sys.executable if contestant.ours else arguments.peers_python
    call = [python, str(HERE / "peers" / program), *flags]
    done = subprocess.run(call, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        return {"error": done.stderr[-4000:]}
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else {}


def _scale(result: dict, examples: int) -> None:
    """Puts the time for ``examples`` in place of the measured one, which was for fewer."""
    step_rate = result["step_examples_per_second"] or result["examples_per_second"]
    start = max(result["seconds"] - result["examples"] / step_rate, 0.0)  # before the first steps, once
    result |= {"scaled_from": result["examples"], "measured_seconds": result["seconds"], "examples": examples}
    result["seconds"] = start + examples / step_rate
    result["examples_per_second"] = result["rate"] = examples / result["seconds"]


def _in_short(result: dict) -> str:
    if "error" in result:
        return f"failed\n{result['error']}"
    return f"{result['seconds']:,.1f} s, {result['rate']:,.0f} examples/s"


def _save(content: dict, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    output.with_suffix(".md").write_text(table.markdown(content), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
