"""A file is whole and new, or as it was."""

import os

import pytest

from skvae._replacing import replacing


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def write_and_fail(file, error):
    file.write(b"new")
    raise error


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_there(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as file:
        write_and_fail(file, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to("a")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere' to write '.*a' to"),
        replacing(tmp_path / "nowhere" / "a"),
    ):
        pass


def test_a_folder_is_not_replaced(tmp_path):
    with (
        pytest.raises(IsADirectoryError, match=rf"{tmp_path.name}' is a folder"),
        replacing(tmp_path),
    ):
        pass
    assert os.listdir(tmp_path) == []


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path):
    path = tmp_path / ("x" * 300)
    with pytest.raises(OSError, match="x" * 300) as raised, replacing(path):
        pass
    assert raised.value.filename == str(path)


@pytest.mark.parametrize("relative", [True, False])
def test_paths_of_all_kinds(tmp_path, monkeypatch, relative):
    monkeypatch.chdir(tmp_path)
    for path in ("a", b"b", tmp_path / "c"):
        with replacing(path if relative else os.path.abspath(path)) as file:
            file.write(b"new")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
