import dataclasses
import importlib
import typing
from pathlib import Path

import pytest
from absl import flags

from sentiment_tf import config
from sentiment_tf.config import TrainConfig
from sentiment_tf.errors import UserError
from sentiment_tf.pipeline import checks
from tests.support.commands import flags_of

train = importlib.import_module("sentiment_tf.train")  # the command; sentiment_tf.train is the API's function

FLAGFILES = sorted((Path(__file__).parents[1] / "flags").glob("*.flags"))


def problems_of(**settings) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        checks.validate(TrainConfig(**{"dataset": "sst2", **settings}))
    return caught.value.problems


def parse(path: Path) -> TrainConfig:
    """Reads a flagfile as the command does."""
    values = flags.FlagValues()
    train.define_flags(values)
    values(["train", f"--flagfile={path}"])
    return TrainConfig(**{field.name: getattr(values, field.name) for field in dataclasses.fields(TrainConfig)})


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.name)
def test_every_flagfile_is_valid_and_opens_with_what_it_does(path):
    checks.validate(parse(path))
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("python -m sentiment_tf.train" in line for line in header)


def test_defaults_are_valid_once_a_data_set_is_named():
    checks.validate(TrainConfig(dataset="sst2"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"dataset": "ssst2"}, ["--dataset=ssst2", "sst2, imdb, rotten_tomatoes"]),
        ({"dataset": None}, ["--dataset", "--train_file"]),
        ({"max_length": 2}, ["--max_length=2", "at least 3"]),
        ({"batch_size": 0}, ["--batch_size=0", "at least 1"]),
        ({"epochs": 0}, ["--epochs=0", "at least 1"]),
        ({"learning_rate": 0.0}, ["--learning_rate=0.0", "more than 0"]),
        ({"learning_rate": 3.0}, ["--learning_rate=3.0", "at most 1"]),
        ({"learning_rate": float("nan")}, ["--learning_rate=nan", "at most 1"]),
        ({"warmup_ratio": 1.0}, ["--warmup_ratio=1.0", "less than 1"]),
        ({"weight_decay": -0.1}, ["--weight_decay=-0.1", "at least 0"]),
        ({"seed": -1}, ["--seed=-1", "at least 0"]),
        ({"limit": 1}, ["--limit=1", "at least 2"]),
        ({"strategy": "tpu9"}, ["--strategy=tpu9", "auto, default, mirrored"]),
        (
            {"head": "solve", "trainable_layers": "2"},
            ["--head=solve", "--trainable_layers=2 never trains the head alone"],
        ),
        ({"seeds": 0}, ["--seeds=0", "at least 1"]),
        ({"seeds": 2, "trainable_layers": "auto"}, ["--seeds=2", "contradicts --trainable_layers=auto"]),
        ({"audit_labels": "yes"}, ["--audit_labels=yes", "auto, head, deep, off"]),
        ({"precision": "int4"}, ["--precision=int4", "mixed_bfloat16"]),
        ({"cache": "maybe"}, ["--cache=maybe", "on, off"]),
        ({"calibrate": "maybe"}, ["--calibrate=maybe", "on, off"]),
        ({"trainable_layers": "-1"}, ["--trainable_layers=-1", "all"]),
        ({"trainable_layers": "some"}, ["--trainable_layers=some", "all"]),
        ({"profile_steps": "5"}, ["--profile_steps=5", "first,last"]),
        ({"profile_steps": "0,3"}, ["--profile_steps=0,3", "counted from 1"]),
        ({"profile_steps": "5,2"}, ["--profile_steps=5,2", "first,last"]),
        ({"profile_steps": "a,b"}, ["--profile_steps=a,b", "10,20"]),
        ({"cache_limit": "much"}, ["--cache_limit=much", "25%", "50GB"]),
        ({"run_name": "a/b"}, ["--run_name=a/b", "--output_dir"]),
        ({"run_name": "nl\n--epochs=50"}, [r"--run_name='nl\n--epochs=50'", "control character"]),
        ({"run_name": "a\u2028b"}, [r"--run_name='a\u2028b'", "line end"]),
        ({"output_dir": "\x1b[31mruns"}, [r"--output_dir='\x1b[31mruns'", "control character"]),
        ({"run_name": "films "}, ["--run_name='films '", "ends with a space"]),
        ({"cache_dir": "\udcff"}, [r"--cache_dir='\udcff'", "control character"]),
        ({"train_file": "x.csv"}, ["--train_file", "--dataset=sst2", "not both"]),
        ({"dataset": None, "test_file": "x.csv"}, ["--train_file: is missing", "--test_file"]),
        ({"dataset": None, "train_file": "/nowhere.csv"}, ["--train_file=/nowhere.csv", "no such file"]),
        ({"data_dir": "/nowhere"}, ["--data_dir=/nowhere", "no such folder"]),
        ({"offline": True}, ["--offline", "--dataset=sst2", "--data_dir"]),
        ({"text_column": "x"}, ["--text_column=x", "your own files"]),
        ({"model": "/nowhere/model"}, ["--model=/nowhere/model", "no such folder"]),
        ({"model": "minilm-l6", "model_revision": "v1"}, ["--model_revision=v1", "minilm-l6"]),
        ({"model": "minilm-l6", "trainable_layers": "7"}, ["--trainable_layers=7", "minilm-l6 has 6 blocks", "0 to 6"]),
        ({"model": "minilm-l6", "max_length": 513}, ["--max_length=513", "512 positions"]),
        ({"stages": True}, ["--stages", "--trainable_layers=0"]),
        ({"stages": True, "trainable_layers": "00"}, ["--stages", "--trainable_layers=00"]),
        ({"stages": True, "trainable_layers": "auto"}, ["--stages", "--trainable_layers=auto"]),
        ({"early_stopping_patience": 3}, ["--early_stopping_patience=3", "--epochs=3"]),
        ({"time_budget": 5.0}, ["--time_budget=5.0", "--trainable_layers=auto"]),
        ({"accuracy_tolerance": 1.0}, ["--accuracy_tolerance=1.0", "--trainable_layers=auto"]),
    ],
)
def test_a_mistake_is_said_with_its_value_and_what_is_allowed(settings, says):
    (problem,) = problems_of(**settings)
    for words in says:
        assert words in problem


