"""A training under way <-> a file that a later fit goes on from: writer and reader (NumPy)."""

import errno
import hashlib
import math
import os

import numpy as np

from . import _persistence
from ._elbo import LIKELIHOODS
from ._headers import (
    check_header,
    history_arrays,
    history_from_arrays,
    history_specs,
    part,
    plain,
    require,
    saved_params,
    weight_shapes_of,
)
from ._history import TRAIN_COLUMNS, VALID_COLUMNS, extend, rows_of
from ._version import __version__

# What the plan of a training consists of.
PLAN = (
    "skvae_version",
    "params",
    "data",
    "n_valid",
    "architecture",
    "likelihood",
    "device",
    "seed",
)

# Types of what early stopping remembers, beside the best weights.
EARLY_STOPPING = {
    "best_loss": (float,),
    "reference_loss": (float,),
    "reference_epoch": (int,),
    "cooldown": (int, type(None)),
}


class CheckpointFile:
    """The file in which a training notes its progress.

    Parameters
    ----------
    path : str or path-like

    plan : dict
        What the training depends on; see `training_plan`.
    """

    def __init__(self, path, plan):
        self.path = os.fspath(path)
        self.plan = plain(plan)
        if not os.path.isdir(os.path.dirname(os.path.abspath(self.path))):
            raise FileNotFoundError(
                errno.ENOENT,
                "The folder of the checkpoint does not exist; make it first",
                self.path,
            )

    def read(self, *, any_seed):
        """Progress of an unfinished training of the same plan.

        Parameters
        ----------
        any_seed : bool
            Whether the plan takes the seed of the file, because none was asked for.

        Returns
        -------
        progress : dict or None
            As `_training.train` takes it. None if there is no file, or that of a training that
            is finished.

        Raises
        ------
        ValueError
            If the file belongs to an unfinished training of another plan; says in what they
            differ. If it is no such file.
        """
        try:
            header, arrays = _persistence.read(self.path, progress_arrays)
        except FileNotFoundError:
            return None
        if header["finished"]:
            return None
        if any_seed:
            self.plan["seed"] = header["seed"]
        return progress_from_file(self.plan, header, arrays)

    def write(self, progress):
        """Note the progress after an epoch; None when the training is finished.

        Parameters
        ----------
        progress : dict or None
            What `_training.train` hands on.

        Raises
        ------
        OSError
            If the file cannot be written; it is then as it was before.
        """
        try:
            _persistence.write(self.path, *progress_to_file(self.plan, progress))
        except OSError as error:
            raise OSError(
                error.errno,
                f"The checkpoint could not be written ({error.strerror}). The previous epoch's "
                "checkpoint is intact. Fix the cause and call fit again to go on",
                self.path,
            ) from error


def training_plan(params, rows, n_valid, architecture, likelihood, seed, device):
    """What a training depends on, so far as a file can tell.

    Parameters
    ----------
    params : dict
        Parameters of the constructor.

    rows : ndarray of shape (n, n_features)
        The training data, of which the SHA-256 is taken.

    n_valid : int
        How many of them are set aside to validate on.

    architecture : dict

    likelihood : str

    seed : int

    device : str

    Returns
    -------
    plan : dict of plain Python values
    """
    digest = hashlib.sha256()
    for start in range(0, len(rows), 1_024):
        digest.update(np.ascontiguousarray(rows[start : start + 1_024]))
    # Parameters that change no weight may change between the parts of a training.
    ignored = ("verbose", "device")
    return {
        "skvae_version": __version__,
        "params": {k: v for k, v in saved_params(params).items() if k not in ignored},
        "data": {"sha256": digest.hexdigest(), "shape": rows.shape, "dtype": rows.dtype.str},
        "n_valid": n_valid,
        "architecture": architecture,
        "likelihood": likelihood,
        "seed": seed,
        "device": device,
    }


def progress_to_file(plan, progress):
    """Header and arrays that hold a training under way, or tell that it is finished.

    Parameters
    ----------
    plan : dict

    progress : dict or None
        What `_training.train` hands on after each epoch; None: the training is finished.

    Returns
    -------
    header : dict of plain Python values

    arrays : dict of str to ndarray
    """
    header = {"kind": "checkpoint", **plan, "finished": progress is None}
    if progress is None:
        return {**header, "n_epochs": 0, "history": []}, {}
    history = {}
    extend(history, progress["history"])
    header |= {
        "n_epochs": len(progress["history"]),
        "history": list(history),
        "n_steps": progress["n_steps"],
        "frozen": progress["frozen"],
        "early_stopping": progress["early_stopping"],
    }
    arrays = history_arrays(history)
    for name in ("weights", "first_moments", "second_moments", "best"):
        arrays |= {f"{name}.{k}": array for k, array in (progress[name] or {}).items()}
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
    check_header(header, "checkpoint")
    require(type(header["data"]) is dict and type(header["device"]) is str, "data or device")
    require(header["likelihood"] in LIKELIHOODS, "likelihood")
    require(type(header["finished"]) is bool, "finished")
    if header["finished"]:
        require(header["n_epochs"] == 0, "n_epochs")
        return {}
    require(header["n_epochs"] > 0, "n_epochs")
    n_valid, state = header["n_valid"], header["early_stopping"]
    require(type(n_valid) is int and n_valid >= 0, "n_valid")
    stops = n_valid > 0
    require((state is not None) == stops, "early_stopping")
    if stops:
        require(state.keys() == EARLY_STOPPING.keys(), "early_stopping")
        good = [type(state[k]) in types for k, types in EARLY_STOPPING.items()]
        require(all(good) and not math.isnan(state["best_loss"]), "early_stopping")
        epochs = (state["reference_epoch"], state["cooldown"] or 0)
        require(all(0 <= epoch <= header["n_epochs"] for epoch in epochs), "early_stopping")
    columns = [*TRAIN_COLUMNS, *VALID_COLUMNS * stops, "duration"]
    require(sorted(header["history"]) == sorted(columns), "history")
    shapes = weight_shapes_of(header, header["likelihood"])
    n_steps, frozen = header["n_steps"], header["frozen"]
    require(type(n_steps) is dict and n_steps.keys() <= shapes.keys(), "n_steps")
    require(all(type(n) is int and 0 < n < 2**53 for n in n_steps.values()), "n_steps")
    require(type(frozen) is list and set(frozen) <= shapes.keys(), "frozen")
    moments = {name: shapes[name] for name in n_steps}
    parts = {"weights": shapes, "first_moments": moments, "second_moments": moments}
    parts |= {"best": shapes} if stops else {}
    specs = {f"{k}.{name}": (s, "<f4") for k, some in parts.items() for name, s in some.items()}
    return specs | history_specs(header)


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
    differences = []
    for key in PLAN:
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
            "The checkpoint belongs to another fit, which is not finished "
            f"({'; '.join(differences)}). Make them the same to go on, or remove the file or give "
            "another path to begin anew."
        )
    return {
        "history": rows_of(history_from_arrays(header, arrays)),
        "n_steps": header["n_steps"],
        "frozen": header["frozen"],
        "early_stopping": header["early_stopping"],
        "best": part(arrays, "best") or None,
        **{name: part(arrays, name) for name in ("weights", "first_moments", "second_moments")},
    }
