"""What the headers of models and of checkpoints share, and how it is checked (NumPy).

Every value must have a type and a range that training can give it. The shapes of the arrays follow
from the values.
"""

import numpy as np

from ._elbo import LIKELIHOODS
from ._history import LABEL_COLUMNS, TRAIN_COLUMNS, VALID_COLUMNS
from ._network import weight_shapes

# Bounds of the numbers in a file, far above what anybody trains. They keep a hostile header from
# taking much time or memory.
MAX_STAGES, MAX_SIZE, MAX_FILE_EPOCHS = 64, 2**24, 2**24

# Parameters that a file does not hold: callbacks are code, and a path or a group of processes mean
# nothing on another machine.
NOT_SAVED = {"callbacks", "checkpoint", "data_parallel"}

ARCHITECTURE = {
    "image_shape",
    "n_components",
    "hidden_channels",
    "hidden_units",
    "linear_path",
    "n_classes",
    "holes",
}


def check_header(header, kind):
    """Check the part of a header that models and checkpoints have in common.

    Parameters
    ----------
    header : dict
        It may come from a hostile file.

    kind : {"model", "checkpoint"}

    Raises
    ------
    ValueError, TypeError, KeyError
        Naming what is not valid.
    """
    require(header["kind"] == kind, f"kind ({header['kind']!r:.40}, not {kind!r})")
    require(type(header["skvae_version"]) is str, "skvae_version")
    require(type(header["params"]) is dict and not NOT_SAVED & set(header["params"]), "params")
    require(type(header["seed"]) is int and 0 <= header["seed"] < 2**31, "seed")
    n_epochs, columns = header["n_epochs"], header["history"]
    require(type(n_epochs) is int and 0 <= n_epochs <= MAX_FILE_EPOCHS, "n_epochs")
    require(type(columns) is list and len(set(columns)) == len(columns), "history")
    known = {*TRAIN_COLUMNS, *VALID_COLUMNS, *LABEL_COLUMNS, "duration"}
    require(set(columns) <= known, "history")
    require("train_loss" in columns or n_epochs == 0, "history")
    architecture = header["architecture"]
    require(type(architecture) is dict and set(architecture) == ARCHITECTURE, "architecture")
    shape, channels = architecture["image_shape"], architecture["hidden_channels"]
    require(type(shape) is list and len(shape) == 3, "image_shape")
    require(type(channels) is list and 0 < len(channels) <= MAX_STAGES, "hidden_channels")
    sizes = [*shape, *channels, architecture["n_components"], architecture["hidden_units"]]
    require(all(is_count(n) for n in sizes), "architecture")
    for name in ("linear_path", "holes"):
        require(type(architecture[name]) is bool, name)
    n_classes = architecture["n_classes"]
    require(n_classes == 0 or is_count(n_classes), "n_classes")
    require(type(n_classes) is int, "n_classes")
    require(n_classes > 0 or not set(columns) & set(LABEL_COLUMNS), "history")


def require(condition, name):
    """Raise a ValueError that names a part of the header, unless the condition holds."""
    if not condition:
        raise ValueError(f"invalid {name} in the file")


def is_count(value):
    """Whether a value is a plain int from 1 to `MAX_SIZE`."""
    return type(value) is int and 0 < value <= MAX_SIZE


def plain(value):
    """The same value, made of None, bool, int, float, str, list and dict only.

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
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
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
    """The parameters of an estimator that a file can hold.

    `NOT_SAVED` are left out. A RandomState becomes None, because it has changed since it was given.

    Parameters
    ----------
    params : dict

    Returns
    -------
    params : dict of plain Python values
    """
    seed = params["random_state"]
    changed = {
        "random_state": None if isinstance(seed, np.random.RandomState) else seed,
        "device": str(params["device"]),
    }
    return {k: plain(v) for k, v in {**params, **changed}.items() if k not in NOT_SAVED}


def lists_to_tuples(values):
    """A dict of JSON with its lists as tuples, as parameters and architectures have them.

    Parameters
    ----------
    values : dict

    Returns
    -------
    values : dict
    """
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def weight_shapes_of(header, likelihood):
    """Shapes of the weights of the network in a checked header.

    Parameters
    ----------
    header : dict

    likelihood : str

    Returns
    -------
    shapes : dict of str to tuple of int
    """
    normal = LIKELIHOODS[likelihood].normal
    return weight_shapes(**header["architecture"], normal=normal)


def history_specs(header):
    """Shape and dtype of each array that holds a column of the history.

    Parameters
    ----------
    header : dict

    Returns
    -------
    specs : dict of str to (shape, dtype)
    """
    return {f"history.{name}": ((header["n_epochs"],), "<f8") for name in header["history"]}


def history_arrays(history):
    """The columns of a history as arrays; their specs are those of `history_specs`.

    Parameters
    ----------
    history : dict of str to list of float

    Returns
    -------
    arrays : dict of str to ndarray
    """
    return {f"history.{k}": np.array(column, np.float64) for k, column in history.items()}


def history_from_arrays(header, arrays):
    """The inverse of `history_arrays`; the columns are in the order of the header.

    Parameters
    ----------
    header : dict

    arrays : dict of str to ndarray

    Returns
    -------
    history : dict of str to list of float
    """
    return {name: arrays[f"history.{name}"].tolist() for name in header["history"]}


def arrays_of(arrays, prefix):
    """The arrays whose names begin with a prefix and a dot, which are cut off.

    Parameters
    ----------
    arrays : dict of str to ndarray

    prefix : str

    Returns
    -------
    arrays : dict of str to ndarray
    """
    start = f"{prefix}."
    return {k.removeprefix(start): array for k, array in arrays.items() if k.startswith(start)}
