"""The Python API, as a program uses it."""

import importlib
import json
import subprocess
import sys

import pytest

import sentiment_tf as st
from tests.support import tiny_export, tiny_litert

PROGRAM = """
import json, sys
import sentiment_tf as st
folder = sys.argv[1]
config = st.TrainConfig(
    train_file=f"{folder}/train.csv", validation_file=f"{folder}/validation.csv", model=f"{folder}/model",
    max_length=16, output_dir=f"{folder}/runs", cache_dir=f"{folder}/cache", run_name="api",
    exports="saved_model,hf,litert",
)
run, again = st.train(config), st.train(config)
model = st.load(run.directory)
labels, probabilities = model.predict(["a good film", "bad"])
measured = st.evaluate(model, st.DataSettings(files={"test": f"{folder}/train.csv"}))
print(json.dumps({
    "directory": str(run.directory), "same": again.record == run.record, "engine": model.engine, "labels": labels,
    "accuracy": measured["accuracy"], "reported": run.record["metrics"]["after"]["accuracy"],
}))
"""


@pytest.mark.slow
def test_train_load_predict_and_evaluate(tmp_path):
    from tests.support.hub import sentences, tiny_model

    tiny_model(tmp_path / "model")
    rows = zip(*sentences(60, seed=1), strict=True)
    lines = ["text,label", *(f'"{text}",{label}' for text, label in rows)]
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["directory"] == f"{tmp_path}/runs/api"
    assert said["same"]
    assert said["engine"] == "litert"
    assert set(said["labels"]) <= {"0", "1"}
    assert said["accuracy"] == said["reported"]


def test_settings_that_contradict_raise(tmp_path):
    with pytest.raises(st.UserError, match="--epochs=0: out of range"):
        st.train(st.TrainConfig(dataset="sst2", epochs=0, output_dir=str(tmp_path)))
    with pytest.raises(st.UserError, match="--dataset: name one of"):
        st.evaluate(None, st.DataSettings())
    assert list(tmp_path.iterdir()) == []


def test_load_takes_the_first_engine_that_can(version, tmp_path):
    assert st.load(version).engine == "tensorflow"
    run = tiny_litert.export(tmp_path / "run")
    assert (st.load(run).engine, st.load(run, precision="int8").precision) == ("litert", "int8")
    tiny_export.export(run / "1")
    assert st.load(run).engine == "litert"
    assert st.load(run, engine="tensorflow").engine == "tensorflow"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "torch"}, "--engine=torch: unknown; choose from auto, litert, tensorflow"),
        ({"engine": "litert", "precision": "bfloat16"}, "--precision=bfloat16: --engine=litert has float32, int8"),
        ({"precision": "int4"}, "--precision=int4: --engine=auto has float32, int8, bfloat16"),
        ({"precision": "int8"}, "holds no LiteRT export"),
        ({"precision": "bfloat16"}, "--precision=bfloat16: .* has no hf/model.safetensors"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(version, settings, message):
    with pytest.raises(st.UserError, match=message):
        st.load(version, **settings)


def test_names_are_listed_and_others_raise():
    assert {"TrainConfig", "train", "load", "evaluate"} <= set(st.__all__)
    with pytest.raises(AttributeError, match="no attribute nonsense"):
        st.nonsense  # noqa: B018


def test_the_command_modules_do_not_take_the_place_of_functions():
    command = importlib.import_module("sentiment_tf.train")
    assert hasattr(command, "define_flags")
    assert st.train is importlib.import_module("sentiment_tf.pipeline.launch").train
