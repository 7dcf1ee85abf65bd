"""A file that is replaced: it is whole, or the old one is still there."""

import errno
import io
import os
import stat
import sys

import pytest
from nets import archive

from skvae._atomic import replacing

OLD, NEW = b"old", b"new" * 1_000


class FullDisk(io.FileIO):
    """A file on a disk with room for 1,000 more bytes."""

    def write(self, part):
        if self.tell() + memoryview(part).nbytes > 1000:
            super().write(bytes(part)[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(part)


def fail(error):
    def function(*args):
        raise error

    return function


def replace(path):
    with replacing(path) as file:
        file.write(NEW[:500])
        file.write(NEW[500:])


@pytest.mark.parametrize(
    ("target", "replacement", "error"),
    [
        ("skvae._atomic.open", FullDisk, OSError),
        ("os.fsync", fail(OSError(errno.EIO, "I/O error")), OSError),
        ("os.replace", fail(PermissionError()), PermissionError),
        ("os.replace", fail(KeyboardInterrupt()), KeyboardInterrupt),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_failure_leaves_what_was_there(tmp_path, monkeypatch, target, replacement, error, exists):
    path = tmp_path / "model"
    if exists:
        path.write_bytes(OLD)
    with monkeypatch.context() as patch:
        patch.setattr(target, replacement, raising=False)
        with pytest.raises(error):
            replace(path)
    assert os.listdir(tmp_path) == (["model"] if exists else [])
    if exists:
        assert path.read_bytes() == OLD


def test_an_error_of_the_writer_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(OLD)
    monkeypatch.setattr("zlib.crc32", fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        archive.write(path, {}, {})
    assert os.listdir(tmp_path) == ["model"]
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_file_is_replaced(tmp_path, kind):
    path = tmp_path / "model"
    path.write_bytes(OLD)
    replace(kind(path))
    assert path.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file systems")
def test_links_and_permissions_are_the_usual_ones(tmp_path):
    (tmp_path / "link").symlink_to("model")
    replace(tmp_path / "link")
    (tmp_path / "plain").touch()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "model").read_bytes() == NEW
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file systems")
def test_an_old_file_keeps_its_permissions(tmp_path):
    (tmp_path / "model").touch(mode=0o600)
    with replacing(tmp_path / "model") as file:  # also of what is written, from the start
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        file.write(NEW)
    assert (tmp_path / "model").read_bytes() == NEW
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o600


def test_an_old_file_that_may_not_be_written_is_kept(tmp_path, monkeypatch):
    (tmp_path / "model").write_bytes(OLD)
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)  # root may do anything
    with pytest.raises(PermissionError, match="model"):
        replace(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == OLD


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file systems")
def test_a_pipe_without_a_name():
    reader, writer = os.pipe()
    replace(f"/dev/fd/{writer}")
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == NEW


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file systems")
def test_a_pipe_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace(pipe)
    assert os.read(reader, 2 * len(NEW)) == NEW
    os.close(reader)
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


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
