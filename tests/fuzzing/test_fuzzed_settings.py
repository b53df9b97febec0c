"""config.json and flagfiles with anything in them."""

import contextlib
import dataclasses
import importlib
import json

import pytest
from absl import flags
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from sentiment_tf import config
from sentiment_tf.config import TrainConfig
from sentiment_tf.data import tokenization
from sentiment_tf.errors import UserError
from sentiment_tf.modeling import bert_tokenizer, distilbert_settings
from sentiment_tf.pipeline import checks

train = importlib.import_module("sentiment_tf.train")  # the command; sentiment_tf.train is the API's function

NUMBERS = st.integers() | st.floats() | st.sampled_from([2, 4, 32, 64, 0.5])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = [field.name for field in dataclasses.fields(distilbert_settings.Settings)]
STRINGS = ["run_name", "output_dir", "cache_dir", "model_revision", "dataset_revision"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


@given(
    content=JSON
    | st.fixed_dictionaries({"model_type": st.just("distilbert")}, optional=dict.fromkeys(KEYS, JSON | NUMBERS))
)
@example(content={"model_type": "distilbert", "n_heads": 12, "dim": 0})
@example(content={"model_type": ["distilbert"]})
def test_config_json_gives_settings_in_their_range_or_one_mistake(folder, content):
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")
    try:
        settings = distilbert_settings.read(str(folder), "mine")
    except UserError:
        return
    assert settings.problem() is None
    assert settings.encoder_parameters <= 1000


@given(content=st.binary(max_size=200))
def test_config_json_of_any_bytes_is_one_mistake(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match="^--model=mine: "):
        distilbert_settings.read(str(folder), "mine")


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"]
TOKENIZER = json.loads(BertWordPieceTokenizer({word: number for number, word in enumerate(WORDS)}).to_str())


def places(item, path=()) -> list[tuple]:
    """The paths of everything in a JSON value."""
    inner = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    return [path, *(each for key, value in inner for each in places(value, (*path, key)))]


def replaced(item, path, value):
    """A copy of a JSON value with another one at a path."""
    if not path:
        return value
    copy = dict(item) if isinstance(item, dict) else list(item)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


@given(path=st.sampled_from(places(TOKENIZER)), value=JSON | st.sampled_from(WORDS))
@example(path=("post_processor", "sep", 1), value=10**9)
@example(path=("post_processor", "sep", 1), value=1)
@example(path=("model", "vocab", "good"), value=4)
@example(path=("model", "vocab", "[SEP]"), value=2)
@example(path=("model", "vocab", "good"), value=2**32 - 1)  # which took minutes, and gigabytes of messages
def test_a_tokenizer_gives_ids_of_the_model_or_one_mistake(folder, path, value):
    (folder / "tokenizer.json").write_text(json.dumps(replaced(TOKENIZER, path, value)), encoding="utf-8")
    try:
        tokenizer = bert_tokenizer.load(str(folder), name="mine", vocabulary_size=len(WORDS))
    except UserError:
        return
    ids = tokenization.tokenize(tokenizer, ["good film"], max_length=8).ids
    pieces = tokenization.vocabulary(tokenization.portable(tokenizer))
    assert (pieces[ids[0]], pieces[ids[-1]]) == ("[CLS]", "[SEP]")
    assert ids.max() < len(WORDS)


def parse(path) -> TrainConfig:
    """Reads a flagfile as the command does."""
    values = flags.FlagValues()
    train.define_flags(values)
    values(["train", f"--flagfile={path}"])
    return TrainConfig(**{field.name: getattr(values, field.name) for field in dataclasses.fields(TrainConfig)})


@given(settings=st.dictionaries(st.sampled_from(STRINGS), st.text(max_size=12), max_size=4))
@example(settings={"run_name": "nl\n--epochs=50"})
@example(settings={"run_name": "a "})
@example(settings={"output_dir": "# a //"})
def test_run_flags_start_the_very_run(folder, settings):
    """A text that would not come back from the file is refused before the run."""
    mine = dataclasses.replace(TrainConfig(dataset="sst2"), **settings)
    try:
        checks.validate(mine)
    except UserError:
        return
    (folder / "run.flags").write_text(config.to_flags(mine), encoding="utf-8")
    assert parse(folder / "run.flags") == mine


@given(content=st.binary(max_size=100) | st.text("-=\n #/abcepochs'\"0", max_size=60).map(str.encode))
def test_any_flagfile_is_read_or_refused_in_the_users_terms(folder, content):
    (folder / "any.flags").write_bytes(content)
    with contextlib.suppress(flags.Error, ValueError, OSError):  # those that the command turns into one line
        parse(folder / "any.flags")
