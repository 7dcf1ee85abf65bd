"""ONNX models in onnxruntime, for the tests of exports."""

import numpy as np
import onnx
import onnxruntime
from numpy.testing import assert_allclose


def runner(model):
    """A function X -> all outputs, of a model that onnx finds no fault with."""
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    return lambda X: session.run(None, {given.name: X})


def assert_close(result, expected, among=None):
    """Equal to within a hundred thousandth of the largest value, in float32.

    The largest is that of all results `among` which these are, if given: a few may be all small.
    """
    assert result.dtype == expected.dtype == np.float32
    largest = np.abs(expected if among is None else among).max(initial=0)
    assert_allclose(result, expected, rtol=0, atol=1e-5 * largest)
