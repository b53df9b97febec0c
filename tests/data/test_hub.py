import numpy as np
import transformers

from tests.support import hub


def test_tiny_model_loads_as_the_hubs_does(tmp_path):
    directory = hub.tiny_model(tmp_path / "model")
    transformers.logging.set_verbosity_error()
    model = transformers.TFDistilBertForSequenceClassification.from_pretrained(directory, num_labels=2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    assert tokenizer.tokenize("A Lovely film, x1") == ["a", "lovely", "film", ",", "x", "##1"]
    tokens = dict(tokenizer(["a lovely film", "a dull story"], return_tensors="np"))
    states = model.distilbert({name: np.int32(array) for name, array in tokens.items()})[0].numpy()
    assert states.shape == (2, 5, 32)
    assert np.abs(states[0] - states[1]).max() > 0.5


def test_every_repository_has_the_files_that_are_asked_for():
    held = {repository.name: repository for repository in hub.repositories()}
    assert held.keys() == {hub.SST2, hub.IMDB, hub.DISTILBERT}
    assert {"config.json", "model.safetensors", "vocab.txt"} <= held[hub.DISTILBERT].files.keys()
    folder = held[hub.SST2].tree(recursive=False)
    assert {entry["path"]: entry["type"] for entry in folder} == {"data": "directory", "README.md": "file"}
