"""What holds the images: arrays, lists, Series, masked arrays, chunks -> rows (NumPy only)."""

import math
import operator

import numpy as np

from .image_files import is_pillow, pixels_of
from .pixel_range import dtype_holds


def check_in_memory(X, *, training=False):
    """Refuse an array of dask, zarr or others that is stored in chunks, by a TypeError.

    NumPy would load it as a whole.
    """
    cls = type(X)
    # An attribute of the class: a DataFrame may have a column of that name.
    if not hasattr(cls, "chunks") or X.chunks is None:
        return
    if training:
        advice = "write it to a .npy file, and pass np.load(file, mmap_mode='r')"
    else:
        advice = "apply the method to some rows at a time; for dask, map_blocks does so"
    raise TypeError(
        f"X is a {cls.__module__}.{cls.__qualname__}, which is stored in chunks and would be "
        f"loaded as a whole. If it fits into memory, pass np.asarray(X). Otherwise {advice}."
    )


def flatten_images(X, missing_values=None):
    """X as rows, and the shape of one image, or None if X has neither 3 nor 4 dimensions.

    Masked pixels become `missing_values`. A ValueError if X is a sequence of images whose shapes
    differ, or of anything else, or as `without_mask`.
    """
    X = without_mask(as_sequence(X), missing_values)
    if isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.dtype == object):
        X = _stack(X)
    X = without_array_api(X)
    if not isinstance(X, np.ndarray) or X.ndim not in (3, 4):  # also tables and sparse arrays
        return X, None
    return X.reshape(len(X), math.prod(X.shape[1:])), X.shape[1:]


def as_sequence(X):
    """X, but a list if X is a one-dimensional array of objects or a Series, such as of images."""
    shape = getattr(X, "shape", None)
    if not isinstance(shape, tuple) or len(shape) != 1:
        return X
    if isinstance(X, np.ndarray):
        return list(X) if X.dtype == object and not has_mask(X) else X
    if hasattr(X, "to_numpy") and X.to_numpy().dtype == object:
        return list(X)
    return X


def shape_of(X):
    """Shape of X as an array, also where X is an array of objects, or a Series, of images."""
    X = as_sequence(X)
    return np.shape(X.to_numpy() if hasattr(X, "to_numpy") and len(X.shape) == 1 else X)


def without_mask(X, missing_values=None):
    """X with `missing_values` in the place of masked values; X itself if it has no mask.

    X may also be a list of masked arrays, or of lists of them. A ValueError if values are masked,
    but there is no `missing_values`, or X cannot hold it.
    """
    if isinstance(X, (list, tuple)):
        parts = [without_mask(part, missing_values) for part in X]
        return X if all(map(operator.is_, parts, X)) else parts
    if not has_mask(X):
        return X
    if not np.any(X.mask):
        return X.filled(0)
    if missing_values is None:
        raise ValueError(
            "X is a masked array. Its masked values would be used like others. If they are missing "
            "pixels, set missing_values=np.nan before fit. Otherwise replace them, as by "
            "X.filled(0)."
        )
    if not dtype_holds(X.dtype, missing_values):
        raise ValueError(
            f"X is a masked array of {X.dtype}, which cannot hold missing_values={missing_values} "
            "for the masked pixels. Pass X.astype(np.float32).filled(np.nan) with "
            "missing_values=np.nan, or another marker."
        )
    return X.filled(missing_values)


def without_array_api(X):
    """Tensors and others as an array of NumPy, unless X is a table.

    scikit-learn may be set to leave them as they are.
    """
    if not hasattr(X, "__array__") or isinstance(X, np.ndarray) or hasattr(X, "columns"):
        return X
    return np.asarray(X)


def has_mask(X):
    """Whether X is a masked array: of NumPy or of others, such as astropy."""
    return hasattr(type(X), "filled") and hasattr(type(X), "mask")


def _stack(images):
    """A sequence as one array."""
    if any(hasattr(type(image), "__array_interface__") for image in images):
        images = [pixels_of(image) if is_pillow(image) else np.asarray(image) for image in images]
    arrays = [image for image in images if hasattr(image, "shape")]
    shapes = dict.fromkeys(np.shape(image) for image in arrays)
    if len(shapes) > 1:
        first, second = list(shapes)[:2]
        raise ValueError(
            f"X holds images of different shapes, such as {first} and {second}. "
            "Crop, pad or resize them to one shape first."
        )
    arrays = [image for image in arrays if isinstance(image, np.ndarray) and image.ndim > 0]
    dtypes = dict.fromkeys(image.dtype.newbyteorder("=") for image in arrays)
    if len(dtypes) > 1 and any(dtype.kind in "bu" for dtype in dtypes):
        first, second = list(dtypes)[:2]
        raise ValueError(
            f"X holds images of different dtypes, such as {first} and {second}. Their values may "
            "not mean the same: white is 1 in bool and 255 in uint8. Convert them to one first."
        )
    try:
        return np.asarray(images)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"X cannot be made an array ({error!s:.100}). Its elements must be images of one "
            "shape. If they are pairs of an image and a label: "
            "X = np.stack([np.asarray(image) for image, *_ in X])."
        ) from error
