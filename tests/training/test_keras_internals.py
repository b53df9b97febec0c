"""What breaks when tf-keras changes a private part that training/keras_internals.py uses."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from sentiment_tf.training import keras_internals


class Note(keras.callbacks.Callback):
    """Keeps the epoch, the batch and the logs of each call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append((self.epoch, batch, logs))


@pytest.fixture
def model() -> keras.Model:
    """A compiled linear model, whose ``fit`` takes batches of `data`."""
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        loss,
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
    )
    return model


@pytest.fixture
def data() -> tf.data.Dataset:
    random = np.random.default_rng(0)
    inputs, labels = random.normal(size=(12, 3)).astype(np.float32), random.integers(0, 2, 12)
    return tf.data.Dataset.from_tensor_slices((inputs, labels, np.ones(12, np.float32))).batch(4).repeat()


def test_logs_are_tensors(model, data):
    note = Note()
    keras_internals.keep_tensors_in_logs(note)
    model.fit(data, steps_per_epoch=1, verbose=0, callbacks=[note])
    assert tf.is_tensor(note.calls[0][2]["loss"]), (
        "Keras converts logs to numbers although _supports_tf_logs is set: every training step waits for the device"
    )


def test_fit_begins_at_a_step_of_an_epoch(model, data):
    note = Note()
    with keras_internals.fit_begins_at(model, epoch=1, step=2):
        model.fit(data, steps_per_epoch=3, epochs=3, verbose=0, callbacks=[note])
    assert [call[:2] for call in note.calls] == [(1, 2), (2, 0), (2, 1), (2, 2)], (
        "fit does not ask Model._training_state where to begin: a resumed training repeats steps"
    )
    note.calls.clear()
    model.fit(data, steps_per_epoch=3, verbose=0, callbacks=[note])
    assert [call[:2] for call in note.calls] == [(0, 0), (0, 1), (0, 2)], (
        "fit begins at an old position: Model._training_state was not reset"
    )


def test_metric_variables_hold_the_running_means(model, data):
    note = Note()
    model.fit(data, steps_per_epoch=3, verbose=0, callbacks=[note])
    total, count, correct, rows = (float(variable) for variable in keras_internals.metric_variables(model))
    logs = note.calls[-1][2]
    message = (
        "CompileLoss._total_loss_mean or CompileMetrics._user_weighted_metrics no longer hold the running means of an "
        "epoch: after a resume its loss or accuracy is wrong"
    )
    assert total / count == pytest.approx(float(logs["loss"])), message
    assert correct / rows == pytest.approx(float(logs["accuracy"])), message
    assert rows == 12, message


def test_optimizer_variables_hold_step_momentum_and_loss_scale():
    variable = tf.Variable([1.0, 2.0])
    optimizer = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9))
    optimizer.apply_gradients([(tf.constant([3.0, 4.0]), variable)])
    step, momentum, scale, counter = (found.numpy() for found in keras_internals.optimizer_variables(optimizer))
    message = (
        "LossScaleOptimizer._loss_scale or Optimizer.variables no longer hold the state of an optimizer: "
        "a resumed training takes other steps"
    )
    assert (step, scale, counter) == (1, float(optimizer.loss_scale), 1), message
    np.testing.assert_allclose(momentum, [-0.3, -0.4], rtol=1e-6, err_msg=message)


class Ascent(keras.optimizers.Optimizer):
    """An optimizer of our own: adds the learning rate times its variable's index."""

    def __init__(self, learning_rate):
        super().__init__(name="Ascent", weight_decay=None)
        keras_internals.set_learning_rate(self, learning_rate)

    def update_step(self, gradient, variable):
        variable.assign_add(self.learning_rate * keras_internals.variable_index(self, variable))


def test_the_learning_rate_follows_its_schedule():
    optimizer = Ascent(keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 10.0]))
    variables = [tf.Variable(0.0), tf.Variable(0.0)]
    rates = []
    for _ in range(2):
        optimizer.apply_gradients([(tf.constant(1.0), variable) for variable in variables])
        rates.append(float(optimizer.learning_rate))
    assert rates == [1.0, 10.0], (
        "Optimizer._build_learning_rate or _learning_rate changed: FusedAdamW does not follow its schedule"
    )


@pytest.mark.parametrize("name", ["default", "mirrored"])
def test_each_variable_and_each_replicas_copy_has_its_index(name):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    reduce = tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(devices, reduce) if name == "mirrored" else tf.distribute.get_strategy()
    with strategy.scope():
        variables, optimizer = [tf.Variable(0.0) for _ in range(3)], Ascent(1.0)

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply_gradients([(tf.constant(1.0), variable) for variable in variables]))

    step()
    assert [variable.numpy() for variable in variables] == [0.0, 1.0, 2.0], (
        "Optimizer._index_dict or _var_key changed: FusedAdamW mixes up the moments of its variables"
    )
