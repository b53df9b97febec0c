"""Collective operations between the workers of a run, for everything but gradients.

Every worker calls the same function at the same point of the run, and each call waits for all workers. With one
worker a call returns its input at once.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from sentiment_tf.distributed import cluster
from sentiment_tf.errors import UserError

# Items computed between two calls of `all_gather`: per worker, enough to make its latency negligible; over all
# workers, few enough to fit in memory.
ITEMS_PER_WORKER, MAX_ITEMS = 16, 512


def workers(strategy: tf.distribute.Strategy | None) -> tuple[int, int]:
    """Returns the index of this worker, counted from 0, and the number of workers."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().as_dict()
    chiefs, others = len(jobs.get("chief", ())), len(jobs.get("worker", ()))
    return resolver.task_id + (chiefs if resolver.task_type == "worker" else 0), chiefs + others


def all_gather(strategy: tf.distribute.Strategy, array: np.ndarray) -> np.ndarray:
    """Returns the arrays of all workers, concatenated along the first axis in the order of the workers.

    Args:
      strategy: Strategy of the run.
      array: int32, int64, float16 or float32, the dtypes that TensorFlow's collectives support. The length of the
        first axis may differ between workers.
    """
    count = workers(strategy)[1]
    if count == 1:
        return array
    replicas = strategy.num_replicas_in_sync // count

    def local(context) -> tf.Tensor:
        return tf.constant(array if context.replica_id_in_sync_group % replicas == 0 else array[:0])

    values = strategy.experimental_distribute_values_from_function(local)
    return strategy.gather(values, axis=0).numpy()


def all_gather_object(strategy: tf.distribute.Strategy, value) -> list:
    """Returns the JSON-able values of all workers, in the order of the workers."""
    own = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
    sizes = all_gather(strategy, np.array([len(own)], np.int32))
    everything = all_gather(strategy, own).astype(np.uint8)
    return [json.loads(part.tobytes()) for part in np.split(everything, np.cumsum(sizes)[:-1])]


def broadcast(strategy: tf.distribute.Strategy, value):
    """Returns the chief's value on every worker; the other workers' values are ignored.

    Decisions that depend on floating-point results or on the clock must be broadcast, because they could differ
    between machines.

    Args:
      strategy: Strategy of the run.
      value: bytes, or anything JSON-able.
    """
    index, count = workers(strategy)
    if count == 1:
        return value
    message = np.empty(0, np.int32) if index else _to_array(value)
    return _from_array(all_gather(strategy, message))


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Returns once every worker has called it."""
    all_gather(strategy, np.zeros(1, np.int32))


def final_barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits for all workers before the process ends: a worker that exits early aborts TensorFlow on the others."""
    with contextlib.suppress(tf.errors.OpError):  # the work is done, and a worker that has already left is no error
        barrier(strategy)


def sharded_map(
    strategy: tf.distribute.Strategy | None, items: Sequence, compute: Callable, *, empty: Sequence[np.ndarray]
) -> Iterator[tuple]:
    """Computes each item on one worker, and yields (item, its arrays) for all items on every worker.

    Args:
      strategy: Strategy of the run.
      items: The same on every worker.
      compute: Takes an iterable of (number, item) and yields a tuple of arrays for each, in order.
      empty: Arrays of length 0 with the dtypes and inner shapes of these arrays, whose first axis may differ between
        items.
    """
    worker, count = workers(strategy)
    if count == 1:
        yield from zip(items, compute(enumerate(items)), strict=True)
        return
    at_once = max(min(ITEMS_PER_WORKER * count, MAX_ITEMS), count)
    for start in range(0, len(items), at_once):
        block = items[start : start + at_once]
        own = list(compute(enumerate(block[worker::count])))
        columns = []
        for column, nothing in enumerate(empty):
            arrays = [arrays[column] for arrays in own]
            sizes = all_gather(strategy, np.array([len(array) for array in arrays], np.int32))
            everything = all_gather(strategy, np.concatenate([nothing, *arrays]))
            columns.append(np.split(everything, np.cumsum(sizes)[:-1]))
        in_order_of_workers = [item for number in range(count) for item in block[number::count]]
        yield from zip(in_order_of_workers, zip(*columns, strict=True), strict=True)


def check_same(strategy: tf.distribute.Strategy, values: dict[str, object]) -> None:
    """Checks that every worker starts with the same values.

    Args:
      strategy: Strategy of the run.
      values: JSON-able values by the names that an error shows.

    Raises:
      UserError: A worker has other values than the chief; the message lists their names.
    """
    gathered = all_gather_object(strategy, values)
    names = {name for found in gathered for name in found}
    for index, found in enumerate(gathered):
        if different := sorted(name for name in names if found.get(name) != gathered[0].get(name)):
            raise UserError(
                f"TF_CONFIG: worker {index} differs from the chief in {', '.join(different)}; "
                "give every worker the same data, model and flags"
            )


def _to_array(value) -> np.ndarray:
    """Returns int32[…]: whether the value is bytes, the length of its encoding, and the encoding, padded."""
    is_bytes = isinstance(value, bytes)
    content = value if is_bytes else json.dumps(value).encode()
    header = np.array([is_bytes, len(content)], np.int64).tobytes()
    return np.frombuffer(header + content + bytes(-len(content) % 4), np.int32)


def _from_array(array: np.ndarray):
    """Returns the value of `_to_array`."""
    is_bytes, length = array[:4].view(np.int64)
    content = array[4:].tobytes()[:length]
    return content if is_bytes else json.loads(content)


@contextlib.contextmanager
def lost_worker_as_user_error(members: cluster.Cluster | None) -> Iterator[None]:
    """Turns the errors that TensorFlow raises after another worker has ended into one line for the user.

    Raises:
      UserError: Another worker has ended before the run has.
    """
    try:
        yield
    except Exception as error:
        if members is None or isinstance(error, UserError):
            raise
        lost = ("Unavailable", "Aborted", "Cancelled", "DeadlineExceeded", "Internal")
        if not isinstance(error, tuple(getattr(tf.errors, f"{name}Error") for name in lost)):
            raise
        raise UserError(
            "TF_CONFIG: another worker has ended or cannot be reached, so this worker ends as well; start the same "
            "command on every worker again, and the run continues from the last checkpoint"
        ) from error
