"""A kind of file as one table of fields, from which its writer, reader and check come (NumPy).

Every value must have a type and a range that training can give it. The shapes of the arrays follow
from the values.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np

from .._data import is_missing
from .._history import LABEL_COLUMNS, TRAIN_COLUMNS, VALID_COLUMNS
from .._model import LIKELIHOODS, weight_shapes
from . import archive

# Bounds of the numbers in a file, far above what anybody trains. They keep a hostile header from
# taking much time or memory.
MAX_STAGES, MAX_SIZE, MAX_FILE_EPOCHS = 64, 2**24, 2**24

# Up to this, all programs that read JSON keep whole numbers as they are.
MAX_EXACT = 2**53 - 1

# Parameters that a file does not hold: callbacks are code, and a path or a group of processes mean
# nothing on another machine.
NOT_SAVED = {"callbacks", "checkpoint", "data_parallel"}


def _unchanged(value):
    return value


class Field(NamedTuple):
    """An entry of a header, and the attributes that it holds."""

    key: str  # in the header
    attributes: str  # one name, or several with spaces between them
    valid: Callable  # valid(value, header): whether a fit can give the value. It may also raise.
    encode: Callable = _unchanged  # the attributes -> the value, which is then made plain
    # The value -> the attribute, or a tuple of all. None: the arrays give the attribute back.
    decode: Callable | None = _unchanged
    optional: bool = False  # whether an estimator may lack the attributes, which is null


class Arrays(NamedTuple):
    """An array of a file, or a group with a common prefix, and the attribute that it is."""

    key: str  # its name, or the prefix
    attribute: str  # an array, or a dict of arrays or lists by name
    # Checked header -> (shape, dtype), or a dict of such by name; None: it is not there.
    specs: Callable
    decode: Callable = lambda arrays, header: arrays  # decode(arrays, header) -> the attribute


class FileKind(NamedTuple):
    """A kind of file, by the tables of its fields and arrays."""

    name: str
    fields: tuple
    arrays: tuple

    def encode(self, values):
        """Header and arrays that hold attributes, which are given by name."""
        header = {"kind": self.name}
        header |= {field.key: _encoded(field, values) for field in self.fields}
        arrays = _flat({part.key: values[part.attribute] for part in self.arrays})
        self.specs(header)  # what cannot be read back is not written
        return header, {name: np.asarray(array) for name, array in arrays.items()}

    def specs(self, header):
        """(shape, dtype) of each array by name, after a check of a header that may be hostile."""
        kind = header["kind"]
        which = "skvae.load reads what `save` wrote, and `checkpoint` what `fit` wrote"
        require(kind == self.name, f"kind ({kind!r:.40}, not {self.name!r}: {which})")
        checks = {field.key: field.valid for field in self.fields}
        check(checks, {key: header[key] for key in header if key != "kind"})
        return _flat({part.key: part.specs(header) for part in self.arrays})

    def decode(self, header, arrays):
        """The attributes by name: the inverse of `encode`."""
        values = {}
        for field in self.fields:
            value = header[field.key]
            if field.decode is not None and not (field.optional and value is None):
                names, decoded = field.attributes.split(), field.decode(value)
                values |= zip(names, decoded if len(names) > 1 else [decoded], strict=True)
        nested = _nested(arrays)
        for part in self.arrays:
            values[part.attribute] = part.decode(nested.get(part.key), header)
        return values

    def write(self, path, values):
        """Write attributes to a file."""
        archive.write(path, *self.encode(values))

    def read(self, path):
        """The attributes in a file that need not be trusted."""
        return self.decode(*archive.read(path, self.specs))


def _encoded(field, values):
    names = field.attributes.split()
    if field.optional and names[0] not in values:
        return None
    return plain(field.encode(*(values[name] for name in names)))


def _flat(groups):
    """{"a": {"b": 1}, "c": 2, "d": None} -> {"a.b": 1, "c": 2}."""
    flat = {}
    for key, value in groups.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": item for name, item in value.items()}
        elif value is not None:
            flat[key] = value
    return flat


def _nested(arrays):
    """The inverse of `_flat`."""
    nested = {}
    for name, array in arrays.items():
        key, dot, rest = name.partition(".")
        if dot:
            nested.setdefault(key, {})[rest] = array
        else:
            nested[key] = array
    return nested


def require(condition, name):
    """Raise a ValueError that names a part of the header, unless the condition holds."""
    if not condition:
        raise ValueError(f"invalid {name} in the file")


def check(checks, values):
    """Check a dict by a check for each of its keys; an error names the key that is not valid."""
    keys = checks.keys()
    require(values.keys() == keys, f"keys ({', '.join(sorted(values.keys() ^ keys)):.100})")
    for key, valid in checks.items():
        require(valid(values[key], values), key)


def of_type(*types):
    """A check: the value has exactly one of these types."""
    return lambda value, header: type(value) in types


def int_within(least, most):
    """A check: the value is a plain int from `least` to `most`."""
    return lambda value, header=None: type(value) is int and least <= value <= most


is_size = int_within(1, MAX_SIZE)
is_seed = int_within(0, 2**31 - 1)


def is_number_of_epochs(value, header=None):
    """Whether a value is a number of epochs, from 0 to `MAX_FILE_EPOCHS`."""
    return int_within(0, MAX_FILE_EPOCHS)(value)


def counts_within(least, most):
    """A check: the value is a list of counts, from `least` to `most` of them."""
    return lambda value, header: (
        type(value) is list and least <= len(value) <= most and all(map(is_size, value))
    )


def is_architecture(value, header):
    """Whether a value has the parameters of a network, but for its likelihood."""
    check(ARCHITECTURE, value)
    return True


def is_likelihood(value, header):
    """Whether a value names a likelihood."""
    return value in LIKELIHOODS


def are_params(value, header):
    """Whether a value has only parameters that a file may hold."""
    return type(value) is dict and not NOT_SAVED & value.keys()


def are_columns(value, header):
    """Whether a value has the names of the columns of a history."""
    known = {*TRAIN_COLUMNS, *VALID_COLUMNS, "duration"}
    known |= set(LABEL_COLUMNS) if header["architecture"]["n_classes"] else set()
    return (
        type(value) is list
        and len(set(value)) == len(value)
        and set(value) <= known
        and ("train_loss" in value or header["n_epochs"] == 0)
    )


ARCHITECTURE = {
    "image_shape": counts_within(3, 3),
    "n_components": is_size,
    "hidden_channels": counts_within(1, MAX_STAGES),
    "hidden_units": is_size,
    "linear_path": of_type(bool),
    "n_classes": int_within(0, MAX_SIZE),
    "holes": of_type(bool),
}


def plain(value):
    """The same value, made of None, bool, int, float, str, list and dict only."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kind, others in ((bool, np.bool_), (int, Integral), (float, Real), (str, str)):
        if isinstance(value, others):
            return kind(value)
    raise TypeError(f"{value!r:.200} is not a plain value that a file can hold.")


