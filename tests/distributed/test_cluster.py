import json
import socket
import threading

import numpy as np
import pytest

from sentiment_tf.data import batching
from sentiment_tf.distributed import cluster
from sentiment_tf.errors import UserError


def free_addresses(count: int) -> tuple[str, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
    for one in sockets:
        one.close()
    return addresses


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


@pytest.mark.parametrize("workers", [3, 16])
def test_all_workers_find_each_other(workers):
    addresses, ended = free_addresses(workers), []

    def wait(index):
        cluster.wait_for_all(cluster.Cluster(addresses, index), timeout=60)
        ended.append(index)

    threads = [threading.Thread(target=wait, args=[index]) for index in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == list(range(workers))


def test_all_greetings_that_wait_are_heard_at_once():
    addresses = free_addresses(16)
    with cluster._listen(cluster.Cluster(addresses, 0)) as listener:
        for index in range(1, 16):
            assert cluster._greet(cluster.Cluster(addresses, index), 0)
        assert cluster._hear(listener, 16) == set(range(1, 16))


def test_a_stranger_that_says_nothing_keeps_nobody_away():
    addresses = free_addresses(3)
    port = int(addresses[0].rpartition(":")[2])
    with cluster._listen(cluster.Cluster(addresses, 0)) as listener, socket.create_connection(("127.0.0.1", port)):
        assert cluster._greet(cluster.Cluster(addresses, 1), 0)
        assert cluster._greet(cluster.Cluster(addresses, 2), 0)
        assert cluster._hear(listener, 3) == {1, 2}


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
