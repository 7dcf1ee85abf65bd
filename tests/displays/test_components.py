"""The order of components."""

import numpy as np
from numpy.testing import assert_array_equal

from skvae._displays.display import most_informative


class Fitted:
    kl_per_component_ = np.array([0.5, 2.0, 0.5, 3.125])


def test_the_most_informative_come_first_and_equal_ones_keep_their_order():
    assert_array_equal(most_informative(Fitted()), [3, 1, 0, 2])
    assert_array_equal(most_informative(Fitted(), 2), [3, 1])
