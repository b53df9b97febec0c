"""The command as a user meets it; what it reads and writes in detail is in tests/inference."""

import csv
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from absl import flags

from sentiment_tf import predict
from sentiment_tf.errors import UserError
from sentiment_tf.exporting import manifest
from sentiment_tf.inference.classifier import TEXTS_AT_ONCE
from sentiment_tf.inference.engines import tensorflow as saved_model
from tests.support import tiny_export, tiny_litert

TEXTS = tiny_export.texts(600)  # more than are asked at once


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A tiny run: a folder with version 1."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    tiny_export.export(folder / "1")
    return folder


@pytest.fixture(scope="module")
def load_once():
    """Loading and the first answer take seconds; tests that damage nothing share them."""
    return functools.cache(saved_model.load)


@pytest.fixture(scope="module")
def model_of_run(run_folder, load_once):
    return load_once(str(run_folder))


@pytest.fixture(scope="module")
def expected(model_of_run):
    """Label and probabilities of each of TEXTS."""
    return model_of_run.predict(TEXTS)


@pytest.fixture
def call(run_folder, monkeypatch, capfdbinary, load_once):
    """Runs the command in this process; returns what it printed."""
    monkeypatch.setattr(saved_model, "load", load_once)

    def call(*arguments, model=run_folder):
        values = flags.FlagValues()
        predict.define_flags(values)
        monkeypatch.setattr(flags, "FLAGS", values)
        assert predict.main(values(["predict", f"--model={model}", *map(str, arguments)])[1:]) == 0
        return capfdbinary.readouterr()

    return call


def process(*arguments, code=None, **environment):
    """Starts the command, or `code` in its place, in a process of its own."""
    start = ["-c", code] if code else ["-m", "sentiment_tf.predict"]
    return subprocess.Popen(
        [sys.executable, *start, *map(str, arguments)],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def write_csv(path, texts):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text", "label"], *([i, text, "gold"] for i, text in enumerate(texts))])
    return path


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_answers(rows, expected, prefix=""):
    labels, probabilities = expected
    assert [row[f"{prefix}label"] for row in rows] == labels[: len(rows)]
    likeliest = [float(row[f"{prefix}probability"]) for row in rows]
    np.testing.assert_allclose(likeliest, probabilities.max(axis=1)[: len(rows)], atol=2e-5)


def test_texts_are_answered_one_a_line(call, expected):
    lines = call(*TEXTS[:3]).out.decode().splitlines()
    assert len(lines) == 3
    for line, text, label, probabilities in zip(lines, TEXTS, *expected, strict=False):
        assert line.split("\t")[0] == label
        assert float(line.split("\t")[1]) == pytest.approx(probabilities.max(), abs=1e-4)
        assert line.split("\t")[2] == " ".join(text.split())


def test_flags_may_stand_behind_texts(call):
    answer = json.loads(call("good film", "--format=json").out)
    assert list(answer) == ["text", "label", "probability", "probabilities"]
    assert list(answer["probabilities"]) == list(tiny_export.LABEL_NAMES)


@pytest.mark.parametrize("inner", ["", "1"])
def test_model_may_be_the_run_or_the_version(call, run_folder, inner):
    assert call("good", model=run_folder / inner).out.startswith(
        tuple(label.encode() for label in tiny_export.LABEL_NAMES)
    )


def test_csv_keeps_order_and_columns(call, tmp_path, expected):
    write_csv(tmp_path / "in.csv", TEXTS)
    told = call(f"--input={tmp_path / 'in.csv'}", f"--output={tmp_path / 'out.csv'}")
    rows = read_csv(tmp_path / "out.csv")
    assert [row["id"] for row in rows] == [str(i) for i in range(len(TEXTS))]
    assert [row["text"] for row in rows] == TEXTS
    assert {row["label"] for row in rows} == {"gold"}
    assert_answers(rows, expected, prefix="predicted_")
    assert told.out.decode() == f"600 rows answered in {tmp_path / 'out.csv'}\n"
    assert told.err == b""


def test_lines_of_text_become_json(call, tmp_path, expected):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS[:40]) + "\n", encoding="utf-8")
    call(f"--input={tmp_path / 'in.txt'}", f"--output={tmp_path / 'out.jsonl'}")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == TEXTS[:40]
    assert_answers(rows, expected)


