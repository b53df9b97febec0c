import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sentiment_tf.errors import UserError
from sentiment_tf.training import head_solver
from sentiment_tf.training.head_solver import Rows


def problem(*, rows=400, width=6, classes=2, noise=1.0, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Returns features of unlike scales and centres, and labels that depend on them."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, width)).astype(np.float32)
    scores = features @ random.normal(size=(width, classes)) + noise * random.gumbel(size=(rows, classes))
    scales = np.linspace(0.1, 5.0, width, dtype=np.float32)
    return features * scales + 3.0, scores.argmax(axis=1)


def rows_of(features, labels, weights=None) -> Rows:
    weights = np.ones(len(labels)) if weights is None else weights
    return Rows(features, np.eye(labels.max() + 1, dtype=np.float32)[labels], weights.astype(np.float32))


def solve(rows: Rows, **settings):
    return head_solver.solve(rows, **{"groups": lambda chosen: chosen, "seed": 0} | settings)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_is_the_logistic_regression_of_scikit_learn(monkeypatch, classes):
    monkeypatch.setattr(head_solver, "PENALTIES", np.array([0.0125]))  # 0.01 for all rows
    features, labels = problem(classes=classes)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(labels))
    head, record = solve(rows_of(features, labels, weights))
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    # Its objective is the sum over rows plus ‖w‖²/(2C); with two classes it has one score where the head has two.
    strength = record["penalty"] * weights.sum() * (0.5 if classes == 2 else 1.0)
    peer = LogisticRegression(C=1 / strength, tol=1e-8, max_iter=1000).fit(standardised, labels, sample_weight=weights)
    logits = features @ head.kernel + head.bias
    answers = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers, peer.predict_proba(standardised), atol=1e-4)


def test_a_smoothed_target_is_a_row_of_each_class_with_its_share(monkeypatch):
    monkeypatch.setattr(head_solver, "PENALTIES", np.array([0.0125]))  # 0.01 for all rows
    features, labels = problem()
    smoothed = np.where(np.eye(2, dtype=bool)[labels], 0.9, 0.1).astype(np.float32)
    weights = np.ones(len(labels), np.float32)
    head, _ = solve(Rows(features, smoothed, weights))
    twice = rows_of(np.concatenate([features] * 2), np.concatenate([labels, 1 - labels]), np.repeat([0.9, 0.1], 400))
    expected, _ = solve(twice)
    np.testing.assert_allclose(head.kernel, expected.kernel, atol=1e-4)
    np.testing.assert_allclose(head.bias, expected.bias, atol=1e-4)


def test_cross_validation_chooses_a_strong_penalty_for_noise_and_a_weak_one_for_a_clear_signal():
    features, _ = problem(width=60)
    _, noise = solve(rows_of(features, np.random.default_rng(2).integers(0, 2, len(features))))
    _, signal = solve(rows_of(*problem(noise=0.01, rows=2000)))
    assert noise["penalty"] == pytest.approx(0.8)  # the strongest, for four fifths of the rows
    assert signal["penalty"] < 1e-3


def test_rows_of_a_group_are_never_on_both_sides():
    # Each text stands there five times with a label drawn at random. Whoever sees a copy knows the label.
    random = np.random.default_rng(3)
    features = np.repeat(random.normal(size=(60, 60)), 5, axis=0).astype(np.float32)
    rows = rows_of(features, np.repeat(random.integers(0, 2, 60), 5))
    _, apart = solve(rows)
    _, together = solve(rows, groups=lambda chosen: chosen // 5)
    assert apart["penalty"] < 1e-2
    assert together["penalty"] == pytest.approx(0.8)


def test_a_constant_feature_gets_no_weight_and_the_loss_falls_with_each_iteration():
    features, labels = problem()
    features[:, 2] = 7.0
    losses = []

    def note(head, gradient_norm):
        logits = features @ head.kernel + head.bias
        losses.append(np.logaddexp.reduce(logits, axis=1).mean() - logits[np.arange(len(labels)), labels].mean())

    head, _ = solve(rows_of(features, labels), on_iteration=note)
    np.testing.assert_allclose(head.kernel[2], 0.0, atol=1e-6)
    assert losses[-1] < losses[0] < np.log(2)
    assert np.isfinite(losses).all()


def test_the_same_rows_and_seed_give_the_same_head():
    rows = rows_of(*problem(classes=3))
    first, second = solve(rows, seed=4), solve(rows, seed=4)
    np.testing.assert_array_equal(first[0].kernel, second[0].kernel)
    assert first[1] == second[1]


def test_mistakes_are_one_line():
    features, labels = problem(rows=4)
    with pytest.raises(UserError, match="--head=solve, --audit_labels: 4 training rows are fewer than the 5 folds"):
        solve(rows_of(features, labels))
    features, labels = problem()
    features[7, 3] = np.inf
    with pytest.raises(UserError, match="--head=solve: the model's .CLS. vectors are not finite"):
        solve(rows_of(features, labels))


def test_out_of_fold_answers_come_from_heads_that_did_not_see_the_row():
    # Labels at random: whoever saw a row can know its label, nobody else can do better than chance.
    random = np.random.default_rng(5)
    rows = rows_of(random.normal(size=(120, 100)).astype(np.float32), random.integers(0, 2, 120))
    answers = head_solver.out_of_fold(rows, groups=lambda chosen: chosen, seed=0)
    assert answers.shape == (120, 2)
    np.testing.assert_allclose(answers.sum(axis=1), 1.0)
    assert 0.3 < (answers.argmax(axis=1) == rows.targets.argmax(axis=1)).mean() < 0.65
    features, labels = problem(noise=0.1, rows=600)
    answers = head_solver.out_of_fold(rows_of(features, labels), groups=lambda chosen: chosen, seed=0)
    assert (answers.argmax(axis=1) == labels).mean() > 0.9
