"""The learning rate's schedule, and AdamW as one fused kernel per variable, sparse where a batch is."""

import math

import tensorflow as tf
import tf_keras as keras


class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0 to ``peak`` over the first steps, then falls to 0 at the last one.

    ``linear`` is the schedule of BERT's fine-tuning (Devlin et al., arXiv:1810.04805, and its published
    code); ``cosine`` falls as in Loshchilov & Hutter, arXiv:1608.03983, without restarts.
    """

    def __init__(self, peak: float, *, steps: int, warmup_steps: int, shape: str = "linear"):
        super().__init__()
        self.peak, self.steps, self.warmup_steps, self.shape = peak, steps, warmup_steps, shape

    def __call__(self, step):
        """Returns the rate of the step counted from 0, float32 scalar."""
        step = tf.cast(step, tf.float32)
        rise = (step + 1.0) / float(max(self.warmup_steps, 1))
        left = tf.clip_by_value((self.steps - step) / float(max(self.steps - self.warmup_steps, 1)), 0.0, 1.0)
        fall = left if self.shape == "linear" else 0.5 - 0.5 * tf.cos(math.pi * left)
        return self.peak * tf.minimum(rise, fall)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {"peak": self.peak, "steps": self.steps, "warmup_steps": self.warmup_steps, "shape": self.shape}


class FusedAdamW(keras.optimizers.Optimizer):
    """AdamW (Loshchilov & Hutter, arXiv:1711.05101) whose cost is one pass over each variable.

    Keras' own AdamW is a dozen operations per variable, each a pass over memory; at 32 short texts per step
    that is a fifth of a full fine-tuning step. Here the update is TensorFlow's ResourceApplyAdam kernel.
    A sparse gradient (word embeddings: a batch holds a few hundred of 30,000 rows) updates moments, decay
    and values of its rows alone, as LazyAdam does; a row that no batch holds stays as it was pretrained.

    Gradients are clipped by their global norm first (Pascanu et al., arXiv:1211.5063), sparse ones after
    the parts of each row are added up.
    """

    def __init__(
        self,
        learning_rate,
        *,
        weight_decay: float,
        decayed,
        clip_norm: float = 1.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        multiplier=lambda variable: 1.0,
    ):
        """Makes the optimizer.

        Args:
          learning_rate: float or keras LearningRateSchedule.
          weight_decay: decoupled, times the learning rate.
          decayed: tells of a variable whether it is decayed.
          clip_norm: largest global norm.
          beta_1, beta_2, epsilon: as in Adam (arXiv:1412.6980); epsilon stands beside the uncorrected root.
          multiplier: gives a variable's share of the learning rate.
        """
        super().__init__(name="FusedAdamW", jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self._decay, self._is_decayed, self._clip_norm = weight_decay, decayed, clip_norm
        self._beta_1, self._beta_2, self._epsilon = beta_1, beta_2, epsilon
        self._multiplier = multiplier

    def build(self, var_list):
        """Makes the two moments of each variable, float32 of its shape."""
        super().build(var_list)
        if getattr(self, "_moments", None) is None:
            # A variable: loss scaling takes the step inside a condition, whose tensors are not seen outside.
            self.gradient_norm = tf.Variable(
                0.0,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            self._moments = [
                (self.add_variable_from_reference(v, "m"), self.add_variable_from_reference(v, "v")) for v in var_list
            ]

    def _clip_gradients(self, gradients):
        """Called by the base class once the gradients of all replicas are added up."""
        gradients = [_without_repeats(gradient) for gradient in gradients]
        gradients, norm = tf.clip_by_global_norm(gradients, self._clip_norm)
        self.gradient_norm.assign(norm)
        return gradients

    def _deduplicate_sparse_grad(self, gradients):
        return gradients  # done before clipping: the norm must be that of whole rows

    def update_step(self, gradient, variable):
        """Updates one variable; called by the base class, per replica's copy."""
        m, v = self._moments[self._index_dict[self._var_key(variable)]]
        rate = self.learning_rate * self._multiplier(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        power_1, power_2 = tf.pow(self._beta_1, step), tf.pow(self._beta_2, step)
        shrink = 1.0 - rate * self._decay if self._decay and self._is_decayed(variable) else None
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

    def get_config(self) -> dict:
        """Returns the numbers that describe it; it is rebuilt from a run's settings, not from this."""
        config = super().get_config()
        config.update(
            learning_rate=self._serialize_hyperparameter(self._learning_rate),
            weight_decay=self._decay,
            clip_norm=self._clip_norm,
        )
        return config


def _without_repeats(gradient):
    """Returns a gradient in which each row of a sparse one stands once."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
        return tf.convert_to_tensor(gradient)  # how many rows differ is no static shape
    rows, place = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, place, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)