def test_parquet_becomes_json(call, tmp_path, expected):
    table = pa.table({"review": TEXTS[:40], "stars": list(range(40))})
    pq.write_table(table, tmp_path / "in.parquet")
    rows = [json.loads(line) for line in call(f"--input={tmp_path / 'in.parquet'}").out.splitlines()]
    assert [row["stars"] for row in rows] == list(range(40))
    assert_answers(rows, expected)


def test_no_rows_leave_a_header(call, tmp_path):
    (tmp_path / "in.csv").write_text("text\n")
    call(f"--input={tmp_path / 'in.csv'}", f"--output={tmp_path / 'out.csv'}")
    assert (tmp_path / "out.csv").read_text().startswith("text,label,probability,probability_NEGATIVE")


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.txt"])
def test_resume_with_another_model_is_refused(call, tmp_path, name):
    source = write_csv(tmp_path / "in.csv", TEXTS[:5])
    call(f"--input={source}", f"--output={tmp_path / name}")
    before = (tmp_path / name).read_bytes()
    other = tmp_path / "other"
    tiny_export.export(other / "1", weights=tiny_export.weights(seed=8))
    with pytest.raises(UserError, match="another model or precision answered its last row"):
        call(f"--input={source}", f"--output={tmp_path / name}", "--resume", model=other)
    assert (tmp_path / name).read_bytes() == before


def test_every_engine_writes_the_same(call, tmp_path):
    run = tmp_path / "run"
    tiny_litert.export(run)
    tiny_export.export(run / "1")
    source = write_csv(tmp_path / "in.csv", TEXTS[:80])
    answers = {}
    for engine in ("tensorflow", "litert"):
        output = tmp_path / f"{engine}.csv"
        call(f"--input={source}", f"--output={output}", f"--engine={engine}", model=run)
        answers[engine] = read_csv(output)
        call(f"--input={source}", f"--output={output}", "--resume", model=run)  # --engine=auto: the same model
    for one, other in zip(*answers.values(), strict=True):
        assert one.keys() == other.keys()
        assert one["predicted_label"] == other["predicted_label"]
        for label in tiny_export.LABEL_NAMES:
            name = f"predicted_probability_{label}"
            assert float(one[name]) == pytest.approx(float(other[name]), abs=1e-4)


@pytest.fixture(scope="module")
def explainable(run_folder, tmp_path_factory):
    """The tiny run with its folder for transformers."""
    run = tmp_path_factory.mktemp("runs") / "explainable"
    shutil.copytree(run_folder, run)
    tiny_export.export_hf(run / "hf")
    return run


@pytest.mark.slow
def test_explain_adds_the_words_to_every_format(call, tmp_path, explainable, expected):
    source = write_csv(tmp_path / "in.csv", TEXTS[:20])
    for name in ("out.jsonl", "out.csv", "out.txt"):
        call(f"--input={source}", f"--output={tmp_path / name}", "--explain", model=explainable)
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert_answers(answers, expected, prefix="predicted_")
    tables, lines = read_csv(tmp_path / "out.csv"), (tmp_path / "out.txt").read_text().splitlines()
    for text, answer, row, line in zip(TEXTS, answers, tables, lines, strict=False):
        words = answer["predicted_words"]
        assert all(text[word["start"] : word["end"]] == word["text"] for word in words)
        heaviest = sorted(words, key=lambda word: -abs(word["weight"]))[:5]
        assert row["predicted_words"].count("; ") == max(len(heaviest) - 1, 0)
        assert row["predicted_words"] == line.split("\t")[2]
        assert all(f"{word['text']} {word['weight']:+.2f}" in row["predicted_words"] for word in heaviest)


def test_explain_resumes(call, tmp_path, explainable):
    source, whole, cut = write_csv(tmp_path / "in.csv", TEXTS[:5]), tmp_path / "whole.csv", tmp_path / "cut.csv"
    call(f"--input={source}", f"--output={whole}", "--explain", model=explainable)
    cut.write_bytes(whole.read_bytes()[:150])
    call(f"--input={source}", f"--output={cut}", "--explain", "--resume", model=explainable)
    assert [row["text"] for row in read_csv(cut)] == TEXTS[:5]
    with pytest.raises(UserError, match="its header differs"):
        call(f"--input={source}", f"--output={cut}", "--resume", model=explainable)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--engine=litert"], "--engine=litert: --explain needs gradients in float32 from --engine=tensorflow"),
        (["--precision=int8"], "--precision=int8: --explain needs gradients in float32"),
        (["--precision=bfloat16"], "--precision=bfloat16: --explain needs gradients in float32"),
        ([], "has no hf/model.safetensors, whose weights explanations need; pass a run whose --exports include hf"),
    ],
)
def test_explain_says_what_it_needs(call, arguments, problem):
    with pytest.raises(UserError) as raised:
        call("good", "--explain", *arguments)
    assert len(raised.value.problems) == 1
    assert problem in raised.value.problems[0]


