"""The history of a training: a list of numbers for each quantity (standard library only).

Keys are ``train_loss``, ``train_log_likelihood``, ``train_kl``, the same with ``valid_``, and
``duration``; NaN stands for what an epoch does not have.
"""

import math

# What is recorded of each epoch, by phase and term of the loss.
PHASES, TERMS = ("train", "valid"), ("loss", "log_likelihood", "kl")
TRAIN_COLUMNS, VALID_COLUMNS = ([f"{phase}_{term}" for term in TERMS] for phase in PHASES)


def extend(history, rows):
    """Append rows to a history, in place.

    Parameters
    ----------
    history : dict of str to list of float

    rows : list of dict of str to float
    """
    for row in rows:
        n_epochs = n_epochs_of(history)
        for name in row:
            history.setdefault(name, [math.nan] * n_epochs)
        for name, column in history.items():
            column.append(row.get(name, math.nan))


def n_epochs_of(history):
    """Number of epochs in a history."""
    return len(next(iter(history.values()), ()))


def rows_of(history):
    """A history epoch by epoch, as a list of dicts without what an epoch does not have."""
    rows = (zip(history, row, strict=True) for row in zip(*history.values(), strict=True))
    return [{name: value for name, value in row if not math.isnan(value)} for row in rows]
