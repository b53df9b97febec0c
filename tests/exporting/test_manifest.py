import hashlib

import pytest

from sentiment_tf.errors import UserError
from sentiment_tf.exporting import manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "data").write_bytes(b"weights")
    manifest.write(tmp_path)
    return tmp_path


def test_lists_each_file_as_sha256sum_does(folder):
    assert (folder / "MANIFEST").read_text() == (
        f"{hashlib.sha256(b'graph').hexdigest()}  saved_model.pb\n"
        f"{hashlib.sha256(b'weights').hexdigest()}  variables/data\n"
    )


def test_untouched_files_pass_and_a_file_beside_them_is_let_be(folder):
    (folder / "notes.txt").write_text("mine")
    assert manifest.check(folder) == 2


def test_written_again_it_lists_the_files_of_today(folder):
    (folder / "saved_model.pb").write_bytes(b"another graph")
    manifest.write(folder)
    assert manifest.check(folder) == 2


@pytest.mark.parametrize("name", ["../secret", "/dev/zero", "variables/../../secret"])
def test_a_name_that_leaves_the_folder_is_refused(folder, name):
    with open(folder / "MANIFEST", "a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(UserError, match="which is outside of the folder"):
        manifest.check(folder)


def test_names_each_file_that_differs_or_is_missing(folder):
    (folder / "saved_model.pb").write_bytes(b"grapH")
    (folder / "variables" / "data").unlink()
    with pytest.raises(UserError) as raised:
        manifest.check(folder)
    differs, missing = raised.value.problems
    assert f"{folder}/saved_model.pb: differs" in differs
    assert f"{folder}/variables/data" in missing
    assert "No such file" in missing


@pytest.mark.parametrize("content", [b"not a manifest\n", b"\xff\xfe"])
def test_a_damaged_manifest_is_said_to_be_one(folder, content):
    (folder / "MANIFEST").write_bytes(content)
    with pytest.raises(UserError, match="MANIFEST: can't be read"):
        manifest.check(folder)


def test_an_empty_manifest_is_refused(folder):
    (folder / "MANIFEST").write_text("")
    with pytest.raises(UserError, match="MANIFEST: lists no files"):
        manifest.check(folder)


@pytest.mark.parametrize("unlisted", ["saved_model.pb", "variables/data"])
@pytest.mark.parametrize("of_run", [False, True])
def test_a_manifest_that_was_cut_names_what_it_does_not_list(folder, unlisted, of_run):
    if of_run:
        run = folder.parent / f"{folder.name}_run"
        run.mkdir()
        folder = folder.rename(run / "1")
        (run / "a.json").write_text("{}")
        (folder / "MANIFEST").unlink()
        manifest.write(run)
        assert manifest.check(run) == 3
    listing = (run if of_run else folder) / "MANIFEST"
    lines = [line for line in listing.read_text().splitlines(keepends=True) if not line.endswith(f"{unlisted}\n")]
    listing.write_text("".join(lines))
    with pytest.raises(UserError) as raised:
        manifest.check(listing.parent)
    (problem,) = raised.value.problems
    assert problem.startswith(f"{folder / unlisted}: is not listed in {listing}")


def test_no_manifest(tmp_path):
    with pytest.raises(UserError, match="MANIFEST: can't be read"):
        manifest.check(tmp_path)