@pytest.mark.parametrize("cut", [0, 10, 300, 30_000])
def test_resume_makes_what_an_uncut_run_makes(call, tmp_path, cut):
    source = write_csv(tmp_path / "in.csv", TEXTS)
    call(f"--input={source}", f"--output={tmp_path / 'whole.csv'}")
    (tmp_path / "cut.csv").write_bytes((tmp_path / "whole.csv").read_bytes()[:cut])
    call(f"--input={source}", f"--output={tmp_path / 'cut.csv'}", "--resume")
    resumed, whole = read_csv(tmp_path / "cut.csv"), read_csv(tmp_path / "whole.csv")
    assert [row["text"] for row in resumed] == [row["text"] for row in whole]
    assert [row["predicted_label"] for row in resumed] == [row["predicted_label"] for row in whole]


def test_resume_of_a_finished_output_changes_nothing(call, tmp_path):
    source = write_csv(tmp_path / "in.csv", TEXTS[:5])
    call(f"--input={source}", f"--output={tmp_path / 'out.csv'}")
    before = (tmp_path / "out.csv").read_bytes()
    call(f"--input={source}", f"--output={tmp_path / 'out.csv'}", "--resume")
    assert (tmp_path / "out.csv").read_bytes() == before


@pytest.mark.parametrize("other", [["other"] * 9, TEXTS[:2]])
def test_resume_with_another_input_is_refused(call, tmp_path, other):
    source, output = write_csv(tmp_path / "in.csv", TEXTS[:5]), tmp_path / "out.csv"
    call(f"--input={source}", f"--output={output}")
    before = output.read_bytes()
    write_csv(source, other)
    with pytest.raises(UserError, match="its 5 rows do not answer the first ones"):
        call(f"--input={source}", f"--output={output}", "--resume")
    assert output.read_bytes() == before


@pytest.mark.parametrize("format", ["csv", "json", "text"])
def test_resume_keeps_its_hands_off_another_file(call, tmp_path, format):
    source, output = write_csv(tmp_path / "in.csv", TEXTS[:5]), tmp_path / "notes"
    output.write_text('a "note of mine, without an end')
    with pytest.raises(UserError, match="holds no complete record"):
        call(f"--input={source}", f"--output={output}", f"--format={format}", "--resume")
    assert output.read_text() == 'a "note of mine, without an end'


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
@pytest.mark.parametrize("made", ["itself", "link", "copy"])
@pytest.mark.parametrize("end", ["\n", ""])
def test_resume_never_takes_the_input_for_its_answers(call, tmp_path, name, made, end):
    content = {"a.jsonl": '{"text": "good"}\n{"text": "bad"}', "a.txt": "good\nbad", "a.csv": "text\ngood\nbad"}[name]
    source, output = tmp_path / name, tmp_path / f"output{name}"
    source.write_text(content + end)
    if made == "copy":
        output.write_text(content + end)
    elif made == "link":
        os.link(source, output)
    else:
        output = source
    problem = (
        "do not answer|its header differs" if made == "copy" else f"--output={output}: is the same file as --input"
    )
    with pytest.raises(UserError, match=problem):
        call(f"--input={source}", f"--output={output}", "--resume")
    assert source.read_text() == output.read_text() == content + end


@pytest.mark.parametrize("flag", [[], ["--resume"]])
def test_special_files(call, flag, tmp_path):
    (tmp_path / "in.txt").write_text("good\n")
    arguments = f"--input={tmp_path / 'in.txt'}", "--output=/dev/null", *flag
    if flag:
        with pytest.raises(UserError, match="--resume: what has gone to /dev/null can't be read back"):
            call(*arguments)
    else:
        assert call(*arguments).out == b"1 rows answered in /dev/null\n"


