"""The history of a training: for each quantity, a list of one number per epoch (plain Python).

The keys are ``train_loss``, ``train_log_likelihood``, ``train_kl`` and
``train_explained_variance_ratio``, with labels also ``train_label_loss`` and ``train_accuracy``;
the same with ``valid_``; and ``duration``. NaN stands for a quantity that an epoch does not have.
"""

import math

# Phases of an epoch, and what is recorded in each: the loss, its terms, and the share of the
# variance explained.
EXPLAINED = "explained_variance_ratio"
PHASES, TERMS = ("train", "valid"), ("loss", "log_likelihood", "kl", EXPLAINED)
LABEL_TERMS = ("label_loss", "accuracy")
TRAIN_COLUMNS, VALID_COLUMNS = ([f"{phase}_{term}" for term in TERMS] for phase in PHASES)
LABEL_COLUMNS = [f"{phase}_{term}" for phase in PHASES for term in LABEL_TERMS]


def extend(history, rows):
    """Append rows, dicts of one epoch each, to a history in place."""
    for row in rows:
        n_epochs = n_epochs_of(history)
        for name in row:
            history.setdefault(name, [math.nan] * n_epochs)
        for name, column in history.items():
            column.append(row.get(name, math.nan))


def row_of(record):
    """The row of an epoch, from its record in the history of a skorch net."""
    columns = (*TRAIN_COLUMNS, *VALID_COLUMNS, *LABEL_COLUMNS)
    keys = {name: name for name in columns} | {"duration": "dur"}
    return {name: float(record[key]) for name, key in keys.items() if key in record}


def n_epochs_of(history):
    """Number of epochs in a history."""
    return len(next(iter(history.values()), ()))


def rows_of(history):
    """A history as a list of dicts, one per epoch, each without its missing quantities."""
    rows = (zip(history, row, strict=True) for row in zip(*history.values(), strict=True))
    return [{name: value for name, value in row if not math.isnan(value)} for row in rows]
