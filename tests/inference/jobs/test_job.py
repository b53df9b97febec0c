"""The command with Ray, in processes of its own: on one core, on two, on a cluster; and whatever dies."""

import json
import os
import random
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tests.support import ray_cluster, score_faults
from tests.support.addresses import free_addresses
from tests.support.score_faults import finish, left_behind, start, wait_for, written

pytestmark = pytest.mark.slow
FILES, ROWS = 8, 3_000
WITHOUT_PACKAGE = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sentiment_tf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Flags of a job, and what it leaves if nothing disturbs it."""
    folder = tmp_path_factory.mktemp("score")
    flags = score_faults.prepare(folder, files=FILES, rows=ROWS)
    printed = finish(start(*flags, f"--output={folder}/undisturbed"))
    assert printed == f"{FILES * ROWS:,} rows answered in {folder}/undisturbed, files: {FILES}\n"
    return flags, left_behind(folder / "undisturbed")


@pytest.fixture(scope="module")
def three_nodes():
    with ray_cluster.cluster(nodes=3) as cluster:
        yield cluster


def problem_of(process: subprocess.Popen) -> str:
    """Waits for a command that must refuse; returns its one line."""
    _, problems = process.communicate(timeout=300)
    assert process.returncode == 2, problems
    assert len(problems.splitlines()) == 1, problems
    return problems


def test_every_row_once_and_a_closing_file(prepared):
    _, files = prepared
    assert sorted(files) == sorted(["_SUCCESS", "_plan.json", *(f"{number}.parquet" for number in range(FILES))])
    success = json.loads(files["_SUCCESS"])
    assert (success["rows"], success["bad_rows"]) == (FILES * ROWS, 0)
    assert {record["rows"] for record in success["files"].values()} == {ROWS}


def test_a_machine_of_one_core(prepared, tmp_path):
    flags, expected = prepared
    cores = os.sched_getaffinity(0)
    one_core = {"preexec_fn": lambda: os.sched_setaffinity(0, [min(cores)])}
    finish(start(*flags, f"--output={tmp_path}/out", **one_core))
    assert left_behind(tmp_path / "out") == expected
    began = [path.stat().st_mtime_ns for path in written(tmp_path / "out")]
    finish(start(*flags, f"--output={tmp_path}/out"))  # it is finished already
    assert [path.stat().st_mtime_ns for path in written(tmp_path / "out")] == began


def test_workers_a_node_and_the_driver_are_killed(prepared, three_nodes, tmp_path):
    flags, expected = prepared
    output, choose = tmp_path / "out", random.Random(0)
    flags = [*flags, f"--output={output}", f"--ray_address={three_nodes.address}"]
    process = start(*flags)
    for kind, files in (("worker", 1), ("node", 2), ("driver", 3)):
        assert wait_for(lambda files=files: len(written(output)) >= files and three_nodes.workers(), process)
        assert score_faults.kill(kind, three_nodes, process, choose)
    before = {path: path.stat().st_mtime_ns for path in written(output)}
    assert not (output / "_SUCCESS").exists()
    finish(start(*flags))
    assert left_behind(output) == expected
    assert {path: path.stat().st_mtime_ns for path in before} == before  # not computed twice


def test_signals_end_it_in_one_line(prepared, tmp_path):
    flags, expected = prepared
    flags = [*flags, f"--output={tmp_path}/out"]

    def works(process, files):
        """Whether a job has workers of its own, and more files are there: an earlier job's worker may end late."""
        own = any(map(ray_cluster.is_worker, ray_cluster.descendants(process.pid)))
        return own and len(written(tmp_path / "out")) > files

    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        files, process = len(written(tmp_path / "out")), start(*flags)
        assert wait_for(lambda files=files, process=process: works(process, files), process)
        process.send_signal(number)
        _, problems = process.communicate(timeout=120)
        assert (process.returncode, len(problems.splitlines())) == (code, 1), problems
    finish(start(*flags))
    assert left_behind(tmp_path / "out") == expected


def test_no_cpu_is_free(prepared, tmp_path):
    with ray_cluster.cluster(nodes=0) as cluster:
        cluster.add_node(cpus=0)
        flags = [*prepared[0], f"--output={tmp_path}/out", f"--ray_address={cluster.address}", "--stall_timeout=3"]
        problem = problem_of(start(*flags))
    assert "no progress for --stall_timeout=3 s: 1 workers wait for a free CPU" in problem
    assert "the cluster has 0 CPUs" in problem


def test_no_cluster_answers(prepared, tmp_path):
    (address,) = free_addresses(1)
    flags = [*prepared[0], f"--output={tmp_path}/out", f"--ray_address={address}", "--startup_timeout=0.5"]
    assert f"--ray_address={address}: does not answer within --startup_timeout=0.5 s" in problem_of(start(*flags))


def test_a_bad_row_ends_the_job_and_nothing_is_lost(prepared, tmp_path):
    model = prepared[0][0]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "good"}\n')
    (tmp_path / "in" / "b.jsonl").write_text('{"text": "good"}\n{broken\n')
    flags = [model, f"--input={tmp_path}/in", f"--output={tmp_path}/out"]
    assert "b.jsonl row 2: not JSON" in problem_of(start(*flags))
    process = start(*flags, "--skip_bad_rows")
    printed, problems = process.communicate(timeout=300)
    assert (process.returncode, printed) == (0, f"2 rows answered in {tmp_path}/out, files: 2\n")
    assert problems == f"1 bad rows left out; their reasons are in {tmp_path}/out/_bad_rows\n"
    success = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    assert (success["rows"], success["bad_rows"]) == (2, 1)


def test_a_node_without_the_package(prepared, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PACKAGE)
    with ray_cluster.cluster(nodes=0) as cluster:
        cluster.add_node(cpus=0)
        cluster.add_node(environment={"PYTHONPATH": str(tmp_path)})
        problem = problem_of(start(*prepared[0], f"--output={tmp_path}/out", f"--ray_address={cluster.address}"))
    assert "No module named 'sentiment_tf'; install sentiment_tf on every machine of the cluster" in problem


def test_a_worker_without_the_model(prepared, tmp_path):
    code = """
import os, sys
from sentiment_tf import cli
from sentiment_tf.inference.jobs import job
def main(arguments):
    config = job.ScoreConfig(*arguments)
    opened = job.open_job(config)
    os.rename(config.model, config.model + "-elsewhere")
    job.run(config, opened, job.missing(opened), print)
cli.run(main)
"""
    run = tmp_path / "run"
    os.symlink(prepared[0][0].partition("=")[2], run)
    call = [sys.executable, "-c", code, str(run), prepared[0][1].partition("=")[2], str(tmp_path / "out")]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert f"--model={run}: no such folder" in problem_of(process)


def test_outputs_hold_the_answers(prepared, tmp_path):
    (tmp_path / "0.parquet").write_bytes(prepared[1]["0.parquet"])
    table = pq.read_table(tmp_path / "0.parquet")
    assert table.column_names == ["id", "text", "label", "probability", "probabilities"]
    assert table["id"].to_pylist() == list(range(ROWS))
