import numpy as np

from sentiment_tf.modeling import litert_runtime


def test_calls_hold_texts_of_equal_length_the_longest_first():
    lengths = [3, 200, 2, 3, 2, 200, *[2] * 127]
    calls = litert_runtime.calls(lengths)
    assert [(len(rows), lengths[rows[0]]) for rows in calls] == [(1, 200), (1, 200), (2, 3), (128, 2), (1, 2)]
    assert [list(rows) for rows in calls[:3]] == [[1], [5], [0, 3]]
    assert sorted(np.concatenate(calls)) == list(range(len(lengths)))


def test_a_text_without_tokens_and_no_text_at_all():
    assert [list(rows) for rows in litert_runtime.calls([0, 4])] == [[1], [0]]
    assert litert_runtime.calls([]) == []


def test_cores_are_shared_between_interpreters():
    assert [litert_runtime.interpreters_and_threads(cores) for cores in (1, 2, 8, 20)] == [
        (1, 1),
        (2, 1),
        (8, 1),
        (8, 2),
    ]
