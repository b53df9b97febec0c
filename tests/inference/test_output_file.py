import errno
import io
import json
import os
import signal
import sys
import types

import numpy as np
import pytest

from sentiment_tf.errors import UserError
from sentiment_tf.inference import output_file, writers
from sentiment_tf.inference.readers import Row

LABELS = ("NEGATIVE", "POSITIVE")
PROBABILITIES = np.array([0.12345678, 0.87654322], np.float32)


def layout(output_format):
    return writers.layout(output_format, columns=("text",), label_names=LABELS)


@pytest.mark.parametrize(
    ("output_format", "content"),
    [
        ("json", '{"text": "good"}'),
        ("json", json.dumps({"text": "good " * 5000})),
        ("json", "{\\rtf1"),
        ("json", "1"),
        ("text", "good"),
    ],
)
def test_somebodys_line_without_its_end_is_not_an_output(tmp_path, output_format, content):
    path = tmp_path / "output"
    path.write_text(content)
    with pytest.raises(UserError, match="holds no complete record"):
        output_file.written(str(path), layout(output_format))


@pytest.mark.parametrize("output_format", writers.FORMATS)
def test_counts_whole_records_wherever_an_output_was_cut(tmp_path, output_format):
    form = layout(output_format)
    lines = [
        form.record(Row(1, {"text": text}, text), "POSITIVE", PROBABILITIES)
        for text in ("one", 'two\n"lines"', "three")
    ]
    whole, ends = form.header + b"".join(lines), np.cumsum([len(form.header), *map(len, lines)]).tolist()
    path = tmp_path / "output"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        records = sum(end <= cut for end in ends[1:])
        end = max([0, *(end for end in ends if end <= cut)])
        last = lines[records - 1] if records else b""
        assert output_file.written(str(path), form) == (records, end, last)


def test_an_output_with_another_header_is_not_resumed(tmp_path):
    path = tmp_path / "output"
    path.write_bytes(b"text,label\nx,y\n")
    with pytest.raises(UserError, match="its header differs from"):
        output_file.written(str(path), layout("csv"))


def test_a_file_is_made_with_the_first_records(tmp_path):
    path = tmp_path / "output"
    with output_file.Output(str(path)) as output:
        assert output.is_empty
        assert not path.exists()
        output.write(b"one\n")
        assert not output.is_empty
        assert path.read_bytes() == b"one\n"
        output.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_file_goes_on_behind_its_whole_records(tmp_path):
    path = tmp_path / "output"
    path.write_bytes(b"one\nhalf")
    with output_file.Output(str(path), append_at=4) as output:
        output.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_file_that_appeared_meanwhile_is_left_alone(tmp_path):
    path = tmp_path / "output"
    output = output_file.Output(str(path))
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match="exists; pass --resume"):
        output.write(b"one\n")
    assert path.read_bytes() == b"mine"


class FailingFile(io.BytesIO):
    """Writes three bytes, then does what it is told."""

    def __init__(self, then):
        super().__init__()
        self._then = then

    def write(self, data):
        super().write(data[:3])
        self._then()
        super().write(data[3:])
        return len(data)


def out_of_space():
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_write_that_fails_is_taken_back(tmp_path):
    output = output_file.Output(str(tmp_path / "output"))
    output._file = file = FailingFile(out_of_space)
    with pytest.raises(UserError, match="No space left on device; make room and pass --resume"):
        output.write(b"one\ntwo\n")
    assert file.getvalue() == b""


def test_an_interrupt_waits_for_the_end_of_a_write(tmp_path):
    output = output_file.Output(str(tmp_path / "output"))
    output._file = file = FailingFile(lambda: signal.raise_signal(signal.SIGINT))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        output.write(b"one\ntwo\n")
    assert file.getvalue() == b"one\ntwo\n"
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_interrupt_does_not_wait_and_the_write_is_taken_back(tmp_path):
    output = output_file.Output(str(tmp_path / "output"))
    output._file = file = FailingFile(lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        output.write(b"one\ntwo\n")
    assert file.getvalue() == b""


def test_a_named_pipe_is_written_to_as_it_is(tmp_path):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with output_file.Output(path) as output:
        output.write(b"one\n")
        assert os.read(reader, 100) == b"one\n"
    os.close(reader)
    assert output_file.is_special(path)


def test_a_device_that_is_full_is_told_and_not_resumed():
    with (
        output_file.Output("/dev/full") as output,
        pytest.raises(UserError, match="--output=/dev/full: No space left on device; make room$"),
    ):
        output.write(b"one\n")


def test_stdout(monkeypatch):
    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=io.BytesIO()))
    with output_file.Output("-") as output:
        output.write(b"one\n")
    assert sys.stdout.buffer.getvalue() == b"one\n"
