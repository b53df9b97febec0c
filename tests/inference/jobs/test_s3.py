"""Input and output in S3: pyarrow's file system over HTTP against a server on this machine."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.request

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from tests.support import score_faults, tiny_export, tiny_litert
from tests.support.addresses import free_addresses
from tests.support.score_faults import finish, start

pytest.importorskip("moto")
pytestmark = pytest.mark.slow
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """host:port of a server that speaks S3."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    (address,) = free_addresses(1)
    host, port = address.split(":")
    call = [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
    with open(tmp_path / "server.log", "w") as log:
        process = subprocess.Popen(call, stdout=log, stderr=log, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    try:
        assert score_faults.wait_for(lambda: answers(address), process)
        yield address
    finally:
        process.kill()
        process.wait()


def answers(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/"):
        return True
    return False


def test_scoring_from_s3_to_s3(server, tmp_path):
    tiny_litert.export(tmp_path / "run")
    s3 = pyarrow.fs.S3FileSystem(
        endpoint_override=server, scheme="http", region="us-east-1", allow_bucket_creation=True
    )
    s3.create_dir("reviews/day=1", recursive=True)
    for number in range(2):
        table = pa.table({"id": range(50), "text": tiny_export.texts(50, seed=number)})
        pq.write_table(table, f"reviews/day=1/{number}.parquet", filesystem=s3)
    query = f"?endpoint_override={server}&scheme=http&region=us-east-1"
    flags = [f"--model={tmp_path}/run", f"--input=s3://reviews/**/*.parquet{query}"]
    for _ in range(2):  # the second time it is finished already
        assert finish(start(*flags, f"--output=s3://reviews/scored{query}")).startswith("100 rows answered")
    names = [info.path for info in s3.get_file_info(pyarrow.fs.FileSelector("reviews/scored", recursive=True))]
    parts = [f"reviews/scored/day=1/{number}.parquet" for number in range(2)]
    assert {*parts, "reviews/scored/_SUCCESS", "reviews/scored/_plan.json"} <= set(names)
    assert not any("_partial/" in name or "_records/" in name for name in names)
    answered = pq.read_table(parts[1], filesystem=s3, partitioning=None)
    assert answered["text"].to_pylist() == tiny_export.texts(50, seed=1)
    with s3.open_input_stream("reviews/scored/_SUCCESS") as file:
        assert json.loads(file.read())["rows"] == 100


def test_a_bucket_that_is_not_there(server, tmp_path):
    tiny_litert.export(tmp_path / "run")
    query = f"?endpoint_override={server}&scheme=http&region=us-east-1"
    process = start(f"--model={tmp_path}/run", f"--input=s3://none/*.parquet{query}", f"--output={tmp_path}/out")
    _, problems = process.communicate(timeout=120)
    assert process.returncode == 2
    assert len(problems.splitlines()) == 1
    assert "--input=s3://none/*.parquet" in problems
