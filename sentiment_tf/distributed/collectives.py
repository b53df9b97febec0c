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

# Between two exchanges: of each worker, enough to hide them; of all together, few enough for memory.
ITEMS_OF_ONE, ITEMS_OF_ALL = 16, 512


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


def from_all(strategy: tf.distribute.Strategy, value) -> list:
    """Returns the JSON-able values of all workers, in their order."""
    mine = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
    sizes = gather(strategy, np.array([len(mine)], np.int32))
    everything = gather(strategy, mine).astype(np.uint8)
    return [json.loads(part.tobytes()) for part in np.split(everything, np.cumsum(sizes)[:-1])]


def from_chief(strategy: tf.distribute.Strategy, value):
    """Returns the chief's JSON-able value: decisions must be the same on machines that round differently."""
    return from_all(strategy, value)[0]


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
    at_once = max(min(ITEMS_OF_ONE * count, ITEMS_OF_ALL), count)
    for start in range(0, len(items), at_once):
        block = items[start : start + at_once]
        mine = list(compute(enumerate(block[worker::count])))
        columns = []
        for place, empty in enumerate(like):
            arrays = [arrays[place] for arrays in mine]
            sizes = gather(strategy, np.array([len(array) for array in arrays], np.int32))
            everything = gather(strategy, np.concatenate([empty, *arrays]))
            columns.append(np.split(everything, np.cumsum(sizes)[:-1]))
        in_order_of_workers = [item for number in range(count) for item in block[number::count]]
        yield from zip(in_order_of_workers, zip(*columns, strict=True), strict=True)


def meet(strategy: tf.distribute.Strategy) -> None:
    """Returns once every worker has come to this place."""
    gather(strategy, np.zeros(1, np.int32))


def part(strategy: tf.distribute.Strategy) -> None:
    """Meets for the last time: a worker that left early would take the others' TensorFlow with it."""
    with contextlib.suppress(tf.errors.OpError):  # what was to be done is done; whoever has left has left
        meet(strategy)


def check_same(strategy: tf.distribute.Strategy, things: dict[str, object]) -> None:
    """Checks that every worker starts from the same things.

    Args:
      strategy: of the run.
      things: JSON-able, by what a person calls them.

    Raises:
      UserError: some worker has others, with their names.
    """
    everyones = from_all(strategy, things)
    names = {name for everything in everyones for name in everything}
    for number, everything in enumerate(everyones):
        if other := sorted(name for name in names if everything.get(name) != everyones[0].get(name)):
            raise UserError(
                f"TF_CONFIG: worker {number} differs from the chief in {', '.join(other)}; "
                "give every worker the same data, model and flags"
            )


def _addresses(resolver) -> list[str]:
    jobs = resolver.cluster_spec().as_dict()
    return [*jobs.get("chief", ()), *jobs.get("worker", ())]


def _chiefs_before(resolver) -> int:
    return len(resolver.cluster_spec().as_dict().get("chief", ())) if resolver.task_type == "worker" else 0
