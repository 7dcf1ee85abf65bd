"""Fitted models and checkpoints as files without code.

Knows no training.
"""

from . import archive, model
from .archive import InvalidFileError
from .fields import (
    Arrays,
    Field,
    FileKind,
    are_columns,
    are_params,
    history_of,
    history_specs,
    is_architecture,
    is_likelihood,
    is_number_of_epochs,
    is_seed,
    of_type,
    plain,
    saved_params,
    weight_specs,
)
from .model import load, storable

__all__ = [
    "Arrays",
    "Field",
    "FileKind",
    "InvalidFileError",
    "archive",
    "are_columns",
    "are_params",
    "history_of",
    "history_specs",
    "is_architecture",
    "is_likelihood",
    "is_number_of_epochs",
    "is_seed",
    "load",
    "model",
    "of_type",
    "plain",
    "saved_params",
    "storable",
    "weight_specs",
]