def saved_params(params):
    """The parameters that a file can hold; a RandomState, which has changed, becomes None.

    A dict or a Series of `priors`, whose keys JSON would make text, becomes a list in the order of
    the classes. NA of pandas becomes NaN, which means the same for `unlabeled`.
    """
    seed, priors, marker = params["random_state"], params.get("priors"), params.get("unlabeled")
    changed = {
        "random_state": None if isinstance(seed, np.random.RandomState) else seed,
        "device": str(params["device"]),
    }
    if marker is not None and is_missing(marker):
        changed["unlabeled"] = math.nan
    if hasattr(priors, "to_dict"):
        priors = priors.to_dict()
    if isinstance(priors, dict):
        changed["priors"] = [priors[label] for label in sorted(priors)]
    return {k: plain(v) for k, v in {**params, **changed}.items() if k not in NOT_SAVED}


def lists_to_tuples(values):
    """A dict of JSON with its lists as tuples, as parameters and architectures have them."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def weight_specs(header):
    """(shape, dtype) of each weight of the network in a checked header."""
    architecture = lists_to_tuples(header["architecture"])
    shapes = weight_shapes(**architecture, likelihood=header["likelihood"])
    return {name: (shape, "<f4") for name, shape in shapes.items()}


def history_specs(header):
    """(shape, dtype) of each column of the history."""
    return dict.fromkeys(header["history"], ((header["n_epochs"],), "<f8"))


def history_of(columns, header):
    """The history as lists, in the order of the header."""
    return {name: columns[name].tolist() for name in header["history"]}
