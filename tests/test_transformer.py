"""ConvVAETransformer: trains on images without labels, and is what all estimators share."""

import inspect

import numpy as np
from conftest import SMALL
from numpy.testing import assert_array_equal

from skvae import ConvVAETransformer
from skvae._estimator import BaseConvVAE


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


def test_it_adds_what_depends_on_labels_only():
    assert issubclass(ConvVAETransformer, BaseConvVAE)
    added = {
        name
        for name in vars(ConvVAETransformer)
        if inspect.isfunction(inspect.getattr_static(ConvVAETransformer, name))
        and not name.startswith(("_", "set_"))
    }
    assert added == {"fit", "partial_fit", "sample", "score"}
