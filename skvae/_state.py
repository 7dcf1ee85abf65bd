"""State of an estimator, or of its training, <-> the header and the arrays of a file (NumPy).

What a file holds is checked here before it is believed: every value has the type and the range
that training gives it, and the arrays have the shapes that follow from the values.
"""

import hashlib
import math

import numpy as np

from ._elbo import LIKELIHOODS
from ._images import ImageFormat, fits_float32
from ._network import weight_shapes
from ._version import __version__

# Bounds of what a file may ask for, far above what anybody trains: they keep a hostile header
# from costing more than its bytes.
MAX_STAGES, MAX_SIDE, MAX_EPOCHS = 64, 2**24, 2**17

TERMS = ("loss", "log_likelihood", "kl")
TRAIN_COLUMNS = [f"train_{term}" for term in TERMS]
VALID_COLUMNS = [f"valid_{term}" for term in TERMS]
RATES = {"lr", "initial_lr", "max_lr", "min_lr"}
EARLY_STOPPING = {"misses_": int, "dynamic_threshold_": float, "best_epoch_": int}

# Parameters that a file does not hold: callbacks are code, and the path of a checkpoint belongs
# to the machine.
NOT_SAVED = {"callbacks", "checkpoint"}

ARCHITECTURE = ("image_shape", "n_components", "hidden_channels", "hidden_units")


def model_to_file(params, state):
    """Header and arrays that hold a fitted estimator.

    Parameters
    ----------
    params : dict
        Parameters of the constructor.

    state : dict
        What ``__getstate__`` of the fitted estimator gives.

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
    columns = _columns(history)
    header = {
        "kind": "model",
        "skvae_version": __version__,
        "params": saved_params(params),
        "image_shape": state["image_shape_"],
        "channel_axis": state["channel_axis_"],
        "pixel_range": state["pixel_range_"],
        "as_rows": state["_as_rows"],
        "likelihood": state["_likelihood"],
        "binarize": state["_binarize"],
        "seed": state["_seed"],
        "architecture": state["_architecture"],
        "feature_names": plain(list(state.get("feature_names_in_", []))) or None,
        "n_epochs": len(history),
        "history": columns,
    }
    if "n_active_components_" in state:  # which the first files do not tell
        header["n_active_components"] = state["n_active_components_"]
    header = plain(header)
    arrays = {f"weights.{name}": weight for name, weight in state["_weights"].items()}
    arrays |= {f"history.{name}": _column(history, name) for name in columns}
    arrays["kl_per_component"] = state["kl_per_component_"]
    model_arrays(header)  # what cannot be read back is not written
    return header, arrays


def model_arrays(header):
    """Shape and dtype of each array that `model_to_file` makes for a header.

    Parameters
    ----------
    header : dict
        Perhaps of a hostile file.

    Returns
    -------
    specs : dict of str to (shape, dtype)

    Raises
    ------
    ValueError, TypeError, KeyError
        If the header holds anything that no fitted estimator has.
    """
    _check_header(header, "model")
    axis = header["channel_axis"]
    _require(type(axis) is int and axis in (0, -1), "channel_axis")
    low, high = header["pixel_range"]
    _require(type(low) is type(high) is float, "pixel_range")
    _require(low <= high and fits_float32(low, high), "pixel_range")
    _require(type(header["as_rows"]) is bool, "as_rows")
    _require(header["likelihood"] in LIKELIHOODS, "likelihood")
    shape, architecture = header["image_shape"], header["architecture"]
    # The first files have neither of the two.
    binarize = header.get("binarize", False)
    _require(binarize is False or binarize is True, "binarize")
    _require(not binarize or header["likelihood"] == "bernoulli", "binarize")
    n_active = header.get("n_active_components", 0)
    _require(
        type(n_active) is int and 0 <= n_active <= architecture["n_components"],
        "n_active_components",
    )
    _require(type(shape) is list and len(shape) in (2, 3), "image_shape")
    _require(all(_is_count(n) for n in shape), "image_shape")
    image_format = ImageFormat(tuple(shape), axis, (low, high), True)
    _require(image_format.channels_first_shape == tuple(architecture["image_shape"]), "image_shape")
    names = header["feature_names"]
    if names is not None:
        _require(type(names) is list and len(names) == math.prod(shape), "feature_names")
        _require(all(type(name) is str for name in names), "feature_names")
    shapes = _weight_shapes(architecture, header["likelihood"])
    specs = {f"weights.{name}": (s, "<f4") for name, s in shapes.items()}
    specs |= {f"history.{name}": ((header["n_epochs"],), "<f8") for name in header["history"]}
    specs["kl_per_component"] = ((architecture["n_components"],), "<f8")
    return specs


def model_from_file(header, arrays):
    """Parameters and state of the estimator in a file that `model_arrays` found right.

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
    n_features = math.prod(header["image_shape"])
    state = {
        "n_features_in_": n_features,
        "image_shape_": tuple(header["image_shape"]),
        "channel_axis_": header["channel_axis"],
        "pixel_range_": tuple(header["pixel_range"]),
        "_as_rows": header["as_rows"],
        "_likelihood": header["likelihood"],
        "_binarize": header.get("binarize", False),
        "_seed": header["seed"],
        "_architecture": _architecture(header),
        "_weights": _part(arrays, "weights"),
        "_history": _rows(_part(arrays, "history"), header),
        "kl_per_component_": arrays["kl_per_component"],
        "n_components_": header["architecture"]["n_components"],
        "n_iter_": header["n_epochs"],
        "_skvae_version": header["skvae_version"],
    }
    state["loss_curve_"] = [row.get("train_loss", math.nan) for row in state["_history"]]
    if "n_active_components" in header:
        state["n_active_components_"] = header["n_active_components"]
    if header["feature_names"] is not None:
        state["feature_names_in_"] = np.array(header["feature_names"], dtype=object)
    return restored_params(header["params"]), state


