"""A file that appears whole, or not at all: an old one stays until the new one is written."""

import contextlib
import errno
import os
import stat


@contextlib.contextmanager
def replacing(path):
    """A new file, open for writing bytes, that takes the place of `path` if nothing was raised.

    It is written beside `path`, forced to the disk, and then moved. A link stays a link, and the
    permissions of an old file stay. What is no regular file, such as a pipe, is written to. An
    OSError names `path`, or the folder that does not exist.
    """
    path = os.fsdecode(path)
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"There is no folder {folder!r} to write {path!r} to.")
    if os.path.isdir(target):
        raise IsADirectoryError(f"{path!r} is a folder. Give the name of a file in it.")
    mode = os.stat(target).st_mode if os.path.exists(target) else None
    if mode is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    if mode is not None and not stat.S_ISREG(mode):
        with open(target, "wb") as file:
            yield file
        return
    temporary = os.path.join(folder, f".skvae-{os.urandom(8).hex()}.tmp")
    try:
        # Not by `tempfile`, whose files other users cannot read, whatever the umask.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            raise OSError(error.errno, error.strerror, path) from None
        raise
