"""What is given for X by mistake, and what was meant (torch's data sets only)."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence, Set

from torch.utils.data import DataLoader, Dataset


def refuse_misreadings(X, image_shape=None):
    """Refuse what holds no images, or one image only, with the line that makes X of it.

    A TypeError if X is a file or the path of a file or a folder, or several of these; a Dataset or
    a DataLoader of torch; a dict, a generator, or anything else that has to be iterated over. A
    ValueError if X is one image of Pillow, or one image of a fitted estimator, whose images have
    `image_shape`.
    """
    shape = getattr(X, "shape", None)
    if _is_file(X) or _holds_files(X, shape):
        raise TypeError(
            "X holds files or names of files. Read them first: X = skvae.read_images(X)."
        )
    if shape is None and hasattr(X, "__array_interface__"):
        raise ValueError(
            "X is one image. It must hold images along its first axis: [X] holds this one."
        )
    if shape is None and not hasattr(X, "__array__") and not isinstance(X, Sequence):
        advice = _advice_for(X)
        if advice is not None:
            raise TypeError(
                f"X is a {type(X).__module__}.{type(X).__qualname__}. It must be an array of "
                f"images: {advice} To train batch by batch, call partial_fit for each batch."
            )
    if image_shape is not None and _is_one_image(shape, image_shape):
        raise ValueError(
            f"X is one image, of shape {tuple(shape)}. It must hold images along its first axis: "
            "X[None] holds this one."
        )


def is_path(X):
    """Whether something is the path of a file or a folder."""
    return isinstance(X, (str, bytes, os.PathLike))


def _is_file(X):
    return is_path(X) or isinstance(X, io.IOBase)


def _holds_files(X, shape):
    """Whether X is a collection or a one-dimensional array of files or of their names."""
    if shape is not None:
        if len(shape) != 1 or shape[0] == 0:
            return False
    elif not isinstance(X, (Sequence, Set)) or len(X) == 0:
        return False
    return _is_file(next(iter(X)))


def _advice_for(X):
    """The line that makes an array of a collection of images; None: X is something else."""
    if isinstance(X, DataLoader):
        return "X = np.concatenate([np.asarray(images) for images, *_ in X])."
    if isinstance(X, Dataset):
        return "X = np.stack([np.asarray(image) for image, *_ in X])."
    if hasattr(X, "collect"):  # a lazy table, as of polars
        return "X.collect()."
    if isinstance(X, Mapping):
        return f"one of its values, such as X[{next(iter(X), 'images')!r}]."
    if isinstance(X, Iterator):
        return (
            "X = np.stack([np.asarray(image) for image in X]), or skvae.read_images(X) if it gives "
            "names of files."
        )
    if hasattr(X, "__iter__"):
        return "X = np.stack([np.asarray(image) for image in X])."
    return None


def _is_one_image(shape, image_shape):
    """Whether a shape is that of one image, and cannot be that of several."""
    if not isinstance(shape, tuple) or len(shape) < 2 or shape[0] == 1:
        return False
    return [n for n in shape if n != 1] == [n for n in image_shape if n != 1]
