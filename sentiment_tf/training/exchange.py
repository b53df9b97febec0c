"""What workers tell each other beside gradients: features, a checkpoint, a decision.

Each function is called by every worker at the same place of the run, and waits for all. Without several
workers it returns at once what it was given.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from sentiment_tf.errors import UserError

ITEMS_AT_ONCE = 16  # of each worker, between two exchanges: long enough to hide them, little enough for memory

# What TensorFlow raises in the others once a worker is gone.
_GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def workers(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns this worker's number, from 0, and how many there are; (0, 1) where there is one."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    return resolver.task_id + _chiefs_before(resolver), len(_addresses(resolver))


def gather(strategy: tf.distribute.Strategy, array: np.ndarray) -> np.ndarray:
    """Returns all workers' arrays, one after another along the first axis.

    Args:
      strategy: of the run.
      array: of a dtype that collectives carry (int32, int64, float16, float32); the first axis may differ
        from worker to worker.
    """
    if workers(strategy)[1] == 1:
        return array
    replicas = strategy.num_replicas_in_sync // workers(strategy)[1]

    def local(context) -> tf.Tensor:
        return tf.constant(array if context.replica_id_in_sync_group % replicas == 0 else array[:0])

    values = strategy.experimental_distribute_values_from_function(local)
    return strategy.gather(values, axis=0).numpy()


def bytes_from_chief(strategy: tf.distribute.Strategy, content: bytes) -> bytes:
    """Returns the chief's bytes; what the others pass is not looked at."""
    number, count = workers(strategy)
    if count == 1:
        return content
    if number:
        padded = np.empty(0, np.int32)
    else:
        padded = np.frombuffer(len(content).to_bytes(8, "little") + content + bytes(-len(content) % 4), np.int32)
    gathered = gather(strategy, padded).tobytes()
    return gathered[8 : 8 + int.from_bytes(gathered[:8], "little")]


def from_chief(strategy: tf.distribute.Strategy, value):
    """Returns the chief's JSON-able value: decisions must be the same on machines that round differently."""
    return json.loads(bytes_from_chief(strategy, json.dumps(value).encode()))


def shared_out(
    strategy: tf.distribute.Strategy | None, items: Sequence, compute: Callable, *, like: Sequence[np.ndarray]
) -> Iterator[tuple]:
    """Has each item computed by one worker, and yields (item, its arrays) for all of them on every worker.

    Args:
      strategy: of the run.
      items: the same on every worker.
      compute: gets an iterable of (number, item) and yields a tuple of arrays for each, in order.
      like: empty arrays with the dtypes and inner shapes of those; the first axis may differ by item.
    """
    worker, count = workers(strategy)
    if count == 1:
        yield from zip(items, compute(enumerate(items)), strict=True)
        return
    for start in range(0, len(items), ITEMS_AT_ONCE * count):
        block = items[start : start + ITEMS_AT_ONCE * count]
        mine = list(compute(enumerate(block[worker::count])))
        columns = []
        for place, empty in enumerate(like):
            arrays = [arrays[place] for arrays in mine]
            sizes = gather(strategy, np.array([len(array) for array in arrays], np.int32))
            everything = gather(strategy, np.concatenate([empty, *arrays]))
            columns.append(np.split(everything, np.cumsum(sizes)[:-1]))
        in_order_of_workers = [item for number in range(count) for item in block[number::count]]
        yield from zip(in_order_of_workers, zip(*columns, strict=True), strict=True)


def wait(strategy: tf.distribute.Strategy) -> None:
    """Returns once every worker has come to this place, or has ended."""
    with contextlib.suppress(*_GONE):
        gather(strategy, np.zeros(1, np.int32))


def check_same(strategy: tf.distribute.Strategy, digests: dict[str, str]) -> None:
    """Checks that every worker starts from the same things.

    Args:
      strategy: of the run.
      digests: hexadecimal, by the name of what they are of.

    Raises:
      UserError: some worker has others, with their names.
    """
    count = workers(strategy)[1]
    for name, digest in digests.items():
        mine = np.frombuffer(digest.encode(), np.uint8).astype(np.int32)[None]
        others = gather(strategy, mine) if count > 1 else mine
        if different := [number for number in range(count) if (others[number] != others[0]).any()]:
            raise UserError(
                f"TF_CONFIG: {name} of worker {', '.join(map(str, different))} differ from the chief's; "
                "give every worker the same data, model and flags"
            )


@contextlib.contextmanager
def loss_of_a_worker_told(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns what TensorFlow raises when another worker is gone into one line for a person.

    Raises:
      UserError: another worker has ended before the run has.
    """
    try:
        yield
    except _GONE as error:
        if workers(strategy)[1] == 1:
            raise
        raise UserError(
            "TF_CONFIG: another worker has ended or is out of reach, so this one must end, too; start the same "
            "command on every worker again: it goes on from the last checkpoint"
        ) from error


def _addresses(resolver) -> list[str]:
    jobs = resolver.cluster_spec().as_dict()
    return [*jobs.get("chief", ()), *jobs.get("worker", ())]


def _chiefs_before(resolver) -> int:
    return len(resolver.cluster_spec().as_dict().get("chief", ())) if resolver.task_type == "worker" else 0
