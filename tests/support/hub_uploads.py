"""The half of the loopback hub that takes uploads: one account, new repositories, LFS objects, commits."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping

import yaml

USER, TOKEN = "somebody", "hf_" + "Secret" * 6
LFS = (".safetensors", ".onnx")
PATIENCE = 60  # seconds that a stuck upload waits for the test

Answer = tuple[int, object]
_REPOSITORY = re.compile(
    r"/api/models/(?P<name>[^/]+/[^/]+)/(?P<call>preupload|commit)/main"
    r"|/(?P<lfs_name>[^/]+/[^/]+)\.git/info/lfs/objects/batch"
)


class Uploads:
    """Answers what a program that uploads asks.

    Args:
      stuck_after: number of LFS objects after which no further one is taken, as if the line were dead; None takes all.

    Attributes:
      received: the SHA-256 of every LFS object that was sent.
      commits: number of commits made.
      stuck: set when an upload hangs.
      go_on: lets hanging uploads end, without their content.
    """

    def __init__(self, *, stuck_after: int | None = None):
        self.received: list[str] = []
        self.commits = 0
        self.stuck, self.go_on = threading.Event(), threading.Event()
        self.stuck_after = stuck_after
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes, hub) -> Answer | None:
        """Returns status and JSON content, or None for what is no part of an upload.

        Args:
          method, path, headers, body: of the request.
          hub: has `url`, `find(name)` and `create(name, private)`.
        """
        if path.startswith("/lfs/"):
            return self._take(path.removeprefix("/lfs/"), body)
        if not (match := _REPOSITORY.fullmatch(path)) and path not in self._OF_THE_ACCOUNT:
            return None
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if not match:
            return self._OF_THE_ACCOUNT[path](self, body, hub)
        repository = hub.find(match["name"] or match["lfs_name"])
        if repository is None:
            return 404, {"error": "Repository not found"}
        if repository.name.split("/")[0] != USER:
            return 403, {"error": "Forbidden"}
        call: Callable[..., Answer] = {"preupload": self._modes, "commit": self._commit}.get(match["call"], self._batch)
        return call(body, repository, hub)

    def _whoami(self, body: bytes, hub) -> Answer:
        return 200, {"name": USER, "type": "user"}

    def _validate(self, body: bytes, hub) -> Answer:
        card = json.loads(body)["content"]
        data = yaml.safe_load(card.split("---")[1])
        return (
            (200, {"errors": [], "warnings": []}) if isinstance(data, dict) else (400, {"errors": [{"message": "no"}]})
        )

    def _create(self, body: bytes, hub) -> Answer:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if hub.find(name):
            return 409, {"error": "You already created this model repo", "url": f"{hub.url}/{name}"}
        if wanted["organization"] != USER:
            return 403, {"error": f"You don't have the rights to create a model under the namespace {name}"}
        hub.create(name, private=wanted.get("private", False))
        return 200, {"url": f"{hub.url}/{name}"}

    _OF_THE_ACCOUNT = {"/api/whoami-v2": _whoami, "/api/validate-yaml": _validate, "/api/repos/create": _create}

    def _modes(self, body: bytes, repository, hub) -> Answer:
        files = [
            {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(LFS) else "regular"}
            for file in json.loads(body)["files"]
        ]
        return 200, {"files": [file | {"shouldIgnore": False} for file in files]}

    def _batch(self, body: bytes, repository, hub) -> Answer:
        objects = [{"oid": each["oid"], "size": each["size"]} for each in json.loads(body)["objects"]]
        for each in objects:
            if each["oid"] not in self._objects:
                each["actions"] = {"upload": {"href": f"{hub.url}/lfs/{each['oid']}"}}
        return 200, {"transfer": "basic", "objects": objects}

    def _take(self, digest: str, body: bytes) -> Answer:
        with self._lock:
            dead = self.stuck_after is not None and len(self._objects) >= self.stuck_after
            if not dead:
                self.received.append(digest)
                self._objects[digest] = body
        if dead:
            self.stuck.set()
            self.go_on.wait(PATIENCE)
            return 500, {}
        assert hashlib.sha256(body).hexdigest() == digest
        return 200, {}

    def _commit(self, body: bytes, repository, hub) -> Answer:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self._objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del repository.files[value["path"]]
        self.commits += 1
        return 200, {
            "commitUrl": f"{hub.url}/{repository.name}/commit/{repository.commit}",
            "commitOid": repository.commit,
        }
