"""The decision threshold: every format holds it, and every engine decides by it."""

import numpy as np
import pytest

from sentiment_tf.exporting import formats
from tests.support import tiny_export

TEXTS = tiny_export.texts(120)


@pytest.fixture(scope="module", params=[None, 0.3])
def threshold(request):
    return request.param


@pytest.fixture(scope="module")
def run(threshold, tmp_path_factory):
    """A tiny run of two classes in every format."""
    run, weights = tmp_path_factory.mktemp("run"), tiny_export.two_classes()
    bundle = tiny_export.bundle(
        weights=weights,
        named_weights=tiny_export.named_weights(weights),
        label_names=("NEGATIVE", "POSITIVE"),
        threshold=threshold,
    )
    for each in formats.FORMATS:
        each.write(bundle, each.path(run, 1))
    return run


@pytest.mark.parametrize("each", formats.FORMATS, ids=lambda each: each.name)
def test_the_threshold_decides_wherever_the_model_runs(run, threshold, each):
    for precision in each.files:
        model = each.load(each.path(run, 1), precision=precision)
        assert model.threshold == (threshold if threshold is None else pytest.approx(threshold))
        labels, probabilities = model.predict(TEXTS)
        positive = probabilities[:, 1] >= (0.5 if threshold is None else np.float32(threshold))
        assert labels == [("NEGATIVE", "POSITIVE")[each] for each in positive.astype(int)]
        assert {"NEGATIVE", "POSITIVE"} == set(labels)
