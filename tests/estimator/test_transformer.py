"""ConvVAETransformer: trains on images without labels."""

import numpy as np
from conftest import SMALL
from numpy.testing import assert_array_equal

from skvae import ConvVAETransformer


def test_labels_are_ignored(digits):
    images, labels = digits
    vae = ConvVAETransformer(**SMALL, max_iter=1)
    z = vae.fit(images).transform(images)
    assert_array_equal(vae.fit(images, labels).transform(images), z)
    assert_array_equal(vae.fit_transform(images, labels), z)


def test_partial_fit_returns_the_estimator(digits):
    vae = ConvVAETransformer(**SMALL)
    assert vae.partial_fit(digits[0], np.zeros(400)) is vae
    assert vae.n_iter_ == 1
