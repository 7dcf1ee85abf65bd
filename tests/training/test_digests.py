"""Fits of all kinds are those that were written down."""

import json

import numpy as np
import pytest
from digests import FITS, NUMBERS, numbers_of

pytestmark = pytest.mark.usefixtures("whole_start")

WRITTEN = json.loads(NUMBERS.read_text())


def test_all_fits_are_written_down():
    assert WRITTEN.keys() == FITS.keys()


@pytest.mark.parametrize("name", FITS)
def test_a_fit_gives_the_numbers_that_were_written_down(name):
    # Not to the bit: other processors round otherwise, and training amplifies it.
    for key, array in numbers_of(name).items():
        written = np.array(WRITTEN[name][key])
        scale = np.abs(written).max()
        np.testing.assert_allclose(array, written, rtol=0, atol=2e-3 * scale, err_msg=key)