def test_home_is_expanded_in_every_path(call, tmp_path, run_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").symlink_to(run_folder)
    (tmp_path / "in.txt").write_text("good\n")
    call("--input=~/in.txt", "--output=~/out.txt", "--verify", model="~/run")
    assert (tmp_path / "out.txt").read_text().endswith("\tgood\n")


def test_dev_stdout_is_stdout(call):
    out = call("good", "--output=/dev/stdout", "--format=json").out
    assert json.loads(out)["text"] == "good"


def test_a_broken_row_ends_the_run_behind_the_rows_before_it(call, tmp_path, expected):
    lines = [json.dumps({"text": text}) for text in TEXTS]
    lines.insert(550, "{broken")
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    arguments = f"--input={tmp_path / 'in.jsonl'}", f"--output={tmp_path / 'out.jsonl'}"
    with pytest.raises(UserError, match=r"in.jsonl row 551: not JSON .* fix the row .* or pass --skip_bad_rows"):
        call(*arguments)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 550
    told = call(*arguments, "--resume", "--skip_bad_rows")
    assert_answers([json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()], expected)
    assert b"600 rows answered" in told.out
    assert re.fullmatch(rb"skipped 1 bad rows; the first: .*in.jsonl row 551: not JSON .*\n", told.err)


def test_rows_that_are_all_bad_are_a_mistake(call, tmp_path):
    (tmp_path / "in.jsonl").write_text('{broken\n{"text": 3}\n')
    arguments = f"--input={tmp_path / 'in.jsonl'}", f"--output={tmp_path / 'out.jsonl'}", "--skip_bad_rows"
    message = r"none of the 2 rows can be answered; the first: .*in.jsonl row 1: not JSON .*; fix the input"
    with pytest.raises(UserError, match=message):
        call(*arguments)
    assert not (tmp_path / "out.jsonl").exists()
    (tmp_path / "in.jsonl").write_text("")
    assert call(*arguments).out == f"0 rows answered in {tmp_path / 'out.jsonl'}\n".encode()  # no rows are no mistake


def test_a_pipe_is_read(call, tmp_path):
    os.mkfifo(tmp_path / "in.csv")
    writer = threading.Thread(target=(tmp_path / "in.csv").write_text, args=["text\ngood film\n"])
    writer.start()
    out = call(f"--input={tmp_path / 'in.csv'}").out.decode()
    writer.join()
    assert [line.split(",")[0] for line in out.splitlines()] == ["text", "good film"]


@pytest.mark.slow
def test_dev_stdin_is_read(run_folder):
    running = process(f"--model={run_folder}", "--input=/dev/stdin")
    out, _ = running.communicate(b"good film\n", timeout=120)
    assert running.returncode == 0
    assert out.decode().endswith("\tgood film\n")


def test_verify_passes_what_was_exported(call, run_folder):
    assert call("--verify").err.decode() == f"{run_folder / '1'}: 5 files, all as they were exported\n"


def test_verify_names_the_file_that_differs(call, tmp_path):
    version = tiny_export.export(tmp_path / "run" / "1")
    (tmp_path / "run" / "run.json").write_text("{}")
    manifest.write(tmp_path / "run")
    data = version / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="variables.data-00000-of-00001: differs from what was exported"):
        call("--verify", model=version)
    with pytest.raises(UserError, match="variables.data-00000-of-00001: differs from what was exported"):
        call("good", "--verify", model=tmp_path / "run")


def test_verify_without_a_manifest(call, tmp_path):
    version = tiny_export.export(tmp_path / "1")
    (version / "MANIFEST").unlink()
    with pytest.raises(UserError, match="MANIFEST: can't be read"):
        call("--verify", model=version)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "nothing to answer; pass texts"),
        (["good", "--input=x.csv"], "--input=x.csv: there are texts on the command line, too"),
        (["good", "--text_column=body"], "--text_column=body: is for --input, but the texts are on the command line"),
        (["good", "--input_format=csv"], "--input_format=csv: is for --input, but the texts are on the command line"),
        (["--input={tmp}/in.csv", "--input_format=jsonl", "--output={tmp}/in.csv"], "is the same file as --input"),
        (["--input={tmp}/none.csv"], "--input={tmp}/none.csv: No such file"),
        (["--input={tmp}/in.csv", "--text_column=words"], "--text_column=words: .* pass one of id, text, label"),
        (["--input={tmp}/in.csv", "--output={tmp}/taken"], "--output={tmp}/taken: exists; pass --resume"),
        (["--input={tmp}/in.csv", "--output={tmp}/none/out"], "--output={tmp}/none/out: its folder does not exist"),
        (["--input={tmp}/in.csv", "--output={tmp}/out.parquet"], "--output={tmp}/out.parquet: answers are JSON lines"),
        (["--input={tmp}/in.csv", "--output={tmp}", "--resume"], "--output={tmp}: is no file"),
        (["--input={tmp}/in.csv", "--resume"], "--resume: what has gone to stdout"),
        (["good", "--model={tmp}/none"], "--model={tmp}/none: no such folder"),
        (["good", "--model={tmp}"], "--model={tmp}: holds no SavedModel"),
        (["good", "--model="], "--model: which model"),
    ],
)
def test_mistakes_are_told_and_nothing_is_lost(call, tmp_path, arguments, problem):
    write_csv(tmp_path / "in.csv", TEXTS[:3])
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UserError) as raised:
        call(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert len(raised.value.problems) == 1
    assert re.search(problem.format(tmp=re.escape(str(tmp_path))), raised.value.problems[0])
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "taken"}
    assert (tmp_path / "taken").read_text() == "mine"


