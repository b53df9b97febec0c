"""Uploading a run, by the commands themselves, to a hub on loopback."""

import subprocess
import sys

import pytest
from huggingface_hub import ModelCard

from tests.support.commands import command, own_flags, quick_train, record_of, refused, succeeded
from tests.support.hub import HubServer, Repository, tiny_model
from tests.support.hub_uploads import PATIENCE, TOKEN, USER, Uploads

pytestmark = pytest.mark.slow

NAME = f"{USER}/films"
CARD = """---
license: mit
---
# films

classify = pipeline("text-classification", "saved_models/a (b)/hf")
A line of my own.
"""


@pytest.fixture
def run(tmp_path):
    """A folder with what a run has for the hub."""
    folder = tmp_path / "films"
    tiny_model(folder / "hf")
    (folder / "hf" / "onnx").mkdir()
    for name in ("model.onnx", "model_quantized.onnx"):
        (folder / "hf" / "onnx" / name).write_bytes(name.encode() * 1000)
    (folder / "hf" / "README.md").write_text(CARD)
    (folder / "report.html").write_text("<p>report")
    (folder / "run.json").write_text("{}")
    return folder


@pytest.fixture
def environment(tmp_path):
    """Makes the variables of a process with a token."""
    return lambda hub, token=TOKEN: hub.environment(tmp_path / "home") | {"HF_TOKEN": token}


def push(*arguments, environment):
    done = command("push", *arguments, environment=environment)
    assert TOKEN not in done.stdout + done.stderr
    return done


def test_a_run_is_uploaded_in_one_commit(run, environment):
    uploads = Uploads()
    with HubServer(uploads=uploads) as hub:
        output = succeeded(push(run, NAME, "--private", environment=environment(hub)))
        held = hub.find(NAME)
    assert output == f"uploaded: {hub.url}/{NAME}\n"
    assert uploads.commits == 1
    assert held.private
    expected = {path.relative_to(run / "hf").as_posix() for path in (run / "hf").rglob("*") if path.is_file()}
    assert set(held.files) == expected | {"report.html", ".gitattributes"}
    for name in expected - {"README.md"}:
        assert held.files[name] == (run / "hf" / name).read_bytes(), name
    assert held.files["README.md"].decode() == CARD.replace("saved_models/a (b)/hf", NAME)


def test_a_killed_upload_goes_on_with_what_is_missing(run, environment, tmp_path):
    uploads = Uploads(stuck_after=1)
    with HubServer(uploads=uploads) as hub:
        call = [sys.executable, "-m", "sentiment_tf.push", str(run), NAME]
        process = subprocess.Popen(call, env=environment(hub), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert uploads.stuck.wait(PATIENCE)
        process.kill()
        process.communicate()
        uploads.stuck_after = None
        uploads.go_on.set()
        assert (len(uploads.received), uploads.commits, set(hub.find(NAME).files)) == (1, 0, {".gitattributes"})
        (tmp_path / "home").mkdir(exist_ok=True)
        (tmp_path / "home" / "token").write_text(TOKEN)  # as `hf auth login` stores it
        succeeded(push(run, NAME, environment=environment(hub, "")))
        assert len(uploads.received) == len(set(uploads.received)) == 3
        assert "onnx/model.onnx" in hub.find(NAME).files


def test_without_a_token_nothing_is_asked(run, environment):
    with HubServer() as hub:
        refused(push(run, NAME, environment=environment(hub, "")), NAME, "no token", "HF_TOKEN", "hf auth login")
        assert hub.requests == []


def test_a_token_that_the_hub_does_not_accept(run, environment):
    with HubServer() as hub:
        done = push(run, NAME, environment=environment(hub, "hf_wrong"))
        refused(done, NAME, "does not accept the token")
        assert "hf_wrong" not in done.stderr
        assert hub.find(NAME) is None


def test_a_taken_name_is_left_alone_unless_it_is_to_be_replaced(run, environment):
    other = Repository("model", NAME, {"README.md": b"mine", "old.bin": b"1", "model.safetensors": b"x"})
    with HubServer(other, uploads=Uploads()) as hub:
        refused(push(run, NAME, environment=environment(hub)), NAME, "is taken and holds 3 files", "--overwrite")
        assert hub.find(NAME).files["README.md"] == b"mine"
        succeeded(push(run, NAME, "--overwrite", environment=environment(hub)))
        assert "old.bin" not in hub.find(NAME).files
        (run / "report.html").write_text("<p>another")
        succeeded(push(run, NAME, environment=environment(hub)))  # the same model: the rest is brought up to date
        assert hub.find(NAME).files["report.html"] == b"<p>another"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("elsewhere/films", ["may not write there"]),
        ("films", ["is no name on the hub; pass user/name"]),
        ("a b/films", ["is no name on the hub"]),
    ],
)
def test_a_name_that_is_not_the_users(run, environment, name, words):
    with HubServer() as hub:
        refused(push(run, name, environment=environment(hub)), name, *words)


def test_a_public_repository_does_not_get_what_is_to_be_private(run, environment):
    empty = Repository("model", NAME, {".gitattributes": b""})
    with HubServer(empty) as hub:
        refused(push(run, NAME, "--private", environment=environment(hub)), NAME, "is public")
        assert set(hub.find(NAME).files) == {".gitattributes"}


def test_a_folder_without_a_model_and_a_hub_out_of_reach(run, environment, tmp_path):
    with HubServer() as hub:
        refused(push(tmp_path / "nothing", NAME, environment=environment(hub)), "has no hf/model.safetensors")
        refused(push(run, environment=environment(hub)), "pass a run's folder and a name")
        offline = environment(hub) | {"HF_HUB_OFFLINE": "1"}
        refused(push(run, NAME, environment=offline), NAME, "HF_HUB_OFFLINE")
    refused(push(run, NAME, environment=environment(hub)), NAME, "cannot be used", "the same command goes on")


def test_training_uploads_what_it_made(own, tmp_path, environment):
    flags = [*own_flags(own, tmp_path / "runs", epochs=1, exports="hf"), f"--push_to_hub={NAME}", "--private"]
    taken = Repository("model", NAME, {"README.md": b"mine"})
    with HubServer(taken) as hub:
        refused(quick_train(*flags, environment=environment(hub)), "is taken")
        assert not (tmp_path / "runs").exists()
    with HubServer() as hub:
        output = succeeded(quick_train(*flags, environment=environment(hub)))
        assert f"uploaded: {hub.url}/{NAME}" in output
        assert "is finished" in succeeded(quick_train(*flags, environment=environment(hub)))
        files, record = hub.find(NAME).files, record_of(tmp_path / "runs" / "run")
    card = ModelCard(files["README.md"].decode())
    assert (card.data.pipeline_tag, card.data.library_name) == ("text-classification", "transformers")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["accuracy"] == round(record["metrics"]["after"]["accuracy"], 5)
    assert f'pipeline("text-classification", "{NAME}")' in card.content
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert "push_to_hub" not in record["config"]
