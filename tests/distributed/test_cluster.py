import contextlib
import json
import socket
import threading

import numpy as np
import pytest

from sentiment_tf.data import batching
from sentiment_tf.distributed import cluster
from sentiment_tf.errors import UserError
from tests.support.addresses import free_addresses


def configure(monkeypatch, content) -> None:
    monkeypatch.setenv("TF_CONFIG", content if isinstance(content, str) else json.dumps(content))


def test_workers_and_chief_by_tf_config(monkeypatch):
    configure(monkeypatch, {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}})
    assert cluster.from_environment() == cluster.Cluster(("a:1", "b:2"), 1)
    jobs = {"chief": ["c:3"], "worker": ["a:1", "b:2"]}
    configure(monkeypatch, {"cluster": jobs, "task": {"type": "worker", "index": 1}})
    assert cluster.from_environment() == cluster.Cluster(("c:3", "a:1", "b:2"), 2)
    configure(monkeypatch, {"cluster": jobs, "task": {"type": "chief", "index": 0}})
    assert cluster.from_environment().is_chief


def test_one_worker_is_no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster.from_environment() is None
    configure(monkeypatch, {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}})
    assert cluster.from_environment() is None


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        {"cluster": {"worker": ["a:1", "b:2"]}},
        {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}},
        {"cluster": {"worker": ["a:1", "b:2"], "ps": ["c:3"]}, "task": {"type": "worker", "index": 0}},
        {"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}},
    ],
)
def test_a_tf_config_that_names_no_worker_is_refused(monkeypatch, content):
    configure(monkeypatch, content)
    with pytest.raises(UserError, match="TF_CONFIG="):
        cluster.from_environment()


def wait_in_threads(addresses, indices, *, timeout=60.0) -> list[threading.Thread]:
    """Starts these workers; a thread ends when its worker has found all others."""
    clusters = [cluster.Cluster(addresses, index) for index in indices]
    threads = [
        threading.Thread(target=cluster.wait_for_all, args=[one], kwargs={"timeout": timeout}) for one in clusters
    ]
    for thread in threads:
        thread.start()
    return threads


def connect(address: str) -> socket.socket:
    """Connects as soon as somebody listens."""
    host, _, port = address.rpartition(":")
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((host, int(port)), timeout=60)


def join(threads) -> None:
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


@pytest.mark.parametrize("workers", [3, 16])
def test_all_workers_find_each_other(workers):
    join(wait_in_threads(free_addresses(workers), range(workers)))


def test_other_programs_that_connect_keep_no_worker_away():
    addresses = free_addresses(3)
    threads = wait_in_threads(addresses, [0])
    with connect(addresses[0]), connect(addresses[0]) as talkative:
        talkative.sendall(b"GET / HTTP/1.1\r\n" + bytes(100_000))
        join([*threads, *wait_in_threads(addresses, [1, 2])])


def test_a_worker_that_ended_and_was_started_again_is_found():
    addresses = free_addresses(3)
    threads = wait_in_threads(addresses, [0])
    with pytest.raises(UserError, match="worker 2"):
        cluster.wait_for_all(cluster.Cluster(addresses, 1), timeout=1)
    join([*threads, *wait_in_threads(addresses, [1, 2])])


def test_only_the_missing_worker_is_named():
    addresses = free_addresses(3)
    threads = wait_in_threads(addresses, [1], timeout=60)
    with pytest.raises(UserError) as raised:
        cluster.wait_for_all(cluster.Cluster(addresses, 0), timeout=1)
    assert f"worker 2 ({addresses[2]})" in str(raised.value)
    assert "worker 1" not in str(raised.value)
    join([*threads, *wait_in_threads(addresses, [0, 2])])


def test_a_worker_that_never_comes_is_named():
    addresses = free_addresses(2)
    with pytest.raises(UserError, match=f"--startup_timeout=0.5: .*worker 1 \\({addresses[1]}\\)"):
        cluster.wait_for_all(cluster.Cluster(addresses, 0), timeout=0.5)


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"cannot listen on {address}"):
            cluster.wait_for_all(cluster.Cluster((address, "127.0.0.1:9"), 0), timeout=1)


def test_shares_hold_every_row_of_each_batch_once():
    plan = batching.training_plan(np.arange(1, 30), batch_size=8, seed=0, epoch=0)
    shares = [batching.share(plan, worker, 2, 2).reshape(len(plan), 4) for worker in range(2)]
    assert batching.share(plan, 0, 2, 2).shape == (8, 2)
    np.testing.assert_array_equal(np.sort(np.concatenate(shares, axis=1), axis=1), np.sort(plan, axis=1))
