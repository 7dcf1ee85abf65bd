"""Fitted models and checkpoints as files without code.

Knows no training.
"""

from . import fields, model
from .archive import InvalidFileError
from .fields import Arrays, Field, FileKind
from .model import load, storable
