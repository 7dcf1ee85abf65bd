"""A file that appears whole, or not at all."""

import contextlib
import os


@contextlib.contextmanager
def replacing(path):
    """A new file, open for bytes, that takes the place of `path` once it is whole and on disk."""
    path = os.path.realpath(path)  # a link stays a link
    temporary = os.path.join(os.path.dirname(path), f".skvae-{os.urandom(8).hex()}.tmp")
    try:
        # Not by `tempfile`, whose files other users cannot read, whatever the umask.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
