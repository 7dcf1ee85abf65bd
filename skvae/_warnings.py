"""Warnings that point at the line of the user who called the library (standard library only)."""

import sys
import warnings

# Packages between a user's line and the line that warns: this library, those that call it on a
# user's behalf, and what they use of Python.
CALLERS = {"skvae", "sklearn", "skorch", "joblib", "contextlib", "copy", "pickle"}


def warn(message, category=UserWarning):
    """Warn at the innermost line that belongs to none of `CALLERS`.

    Parameters
    ----------
    message : str or Warning

    category : type, default=UserWarning
        Of the warning, where `message` is a str.
    """
    frame, stacklevel = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in CALLERS:
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)
