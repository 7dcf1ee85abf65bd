"""Checkpoints: the progress of a training <-> a file, by one table of fields (NumPy)."""

import errno
import hashlib
import os

import numpy as np

from .._files import Arrays, Field, FileKind, fields
from .._history import LABEL_COLUMNS, TRAIN_COLUMNS, VALID_COLUMNS, extend, n_epochs_of, rows_of
from .._version import __version__


def _are_columns_of_training(value, header):
    columns = {*TRAIN_COLUMNS, *VALID_COLUMNS * (header["n_valid"] > 0), "duration"}
    return fields.are_columns(value, header) and set(value) - set(LABEL_COLUMNS) == columns


def _is_number_of_epochs_done(value, header):
    return fields.is_number_of_epochs(value) and value > 0


def _are_numbers_of_steps(value, header):
    return (
        type(value) is dict
        and value.keys() <= fields.weight_specs(header).keys()
        and all(map(fields.int_within(1, fields.MAX_EXACT), value.values()))
    )


def _are_frozen(value, header):
    return type(value) is list and set(value) <= fields.weight_specs(header).keys()


def _moment_specs(header):
    return {
        name: spec
        for name, spec in fields.weight_specs(header).items()
        if name in header["n_steps"]
    }


def _best_specs(header):
    return fields.weight_specs(header) if header["n_valid"] else None


# A training continues from a checkpoint with the same plan only.
PLAN = (
    Field("skvae_version", "skvae_version", fields.of_type(str)),
    Field("params", "params", fields.are_params),
    Field("data", "data", fields.of_type(dict)),
    Field("n_valid", "n_valid", fields.int_within(0, fields.MAX_EXACT)),
    Field("architecture", "architecture", fields.is_architecture),
    Field("likelihood", "likelihood", fields.is_likelihood),
    Field("seed", "seed", fields.is_seed),
    Field("device", "device", fields.of_type(str)),
)

CHECKPOINT = FileKind(
    "checkpoint",
    (
        *PLAN,
        Field("finished", "finished", fields.of_type(bool)),
        Field("n_epochs", "history", _is_number_of_epochs_done, n_epochs_of, None),
        Field("history", "history", _are_columns_of_training, list, None),
        Field("n_steps", "n_steps", _are_numbers_of_steps),
        Field("frozen", "frozen", _are_frozen),
    ),
    (
        Arrays("weights", "weights", fields.weight_specs),
        Arrays("first_moments", "first_moments", _moment_specs),
        Arrays("second_moments", "second_moments", _moment_specs),
        Arrays("best", "best", _best_specs),
        Arrays("history", "history", fields.history_specs, fields.history_of),
    ),
)


class CheckpointFile:
    """The file to which a training with a plan writes its progress."""

    def __init__(self, path, plan):
        self.path = os.fspath(path)
        self.plan = fields.plain(plan)
        self._values = {"history": {}}
        if not os.path.isdir(os.path.dirname(os.path.abspath(self.path))):
            raise FileNotFoundError(
                errno.ENOENT,
                "The folder of the checkpoint does not exist. Create it first",
                self.path,
            )

    def read(self, *, any_seed):
        """Progress of a training with the same plan, as `train` takes it, or None.

        With `any_seed`, the seed of the file is taken over, because the user gave none. If the
        training of another plan is not finished, a ValueError lists the differences.
        """
        try:
            values = CHECKPOINT.read(self.path)
        except FileNotFoundError:
            return None
        plan = {**self.plan, "seed": values["seed"]} if any_seed else self.plan
        differences = _differences(plan, values)
        if differences and not values["finished"]:
            raise ValueError(
                "The checkpoint belongs to another fit, which is not finished "
                f"({'; '.join(differences)}). To continue that fit, undo these differences. To "
                "start anew, remove the file or give another path."
            )
        if differences:
            return None
        self.plan, self._values = plan, values
        return {**values, "history": rows_of(values["history"])}

    def write(self, progress):
        """Write what `Checkpoint` gives after an epoch; an OSError leaves the file."""
        history = self._values["history"]
        # In place: the cost of an epoch does not grow with their number.
        extend(history, [progress["epoch"]])
        self._write({**self.plan, **progress, "history": history, "finished": False})

    def finish(self):
        """Write beside the progress that the training has finished."""
        if not self._values["finished"]:
            self._write({**self._values, "finished": True})

    def _write(self, values):
        self._values = values
        try:
            CHECKPOINT.write(self.path, values)
        except OSError as error:
            raise OSError(
                error.errno,
                f"The checkpoint could not be written ({error.strerror}). The previous epoch's "
                "checkpoint is intact. Fix the cause and call fit again to continue",
                self.path,
            ) from error


def training_plan(estimator, images, n_valid, seed):
    """What a training depends on: plain values, and the SHA-256 of the rows and of the labels."""
    rows, labels, digest = images.rows, images.labels, hashlib.sha256()
    for start in range(0, len(rows), 1_024):
        digest.update(np.ascontiguousarray(rows[start : start + 1_024]))
    data = {"sha256": digest.hexdigest(), "shape": rows.shape, "dtype": rows.dtype.str}
    if labels is not None:
        data["labels"] = hashlib.sha256(labels.astype("<i8")).hexdigest()
    # A resumed training may change these: they do not change the weights, or the plan has them.
    ignored = ("verbose", "device")
    params = fields.saved_params(estimator.get_params(deep=False))
    return {
        "skvae_version": __version__,
        "params": {k: v for k, v in params.items() if k not in ignored},
        "data": data,
        "n_valid": n_valid,
        "architecture": estimator._architecture,
        "likelihood": estimator.likelihood_,
        "seed": seed,
        "device": estimator.device_,
    }


def _differences(plan, values):
    """What differs between a plan and the one of a file, as texts."""
    differences = []
    for field in PLAN:
        ours, theirs = plan[field.key], values[field.key]
        if isinstance(ours, dict) and isinstance(theirs, dict):
            differences += [
                f"{field.key}: {name} was {theirs.get(name)!r:.80}, is {ours.get(name)!r:.80}"
                for name in sorted(ours.keys() | theirs.keys())
                if not _same(ours.get(name), theirs.get(name))
            ]
        elif not _same(ours, theirs):
            differences.append(f"{field.key} was {theirs!r:.80}, is {ours!r:.80}")
    return differences


def _same(ours, theirs):
    """Whether two plain values are the same; NaN, as of `unlabeled`, is the same as NaN."""
    return ours == theirs or repr(ours) == repr(theirs)
