"""A fitted estimator <-> the header and the arrays of a file: writer and reader (NumPy)."""

import math
from itertools import pairwise

import numpy as np

from ._elbo import LIKELIHOODS
from ._headers import (
    arrays_of,
    check_header,
    history_arrays,
    history_from_arrays,
    history_specs,
    is_count,
    lists_to_tuples,
    plain,
    require,
    saved_params,
    weight_shapes_of,
)
from ._history import n_epochs_of
from ._images import ImageFormat
from ._pixel_range import fits_float32
from ._version import __version__

# Types of classes: those of the array, and those of its values. Strings have any length.
INTEGERS = [
    f"{order}{kind}{size}" for kind in "iu" for order, size in zip("|<<<", "1248", strict=True)
]
CLASS_TYPES = {
    "|b1": (bool,),
    "U": (str,),
    "O": (str, int, float, bool),
    **dict.fromkeys(INTEGERS, (int,)),
    **dict.fromkeys(("<f2", "<f4", "<f8"), (float,)),
}


def model_to_file(name, params, state):
    """Header and arrays that hold a fitted estimator.

    Parameters
    ----------
    name : str
        Name of its class.

    params : dict
        Parameters of the constructor.

    state : dict
        What ``__getstate__`` of the fitted estimator returns.

    Returns
    -------
    header : dict of plain Python values

    arrays : dict of str to ndarray

    Raises
    ------
    ValueError
        If the network or its history is larger than a file may hold.
    """
    history = state["_history"]
    header = plain(
        {
            "kind": "model",
            "skvae_version": __version__,
            "estimator": name,
            "params": saved_params(params),
            "image_shape": state["image_shape_"],
            "channel_axis": state["channel_axis_"],
            "pixel_range": state["pixel_range_"],
            "as_rows": state["_as_rows"],
            "saw_uint8": state["_saw_uint8"],
            "likelihood": state["likelihood_"],
            "binarize": state["_binarize"],
            "annealed": state["_annealed"],
            "n_averaged": state["_n_averaged"],
            "robust": state["_robust"],
            "missing_values": state["_missing_values"],
            "saw_holes": state["_saw_holes"],
            "seed": state["_seed"],
            "architecture": state["_architecture"],
            "classes": _classes_to_header(state) if "classes_" in state else None,
            "feature_names": list(state.get("feature_names_in_", [])) or None,
            "n_epochs": n_epochs_of(history),
            "history": list(history),
        }
    )
    arrays = {f"weights.{k}": weight for k, weight in state["_weights"].items()}
    arrays |= history_arrays(history)
    arrays["component_moments"] = state["_component_moments"]
    model_specs(header)  # what cannot be read back is not written
    return header, arrays


def model_specs(header):
    """Shape and dtype of each array that `model_to_file` makes for a header.

    Parameters
    ----------
    header : dict
        It may come from a hostile file.

    Returns
    -------
    specs : dict of str to (shape, dtype)

    Raises
    ------
    ValueError, TypeError, KeyError
        If the header holds anything that a fitted estimator cannot have.
    """
    check_header(header, "model")
    axis = header["channel_axis"]
    require(type(header["estimator"]) is str, "estimator")
    require(type(axis) is int and axis in (0, -1), "channel_axis")
    for name in ("as_rows", "binarize", "annealed", "robust", "saw_holes", "saw_uint8"):
        require(type(header[name]) is bool, name)
    require(is_count(header["n_averaged"]), "n_averaged")
    missing_values = header["missing_values"]
    require(missing_values is None or type(missing_values) in (int, float), "missing_values")
    require(header["architecture"]["holes"] == (missing_values is not None), "holes")
    require(header["likelihood"] in LIKELIHOODS, "likelihood")
    require(not header["binarize"] or header["likelihood"] == "bernoulli", "binarize")
    shape, architecture = header["image_shape"], header["architecture"]
    require(type(shape) is list and len(shape) in (2, 3), "image_shape")
    require(all(is_count(n) for n in shape), "image_shape")
    ranges = header["pixel_range"]
    image_format = ImageFormat(tuple(shape), axis, ranges, True)
    require(type(ranges) is list and len(ranges) > 0, "pixel_range")
    if type(ranges[0]) is list:
        require(len(ranges) == image_format.channels_first_shape[0], "pixel_range")
    for bounds in ranges if type(ranges[0]) is list else [ranges]:
        require(type(bounds) is list and len(bounds) == 2, "pixel_range")
        require(all(type(bound) is float for bound in bounds), "pixel_range")
        require(bounds[0] <= bounds[1] and fits_float32(*bounds), "pixel_range")
    require(image_format.channels_first_shape == tuple(architecture["image_shape"]), "image_shape")
    _check_classes(header["classes"], architecture["n_classes"])
    names = header["feature_names"]
    if names is not None:
        require(type(names) is list and len(names) == math.prod(shape), "feature_names")
        require(all(type(name) is str for name in names), "feature_names")
    shapes = weight_shapes_of(header, header["likelihood"])
    specs = {f"weights.{name}": (s, "<f4") for name, s in shapes.items()}
    specs["component_moments"] = ((3, architecture["n_components"]), "<f8")
    return specs | history_specs(header)


