"""Parts of docstrings that classes share, written once (standard library only)."""

import inspect
import re


def with_sections_of(source):
    """A class decorator that fills sections of another class into the docstring.

    The name of a section in braces, such as ``{Parameters}``, stands alone on a line. It is
    replaced by the section of that name in the docstring of `source`, without the heading.

    Parameters
    ----------
    source : type
        The class whose docstring has the sections.

    Returns
    -------
    decorator : callable
    """

    def decorator(cls):
        def section(match):
            # A heading, its underline, and everything up to the next heading or the end.
            pattern = rf"^{match[1]}\n-+\n(.*?)(?=\n\n[^\n]+\n---|\Z)"
            return re.search(pattern, inspect.getdoc(source), re.DOTALL | re.MULTILINE)[1].strip()

        doc = re.sub(r"^\{(\w+)\}$", section, inspect.getdoc(cls), flags=re.MULTILINE)
        cls.__doc__ = f"{doc}\n"
        return cls

    return decorator