def progress_to_file(plan, progress):
    """Header and arrays that hold a training under way.

    Parameters
    ----------
    plan : dict
        What the training depends on; see `training_plan`.

    progress : dict
        What `_training.train` hands on after each epoch.

    Returns
    -------
    header : dict of plain Python values

    arrays : dict of str to ndarray
    """
    history = progress["history"]
    columns = _columns(history)
    header = {
        "kind": "checkpoint",
        **plan,
        "n_epochs": len(history),
        "history": columns,
        "rates": progress["rates"],
        "early_stopping": progress["early_stopping"],
        "has_best": progress["best"] is not None,
    }
    arrays = {f"history.{name}": _column(history, name) for name in columns}
    for part in ("weights", "first_moments", "second_moments", "best"):
        arrays |= {f"{part}.{k}": a for k, a in (progress[part] or {}).items()}
    progress_arrays(plain(header))  # what cannot be read back is not written
    return header, arrays


def progress_arrays(header):
    """Shape and dtype of each array that `progress_to_file` makes for a header.

    Parameters
    ----------
    header : dict
        Perhaps of a hostile file.

    Returns
    -------
    specs : dict of str to (shape, dtype)

    Raises
    ------
    ValueError, TypeError, KeyError
        If the header holds anything that no training has.
    """
    _check_header(header, "checkpoint")
    rates, counts, n_epochs = header["rates"], header["early_stopping"], header["n_epochs"]
    _require(set(rates) == RATES, "rates")
    _require(all(type(rate) is float and math.isfinite(rate) for rate in rates.values()), "rates")
    stops = header["params"]["early_stopping"] is True
    _require((counts is not None) == stops, "early_stopping")
    if stops:
        _require({k: type(v) for k, v in counts.items()} == EARLY_STOPPING, "early_stopping")
    _require(header["has_best"] is stops, "has_best")
    columns = [*TRAIN_COLUMNS, *VALID_COLUMNS * stops, "duration"]
    _require(sorted(header["history"]) == sorted(columns), "history")
    _require(n_epochs > 0, "n_epochs")
    _require(type(header["data"]) is dict and type(header["device"]) is str, "data or device")
    _require(header["params"]["likelihood"] in LIKELIHOODS, "likelihood")
    shapes = _weight_shapes(header["architecture"], header["params"]["likelihood"])
    parts = ["weights", "first_moments", "second_moments", *["best"] * header["has_best"]]
    specs = {f"{part}.{name}": (s, "<f4") for part in parts for name, s in shapes.items()}
    return specs | {f"history.{name}": ((header["n_epochs"],), "<f8") for name in header["history"]}


def progress_from_file(plan, header, arrays):
    """Progress of a training, from a file that `progress_arrays` found right.

    Parameters
    ----------
    plan : dict
        What the training that is to go on depends on.

    header : dict

    arrays : dict of str to ndarray

    Returns
    -------
    progress : dict
        As `_training.train` takes it.

    Raises
    ------
    ValueError
        If the file belongs to a training with another plan; says in what they differ.
    """
    plan = plain(plan)
    differences = []
    for key in ("skvae_version", "params", "data", "architecture", "device", "seed"):
        ours, theirs = plan[key], header[key]
        if isinstance(ours, dict) and isinstance(theirs, dict):
            differences += [
                f"{key}: {name} was {theirs.get(name)!r:.80}, is {ours.get(name)!r:.80}"
                for name in sorted(ours.keys() | theirs.keys())
                if theirs.get(name) != ours.get(name)
            ]
        elif ours != theirs:
            differences.append(f"{key} was {theirs!r:.80}, is {ours!r:.80}")
    if differences:
        raise ValueError(
            f"The checkpoint belongs to another fit ({'; '.join(differences)}). Make them the "
            "same to go on, or remove the file or give another path to begin anew."
        )
    return {
        "history": _rows(_part(arrays, "history"), header),
        "rates": header["rates"],
        "early_stopping": header["early_stopping"],
        "best": _part(arrays, "best") or None,
        **{part: _part(arrays, part) for part in ("weights", "first_moments", "second_moments")},
    }


