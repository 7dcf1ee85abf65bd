"""A kind of file from a table: its writer, its reader, and the plain values that it holds."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import without_address

from skvae._files.fields import Arrays, Field, FileKind, of_type, plain

# Tables

TOY = FileKind(
    "toy",
    (
        Field(
            "sides", "shape area", of_type(list), lambda shape, _: shape, lambda v: (v, v[0] * v[1])
        ),
        Field("n", "columns", of_type(int), len, None),
        Field("names", "names", of_type(list, type(None)), optional=True),
        Field("rate", "rate", of_type(float)),
    ),
    (
        Arrays(
            "columns",
            "columns",
            lambda header: {str(i): ((2,), "<f8") for i in range(header["n"])},
            lambda arrays, header: {k: a.tolist() for k, a in arrays.items()},
        ),
        Arrays("mean", "mean", lambda header: (tuple(header["sides"]), "<f4")),
        Arrays("best", "best", lambda header: None),
    ),
)
VALUES = {
    "shape": [2, 3],
    "area": 6,
    "columns": {"0": [1.0, 2.0], "1": [3.0, 4.0]},
    "rate": 0.5,
    "mean": np.ones((2, 3), np.float32),
    "best": None,
}


@pytest.mark.parametrize("more", [{}, {"names": ["a"]}], ids=str)
def test_writer_and_reader_of_a_table(tmp_path, more):
    header, arrays = TOY.encode({**VALUES, **more, "of nobody": 1})
    expected = {"kind": "toy", "sides": [2, 3], "n": 2, "names": more.get("names"), "rate": 0.5}
    assert header == expected
    assert list(header) == list(expected)
    specs = {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
    assert specs == TOY.specs(header)
    assert specs.keys() == {"columns.0", "columns.1", "mean"}
    TOY.write(tmp_path / "toy", {**VALUES, **more})
    np.testing.assert_equal(TOY.read(tmp_path / "toy"), {**VALUES, **more})


def test_a_table_refuses_other_headers():
    header, _ = TOY.encode(VALUES)
    with pytest.raises(ValueError, match=r"invalid kind \('x{39}, not 'toy': "):
        TOY.specs({**header, "kind": "x" * 99})
    with pytest.raises(ValueError, match=r"invalid keys \(more, n\) in the file"):
        TOY.specs({**{k: v for k, v in header.items() if k != "n"}, "more": 1})
    with pytest.raises(ValueError, match="invalid rate in the file"):
        TOY.specs({**header, "rate": 1})
    with pytest.raises(ValueError, match="invalid rate in the file"):
        TOY.encode({**VALUES, "rate": 1})


# Values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        ((1, [np.int8(2)]), [1, [2]]),
        (np.array([[1.0, 2.0]]), [[1.0, 2.0]]),
        ({"a": (np.float64(1),)}, {"a": [1.0]}),
        (np.longdouble(0.5), 0.5),
        (np.array([[1, 2]], np.longdouble), [[1.0, 2.0]]),
        (Fraction(1, 4), 0.25),
        (None, None),
    ],
    ids=repr,
)
def test_plain_values(value, expected):
    result = plain(value)
    assert result == expected
    assert repr(result) == repr(expected)  # and so are their types


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"a", 1j, [torch.device("cpu")]], ids=without_address
)
def test_no_plain_values(value):
    with pytest.raises(TypeError, match="is not a plain value that a file can hold"):
        plain({"a": value})
