"""The optimizer of a run. To train with another one, change `make_optimizer`: any Keras optimizer works."""

import math
from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras

from sentiment_tf.config import TrainConfig
from sentiment_tf.modeling import distilbert
from sentiment_tf.modeling.trainable import TrainableLayers
from sentiment_tf.training import keras_internals

CLIP_NORM = 1.0  # largest global norm of a gradient (Pascanu et al., arXiv:1211.5063)


def make_optimizer(config: TrainConfig, model: TrainableLayers, steps: int) -> keras.optimizers.Optimizer:
    """Returns AdamW with the schedule, weight decay and layer-wise learning rates of a run.

    Biases and LayerNorm are not decayed. A block's learning rate is ``layer_decay`` times that of the block above it
    (Howard & Ruder, arXiv:1801.06146). float16 gets loss scaling, because its small gradients would become 0.

    Args:
      config: Its learning_rate, warmup_ratio, schedule, weight_decay and layer_decay are used.
      model: The model to train.
      steps: Number of steps of the whole training.
    """
    rate = WarmupDecay(
        config.learning_rate, steps=steps, warmup_steps=round(config.warmup_ratio * steps), shape=config.schedule
    )
    optimizer = FusedAdamW(
        rate,
        weight_decay=config.weight_decay,
        decayed=distilbert.decayed,
        multiplier=lambda variable: config.layer_decay ** model.layers_above(variable),
        global_clipnorm=CLIP_NORM,
    )
    if model.matmul_dtype == tf.float16:
        return keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0 to ``peak`` over the first steps, then falls to 0 at the last one.

    ``linear`` is the schedule of BERT's fine-tuning (Devlin et al., arXiv:1810.04805, and its published
    code); ``cosine`` falls as in Loshchilov & Hutter, arXiv:1608.03983, without restarts.
    """

    def __init__(self, peak: float, *, steps: int, warmup_steps: int, shape: str = "linear"):
        super().__init__()
        self.peak, self.steps, self.warmup_steps, self.shape = peak, steps, warmup_steps, shape

    def __call__(self, step):
        """Returns the learning rate of a step counted from 0, float32 scalar."""
        step = tf.cast(step, tf.float32)
        rise = (step + 1.0) / float(max(self.warmup_steps, 1))
        left = tf.clip_by_value((self.steps - step) / float(max(self.steps - self.warmup_steps, 1)), 0.0, 1.0)
        fall = left if self.shape == "linear" else 0.5 - 0.5 * tf.cos(math.pi * left)
        return self.peak * tf.minimum(rise, fall)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {"peak": self.peak, "steps": self.steps, "warmup_steps": self.warmup_steps, "shape": self.shape}


class FusedAdamW(keras.optimizers.Optimizer):
    """AdamW (Loshchilov & Hutter, arXiv:1711.05101) that reads and writes each variable once per step.

    Keras' own AdamW takes a dozen operations per variable, each a pass over memory; with 32 short texts per step
    that is a fifth of a full fine-tuning step. Here the update is TensorFlow's ResourceApplyAdam kernel.
    A sparse gradient (word embeddings: a batch contains a few hundred of 30,000 rows) updates the moments, decay and
    values of its rows only, as LazyAdam does; rows of words that no batch contains keep their pretrained values.

    Attributes:
      moments: Running means of the gradient and of its square, a pair of variables for each trained variable.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        *,
        weight_decay: float,
        decayed: Callable[[tf.Variable], bool] = lambda variable: True,
        multiplier: Callable[[tf.Variable], float] = lambda variable: 1.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        **keras_arguments,
    ):
        """Makes the optimizer.

        Args:
          learning_rate: Learning rate.
          weight_decay: Decoupled weight decay, multiplied by the learning rate.
          decayed: Whether weight decay applies to a variable.
          multiplier: Factor of the learning rate for a variable.
          beta_1, beta_2, epsilon: As in Adam (arXiv:1412.6980); epsilon is added to the uncorrected root.
          **keras_arguments: Arguments of every Keras optimizer, such as global_clipnorm.
        """
        # The base class would decay by its own rule, in one more pass over each variable, unless it is None.
        super().__init__(name="FusedAdamW", weight_decay=None, jit_compile=False, **keras_arguments)
        keras_internals.set_learning_rate(self, learning_rate)
        self._decay, self._decayed, self._multiplier = weight_decay, decayed, multiplier
        self._beta_1, self._beta_2, self._epsilon = beta_1, beta_2, epsilon
        self.moments = []

    def build(self, var_list):
        """Makes the two moments of each variable, float32 of its shape."""
        super().build(var_list)
        if not self.moments:
            self.moments = [
                (self.add_variable_from_reference(v, "m"), self.add_variable_from_reference(v, "v")) for v in var_list
            ]

    def update_step(self, gradient, variable):
        """Updates one variable; called by the base class for each replica's copy."""
        m, v = self.moments[keras_internals.variable_index(self, variable)]
        rate = self.learning_rate * self._multiplier(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        power_1, power_2 = tf.pow(self._beta_1, step), tf.pow(self._beta_2, step)
        shrink = 1.0 - rate * self._decay if self._decay and self._decayed(variable) else None
        if isinstance(gradient, tf.IndexedSlices):
            corrected = rate * tf.sqrt(1.0 - power_2) / (1.0 - power_1)
            self._update_rows(gradient, variable, m, v, corrected, shrink)
            return
        if shrink is not None:
            variable.assign(variable * shrink)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=power_1,
            beta2_power=power_2,
            lr=rate,
            beta1=self._beta_1,
            beta2=self._beta_2,
            epsilon=self._epsilon,
            grad=gradient,
        )

    def _update_rows(self, gradient, variable, m, v, rate, shrink):
        rows, values = gradient.indices, gradient.values
        new_m = self._beta_1 * tf.gather(m, rows) + (1.0 - self._beta_1) * values
        new_v = self._beta_2 * tf.gather(v, rows) + (1.0 - self._beta_2) * tf.square(values)
        old = tf.gather(variable, rows)
        new = (old if shrink is None else old * shrink) - rate * new_m / (tf.sqrt(new_v) + self._epsilon)
        for target, content in ((m, new_m), (v, new_v), (variable, new)):
            tf.raw_ops.ResourceScatterUpdate(resource=target.handle, indices=rows, updates=content)
