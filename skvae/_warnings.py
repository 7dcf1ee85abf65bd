"""Warnings that point at the user's line, not into the library (standard library only)."""

import sys
import warnings

# Packages whose lines are never the user's: this library, those that call it on a user's behalf,
# and the parts of Python that they use.
SKIPPED_PACKAGES = {"skvae", "sklearn", "skorch", "torch", "joblib", "contextlib", "copy", "pickle"}


def warn(message, category=UserWarning):
    """Warn by a text or a Warning, at the innermost line outside `SKIPPED_PACKAGES`."""
    frame, stacklevel = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in SKIPPED_PACKAGES:
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)
