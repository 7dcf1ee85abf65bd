"""Docstrings in numpydoc form, for all that is public."""

import inspect

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import skvae
from skvae import ConvVAETransformer
from skvae._docstrings import with_sections_of

CLASSES = [
    name
    for name in skvae.__all__
    if inspect.isclass(getattr(skvae, name)) and not issubclass(getattr(skvae, name), Exception)
]
NAMES = (
    [f"skvae.{name}" for name in CLASSES]
    + [
        f"skvae.{name}.{method}"
        for name in CLASSES
        for method, member in vars(getattr(skvae, name)).items()
        if not method.startswith("_") and (callable(member) or isinstance(member, classmethod))
    ]
    + ["skvae.load", "skvae.read_images", "skvae.to_onnx"]
)
# Left to taste: sections that would only repeat others (extended summary, see also, examples
# of single methods), the order of words in a summary, and scikit-learn's named return values.
IGNORED = {
    "ES01",
    "EX01",
    "SA01",
    "SA04",
    "GL01",
    "SS05",
    "SS06",
    "RT02",
    "RT03",
    "YD01",
    "PR01",
    "PR02",
}


@pytest.mark.parametrize("name", NAMES)
def test_numpydoc(name):
    errors = [error for error in validate(name)["errors"] if error[0] not in IGNORED]
    assert errors == []


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_signature(name):
    obj = skvae
    for part in name.split(".")[1:]:
        obj = getattr(obj, part)
    documented = [parameter.name for parameter in NumpyDocString(obj.__doc__)["Parameters"]]
    expected = [p for p in inspect.signature(obj).parameters if p not in ("self", "cls")]
    assert documented == expected


def test_documented_defaults_are_the_defaults():
    parameters = inspect.signature(ConvVAETransformer).parameters
    for entry in NumpyDocString(ConvVAETransformer.__doc__)["Parameters"]:
        stated = entry.type.split("default=")[1]
        assert eval(stated) == parameters[entry.name].default, entry.name


def test_fitted_attributes_are_documented_and_exist(small):
    documented = {entry.name for entry in NumpyDocString(ConvVAETransformer.__doc__)["Attributes"]}
    fitted = {name for name in dir(small) if name.endswith("_") and not name.startswith("_")}
    # Names and noise are there for some X and some likelihoods; `dir` asks each property.
    assert documented - {"feature_names_in_", "noise_variance_"} == fitted


def test_every_class_has_an_example():
    for name in CLASSES:
        assert NumpyDocString(getattr(skvae, name).__doc__)["Examples"], name


class Source:
    """Says it once.

    Parameters
    ----------
    a : int
        First.

        - indented

    b : int
        Second.

    Attributes
    ----------
    c_ : int
        Last.
    """


def test_sections_are_filled_in():
    @with_sections_of(Source)
    class Filled:
        """Another.

        Parameters
        ----------
        {Parameters}

        Attributes
        ----------
        {Attributes}

        Notes
        -----
        A set {a} stays.
        """

    own, source = NumpyDocString(inspect.getdoc(Filled)), NumpyDocString(inspect.getdoc(Source))
    assert own["Parameters"] == source["Parameters"]
    assert own["Attributes"] == source["Attributes"]
    assert own["Summary"] == ["Another."]
    assert own["Notes"] == ["A set {a} stays."]
    assert Filled.__doc__.endswith("stays.\n")
