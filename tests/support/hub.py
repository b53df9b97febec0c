"""A model hub on loopback: enough of the Hugging Face hub's HTTP API for data sets and a tiny DistilBERT.

    with HubServer() as hub:
        subprocess.run([...], env=os.environ | hub.environment(home))

holds, under the ids of the real ones: `stanfordnlp/sst2`, `stanfordnlp/imdb` and
`distilbert/distilbert-base-uncased`. Each has one commit, which `main` and the tag `v1` stand for.
"""

import contextlib
import hashlib
import io
import json
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
import tokenizers

from tests.support.hub_uploads import LFS, Uploads

SST2 = "stanfordnlp/sst2"
IMDB = "stanfordnlp/imdb"
DISTILBERT = "distilbert/distilbert-base-uncased"

ROWS = {
    SST2: {"train": 160, "validation": 40, "test": 20},
    IMDB: {"train": 120, "test": 40, "unsupervised": 10},
}

_GOOD = ["moving", "funny", "warm", "clever", "gripping", "lovely", "brilliant", "charming", "honest", "superb"]
_BAD = ["dull", "boring", "cold", "clumsy", "tedious", "ugly", "stupid", "awful", "dishonest", "lifeless"]
_THINGS = ["film", "movie", "story", "script", "cast", "plot", "ending", "acting", "music", "camera", "dialogue"]
_OTHERS = ["a", "and", "as", "but", "from", "is", "it", "not", "of", "one", "that", "the", "this", "to", "was", "with"]


def sentences(count: int, *, seed: int) -> tuple[list[str], list[int]]:
    """Draws short reviews, no two alike in a row of shingles, with labels 0 and 1 in turn."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for row in range(count):
        words = [_BAD, _GOOD][row % 2]
        one, two, three = random.choice(words, 3, replace=False)
        thing, other = random.choice(_THINGS, 2, replace=False)
        texts.append(f"a {one} {thing} with {two} {other} , {three} as the one from {row + 100 * seed}")
        labels.append(row % 2)
    return texts, labels


def tiny_model(
    directory: str | Path, *, seed: int = 0, lower_case: bool = True, more_words: Sequence[str] = ()
) -> Path:
    """Writes a DistilBERT of 2 layers, 32 wide, in the files and the PyTorch format that the hub holds.

    Its weights are drawn by seed; like the real checkpoint it carries a masked-language-model head.

    Args:
      directory: Made if necessary.
      seed: Random seed.
      lower_case: Whether the tokenizer is that of an uncased model.
      more_words: Word pieces beside ASCII letters and the words of `sentences`.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    words = [*letters, *("##" + letter for letter in letters), *_GOOD, *_BAD, *_THINGS, *_OTHERS]
    vocabulary = list(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *more_words]))
    config = {
        "activation": "gelu",
        "architectures": ["DistilBertForMaskedLM"],
        "attention_dropout": 0.1,
        "dim": 32,
        "dropout": 0.1,
        "hidden_dim": 64,
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "model_type": "distilbert",
        "n_heads": 2,
        "n_layers": 2,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "vocab_size": len(vocabulary),
    }
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary), encoding="utf-8")
    tokenizer = tokenizers.BertWordPieceTokenizer(
        {word: number for number, word in enumerate(vocabulary)}, lowercase=lower_case
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"do_lower_case": lower_case, "strip_accents": None, "model_max_length": 512}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    weights = _tiny_weights(config, np.random.default_rng(seed))
    safetensors.numpy.save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def _tiny_weights(config: Mapping, random: np.random.Generator) -> dict[str, np.ndarray]:
    width, hidden, vocabulary = config["dim"], config["hidden_dim"], config["vocab_size"]
    weights = {}

    def dense(name: str, outputs: int, inputs: int) -> None:
        weights[f"{name}.weight"] = random.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
        weights[f"{name}.bias"] = random.normal(0, 0.1, outputs).astype(np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(width, np.float32)
        weights[f"{name}.bias"] = np.zeros(width, np.float32)

    for name, rows, scale in (("word", vocabulary, 1), ("position", config["max_position_embeddings"], 0.1)):
        table = random.normal(0, scale, (rows, width)).astype(np.float32)
        weights[f"distilbert.embeddings.{name}_embeddings.weight"] = table
    norm("distilbert.embeddings.LayerNorm")
    for layer in range(config["n_layers"]):
        block = f"distilbert.transformer.layer.{layer}"
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            dense(f"{block}.attention.{part}", width, width)
        norm(f"{block}.sa_layer_norm")
        dense(f"{block}.ffn.lin1", hidden, width)
        dense(f"{block}.ffn.lin2", width, hidden)
        norm(f"{block}.output_layer_norm")
    dense("vocab_transform", width, width)
    norm("vocab_layer_norm")
    weights["vocab_projector.bias"] = np.zeros(vocabulary, np.float32)
    return weights


class Repository(NamedTuple):
    """One commit of a repository on the hub."""

    kind: str  # "model" or "dataset"
    name: str
    files: dict[str, bytes]
    private: bool = False

    @property
    def commit(self) -> str:
        """A hash of everything in it."""
        return hashlib.sha1(b"".join(path.encode() + data for path, data in sorted(self.files.items()))).hexdigest()

    def knows(self, revision: str) -> bool:
        return revision in ("main", "v1", self.commit)

    def tree(self, folder: str | None = None, *, recursive: bool) -> list[dict]:
        """Lists a folder's files and folders, as the API does."""
        under = f"{folder}/" if folder else ""
        entries = {}
        for path, data in self.files.items():
            steps = path.removeprefix(under).split("/")
            if path.startswith(under) and (recursive or len(steps) == 1):
                entries[path] = {"type": "file", "oid": _etag(data), "size": len(data), "path": path}
                if path.endswith(LFS):
                    digest = hashlib.sha256(data).hexdigest()
                    entries[path]["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
            for end in range(1, len(steps)) if path.startswith(under) else ():
                name = under + "/".join(steps[:end])
                if recursive or end == 1:
                    entries[name] = {"type": "directory", "oid": _etag(name.encode()), "size": 0, "path": name}
        return list(entries.values())

    def info(self) -> dict:
        siblings = [{"rfilename": path} for path in self.files]
        name = {"id": self.name, "modelId": self.name} if self.kind == "model" else {"id": self.name}
        return name | {"sha": self.commit, "siblings": siblings, "private": self.private, "tags": [], "gated": False}


def dataset(
    name: str, splits: Mapping[str, Mapping[str, list]], features: Mapping, *, config: str = "default"
) -> Repository:
    """Builds a data set of one configuration, a Parquet file for each split, as `datasets` uploads it."""
    folder = "data" if config == "default" else config
    schema = datasets.Features(features).arrow_schema
    files = {"README.md": _card(config, folder, splits)}
    for split, columns in splits.items():
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema=schema), buffer)
        files[f"{folder}/{split}-00000-of-00001.parquet"] = buffer.getvalue()
    return Repository("dataset", name, files)


