"""Uploads a run to the Hugging Face hub: its folder for transformers with card and ONNX files, and the report.

One commit holds everything, so the repository has the whole model or none of it. Files that reached the hub before an
upload was killed are not sent again. The token is where huggingface_hub looks for it: ``HF_TOKEN``, or what
``hf auth login`` stored.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, errors
from huggingface_hub.hf_api import RepoFile

from sentiment_tf.errors import UserError, first_line
from sentiment_tf.exporting import layout, manifest
from sentiment_tf.reporting import model_card

CARD, REPORT = "README.md", "report.html"
_MADE_BY_THE_HUB = ".gitattributes"  # the one file of a new repository
_REFUSALS = {
    401: "the hub does not accept the token; pass a valid one as HF_TOKEN, or run: hf auth login",
    403: "the token may not write there; pass your own user name, or a token with write access",
}


def push(run: str | os.PathLike, repository: str, *, private: bool = False, overwrite: bool = False) -> str:
    """Uploads a finished run.

    Args:
      run: the run's folder, with `hf/` in it.
      repository: user/name, or organisation/name; made if it is not there.
      private: make a private repository; one that is there must be private already.
      overwrite: replace what the repository holds; without it, one that holds anything but this model is refused.

    Returns:
      The repository's address.

    Raises:
      UserError: the run has nothing to upload, there is no token, the name is taken, or the hub refuses or fails.
    """
    additions = {name: CommitOperationAdd(name, content) for name, content in _files(Path(run), repository).items()}
    api = _api(repository)
    with _hub_errors(repository):
        present = _files_there(api, repository)
        if present and not overwrite and not _is_there(api, repository, additions[layout.HF_WEIGHTS]):
            raise UserError(_taken(repository, present))
        url = api.create_repo(repository, private=private or None, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise UserError(f"{repository}: is public, and --private was asked for; make it private, or name another")
        deletions = [CommitOperationDelete(name) for name in present if name not in additions]
        message = f"Upload {Path(run).resolve().name}"
        api.create_commit(repository, [*additions.values(), *deletions], commit_message=message)
    return str(url)


def check_access(repository: str, *, overwrite: bool = False) -> None:
    """Checks what would make an upload fail, before a long training: the name, the token, and whether it is taken.

    Raises:
      UserError: as in `push`.
    """
    api = _api(repository)
    with _hub_errors(repository):
        api.whoami()
        if (present := _files_there(api, repository)) and not overwrite:
            raise UserError(_taken(repository, present))


def _api(repository: str) -> huggingface_hub.HfApi:
    if repository.count("/") != 1:
        raise UserError(f"{repository}: is no name on the hub; pass user/name")
    if not huggingface_hub.get_token():
        raise UserError(f"{repository}: no token of the hub is there; pass one as HF_TOKEN, or run: hf auth login")
    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()
    return huggingface_hub.HfApi()


def _files_there(api: huggingface_hub.HfApi, repository: str) -> list[str]:
    """Returns the files that a repository holds, but for the hub's own; none if there is no such repository."""
    try:
        return [name for name in api.list_repo_files(repository) if name != _MADE_BY_THE_HUB]
    except errors.RepositoryNotFoundError:
        return []


def _is_there(api: huggingface_hub.HfApi, repository: str, weights: CommitOperationAdd) -> bool:
    """Returns whether a repository holds the very weights: then the rest may be brought up to date."""
    found = api.get_paths_info(repository, [weights.path_in_repo])
    stored = [file.lfs for file in found if isinstance(file, RepoFile)]
    return any(lfs and lfs.sha256 == weights.upload_info.sha256.hex() for lfs in stored)


def _taken(repository: str, present: list[str]) -> str:
    return f"{repository}: is taken and holds {len(present)} files; name another repository, or pass --overwrite"


def _files(run: Path, repository: str) -> dict[str, str | bytes]:
    """Returns what is uploaded: by its name in the repository, a file or its content."""
    folder = run / layout.HF_FOLDER
    needed = [folder / name for name in (layout.HF_WEIGHTS, layout.HF_CONFIG, layout.TOKENIZER)]
    if missing := [path for path in needed if not path.is_file()]:
        raise UserError(f"{run}: has no {missing[0].relative_to(run)}; pass a finished run whose --exports include hf")
    manifest.check_files(run, needed)
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files: dict[str, str | bytes] = {path.relative_to(folder).as_posix(): str(path) for path in found}
    if CARD in files:
        files[CARD] = model_card.on_the_hub((folder / CARD).read_text(encoding="utf-8"), repository).encode()
    if (run / REPORT).is_file():
        files[REPORT] = str(run / REPORT)
    return files


@contextlib.contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Turns what huggingface_hub raises into one line; none of its messages holds the token."""
    again = "the same command goes on with what is missing"
    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(f"{repository}: is no name on the hub ({first_line(error)}); pass user/name") from error
    except errors.OfflineModeIsEnabled as error:
        raise UserError(f"{repository}: HF_HUB_OFFLINE forbids the hub; unset it to upload") from error
    except (OSError, RuntimeError, ValueError) as error:  # an answer of the hub's, or none; a card that it refuses
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = _REFUSALS.get(status, f"the hub cannot be used ({first_line(error)}); {again}")
        raise UserError(f"{repository}: {reason}") from error
