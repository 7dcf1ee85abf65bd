"""The history: columns of equal length, rows there and back."""

import math

from skvae._history import LABEL_COLUMNS, TRAIN_COLUMNS, VALID_COLUMNS, extend, n_epochs_of, rows_of

ROWS = [
    {"train_loss": 3.0, "duration": 0.1},
    {"train_loss": 2.0, "valid_loss": 5.0, "duration": 0.2},
    {"valid_loss": 4.0, "duration": 0.3},
]


def test_there_and_back_is_the_identity():
    history = {}
    extend(history, ROWS)
    assert rows_of(history) == ROWS
    assert n_epochs_of(history) == 3
    assert [len(column) for column in history.values()] == [3, 3, 3]


def test_not_a_number_stands_for_what_an_epoch_does_not_have():
    history = {}
    extend(history, ROWS)
    assert history["train_loss"][:2] == [3.0, 2.0]
    assert math.isnan(history["train_loss"][2])
    assert math.isnan(history["valid_loss"][0])
    assert history["valid_loss"][1:] == [5.0, 4.0]


def test_nothing_is_a_history_too():
    history = {}
    extend(history, [])
    assert history == {}
    assert n_epochs_of(history) == 0
    assert rows_of(history) == []


def test_rows_are_appended_in_place():
    history = {}
    extend(history, ROWS[:1])
    columns = dict(history)
    extend(history, ROWS[1:])
    assert all(history[name] is column for name, column in columns.items())
    assert rows_of(history) == ROWS


def test_names_of_the_columns():
    terms = ["loss", "log_likelihood", "kl", "explained_variance_ratio"]
    assert [f"train_{term}" for term in terms] == TRAIN_COLUMNS
    assert [f"valid_{term}" for term in terms] == VALID_COLUMNS
    labels = ["train_label_loss", "train_accuracy", "valid_label_loss", "valid_accuracy"]
    assert labels == LABEL_COLUMNS
