"""Kills a real training process again and again, starts it anew, and compares what it leaves with a run left alone.

    python -m tests.support.faults --kills=20 --seed=0 --output=benchmarks/results/faults.json

Every kill is a SIGKILL at a random moment of a random step, so that short steps are hit as well; after each the
same command is started again until it ends by itself. What is left must be equal: the weights bit for bit, the
history, the metrics, and the set of files. The tests use the same parts, with kills at chosen moments.
"""

import argparse
import collections
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sentiment_tf.system import provenance as run_record
from tests.support.commands import write_csv
from tests.support.hub import tiny_model

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "faults.json"

# Moments as Python itself reports them (sys.addaudithook): an event, and how one of its arguments must end.
MOMENTS = {
    "features": ("open", "features.json"),
    "training": ("open", "/checkpoints/train/.building"),
    "checkpoint": ("os.rename", "/checkpoints/train/.building"),
    "depth": ("os.rename", "/checkpoints/depth-1/.building"),
    "export": ("open", "/.run.partial/hf/config.json"),
    "report": ("open", "/.run.partial/report.html"),
    "completion": ("os.rename", "/.run.partial"),
}

# Steps whose end is waited for: in the one that follows, the run is killed.
AFTER = ("nothing", "model", "evaluate before", "evaluate before", "evaluate after", "export")

QUICK = "tests.support.quick_train"  # a third faster than the command itself

_KILLED_AT = """
import os, runpy, signal, sys
event, words, count, module = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
def watch(name, arguments):
    global count
    if name == event and any(str(argument).endswith(words) for argument in arguments):
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
sys.argv = ["train", *sys.argv[5:]]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def prepare(folder: Path) -> list[str]:
    """Writes a tiny model and own texts; returns the flags of a run that takes seconds."""
    tiny_model(folder / "model")
    write_csv(folder / "train.csv", 200, seed=1)
    write_csv(folder / "validation.csv", 60, seed=2)
    write_csv(folder / "test.csv", 130, seed=3)
    return [
        f"--train_file={folder}/train.csv",
        f"--validation_file={folder}/validation.csv",
        f"--test_file={folder}/test.csv",
        f"--model={folder}/model",
        "--run_name=run",
        "--max_length=32",
        "--epochs=2",
        "--trainable_layers=1",
        "--learning_rate=0.01",
        "--deterministic",
        "--checkpoint_every=2",
    ]


def places(folder: Path) -> list[str]:
    """Returns the flags that give a run its own output and cache."""
    return [f"--output_dir={folder}/saved_models", f"--cache_dir={folder}/cache"]


def train(
    flags: list[str], *, largest_file: int | None = None, module: str = "sentiment_tf.train"
) -> subprocess.CompletedProcess:
    """Runs the command to its end; with ``largest_file``, no file can grow over so many bytes."""
    call = [sys.executable, "-m", module, *flags]
    if largest_file:
        limited = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file},) * 2)"
        call = [sys.executable, "-c", f"{limited}; os.execv(sys.executable, sys.argv[1:])", *call]
    return subprocess.run(call, capture_output=True, text=True, env=_environment())


def train_and_kill_at(moment: str, flags: list[str], *, count: int = 1) -> subprocess.CompletedProcess:
    """Runs the command, which kills itself at the ``count``-th time of one of `MOMENTS`."""
    call = [sys.executable, "-c", _KILLED_AT, *MOMENTS[moment], str(count), QUICK, *flags]
    return subprocess.run(call, capture_output=True, text=True, env=_environment())


def train_and_kill_after(step: str, seconds: float, flags: list[str]) -> str | None:
    """Runs the command until so long after it told of a step, or after its start ("nothing").

    Returns:
      The last step it told of where it was killed, "nothing" where there was none; None where it was done before.

    Raises:
      RuntimeError: it failed by itself; that is no kill, and would hide a mistake among them.
    """
    call = [sys.executable, "-m", "sentiment_tf.train", *flags]
    with tempfile.NamedTemporaryFile("w+") as printed:
        process = subprocess.Popen(
            call, stdout=printed, stderr=subprocess.STDOUT, env=_environment(), start_new_session=True
        )
        while step not in ("nothing", *_times(Path(printed.name).read_text())) and process.poll() is None:
            time.sleep(0.05)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the process that verifies the export
            process.wait()
        told = Path(printed.name).read_text()
    if process.returncode == 0:
        return None
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the run failed by itself, exit code {process.returncode}:\n{told}")
    return ("nothing", *_times(told))[-1]


def _times(printed: str) -> dict[str, float]:
    """Returns the seconds of each step that a run told of."""
    found = re.findall(r"^([a-z_ ]+?) +(\d+\.\d) s", printed, flags=re.MULTILINE)
    return {step: float(seconds) for step, seconds in found}


def left_behind(folder: Path) -> dict:
    """Returns what must be equal after two runs: weights, history and metrics by content, other files by name."""
    run = folder / "saved_models" / "run"
    # TensorBoard names an event file by clock and process, and a run that was killed has one more of them.
    files = {re.sub(r"events\.out.*", "events", str(path.relative_to(run))) for path in run.rglob("*")}
    record = json.loads((run / "run.json").read_text())
    return {
        "beside": sorted(path.name for path in run.parent.iterdir()),
        "files": sorted(files),
        "weights": hashlib.sha256((run / "hf" / "model.safetensors").read_bytes()).hexdigest(),
        "history": (run / "history.csv").read_text(),
        **{name: record[name] for name in ("metrics", "calibration", "trainable_parameters")},
    }


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--output", type=Path, default=RESULTS, help="JSON file with the figures")
    options = options.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = [*prepare(folder), "--epochs=8"]
        began = time.perf_counter()
        done = train([*flags, *places(folder / "undisturbed")])
        done.check_returncode()
        whole, expected = time.perf_counter() - began, left_behind(folder / "undisturbed")
        # What follows each step: the features come after "model", training after "evaluate before".
        lasts = dict(zip(("nothing", *_times(done.stdout)), _times(done.stdout).values(), strict=False))
        kills, runs, unequal = [], 0, []
        while len(kills) < options.kills:
            # A run is killed up to three times before it may end, each time at any moment of what is left.
            here, runs = folder / f"run{runs}", runs + 1
            for _ in range(min(moments.randint(1, 3), options.kills - len(kills))):
                after = moments.choice(AFTER)
                seconds = moments.random() * max(lasts[after], 0.2)
                step = train_and_kill_after(after, seconds, [*flags, *places(here)])
                if step is None:
                    break
                kills.append({"run": runs, "after": step, "seconds": round(seconds, 2)})
                print(f"kill {len(kills)}: last step done: {step}", flush=True)
            ended = train([*flags, *places(here)])
            found = left_behind(here) if ended.returncode == 0 else {"error": ended.stderr}
            different = [name for name in expected if found.get(name) != expected[name]]
            unequal += [{"run": runs, "different": different, "stderr": ended.stderr}] if different else []
            print(f"run {runs}: {different if different else 'equal'}", flush=True)
    figures = {
        "commit": run_record.commit(),
        "seed": options.seed,
        "kills": len(kills),
        "kills_after": dict(collections.Counter(kill["after"] for kill in kills)),
        "runs": runs,
        "equal_runs": runs - len(unequal),
        "seconds_undisturbed": round(whole, 1),
        "moments": kills,
        "unequal": unequal,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{len(kills)} kills, {runs} runs, {runs - len(unequal)} equal to the undisturbed one")
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
