"""How weights are found: what one fit does, step by step; the only room that speaks skorch."""

from . import fit, net
from .budget import Budget
from .fit import settings_of

__all__ = [
    "Budget",
    "fit",
    "net",
    "settings_of",
]
