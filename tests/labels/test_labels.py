"""What y says: classes of many types, markers of missing labels, what is refused."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import DataConversionWarning

from skvae._data.labels import UNKNOWN, check_classes, encode_labels, known_labels, resolve_priors

NAN = float("nan")


def obj(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


# y, unlabeled, classes, codes
LABELS = {
    "integers": ([3, 1, 3, -7], None, [-7, 1, 3], [2, 1, 2, 0]),
    "unsigned": (np.array([3, 254, 0], np.uint8), -1, [0, 3, 254], [1, 2, 0]),
    "integer marker": ([3, -1, 1, -1], -1, [1, 3], [1, -1, 0, -1]),
    "marker within": ([3, 2, 1, 2], 2, [1, 3], [1, -1, 0, -1]),
    "marker absent": ([3, 2, 3], -999, [2, 3], [1, 0, 1]),
    "whole floats": ([2.0, 0.0, -0.0], None, [0.0, 2.0], [1, 0, 0]),
    "floats and -1": ([2.0, -1.0, 0.0], -1, [0.0, 2.0], [1, -1, 0]),
    "floats and NaN": ([2.0, NAN, 0.0], NAN, [0.0, 2.0], [1, -1, 0]),
    "short floats": (np.array([2, NAN, 0], np.float16), np.float32("nan"), [0, 2], [1, -1, 0]),
    "bool": ([True, False, True], None, [False, True], [1, 0, 1]),
    "strings": (["b", "a", "b"], None, ["a", "b"], [1, 0, 1]),
    "empty string": (["b", "", "a"], "", ["a", "b"], [1, -1, 0]),
    "unknown": (["b", "unknown", "a"], "unknown", ["a", "b"], [1, -1, 0]),
    "long strings": (["é" * 50, "z"], None, ["z", "é" * 50], [1, 0]),
    "object strings": (obj("b", "a", ""), "", ["a", "b"], [1, 0, -1]),
    "object and NaN": (obj("b", NAN, "a"), NAN, ["a", "b"], [1, -1, 0]),
    "object and -1": (obj("b", -1, "a"), -1, ["a", "b"], [1, -1, 0]),
    "series": (pd.Series([5, 4, 5], index=[2, 1, 0]), None, [4, 5], [1, 0, 1]),
    "strings of pandas": (pd.Series(["b", None, "a"]), NAN, ["a", "b"], [1, -1, 0]),
    "categories": (pd.Series(["b", "a"], dtype="category"), None, ["a", "b"], [1, 0]),
    "one class": ([7, 7], None, [7], [0, 0]),
    "one class and a marker": ([7, -1], -1, [7], [0, -1]),
    # A marker that no value of this type can be.
    "text for numbers": ([1, 2], "", [1, 2], [0, 1]),
    "a number for text": (["a", "b"], -1, ["a", "b"], [0, 1]),
    "NaN for text": (["a", "b"], NAN, ["a", "b"], [0, 1]),
    "NaN for integers": ([1, 2], NAN, [1, 2], [0, 1]),
    # Markers of another type, in lists, of which NumPy would make text.
    "list, NaN": (["cat", NAN, "ant"], NAN, ["ant", "cat"], [1, -1, 0]),
    "list, -1": (["cat", -1, "ant"], -1, ["ant", "cat"], [1, -1, 0]),
    "list, text": ([0, 1, "?"], "?", [0, 1], [0, 1, -1]),
    "tuple": (("cat", -1), -1, ["cat"], [0, -1]),
    "scalars": ([np.str_("cat"), np.float32("nan")], NAN, ["cat"], [0, -1]),
    # All that pandas calls missing, for a marker like NaN.
    "missing": (obj("a", None, NAN, pd.NA, pd.NaT), NAN, ["a"], [0, -1, -1, -1, -1]),
    "NA as the marker": (obj("a", None, NAN, pd.NA), pd.NA, ["a"], [0, -1, -1, -1]),
    "list with None": (["cat", None], NAN, ["cat"], [0, -1]),
    "numbers and None": ([2, None, 1], NAN, [1, 2], [1, -1, 0]),
    "NA of numbers": (pd.Series([2, None, 1], dtype="Int64"), NAN, [1, 2], [1, -1, 0]),
    "NA of text": (pd.Series(["b", None], dtype="string"), NAN, ["b"], [0, -1]),
    "NA of bools": (pd.Series([True, None], dtype="boolean"), NAN, [True], [0, -1]),
    "NaN of categories": (pd.Series(["b", None], dtype="category"), NAN, ["b"], [0, -1]),
    "nulls of polars": (pl.Series(["b", None, "a"]), NAN, ["a", "b"], [1, -1, 0]),
    "null numbers of polars": (pl.Series([2, None, 1]), NAN, [1, 2], [1, -1, 0]),
    # Masked labels, whatever is under the mask.
    "masked": (np.ma.array([2, 9, 1], mask=[0, 1, 0]), NAN, [1, 2], [1, -1, 0]),
    "masked text": (np.ma.array(["b", "x", "a"], mask=[0, 1, 0]), NAN, ["a", "b"], [1, -1, 0]),
    "a mask of nothing": (np.ma.array([2, 2, 1]), None, [1, 2], [1, 1, 0]),
}


@pytest.mark.parametrize(("y", "unlabeled", "classes", "codes"), LABELS.values(), ids=LABELS)
def test_classes_and_codes(y, unlabeled, classes, codes):
    actual, actual_codes = encode_labels(y, unlabeled)
    assert actual.tolist() == classes
    assert actual_codes.dtype == np.int64
    assert_array_equal(actual_codes, codes)
    # There and back; UNKNOWN where y has the marker.
    known = actual_codes != UNKNOWN
    values = [value for value, is_known in zip(y, known, strict=True) if is_known]
    assert actual[actual_codes[known]].tolist() == values
    # The marker is seen in the same places.
    labels, where = known_labels(y, unlabeled)
    assert_array_equal(where, known)
    assert labels.tolist() == values
    # With all classes given, the same.
    again, codes_again = encode_labels(y, unlabeled, actual)
    assert again is actual
    assert_array_equal(codes_again, actual_codes)


@pytest.mark.parametrize(
    ("y", "unlabeled", "classes"),
    [
        (obj(3, 1), None, np.array([1, 3])),
        (obj(3, "", 1), "", np.array([1, 3])),
        (obj(True, NAN, False), NAN, np.array([False, True])),
        (obj(np.int8(2), "no", np.int8(1)), "no", np.array([1, 2], np.int8)),
    ],
)
def test_objects_that_are_numbers_or_bools_become_such(y, unlabeled, classes):
    actual, codes = encode_labels(y, unlabeled)
    assert actual.dtype == classes.dtype
    assert_array_equal(actual, classes)
    assert (codes != UNKNOWN).sum() == len(classes)


@pytest.mark.parametrize(
    ("y", "unlabeled", "text"),
    [
        (np.array(["cat", -1]), -1, "'-1'"),
        (np.array(["cat", -1.0]), -1, "'-1.0'"),
        (np.array(["cat", NAN]), NAN, "'nan'"),
        (np.array([0, 1, "-1"]).astype(int), "-1", "-1"),
        (pd.Series(["cat", "<NA>"]), NAN, "'<NA>'"),
        (np.array([0, 1, -1]).astype(np.uint8), -1, "255"),
        (np.array([0, 1, -2]).astype(np.uint16), np.int8(-2), "65534"),
    ],
    ids=str,
)
def test_the_text_of_a_marker_that_does_not_occur_is_an_error(y, unlabeled, text):
    with pytest.raises(ValueError, match=rf"y holds {re.escape(text)}, .* unlabeled="):
        encode_labels(y, unlabeled)
    # Which of both is meant is plain if the marker occurs, or if it is named as it is in y.
    marked = obj(*y.tolist(), unlabeled)
    if isinstance(y[0], str):
        assert_array_equal(known_labels(marked, unlabeled)[1], [*[True] * len(y), False])
    _, known = known_labels(y, y.tolist()[-1])
    assert_array_equal(known, [*[True] * (len(y) - 1), False])


@pytest.mark.parametrize(
    "y",
    [
        ["cat", NAN],
        obj("a", None),
        obj("a", pd.NA),
        obj(1, pd.NA),
        [1.0, NAN],
        np.ma.array([1, 2], mask=[0, 1]),
        np.ma.array(["a", "b"], mask=[0, 1]),
    ],
    ids=str,
)
@pytest.mark.parametrize("unlabeled", [None, -1, "?"])
def test_missing_labels_without_such_a_marker_name_the_parameter(y, unlabeled):
    for function in (encode_labels, known_labels):
        with pytest.raises(ValueError, match=r"^Input y contains NaN.*set unlabeled=np\.nan"):
            function(y, unlabeled)


@pytest.mark.parametrize(
    ("y", "unlabeled"), [(["cat", -1], None), (["cat", 1, -1], -1), (obj(0, "?"), None)], ids=str
)
def test_labels_of_several_types_name_the_parameter(y, unlabeled):
    with pytest.raises(TypeError, match=r"several types, such as .* name it by .* unlabeled"):
        encode_labels(y, unlabeled)


@pytest.mark.parametrize("unlabeled", [[-1], [-1, -2], np.array([-1])], ids=str)
def test_a_marker_is_one_value(unlabeled):
    with pytest.raises(ValueError, match=r"unlabeled must be one value, .* Got "):
        encode_labels([0, 1, -1], unlabeled)


def test_classes_keep_the_type_of_y():
    for y in (np.array([1, 0], np.int8), np.array([1, 0], np.float32), np.array(["a", "bc"])):
        assert encode_labels(y, None)[0].dtype == y.dtype
    assert encode_labels([True, False], None)[0].dtype == bool
    assert encode_labels(obj("a", "b"), None)[0].dtype == object


def test_y_is_not_changed():
    y = np.array([2.0, NAN, 1.0])
    y.flags.writeable = False
    encode_labels(y, NAN)
    assert_array_equal(y, [2.0, NAN, 1.0])


@pytest.mark.parametrize(
    ("y", "warns"),
    [
        ([-1, 0, 1], True),
        ([-1.0, 0.0, 1.0], True),
        (np.array([-1, 3, 5], np.int8), True),
        ([-1, 1], False),
        ([-1, 0], False),
        ([-2, -1, 0], False),
        ([0, 1, 2], False),
        (["-1", "0", "1"], False),
    ],
    ids=str,
)
def test_minus_one_beside_other_numbers_warns(y, warns):
    if warns:
        with pytest.warns(UserWarning, match=r"-1 beside 2 other classes.*set unlabeled=-1"):
            classes, _ = encode_labels(y, None)
    else:
        classes, _ = encode_labels(y, None)  # a warning would be an error
    assert_array_equal(classes, y)
    # Who has named a marker, or all classes, knows what -1 means.
    encode_labels(y, "" if isinstance(y[0], str) else -999)
    encode_labels(y, None, classes)


@pytest.mark.parametrize(
    ("y", "unlabeled"), [([-1, -1], -1), (["", ""], ""), ([NAN] * 2, NAN)], ids=str
)
def test_no_label_at_all(y, unlabeled):
    with pytest.raises(ValueError, match="No image has a label: all 2 values of y are unlabeled="):
        encode_labels(y, unlabeled)
    # With all classes known, labels may all be missing.
    classes = np.array(["a", "b"]) if unlabeled == "" else np.array([0, 1])
    assert_array_equal(encode_labels(y, unlabeled, classes)[1], [-1, -1])


@pytest.mark.parametrize(
    ("y", "unlabeled", "match"),
    [
        ([0.5, 1.0, 2.0], None, "Unknown label type: continuous"),
        ([0.5, -1.0, 2.0], -1, "Unknown label type: continuous"),
        ([1.0, NAN], None, "Input y contains NaN"),
        ([1.0, NAN, -1.0], -1, "Input y contains NaN"),
        (obj("a", NAN), "", "Input y contains NaN"),
        ([1.0, np.inf], None, "Input y contains infinity"),
        ([1.0, NAN, np.inf], NAN, "Input y contains infinity"),
        ([[1, 0], [0, 1]], None, "should be a 1d array"),
        ([[["a"]]], None, r"1d array|dim 3|3 dim"),
        (3, None, "should be a 1d array"),
    ],
    ids=str,
)
def test_what_is_refused(y, unlabeled, match):
    with pytest.raises(ValueError, match=match):
        encode_labels(y, unlabeled)


def test_a_column_is_read_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        classes, codes = encode_labels(np.array([[2], [-1], [1]]), -1)
    assert_array_equal(classes, [1, 2])
    assert_array_equal(codes, [1, -1, 0])


@pytest.mark.parametrize(("y", "bad"), [([1, 7], "7"), ([1, -1], "-1")])
def test_a_class_that_was_not_named(y, bad):
    with pytest.raises(ValueError, match=rf"y contains previously unseen labels: .*{bad}"):
        encode_labels(y, None, np.array([0, 1]))


def test_classes_are_those_that_were_named():
    classes = check_classes([3, 1, 2, 3], None)
    assert_array_equal(classes, [1, 2, 3])
    assert check_classes(None, -1, classes) is classes
    assert_array_equal(check_classes([2, 1, 3], None, classes), classes)
    assert_array_equal(check_classes(["b", "a"], None), ["a", "b"])


@pytest.mark.parametrize(
    ("y", "unlabeled"),
    [
        (np.unique([2, -1, 1]), -1),
        (["a", "b", -1], -1),
        (["a", "b", NAN], NAN),
        (pd.Series([2, 1, None], dtype="Int64").unique(), NAN),
    ],
    ids=str,
)
def test_the_marker_is_no_class(y, unlabeled):
    first, second = check_classes(y, unlabeled)
    assert [first, second] in ([1, 2], ["a", "b"])


@pytest.mark.parametrize("classes", [[1, 2], [1, 2, 3, 4], [1, 2, 4]], ids=str)
def test_classes_do_not_change(classes):
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        check_classes(classes, None, np.array([1, 2, 3]))


def test_the_first_call_names_all_classes():
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        check_classes(None, None)


def test_priors_are_frequencies_unless_given():
    counts, classes = np.array([6, 3, 1]), np.array(["a", "b", "c"])
    assert_array_equal(resolve_priors(None, counts, classes), [0.6, 0.3, 0.1])
    # A class that no image has yet is possible.
    assert_array_equal(resolve_priors(None, np.array([8, 0, 1]), classes), [0.8, 0.1, 0.1])
    assert_array_equal(resolve_priors(None, np.array([0, 0]), classes[:2]), [0.5, 0.5])
    by_class = {"c": 0.5, "a": 0.2, "b": 0.3}
    assert_array_equal(resolve_priors(by_class, counts, classes), [0.2, 0.3, 0.5])
    assert_array_equal(resolve_priors(pd.Series(by_class), counts, classes), [0.2, 0.3, 0.5])
    assert_array_equal(resolve_priors(pd.Series([0.2, 0.3, 0.5]), counts, classes), [0.2, 0.3, 0.5])
    given = (0.2, 0.3, 0.5)
    priors = resolve_priors(given, counts, classes)
    assert_array_equal(priors, given)
    assert priors.dtype == np.float64


@pytest.mark.parametrize(
    ("priors", "match"),
    [
        ([0.5, 0.5], "one number for each of the 3 classes. Got shape (2,)"),
        ([[0.2, 0.3, 0.5]], "one number for each of the 3 classes. Got shape (1, 3)"),
        (1.0, "one number for each of the 3 classes. Got shape ()"),
        ([0.5, 0.5, 0.0], "priors must be above 0 and sum to 1. Got [0.5 0.5 0. ]"),
        ([0.5, 0.7, -0.2], "priors must be above 0 and sum to 1"),
        ([0.5, 0.7, 0.3], "priors must be above 0 and sum to 1"),
        ([0.5, 0.5, NAN], "priors must be above 0 and sum to 1"),
        ([0.5, np.inf, 0.5], "priors must be above 0 and sum to 1"),
        (pd.Series({2: 0.5, 1: 0.3, 3: 0.2}), "priors must have the classes [0, 1, 2] as keys"),
        ({0: 0.5, 1: 0.5}, "priors must have the classes [0, 1, 2] as keys. Got [0, 1]"),
    ],
    ids=str,
)
def test_which_priors_are_refused(priors, match):
    with pytest.raises(ValueError, match=re.escape(match)):
        resolve_priors(priors, np.array([6, 3, 1]), np.array([0, 1, 2]))


def test_priors_that_are_no_array_of_the_estimator():
    priors = np.array([0.5, 0.5])
    resolved = resolve_priors(priors, np.array([1, 1]), np.array([0, 1]))
    priors[:] = 0
    assert_array_equal(resolved, [0.5, 0.5])
