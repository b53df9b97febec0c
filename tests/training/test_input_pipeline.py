import numpy as np
import tensorflow as tf

from sentiment_tf.training import input_pipeline


def test_dataset_gives_the_plans_of_each_epoch_in_order():
    plans = [np.array([[0, 1], [2, 3]]), np.array([[3, 2], [1, 0]])]
    dataset = input_pipeline.to_dataset(
        lambda epoch: plans[epoch],
        2,
        lambda rows: ({"x": rows.astype(np.float32)}, rows.astype(np.int32)),
        ({"x": tf.TensorSpec([None], tf.float32)}, tf.TensorSpec([None], tf.int32)),
        batch_size=2,
    )
    batches = [(inputs["x"].numpy().tolist(), labels.numpy().tolist()) for inputs, labels in dataset]
    assert batches == [([0, 1], [0, 1]), ([2, 3], [2, 3]), ([3, 2], [3, 2]), ([1, 0], [1, 0])]
