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
    mode = os.stat(path).st_mode if os.path.exists(path) else None
    if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        with open(path, "wb") as file:
            yield file
        return
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"There is no folder {folder!r} to write {path!r} to.")
    if os.path.isdir(target):
        raise IsADirectoryError(f"{path!r} is a folder. Give the name of a file in it.")
    if mode is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    temporary = os.path.join(folder, f".skvae-{os.urandom(8).hex()}.tmp")
    try:
        # Not by `tempfile`, whose files other users cannot read, whatever the umask.
        with open(temporary, "xb") as file:
            if mode is not None:  # before there is anything to read
                os.chmod(temporary, stat.S_IMODE(mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            raise OSError(error.errno, error.strerror, path) from None
        raise
