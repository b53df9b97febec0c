"""Raw results to a page of Markdown: medians, ratios, and what they were measured on."""

import statistics


def markdown(record: dict) -> str:
    """Returns the page for a benchmark's record (see `run.py` for what it holds)."""
    tables = [_table(item) for item in record["items"].values()]
    return "\n\n".join([_heading(record), *tables]) + "\n"


def _heading(record: dict) -> str:
    runs = [run for item in record["items"].values() for runs in item["runs"].values() for run in runs]
    done = [run for run in runs if "error" not in run]
    versions = sorted({f"{package} {version}" for run in done for package, version in run["versions"].items()})
    loads = [run["load_before"] for run in runs]
    hardware = record["hardware"]
    return "\n".join(
        [
            f"`{record['command']}`",
            "",
            f"- {hardware['processor']}, {hardware['cores']} cores; {record['date']}; commit {record['commit']}",
            f"- {', '.join(versions)}",
            f"- medians of {record['rounds']} rounds, contestants in alternating order; ratios are of medians",
            f"- other processes waiting when a run began (load average): {min(loads):.1f} to {max(loads):.1f}"
            if loads
            else "- nothing was run",
        ]
    )


def _table(item: dict) -> str:
    """Returns one item's table: a row for each contestant, a ratio column for each of ours."""
    summaries = {name: _summary(runs) for name, runs in item["runs"].items()}
    ours = [name for name in item["ours"] if summaries[name]]
    columns = ["", "seconds", "examples/s", "one text", "peak memory", "accuracy", "threads"]
    columns += [f"{name}: times as fast" for name in ours]
    lines = [f"## {item['title']}", "", item["note"], ""]
    lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for name, summary in summaries.items():
        cells = [name, *(summary["cells"] if summary else ["failed", "", "", "", "", ""])]
        cells += [f"{summaries[one]['rate'] / summary['rate']:.2f}" if summary else "" for one in ours]
        lines.append("| " + " | ".join(cells) + " |")
    if any(summary and summary["scaled"] for summary in summaries.values()):
        lines += [
            "",
            "\\* Measured over fewer rows, in training one epoch, and scaled; see `run.py --help`.",
        ]
    return "\n".join(lines)


def _summary(runs: list[dict]) -> dict | None:
    """Returns a contestant's median rate and its cells, or None where no run succeeded."""
    runs = [run for run in runs if "error" not in run]
    if not runs:
        return None
    rate = statistics.median(run["rate"] for run in runs)
    scaled = any("scaled_from" in run for run in runs)
    star = "\\*" * scaled
    cells = [
        _spread([run["seconds"] for run in runs], "{:,.1f}") + star,
        f"{rate:,.0f}{star}",
        _one_text([run["one_text_ms"] for run in runs if run.get("one_text_ms")]),
        f"{statistics.median(run['peak_memory_bytes'] for run in runs) / 2**20:,.0f} MiB",
        _accuracy([run["accuracy"] for run in runs if run["accuracy"] is not None]),
        "; ".join(f"{name} {count}" for name, count in runs[0]["threads"].items()),
    ]
    return {"rate": rate, "cells": cells, "scaled": scaled}


def _spread(values: list[float], form: str) -> str:
    """Returns median (least–most)."""
    middle = form.format(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({form.format(min(values))}–{form.format(max(values))})"


def _one_text(milliseconds: list[float]) -> str:
    return f"{statistics.median(milliseconds):.1f} ms" if milliseconds else "–"


def _accuracy(values: list[float]) -> str:
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.1%}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1%}–{max(values):.1%})"
