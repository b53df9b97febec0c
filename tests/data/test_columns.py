import pytest

from sentiment_tf.data.columns import TEXT_COLUMNS, find_column


@pytest.mark.parametrize(
    ("columns", "wanted", "expected"),
    [
        (("Review", "Sentiment"), None, "Review"),
        (("id", " TEXT "), None, " TEXT "),
        (("Sentence", "text"), None, "text"),
        (("Text", "text", "TEXT"), None, "Text"),
        (("id", "words"), None, None),
        (("Words", "text"), "Words", "Words"),
        (("Words", "text"), "words", None),
        (("Words ", "text"), "Words", "Words "),
        (("Words ", "Words"), "Words", "Words"),
    ],
)
def test_the_text_column_is_found_by_its_name(columns, wanted, expected):
    assert find_column(columns, wanted, TEXT_COLUMNS) == expected