def test_settings_of_a_file_beside_texts_are_told_with_the_rest(call):
    with pytest.raises(UserError) as raised:
        call("good", "--model=", "--text_column=body", "--input_format=csv")
    assert [problem.split(":")[0] for problem in raised.value.problems] == [
        "--model",
        "--text_column=body",
        "--input_format=csv",
    ]


def test_several_mistakes_are_told_at_once(call):
    with pytest.raises(UserError) as raised:
        call("--model=", "--resume")
    assert [problem.split(":")[0] for problem in raised.value.problems] == [
        "--model",
        "nothing to answer; pass texts, or --input=FILE, or --input=- for stdin",
        "--resume",
    ]


LISTS_MODULES = """
import runpy, sys
try:
    runpy.run_module("sentiment_tf.predict", run_name="__main__", alter_sys=True)
finally:
    print(*(name for name in ("transformers", "datasets", "torch", "sklearn", "matplotlib") if name in sys.modules))
"""


@pytest.mark.slow
def test_needs_nothing_of_the_training_and_no_locale(run_folder, model_of_run):
    """In a Turkish locale a careless lower() makes a dotless i of I."""
    text = "TITLE OF A FILM I LIKE"
    asked = process(f"--model={run_folder}", text, "--format=json", code=LISTS_MODULES, LC_ALL="tr_TR.UTF-8")
    out, err = asked.communicate()
    assert err == b""
    assert asked.returncode == 0
    answer, imported = out.decode().splitlines()
    assert imported == ""
    likeliest = model_of_run.probabilities([text.lower()]).max()
    assert json.loads(answer)["probability"] == pytest.approx(likeliest, abs=1e-5)


@pytest.mark.slow
def test_ctrl_c_leaves_whole_rows(run_folder):
    asked = process(f"--model={run_folder}", "--input=-", "--format=json")
    texts = [f"film {number}" for number in range(4 * TEXTS_AT_ONCE)]
    asked.stdin.write("\n".join(texts).encode())
    asked.stdin.flush()  # and left open: more is to come
    first = asked.stdout.readline()
    asked.send_signal(signal.SIGINT)
    rest = asked.stdout.read()
    with asked:
        assert asked.stderr.read() == b"interrupted\n"
    assert asked.returncode == 130
    assert (first + rest).endswith(b"\n")
    answered = [json.loads(line)["text"] for line in (first + rest).splitlines()]
    assert 0 < len(answered) < len(texts)
    assert answered == texts[: len(answered)]


@pytest.mark.slow
def test_an_unknown_flag(run_folder):
    asked = process("good", f"--model={run_folder}", "--modle=x")
    out, err = asked.communicate()
    assert asked.returncode == 2
    assert out == b""
    assert re.fullmatch(rb"error: .*modle.*\n", err)


def test_safe_csv_is_for_csv(call, tmp_path):
    source = write_csv(tmp_path / "in.csv", ["=1+1", "good"])
    answered = tmp_path / "out.csv"
    call(f"--input={source}", f"--output={answered}", "--safe_csv")
    assert [row["text"] for row in read_csv(answered)] == ["'=1+1", "good"]
    call(f"--input={source}", f"--output={answered}", "--safe_csv", "--resume")
    assert len(read_csv(answered)) == 2
    with pytest.raises(UserError, match="^--safe_csv: is for CSV, and the output is json; pass --format=csv"):
        call(f"--input={source}", "--format=json", "--safe_csv")