def training_plan(params, rows, architecture, seed, device):
    """What a training depends on, so far as a file can tell.

    Parameters
    ----------
    params : dict
        Parameters of the constructor.

    rows : ndarray of shape (n, n_features)
        The training data, of which the SHA-256 is taken.

    architecture : dict

    seed : int

    device : str

    Returns
    -------
    plan : dict of plain Python values
    """
    digest = hashlib.sha256()
    for start in range(0, len(rows), 1_024):
        digest.update(np.ascontiguousarray(rows[start : start + 1_024]))
    # What changes no weight may change between the parts of a training.
    free = ("verbose", "device")
    return {
        "skvae_version": __version__,
        "params": {k: v for k, v in saved_params(params).items() if k not in free},
        "data": {"sha256": digest.hexdigest(), "shape": rows.shape, "dtype": rows.dtype.str},
        "architecture": architecture,
        "seed": seed,
        "device": device,
    }


def plain(value):
    """The same value in None, bool, int, float, str, list and dict alone.

    Parameters
    ----------
    value : object

    Returns
    -------
    value : object

    Raises
    ------
    TypeError
        If the value, or one inside it, is of another type.
    """
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{value!r:.200} is not a plain value that a file can hold.")


def saved_params(params):
    """The parameters that a file can hold.

    A RandomState has moved on: it is left out, as are `NOT_SAVED`.

    Parameters
    ----------
    params : dict

    Returns
    -------
    params : dict of plain Python values
    """
    seed = params["random_state"]
    random_state = None if isinstance(seed, np.random.RandomState) else seed
    return {
        name: plain(value)
        for name, value in {**params, "random_state": random_state}.items()
        if name not in NOT_SAVED
    }


def restored_params(params):
    """The parameters of the constructor, from `saved_params`.

    Parameters
    ----------
    params : dict

    Returns
    -------
    params : dict
    """
    return {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}


def _check_header(header, kind):
    """What models and checkpoints have in common."""
    _require(header["kind"] == kind, f"kind ({header['kind']!r:.40}, not {kind!r})")
    _require(type(header["skvae_version"]) is str, "skvae_version")
    _require(type(header["params"]) is dict and not NOT_SAVED & set(header["params"]), "params")
    _require(type(header["seed"]) is int and 0 <= header["seed"] < 2**31, "seed")
    n_epochs, columns = header["n_epochs"], header["history"]
    _require(type(n_epochs) is int and 0 <= n_epochs <= MAX_EPOCHS, "n_epochs")
    _require(type(columns) is list and len(set(columns)) == len(columns), "history")
    _require(set(columns) <= {*TRAIN_COLUMNS, *VALID_COLUMNS, "duration"}, "history")
    _require("train_loss" in columns or n_epochs == 0, "history")
    architecture = header["architecture"]
    _require(type(architecture) is dict and set(architecture) == set(ARCHITECTURE), "architecture")
    shape, channels = architecture["image_shape"], architecture["hidden_channels"]
    _require(type(shape) is list and len(shape) == 3, "image_shape")
    _require(type(channels) is list and 0 < len(channels) <= MAX_STAGES, "hidden_channels")
    sizes = [*shape, *channels, architecture["n_components"], architecture["hidden_units"]]
    _require(all(_is_count(n) for n in sizes), "architecture")


def _require(condition, name):
    if not condition:
        raise ValueError(f"no file of skvae has such {name}")


def _is_count(value):
    return type(value) is int and 0 < value <= MAX_SIDE


def _weight_shapes(architecture, likelihood):
    return weight_shapes(**architecture, learns_noise=LIKELIHOODS[likelihood].learns_noise)


def _architecture(header):
    """The architecture with tuples, as the estimator holds it."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in header["architecture"].items()}


def _part(arrays, prefix):
    return {
        name.removeprefix(f"{prefix}."): array
        for name, array in arrays.items()
        if name.startswith(f"{prefix}.")
    }


def _columns(history):
    """Names of the numbers in a history; the epochs need none, being 1, 2, 3 ..."""
    return [name for name in dict.fromkeys(k for row in history for k in row) if name != "epoch"]


def _column(history, name):
    return np.array([row.get(name, math.nan) for row in history], dtype=np.float64)


def _rows(columns, header):
    """History as a list of dicts, where a value that an epoch did not have is missing."""
    rows = []
    for i in range(header["n_epochs"]):
        values = {name: float(columns[name][i]) for name in header["history"]}
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        rows.append({"epoch": i + 1, **known})
    return rows