def repositories() -> list[Repository]:
    """Builds everything that the hub holds."""
    names = datasets.ClassLabel(names=["negative", "positive"])
    text = datasets.Value("string")
    sst2, imdb = {}, {}
    for seed, (split, count) in enumerate(ROWS[SST2].items()):
        texts, labels = sentences(count, seed=seed)
        labels = [-1] * count if split == "test" else labels
        sst2[split] = {"idx": list(range(count)), "sentence": texts, "label": labels}
    for seed, (split, count) in enumerate(ROWS[IMDB].items(), start=10):
        texts, labels = sentences(count, seed=seed)
        order = sorted(range(count), key=lambda row: labels[row])  # the real one has all negative rows first
        imdb[split] = {
            "text": [f"{texts[row]}<br /><br />{texts[row - 1]}" for row in order],
            "label": [-1 if split == "unsupervised" else labels[row] for row in order],
        }
    folder = Path(tempfile.mkdtemp())
    try:
        model = {file.name: file.read_bytes() for file in sorted(tiny_model(folder).iterdir())}
    finally:
        shutil.rmtree(folder)
    return [
        dataset(SST2, sst2, {"idx": datasets.Value("int32"), "sentence": text, "label": names}),
        dataset(IMDB, imdb, {"text": text, "label": datasets.ClassLabel(names=["neg", "pos"])}, config="plain_text"),
        Repository("model", DISTILBERT, model),
    ]


def _card(config: str, folder: str, splits: Iterable[str]) -> bytes:
    files = "".join(f"  - split: {split}\n    path: {folder}/{split}-*\n" for split in splits)
    return f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n# A tiny stand-in\n".encode()


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