@pytest.mark.parametrize("name", ["Filme 2024", "電影", "films\u200d", "a\u00a0b", "=1+1", "--epochs=50"])
def test_names_of_all_scripts_are_allowed(name):
    checks.validate(TrainConfig(dataset="sst2", run_name=name))


def test_all_mistakes_are_said_at_once():
    assert len(problems_of(dataset="x", batch_size=0, epochs=0, learning_rate=-1.0, text_column="a")) == 5


@pytest.mark.parametrize(
    ("settings", "effective"),
    [
        ({"dataset": "sst2"}, {"max_length": 128, "head": "solve", "learning_rate": None, "run_name": "sst2"}),
        ({"dataset": "sst2", "head": "sgd"}, {"head": "sgd", "learning_rate": 5e-4}),
        ({"dataset": "imdb", "head": "sgd"}, {"max_length": 256, "learning_rate": 1e-3}),
        ({"dataset": "imdb", "max_length": 64}, {"max_length": 64}),
        ({"dataset": "sst2", "trainable_layers": "1"}, {"learning_rate": 1e-4, "head": None}),
        ({"dataset": "sst2", "trainable_layers": "1", "stages": True}, {"head": "solve"}),
        ({"dataset": "sst2", "trainable_layers": "auto"}, {"learning_rate": None, "head": "solve"}),
        ({"dataset": "imdb", "trainable_layers": "1"}, {"learning_rate": 2e-4}),
        ({"dataset": "sst2", "trainable_layers": "all"}, {"learning_rate": 5e-5}),
        ({"train_file": "/data/tweets.csv"}, {"run_name": "tweets", "max_length": 128}),
        ({"data_dir": "/data/reviews/"}, {"run_name": "reviews"}),
    ],
)
def test_defaults_that_depend_on_other_settings(settings, effective):
    resolved = config.resolve(TrainConfig(**settings))
    for name, value in effective.items():
        assert getattr(resolved, name) == value


def test_a_home_folder_is_the_users():
    resolved = config.resolve(TrainConfig(dataset="sst2", output_dir="~/runs", cache_dir="~/c", model="~/m"))
    home = str(Path.home())
    assert (resolved.output_dir, resolved.cache_dir, resolved.model) == (f"{home}/runs", f"{home}/c", f"{home}/m")


