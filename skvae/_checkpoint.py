"""Checkpoints: an unfinished training <-> a file. Writer and reader (NumPy)."""

import errno
import hashlib
import math
import os

import numpy as np

from . import _persistence
from ._callbacks import EARLY_STOPPING_STATE
from ._elbo import LIKELIHOODS
from ._headers import (
    arrays_of,
    check_header,
    history_arrays,
    history_from_arrays,
    history_specs,
    plain,
    require,
    saved_params,
    weight_shapes_of,
)
from ._history import (
    EXPLAINED_COLUMNS,
    LABEL_COLUMNS,
    TRAIN_COLUMNS,
    VALID_COLUMNS,
    extend,
    rows_of,
)
from ._version import __version__

# Keys of the plan of a training.
PLAN_KEYS = (
    "skvae_version",
    "params",
    "data",
    "n_valid",
    "architecture",
    "likelihood",
    "device",
    "seed",
)


class CheckpointFile:
    """The file to which a training writes its progress.

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
                "The folder of the checkpoint does not exist. Create it first",
                self.path,
            )

    def read(self, *, any_seed):
        """Progress of an unfinished training with the same plan.

        Parameters
        ----------
        any_seed : bool
            Whether to take over the seed of the file, because the user gave none.

        Returns
        -------
        progress : dict or None
            As `_training.train` takes it. None if there is no file, or if its training is
            finished.

        Raises
        ------
        ValueError
            If the file belongs to an unfinished training with another plan; the message lists
            the differences. If the file is not a checkpoint.
        """
        try:
            header, arrays = _persistence.read(self.path, progress_specs)
        except FileNotFoundError:
            return None
        if header["finished"]:
            return None
        if any_seed:
            self.plan["seed"] = header["seed"]
        return progress_from_file(self.plan, header, arrays)

    def write(self, progress):
        """Write the progress to the file.

        Parameters
        ----------
        progress : dict or None
            What `_training.train` gives after each epoch. None: the training is finished.

        Raises
        ------
        OSError
            If the file cannot be written. It is then as it was before.
        """
        try:
            _persistence.write(self.path, *progress_to_file(self.plan, progress))
        except OSError as error:
            raise OSError(
                error.errno,
                f"The checkpoint could not be written ({error.strerror}). The previous epoch's "
                "checkpoint is intact. Fix the cause and call fit again to continue",
                self.path,
            ) from error


def training_plan(params, rows, labels, n_valid, architecture, likelihood, seed, device):
    """What a training depends on. It continues from a checkpoint with the same plan only.

    Parameters
    ----------
    params : dict
        Parameters of the constructor.

    rows : ndarray of shape (n, n_features)
        The training data. The plan has their SHA-256.

    labels : ndarray of int of shape (n,) or None
        The class of each image. The plan has their SHA-256.

    n_valid : int
        Number of images set aside for validation.

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
    data = {"sha256": digest.hexdigest(), "shape": rows.shape, "dtype": rows.dtype.str}
    if labels is not None:
        data["labels"] = hashlib.sha256(labels.astype("<i8")).hexdigest()
    # A resumed training may change these: they do not change the weights, or the plan has them.
    ignored = ("verbose", "device")
    return {
        "skvae_version": __version__,
        "params": {k: v for k, v in saved_params(params).items() if k not in ignored},
        "data": data,
        "n_valid": n_valid,
        "architecture": architecture,
        "likelihood": likelihood,
        "seed": seed,
        "device": device,
    }


def progress_to_file(plan, progress):
    """Header and arrays of a checkpoint.

    Parameters
    ----------
    plan : dict

    progress : dict or None
        What `_training.train` gives after each epoch. None: the training is finished.

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
    progress_specs(plain(header))  # what cannot be read back is not written
    return header, arrays


def progress_specs(header):
    """Shape and dtype of each array that `progress_to_file` makes for a header.

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
        If the header holds anything that a training cannot have.
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
        require(state.keys() == EARLY_STOPPING_STATE.keys(), "early_stopping")
        good = [type(state[k]) in types for k, types in EARLY_STOPPING_STATE.items()]
        require(all(good) and not math.isnan(state["best_loss"]), "early_stopping")
        epochs = (state["reference_epoch"], state["cooldown"] or 0)
        require(all(0 <= epoch <= header["n_epochs"] for epoch in epochs), "early_stopping")
    columns = {*TRAIN_COLUMNS, *VALID_COLUMNS * stops, "duration"}
    found = set(header["history"]) - set(LABEL_COLUMNS)
    # Those of older versions lack the variance explained.
    require(columns - set(EXPLAINED_COLUMNS) <= found <= columns, "history")
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
    """Progress of a training, from a file that `progress_specs` has checked.

    Parameters
    ----------
    plan : dict
        What the new training depends on.

    header : dict

    arrays : dict of str to ndarray

    Returns
    -------
    progress : dict
        As `_training.train` takes it.

    Raises
    ------
    ValueError
        If the file belongs to a training with another plan. The message lists the differences.
    """
    differences = []
    for key in PLAN_KEYS:
        ours, theirs = plan[key], header[key]
        if isinstance(ours, dict) and isinstance(theirs, dict):
            differences += [
                f"{key}: {name} was {theirs.get(name)!r:.80}, is {ours.get(name)!r:.80}"
                for name in sorted(ours.keys() | theirs.keys())
                if not _same(ours.get(name), theirs.get(name))
            ]
        elif not _same(ours, theirs):
            differences.append(f"{key} was {theirs!r:.80}, is {ours!r:.80}")
    if differences:
        raise ValueError(
            "The checkpoint belongs to another fit, which is not finished "
            f"({'; '.join(differences)}). To continue that fit, undo these differences. To start "
            "anew, remove the file or give another path."
        )
    names = ("weights", "first_moments", "second_moments")
    return {
        "history": rows_of(history_from_arrays(header, arrays)),
        "n_steps": header["n_steps"],
        "frozen": header["frozen"],
        "early_stopping": header["early_stopping"],
        "best": arrays_of(arrays, "best") or None,
        **{name: arrays_of(arrays, name) for name in names},
    }


def _same(ours, theirs):
    """Whether two plain values are the same; NaN, as of `unlabeled`, is the same as NaN."""
    return ours == theirs or repr(ours) == repr(theirs)