class HubServer:
    """Serves `repositories` on a free port of 127.0.0.1 for as long as the context lasts.

    Args:
      more: further repositories to serve.
      uploads: takes what is uploaded.

    Attributes:
      url: what to set HF_ENDPOINT to.
      commits: the commit by repository id.
      requests: "METHOD path" of every request so far.
    """

    def __init__(self, *more: Repository, uploads: Uploads | None = None):
        held = [*repositories(), *more]
        self.commits = {repository.name: repository.commit for repository in held}
        self.requests: list[str] = []
        self._held = {(repository.kind, repository.name): repository for repository in held}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, self._held, uploads or Uploads()))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "HubServer":
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def find(self, name: str) -> Repository | None:
        """Returns the model repository of that name, if there is one."""
        return self._held.get(("model", name))

    def create(self, name: str, *, private: bool) -> None:
        """Makes an empty model repository, as the hub does."""
        self._held["model", name] = Repository("model", name, {".gitattributes": b""}, private)

    def environment(self, home: str | Path, *, offline: bool = False) -> dict[str, str]:
        """Returns the variables that point the libraries of a fresh process here, with their caches in ``home``."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


_API = re.compile(
    r"/api/(?P<kind>model|dataset)s/(?P<name>[^/]+/[^/]+)"
    r"(?:/(?P<call>revision|tree|paths-info|refs)(?:/(?P<revision>[^/]+)(?:/(?P<path>.+))?)?)?"
)
_FILE = re.compile(r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


def _handler(hub: HubServer, by_name: Mapping, uploads: Uploads) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers one request."""

        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self._route()

        def do_GET(self):
            self._route()

        def do_POST(self):
            self._route()

        def do_PUT(self):
            self._route()

        def _route(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if (answer := uploads.answer(self.command, path, self.headers, body, hub)) is not None:
                status, content = answer
                return self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})
            if match := _API.fullmatch(path):
                repository = by_name.get((match["kind"], match["name"]))
                answer = self._answer_api
            elif match := _FILE.fullmatch(path):
                repository = by_name.get(("dataset" if match["kind"] else "model", match["name"]))
                answer = self._answer_file
            else:
                return self._refuse("EntryNotFound")
            if repository is None:
                return self._refuse("RepoNotFound")
            if match["revision"] and not repository.knows(match["revision"]):
                return self._refuse("RevisionNotFound")
            return answer(repository, match, body)

        def _answer_api(self, repository: Repository, match: re.Match, body: bytes) -> None:
            call, folder = match["call"], match["path"]
            if call == "refs":
                refs = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commit}
                tags = {"name": "v1", "ref": "refs/tags/v1", "targetCommit": repository.commit}
                answer = {"branches": [refs], "tags": [tags], "converts": []}
            elif call == "tree":
                answer = repository.tree(folder, recursive="recursive=true" in self.path.lower())
                if not answer:
                    return self._refuse("EntryNotFound")
            elif call == "paths-info":
                wanted = _paths(body)
                answer = [entry for entry in repository.tree(recursive=True) if entry["path"] in wanted]
            else:
                answer = repository.info()
            return self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _answer_file(self, repository: Repository, match: re.Match, body: bytes) -> None:
            if match["path"] not in repository.files:
                return self._refuse("EntryNotFound", repository.commit)
            data = repository.files[match["path"]]
            headers = {
                "ETag": f'"{_etag(data)}"',
                "X-Repo-Commit": repository.commit,
                "Accept-Ranges": "bytes",
                "Content-Type": "application/octet-stream",
            }
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first = int(wanted[1])
                last = min(int(wanted[2] or len(data) - 1), len(data) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
                return self._send(206, data[first : last + 1], headers)
            return self._send(200, data, headers)

        def _refuse(self, code: str, commit: str | None = None) -> None:
            headers = {"X-Error-Code": code, "X-Error-Message": code, "Content-Type": "text/plain"}
            self._send(404, code.encode(), headers | ({"X-Repo-Commit": commit} if commit else {}))

        def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            with contextlib.suppress(BrokenPipeError):  # a client that was killed
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

    return Handler


def _paths(body: bytes) -> list[str]:
    """Reads the paths that a paths-info request asks for, from JSON or from a form."""
    try:
        return json.loads(body)["paths"]
    except ValueError:
        return [unquote(field.split("=", 1)[1]) for field in body.decode().split("&") if field.startswith("paths=")]