def test_runs_differ_by_what_is_trained_not_by_where_it_is_kept():
    mine = config.resolve(TrainConfig(dataset="sst2"))
    elsewhere = dataclasses.asdict(dataclasses.replace(mine, cache_dir="/elsewhere", overwrite=True, quiet=True))
    assert config.differences(mine, elsewhere) == []
    other = dataclasses.asdict(dataclasses.replace(mine, seed=5, epochs=1))
    assert config.differences(mine, other) == ["--epochs: there 1, here 3", "--seed: there 5, here 0"]


def test_what_auto_came_to_may_be_passed_by_name():
    asked = config.resolve(TrainConfig(dataset="rotten_tomatoes", trainable_layers="auto"))
    used = dataclasses.replace(config.at_depth(asked, 2), precision="mixed_bfloat16", strategy="default")
    records = dataclasses.asdict(asked), dataclasses.asdict(used)
    for same in (
        asked,
        used,
        dataclasses.replace(asked, precision="mixed_bfloat16"),
        config.at_depth(asked, 2),
        dataclasses.replace(config.at_depth(asked, 2), strategy="default"),
    ):
        assert config.differences(same, *records) == []
    assert config.differences(config.at_depth(asked, 1), *records) == [
        "--trainable_layers: there 2, here 1",
        "--learning_rate: there 0.0001, here 0.0002",
    ]
    rate = dataclasses.replace(asked, learning_rate=1e-4)
    assert config.differences(rate, *records) == ["--learning_rate: there None, here 0.0001"]
    precision = dataclasses.replace(asked, precision="float32")
    assert config.differences(precision, *records) == ["--precision: there auto, here float32"]


def test_a_depth_of_the_search_has_its_own_rate_unless_one_is_given():
    searched = config.resolve(TrainConfig(dataset="rotten_tomatoes", trainable_layers="auto"))
    assert config.at_depth(searched, 2) == dataclasses.replace(searched, trainable_layers="2", learning_rate=1e-4)
    given = dataclasses.replace(searched, learning_rate=0.01)
    assert config.at_depth(given, 2).learning_rate == 0.01


def test_profiled_steps_are_two_numbers():
    assert TrainConfig(profile_steps="10,20").profiled_steps == (10, 20)
    assert TrainConfig().profiled_steps is None


@dataclasses.dataclass
class Annotated:
    """Fields whose types are written in each way that Python allows."""

    plain: int = dataclasses.field(default=1, metadata={"help": ""})
    union: float | None = dataclasses.field(default=None, metadata={"help": ""})
    none_first: None | bool = dataclasses.field(default=None, metadata={"help": ""})
    optional: typing.Optional[str] = dataclasses.field(default=None, metadata={"help": ""})  # noqa: UP045
    text: "int | None" = dataclasses.field(default=None, metadata={"help": ""})


def test_the_type_of_a_flag_is_the_fields_however_it_is_written(monkeypatch):
    monkeypatch.setattr(train, "TrainConfig", Annotated)
    values = flags.FlagValues()
    train.define_flags(values)
    kinds = {name: values[name].flag_type() for name in ("plain", "union", "none_first", "optional", "text")}
    assert kinds == {"plain": "int", "union": "float", "none_first": "bool", "optional": "string", "text": "int"}


def test_written_flags_start_the_same_run(tmp_path):
    mine = config.resolve(TrainConfig(dataset="imdb", offline=True, trainable_layers="2", limit=100))
    (tmp_path / "run.flags").write_text(config.to_flags(mine))
    assert parse(tmp_path / "run.flags") == mine


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--private"], ["--private", "--push_to_hub=user/name"]),
        (["--push_to_hub=user/name", "--offline"], ["--push_to_hub=user/name", "contradicts --offline", "push"]),
        (["--push_to_hub=user/name", "--exports=litert"], ["--push_to_hub=user/name", "add hf to --exports"]),
    ],
)
def test_an_upload_that_cannot_be_is_refused_before_training(given, says):
    with flags_of("train") as command:
        arguments = flags.FLAGS(["train", "--dataset=rotten_tomatoes", *given])[1:]
        with pytest.raises(UserError) as caught:
            command.main(arguments)
    (problem,) = caught.value.problems
    for words in says:
        assert words in problem
