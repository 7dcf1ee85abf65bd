"""Numbers of things: whole numbers above 0 (standard library only)."""

from numbers import Integral


def is_count(value):
    """Whether a value is a whole number above 0."""
    return isinstance(value, Integral) and value > 0


def check_count(name, value):
    """Refuse what is no number of things, by a ValueError."""
    if not is_count(value):
        raise ValueError(f"{name} must be a whole number above 0. Got {value!r}.")
