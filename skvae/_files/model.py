"""A fitted estimator <-> a file: one table of fields, `save` and `load` (NumPy, scikit-learn)."""

import math
from itertools import pairwise

import numpy as np
from sklearn.base import is_classifier, is_clusterer

from .._data import ImageFormat, fits_float32
from .._history import n_epochs_of
from .._model import resolve_device
from . import archive, fields
from .fields import Arrays, Field, FileKind, require

# Types of classes: those of the array, and those of its values. Strings have any length.
CLASS_TYPES = {
    "|b1": (bool,),
    "U": (str,),
    "O": (str, int, float, bool),
    **{dtype: (float if "f" in dtype else int,) for dtype in archive.DTYPES},
}

# The estimators that a file may hold, by the names of their classes.
CLASSES = {}


def storable(cls):
    """Class decorator: a file may hold a fitted estimator of this class."""
    CLASSES[cls.__name__] = cls
    return cls


def _estimator_of(header):
    """The estimator of a header, not fitted, after scikit-learn's check of its parameters."""
    estimator = CLASSES[header["estimator"]](**fields.lists_to_tuples(header["params"]))
    estimator._validate_params()
    return estimator


def _are_params_of_class(value, header):
    return fields.are_params(value, header) and _estimator_of(header) is not None


def _channels_first(header):
    axis = header["channel_axis"]
    return ImageFormat(tuple(header["image_shape"]), axis, (0.0, 1.0), True).channels_first_shape


def _is_pixel_range(value, header):
    """Whether a value is (low, high), or has such a range for each channel."""
    of_channels = type(value) is list and len(value) > 0 and type(value[0]) is list
    if of_channels and len(value) != _channels_first(header)[0]:
        return False
    return all(
        type(bounds) is list
        and len(bounds) == 2
        and all(type(bound) is float for bound in bounds)
        and bounds[0] <= bounds[1]
        and fits_float32(*bounds)
        for bounds in (value if of_channels else [value])
    )


def _pixel_range(value):
    return np.array(value) if isinstance(value[0], list) else tuple(value)


def _is_architecture_of_model(value, header):
    fields.is_architecture(value, header)
    require(value["holes"] == (header["missing_values"] is not None), "holes")
    require(tuple(value["image_shape"]) == _channels_first(header), "image_shape")
    return True


def _classes_to_header(classes, counts, priors):
    """What a header says of the classes; the lengths of strings and the byte order are left out."""
    dtype = classes.dtype
    if dtype.kind == "f" and dtype.itemsize > 8:
        dtype = np.dtype(float)
    name = dtype.kind if dtype.kind in "UO" else dtype.newbyteorder("<").str
    return {"dtype": name, "values": classes, "counts": counts, "priors": priors}


def _classes_from_header(value):
    """The inverse of `_classes_to_header`."""
    classes = np.array(value["values"], value["dtype"])
    return classes, np.array(value["counts"]), np.array(value["priors"])


def _are_classes(value, header):
    """Whether a value is right for the number of classes; null is right without labels."""
    n_classes, estimator = header["architecture"]["n_classes"], _estimator_of(header)
    require(is_classifier(estimator) == (value is not None), "classes")
    require((is_classifier(estimator) or is_clusterer(estimator)) == (n_classes > 0), "classes")
    if value is None:
        return True
    require(value.keys() == {"dtype", "values", "counts", "priors"}, "classes")
    values, dtype = value["values"], value["dtype"]
    require(type(dtype) is str and dtype in CLASS_TYPES, "dtype of the classes")
    for name in ("values", "counts", "priors"):
        require(type(value[name]) is list and len(value[name]) == n_classes, name)
    kind = type(values[0])
    require(kind in CLASS_TYPES[dtype] and all(type(one) is kind for one in values), "classes")
    require(all(low < high for low, high in pairwise(values)), "classes")
    require(kind is not float or all(map(math.isfinite, values)), "classes")
    if kind in (int, float) and dtype != "O":
        limits = np.finfo(dtype) if kind is float else np.iinfo(dtype)
        require(limits.min <= values[0] and values[-1] <= limits.max, "classes")
    require(np.array(values, dtype).tolist() == values, "classes")
    require(all(map(fields.int_within(0, fields.MAX_EXACT), value["counts"])), "class counts")
    return all(type(p) is float and 0 < p <= 1 for p in value["priors"])


def _are_feature_names(value, header):
    return value is None or (
        type(value) is list
        and len(value) == math.prod(header["image_shape"])
        and all(type(name) is str for name in value)
    )