def model_from_file(header, arrays):
    """Parameters and state of the estimator in a file that `model_specs` has checked.

    Parameters
    ----------
    header : dict

    arrays : dict of str to ndarray

    Returns
    -------
    params : dict

    state : dict
        For ``__setstate__``, without the parameters.
    """
    state = {
        "n_features_in_": math.prod(header["image_shape"]),
        "image_shape_": tuple(header["image_shape"]),
        "channel_axis_": header["channel_axis"],
        "pixel_range_": _pixel_range(header["pixel_range"]),
        "_as_rows": header["as_rows"],
        "_saw_uint8": header["saw_uint8"],
        "likelihood_": header["likelihood"],
        "_binarize": header["binarize"],
        "_annealed": header["annealed"],
        "_n_averaged": header["n_averaged"],
        "_robust": header["robust"],
        "_missing_values": header["missing_values"],
        "_saw_holes": header["saw_holes"],
        "_seed": header["seed"],
        "_architecture": lists_to_tuples(header["architecture"]),
        "_weights": arrays_of(arrays, "weights"),
        "_history": history_from_arrays(header, arrays),
        "_component_moments": arrays["component_moments"],
        "_skvae_version": header["skvae_version"],
    }
    if header["classes"] is not None:
        state |= _classes_from_header(header["classes"])
    if header["feature_names"] is not None:
        state["feature_names_in_"] = np.array(header["feature_names"], dtype=object)
    return lists_to_tuples(header["params"]), state


def _classes_to_header(state):
    """What the header says of the classes of an estimator."""
    dtype = state["classes_"].dtype
    return {
        "dtype": dtype.kind if dtype.kind in "UO" else dtype.newbyteorder("<").str,
        "values": state["classes_"],
        "counts": state["class_counts_"],
        "priors": state["priors_"],
    }


def _check_classes(classes, n_classes):
    """Check what the header says of classes; None: there are none."""
    require((classes is None) == (n_classes == 0), "classes")
    if classes is None:
        return
    values, dtype = classes["values"], classes["dtype"]
    require(type(dtype) is str and dtype in CLASS_TYPES, "dtype of the classes")
    for name in ("values", "counts", "priors"):
        require(type(classes[name]) is list and len(classes[name]) == n_classes, name)
    kind = type(values[0])
    require(kind in CLASS_TYPES[dtype] and all(type(value) is kind for value in values), "classes")
    require(all(low < high for low, high in pairwise(values)), "classes")
    require(kind is not float or all(map(math.isfinite, values)), "classes")
    if kind in (int, float) and dtype != "O":
        limits = np.finfo(dtype) if kind is float else np.iinfo(dtype)
        require(limits.min <= values[0] and values[-1] <= limits.max, "classes")
    require(np.array(values, dtype).tolist() == values, "classes")
    require(all(type(n) is int and 0 <= n < 2**53 for n in classes["counts"]), "class counts")
    require(all(type(p) is float and 0 < p <= 1 for p in classes["priors"]), "priors")


def _classes_from_header(classes):
    """The inverse of `_classes_to_header`."""
    return {
        "classes_": np.array(classes["values"], classes["dtype"]),
        "class_counts_": np.array(classes["counts"]),
        "priors_": np.array(classes["priors"]),
    }


def _pixel_range(values):
    """The range as the estimator has it: a tuple, or an array with one range per channel."""
    return np.array(values) if isinstance(values[0], list) else tuple(values)
