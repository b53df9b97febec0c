"""predict as a person meets it: start-up, one text, and a file of any size in constant memory.

  .venv/bin/python benchmarks/predict_command.py --model=saved_models/rotten_tomatoes

Prints medians over --rounds: seconds of the whole command for one text; milliseconds for one text with the model
loaded; and the peak memory of answering 10,000 and --lines lines with a tiny model.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

_PEAK = "import sys, runpy, resource\nsys.argv = sys.argv[1:]\n" + (
    "try:\n    runpy.run_module('sentiment_tf.predict', run_name='__main__', alter_sys=True)\n"
    "finally:\n    line = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
    "    print('peak', line.split()[1], file=sys.stderr)\n"
)


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", required=True, help="A finished run.")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--lines", type=int, default=1_000_000)
    options = options.parse_args()
    texts = _texts()
    starts = [
        _seconds([sys.executable, "-m", "sentiment_tf.predict", f"--model={options.model}", text])
        for text in texts[: options.rounds]
    ]
    print(f"the command, one text: {statistics.median(starts):.1f} s ({min(starts):.1f} to {max(starts):.1f})")
    calls = _one_text(options.model, texts)
    print(
        f"one text, model loaded: {statistics.median(calls):.1f} ms (90 %: {statistics.quantiles(calls, n=10)[-1]:.1f})"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = _tiny_run(folder)
        for lines in (10_000, options.lines):
            file = folder / f"{lines}.txt"
            with open(file, "w", encoding="utf-8") as out:
                out.writelines(f"{texts[number % len(texts)]}\n" for number in range(lines))
            began = time.perf_counter()
            call = [
                sys.executable,
                "-c",
                _PEAK,
                "predict",
                f"--model={model}",
                f"--input={file}",
                f"--output={file}.out",
            ]
            done = subprocess.run(call, capture_output=True, text=True, check=True)
            peak = int(next(line for line in done.stderr.splitlines() if line.startswith("peak ")).split()[1])
            print(f"{lines:,} lines: peak memory {peak / 1024:,.0f} MiB, {time.perf_counter() - began:,.0f} s")


def _texts() -> list[str]:
    from sentiment_tf.data import loading
    from sentiment_tf.data.settings import DataSettings

    return list(loading.load(DataSettings(dataset="rotten_tomatoes", offline=True)).rows["train"]["text"])


def _seconds(call: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(call, capture_output=True, check=True)
    return time.perf_counter() - began


def _one_text(model: str, texts: list[str]) -> list[float]:
    """Returns milliseconds of each of many calls with one text."""
    from sentiment_tf.inference.engines import tensorflow as saved_model
    from sentiment_tf.system import runtime

    runtime.start()
    loaded = saved_model.load(model)
    milliseconds = []
    for text in texts[:300]:
        began = time.perf_counter()
        loaded.probabilities([text])
        milliseconds.append(1000 * (time.perf_counter() - began))
    return milliseconds[100:]  # the first see new lengths


def _tiny_run(folder: Path) -> Path:
    """Trains a model of two small blocks for a moment; returns its run."""
    from tests.support.hub import sentences, tiny_model

    tiny_model(folder / "model")
    rows = [{"text": text, "label": int(label)} for text, label in zip(*sentences(200, seed=1), strict=True)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [f"--train_file={folder}/train.jsonl", f"--model={folder}/model", "--epochs=1", "--run_name=tiny"]
    flags += [f"--output_dir={folder}/runs", f"--cache_dir={folder}/cache"]
    subprocess.run([sys.executable, "-m", "sentiment_tf.train", *flags], capture_output=True, check=True)
    return folder / "runs" / "tiny"


if __name__ == "__main__":
    main()
