"""How well wrong labels are found: Rotten Tomatoes' training labels, a share of them flipped by seed.

  .venv/bin/python benchmarks/label_noise.py --peers_python=.venv-benchmark/bin/python

Ours by the solved head, ours by training the top block again for each fold, and cleanlab over LogisticRegression on the
same [CLS] vectors. Average precision over all rows, and precision among as many rows as were flipped. Then the accuracy
on the validation rows, whose labels are as they were, of a head solved without these rows.

Every seed is written as soon as it is measured, so seeds can be measured one at a time: --seeds 0, then --seeds 1 2.
"""

import argparse
import dataclasses
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from sentiment_tf.config import TrainConfig, resolve
from sentiment_tf.evaluation import metrics
from sentiment_tf.pipeline import fine_tuning, label_audit, launch, setup
from sentiment_tf.system import provenance
from sentiment_tf.system.timing import Clock

HERE = Path(__file__).resolve().parent
RATES, SEEDS = (0.05, 0.10), (0, 1, 2)
RESULTS = HERE / "results/label_noise.json"
CLEANLAB = "cleanlab, LogisticRegression"


def main() -> int:
    """Measures some seeds and writes all that were measured to benchmarks/results/label_noise.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers_python", default=str(HERE.parent / ".venv-benchmark/bin/python"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--limit", type=int, help="number of training rows, to try the script; writes no results")
    parser.add_argument("--without_deep", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    for seed in arguments.seeds:
        rows = _measure_seed(seed, arguments)
        if not arguments.limit:
            rows = _write([row for row in _measured() if row["seed"] != seed] + rows)
        print(table(rows))
    return 0


def table(rows: list[dict]) -> str:
    """Returns the table in Markdown, means over the seeds; "x cleanlab" compares the average precisions."""
    heading = "| flipped | | average precision | x cleanlab | precision at the number flipped | accuracy without them |"
    lines = [heading, "|---|---|---|---|---|---|"]
    for rate, name in dict.fromkeys((row["rate"], row["name"]) for row in rows):
        found, peer = (
            _means([row for row in rows if (row["rate"], row["name"]) == (rate, each)]) for each in (name, CLEANLAB)
        )
        ranked = "| | |"
        if "average_precision" in found:
            ratio = found["average_precision"] / peer["average_precision"]
            ranked = f"| {found['average_precision']:.3f} | {ratio:.2f} | {found['precision']:.3f}"
        lines.append(f"| {rate:.0%} | {name} {ranked} | {found['accuracy']:.1%} |")
    return "\n".join(lines) + "\n"


def _means(rows: list[dict]) -> dict[str, float]:
    names = [name for name in ("average_precision", "precision", "accuracy") if name in rows[0]]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def _measured() -> list[dict]:
    return json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []


def _write(rows: list[dict]) -> list[dict]:
    rows = sorted(rows, key=lambda row: (row["rate"], row["seed"]))
    record = {"hardware": provenance.hardware(), "rows": rows}
    RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    seeds, commits = (sorted({row[key] for row in rows}) for key in ("seed", "commit"))
    page = f"{table(rows)}\nCommit {', '.join(commits)}; mean of the seeds {', '.join(map(str, seeds))}.\n"
    RESULTS.with_suffix(".md").write_text(page, encoding="utf-8")
    return rows


def _measure_seed(seed: int, arguments) -> list[dict]:
    config = TrainConfig(
        dataset="rotten_tomatoes",
        offline=True,
        model="minilm-l6",
        trainable_layers="1",
        cache="on",
        seed=seed,
        limit=arguments.limit,
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="label-noise-") as folder:
        used, clock = resolve(dataclasses.replace(config, cache_dir=f"{folder}/cache")), Clock()
        state = setup.prepare(used, launch.read(used, clock), clock)
        for rate in RATES:
            for row in _measure(used, state, rate, Path(folder), arguments):
                print(row, file=sys.stderr)
                rows.append(row | {"seed": seed, "rate": rate, "commit": provenance.commit()})
    return rows


def _measure(config: TrainConfig, state, rate: float, folder: Path, arguments) -> list[dict]:
    """Flips labels, ranks the rows in each way, and trains the head on all rows and without the first ones."""
    clean = state.labels["train"]
    flipped = np.random.default_rng(config.seed).random(len(clean)) < rate
    noisy = dataclasses.replace(state, labels=state.labels | {"train": np.where(flipped, 1 - clean, clean)})
    head = setup.freeze(config, noisy, 0)
    np.savez(folder / "rows.npz", features=head.features["train"].values, labels=noisy.labels["train"])
    command = [arguments.peers_python, HERE / "peers/cleanlab_rank.py", folder / "rows.npz", folder / "scores.npy"]
    subprocess.run(command, check=True)
    scores = {CLEANLAB: np.load(folder / "scores.npy")}
    scores["ours, head"] = _scores(dataclasses.replace(config, audit_labels="head"), noisy, head, 0)
    if not arguments.without_deep:
        at = setup.freeze(config, noisy, 1, only=["train"])
        scores["ours, deep (top block)"] = _scores(dataclasses.replace(config, audit_labels="deep"), noisy, at, 1)
    everything = np.arange(len(clean))
    rows = [
        {"name": "all rows, labels not flipped"} | _accuracy(config, state, head, everything),
        {"name": "all rows"} | _accuracy(config, noisy, head, everything),
    ]
    for name, score in scores.items():
        order = np.argsort(-score, kind="stable")
        first, rest = order[: flipped.sum()], np.sort(order[flipped.sum() :])
        found = {"average_precision": average_precision_score(flipped, score), "precision": flipped[first].mean()}
        rows.append({"name": name} | found | _accuracy(config, noisy, head, rest))
    return rows


def _scores(config: TrainConfig, state, at, depth: int) -> np.ndarray:
    return label_audit.audit(config, state, at, depth).scores


def _accuracy(config: TrainConfig, state, head, rows: np.ndarray) -> dict:
    """Returns the accuracy on the clean validation rows of a head that is solved on some of the training rows."""
    labels, train = state.labels, state.splits.rows["train"]
    part = dataclasses.replace(
        state,
        labels=labels | {"train": labels["train"][rows]},
        splits=dataclasses.replace(state.splits, rows=state.splits.rows | {"train": train.select(rows)}),
    )
    features = head.features | {"train": head.features["train"].take(rows)}
    at = dataclasses.replace(head, features=features)
    alone = dataclasses.replace(config, trainable_layers="0", head="solve")
    weights = state.model.get_weights()
    fine_tuning.fit(alone, part, at)
    logits = fine_tuning.predict_splits(part, at)["validation"]
    state.model.set_weights(weights)
    return {"accuracy": metrics.evaluate(logits, labels["validation"])["accuracy"]}


if __name__ == "__main__":
    sys.exit(main())
