from sentiment_tf.errors import UserError, first_line


def test_problems_are_one_line_each():
    assert UserError("one\n  two", "three").problems == ("one two", "three")


def test_an_error_is_quoted_by_its_first_line():
    assert first_line(OSError("  cannot open\nat line 3")) == "cannot open"
    assert first_line(KeyError()) == "KeyError"
    assert first_line(ValueError("x" * 300)) == "x" * 200
