"""Everything that this package uses of tf-keras beyond its public interface.

tests/training/test_keras_internals.py has a test for each function; its message says what stops working when a new
version of tf-keras changes that part.
"""

import contextlib
import types
from collections.abc import Iterator

import tensorflow as tf
import tf_keras as keras


def keep_tensors_in_logs(callback: keras.callbacks.Callback) -> None:
    """Has Keras pass logs as tensors, so that no step waits for the device to compute numbers that nobody reads."""
    callback._supports_tf_logs = True


@contextlib.contextmanager
def fit_begins_at(model: keras.Model, *, epoch: int, step: int) -> Iterator[None]:
    """Has ``fit`` begin at a step of an epoch, both counted from 0; its own ``initial_epoch`` knows no steps.

    This is the hook of Keras' BackupAndRestore.
    """
    start = types.SimpleNamespace(maybe_load_initial_counters_from_ckpt=lambda *args, **kwargs: (epoch, step))
    model._training_state = start
    try:
        yield
    finally:
        model._training_state = None


def metric_variables(model: keras.Model) -> list[tf.Variable]:
    """Returns the running means of the loss and the metrics; ``model.metrics`` is empty before the first batch."""
    metrics = [model.compiled_loss._total_loss_mean, *tf.nest.flatten(model.compiled_metrics._user_weighted_metrics)]
    return [variable for metric in metrics for variable in metric.variables]


def optimizer_variables(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """Returns everything that an optimizer changes in a step, with loss scaling also the scale and its counter."""
    scale = getattr(optimizer, "_loss_scale", None)
    return [*optimizer.variables, *([scale.current_loss_scale, scale.counter] if scale is not None else [])]


def set_learning_rate(optimizer: keras.optimizers.Optimizer, learning_rate) -> None:
    """Gives an optimizer under construction its rate, a float or a LearningRateSchedule."""
    optimizer._learning_rate = optimizer._build_learning_rate(learning_rate)


def variable_index(optimizer: keras.optimizers.Optimizer, variable) -> int:
    """Returns the position of a variable, or of a replica's copy of it, in the list that ``build`` was called with."""
    return optimizer._index_dict[optimizer._var_key(variable)]