MODEL = FileKind(
    "model",
    (
        Field("skvae_version", "_skvae_version", fields.of_type(str)),
        Field("estimator", "estimator", lambda name, _: type(name) is str and name in CLASSES),
        Field(
            "params", "params", _are_params_of_class, fields.saved_params, fields.lists_to_tuples
        ),
        Field(
            "image_shape",
            "image_shape_ n_features_in_",
            fields.counts_within(2, 3),
            lambda shape, n_features: shape,
            lambda value: (tuple(value), math.prod(value)),
        ),
        Field("channel_axis", "channel_axis_", fields.int_within(-1, 0)),
        Field("pixel_range", "pixel_range_", _is_pixel_range, decode=_pixel_range),
        Field("as_rows", "_as_rows", fields.of_type(bool)),
        Field("saw_uint8", "_saw_uint8", fields.of_type(bool)),
        Field("likelihood", "likelihood_", fields.is_likelihood),
        Field(
            "binarize",
            "_binarize",
            lambda value, header: (
                type(value) is bool and (not value or header["likelihood"] == "bernoulli")
            ),
        ),
        Field("annealed", "_annealed", fields.of_type(bool)),
        Field("n_averaged", "_n_averaged", fields.is_size),
        Field("n_start", "_n_start", fields.is_size),
        Field("few_labels", "_few_labels", fields.of_type(bool)),
        Field("robust", "_robust", fields.of_type(bool)),
        Field("missing_values", "_missing_values", fields.of_type(int, float, type(None))),
        Field("saw_holes", "_saw_holes", fields.of_type(bool)),
        Field("seed", "_seed", fields.is_seed),
        Field(
            "architecture",
            "_architecture",
            _is_architecture_of_model,
            decode=fields.lists_to_tuples,
        ),
        Field(
            "classes",
            "classes_ class_counts_ priors_",
            _are_classes,
            _classes_to_header,
            _classes_from_header,
            optional=True,
        ),
        Field(
            "feature_names",
            "feature_names_in_",
            _are_feature_names,
            decode=lambda names: np.array(names, dtype=object),
            optional=True,
        ),
        Field("n_epochs", "_history", fields.is_number_of_epochs, n_epochs_of, None),
        Field("history", "_history", fields.are_columns, list, None),
    ),
    (
        Arrays("weights", "_weights", fields.weight_specs),
        Arrays("history", "_history", fields.history_specs, fields.history_of),
        Arrays(
            "component_moments",
            "_component_moments",
            lambda header: ((3, header["architecture"]["n_components"]), "<f8"),
        ),
    ),
)


def _attributes_of(estimator):
    """What the table stores of a fitted estimator, by name."""
    params = estimator.get_params(deep=False)
    return {**estimator.__getstate__(), "estimator": type(estimator).__name__, "params": params}


def save(estimator, path):
    """Write a fitted estimator to a file."""
    cls = type(estimator)
    if CLASSES.get(cls.__name__) is not cls:
        *names, last = sorted(CLASSES)
        raise TypeError(
            f"{cls.__name__} cannot be saved: a file holds no code, so `skvae.load` knows only "
            f"{', '.join(names)} and {last}. Keep an estimator of your own class with joblib or "
            "skops."
        )
    MODEL.write(path, _attributes_of(estimator))


def load(path, device=None):
    """Read an estimator that its method `save` wrote.

    You need not trust the file. Nothing in it is executed. Memory for its arrays is taken only if
    the file has exactly the size that its header requires, which is at most 4 GiB.

    Parameters
    ----------
    path : str or path-like
        The file.

    device : str or torch.device, default=None
        Where to compute. It also becomes the parameter `device` of the estimator. None: as
        that parameter says, or the CPU if this machine does not have that device.

    Returns
    -------
    estimator : ConvVAETransformer, ConvVAEClassifier or ConvVAECluster
        The fitted estimator. On the same machine, its results are bit-identical to those of the
        one that was saved.

    Raises
    ------
    skvae.InvalidFileError
        If the file is damaged or was not written by skvae. It is a ValueError.

    ValueError
        If this machine does not have `device`.

    OSError
        If the file cannot be read.

    Warns
    -----
    InconsistentVersionWarning
        If another version of skvae wrote the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skvae
    >>> images = np.random.default_rng(0).uniform(size=(20, 8, 8))
    >>> vae = skvae.ConvVAETransformer(max_iter=1, random_state=0).fit(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     vae.save(os.path.join(folder, "model.skvae"))
    ...     same = skvae.load(os.path.join(folder, "model.skvae"))
    >>> bool((same.transform(images) == vae.transform(images)).all())
    True
    """
    attributes = MODEL.read(path)
    estimator = CLASSES[attributes.pop("estimator")](**attributes.pop("params"))
    if device is not None:
        resolve_device(device)
        estimator.device = device
    # If this machine lacks the device, the CPU takes its place.
    estimator.__setstate__({**vars(estimator), **attributes, "device_": estimator.device})
    return estimator
