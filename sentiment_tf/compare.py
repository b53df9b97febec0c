"""Compare finished runs: python -m sentiment_tf.compare saved_models/a saved_models/b …

Prints the runs in order of accuracy, the best first, with interval, time, depth and size, and their metrics.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from sentiment_tf import cli
from sentiment_tf.errors import UserError
from sentiment_tf.evaluation import metrics
from sentiment_tf.reporting import formatting, summary


def define_flags() -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("output", None, "Also draw the runs with their intervals into this PNG.")


def main(arguments: list[str]) -> int:
    """Prints and draws the runs that the arguments name."""
    cli.expand_home("output")
    if not arguments:
        raise UserError("no runs to compare; pass one or more folders, as in saved_models/*")
    if (output := flags.FLAGS.output) and Path(output).exists():
        raise UserError(f"--output={output}: exists; name another file or move it away")
    rows = read(arguments)
    print(f"{table(rows)}\n\n{metrics_table(rows)}")
    if len({row["texts"] for row in rows}) > 1:
        print("\nThese runs are not reported on the same texts: their accuracies are not comparable.")
    if output:
        draw(rows, output)
        print(f"\nwrote {output}")
    return 0


def read(directories: Sequence[str]) -> list[dict[str, Any]]:
    """Reads runs and sorts them by accuracy, the best first.

    Args:
      directories: folders of runs.

    Returns:
      {"name", "accuracy", "interval", "metrics" ({name: value}), "examples", "texts" (identifies the rows),
      "depth", "model", "seconds", "bytes"} per run; None for what a run.json lacks.

    Raises:
      UserError: for each folder that is not a run.
    """
    rows, problems = [], []
    for directory in dict.fromkeys(str(Path(directory)) for directory in directories):
        try:
            rows.append(_row(directory, json.loads((Path(directory) / "run.json").read_text("utf-8"))))
        except OSError:
            problems.append(f"{directory}: no run.json there; pass folders that sentiment_tf.train has written")
        except (ValueError, KeyError, TypeError, AttributeError):
            problems.append(f"{directory}/run.json: not written by a run of this program; leave the folder out")
    if problems:
        raise UserError(*problems)
    return sorted(rows, key=lambda row: -row["accuracy"])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Formats the runs as a table, one line each."""
    lines = [["run", "accuracy", "95 % interval", "texts", "time", "depth", "size", "model"]]
    for row in rows:
        lines.append(
            [
                row["name"],
                formatting.value("accuracy", row["accuracy"]),
                formatting.interval("accuracy", row["interval"]),
                formatting.count(row["examples"]),
                formatting.duration(row["seconds"]),
                row["depth"],
                formatting.size(row["bytes"]),
                row["model"],
            ]
        )
    return summary.aligned(lines)


def metrics_table(rows: Sequence[dict[str, Any]]) -> str:
    """Formats every metric as a table, one line for each run; a metric that no run has is left out."""
    shown = [metric.name for metric in metrics.METRICS if any(row["metrics"][metric.name] is not None for row in rows)]
    cells = ([formatting.value(name, row["metrics"][name]) for name in shown] for row in rows)
    return summary.aligned([["run", *shown], *([row["name"], *line] for row, line in zip(rows, cells, strict=True))])


def draw(rows: Sequence[dict[str, Any]], path: str) -> None:
    """Draws the runs into a PNG.

    Raises:
      UserError: the file cannot be written.
    """
    from sentiment_tf.reporting import plots  # for --output alone: Matplotlib takes a second to load

    try:
        plots.save(plots.runs(rows), path)
    except OSError as error:
        raise UserError(f"--output={path}: {error.strerror}; pass a file that can be written") from None


def _row(name: str, run: dict[str, Any]) -> dict[str, Any]:
    after, data, config = run["metrics"]["after"], run.get("data", {}), run["config"]
    split = data.get("report_split")
    fingerprint = (data.get("source", {}).get("fingerprint") or {}).get(split)
    return {
        "name": name,
        "accuracy": float(after["accuracy"]),
        "interval": after.get("intervals", {}).get("accuracy"),
        "metrics": {metric.name: after.get(metric.name) for metric in metrics.METRICS},
        "examples": after["examples"],
        "texts": fingerprint or (config.get("dataset"), split, after["examples"]),
        "depth": _depth(config, run.get("flags", {})),
        "model": config.get("model", formatting.UNKNOWN),
        "seconds": sum(run["times"].values()) if run.get("times") else None,
        "bytes": run.get("export", {}).get("bytes"),
    }


def _depth(config: dict[str, Any], flags: dict[str, Any]) -> str:
    """Returns the trained depth; of a depth search the chosen one, as in "2 (auto)"."""
    depth = str(config.get("trainable_layers", formatting.UNKNOWN))
    return f"{depth} (auto)" if flags.get("trainable_layers") == "auto" else depth


if __name__ == "__main__":
    define_flags()
    cli.run(main)
