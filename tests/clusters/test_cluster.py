"""ConvVAECluster: clusters of images without a label."""

import pickle

import numpy as np
import pytest
from conftest import SMALL, weights_of
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_clusterer
from sklearn.metrics import adjusted_rand_score

import skvae
from skvae import ConvVAECluster

PARAMS = {**SMALL, "pixel_range": (0, 16), "max_iter": 3}
METHODS = ("predict", "transform", "score_samples", "reconstruct")


def fit_cluster(images, n_clusters=4, **params):
    """Small clusters of images from 0 to 16; three epochs unless told otherwise."""
    return ConvVAECluster(n_clusters, **{**PARAMS, **params}).fit(images)


def assert_same_results(one, other, images):
    """Assert that two estimators give the same results, to the bit."""
    for method in METHODS:
        assert_array_equal(getattr(one, method)(images), getattr(other, method)(images))
    for cluster in (None, 2):
        draws = (each.sample(3, cluster=cluster, random_state=1) for each in (one, other))
        assert_array_equal(*draws)


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:200]


@pytest.fixture(scope="module")
def cluster(images):
    """Not to be fitted again."""
    return fit_cluster(images)


@pytest.fixture(scope="module")
def shapes():
    """300 images of three shapes, with noise: a bar, a column and a ring; and which it is."""
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 8, 8))
    masks[0, 3:5], masks[1, :, 3:5], masks[2, 1:7, 1:7] = 1, 1, 1
    masks[2, 2:6, 2:6] = 0
    kinds = rng.integers(0, 3, 300)
    return (rng.uniform(size=(300, 8, 8)) < 0.05 + 0.9 * masks[kinds]).astype(np.uint8), kinds


@pytest.fixture(scope="module")
def of_shapes(shapes):
    params = {**SMALL, "hidden_channels": (16,), "max_iter": 10}
    return ConvVAECluster(3, **params).fit(shapes[0])


def test_clusters_are_the_shapes(of_shapes, shapes):
    assert adjusted_rand_score(shapes[1], of_shapes.labels_) > 0.95


def test_a_new_image_of_a_cluster_is_in_it(of_shapes):
    for cluster in range(3):
        drawn = of_shapes.sample(100, cluster=cluster, random_state=0)
        assert np.mean(of_shapes.predict(drawn) == cluster) > 0.6
    drawn = of_shapes.predict(of_shapes.sample(300, random_state=0))
    assert np.bincount(drawn, minlength=3).min() > 50


def test_labels_are_the_predictions_of_the_training_images(cluster, images):
    assert_array_equal(cluster.labels_, cluster.predict(images))
    assert cluster.labels_.shape == (200,)
    assert cluster.labels_.dtype.kind == "i"
    assert set(cluster.labels_) <= set(range(4))
    assert_array_equal(cluster.labels_, clone(cluster).fit_predict(images))


def test_the_cluster_of_an_image_has_the_nearest_mean(cluster, images):
    z = cluster.transform(images).astype(float)
    distances = (z[:, None] - cluster.means_) ** 2 / cluster.variances_
    assert_array_equal(distances.sum(2).argmin(1), cluster.labels_)
    assert cluster.means_.shape == (4, 3)
    assert cluster.variances_.shape == (3,)


def test_a_fit_follows_the_seed_and_ignores_y(images, cluster, digits):
    again = ConvVAECluster(4, **PARAMS).fit(images, digits[1][:200])
    assert_array_equal(weights_of(again), weights_of(cluster))
    assert_array_equal(again.labels_, cluster.labels_)
    other = fit_cluster(images, random_state=1)
    assert not np.array_equal(other.means_, cluster.means_)


def test_each_parameter_of_the_loss_counts(images, cluster):
    for params in ({"cluster_weight": 10.0}, {"consistency": 0.0}):
        assert not np.array_equal(weights_of(fit_cluster(images, **params)), weights_of(cluster))


def test_it_is_a_clusterer(cluster):
    assert is_clusterer(cluster)
    assert cluster.module_.prior.n_classes == 4


def test_a_pickle_gives_the_same(cluster, images):
    same = pickle.loads(pickle.dumps(cluster))
    assert_same_results(same, cluster, images)
    assert_array_equal(same.labels_, cluster.labels_)


def test_a_file_gives_the_same_but_for_labels(cluster, images, tmp_path):
    cluster.save(tmp_path / "model")
    same = skvae.load(tmp_path / "model")
    assert type(same) is ConvVAECluster
    assert_same_results(same, cluster, images)
    assert not hasattr(same, "labels_")
    same.partial_fit(images)
    assert_array_equal(same.labels_, same.predict(images))


def test_a_checkpoint_and_a_warm_start_continue(cluster, images, tmp_path):
    for _ in range(2):  # the second is restored
        saved = fit_cluster(images, checkpoint=tmp_path / "checkpoint")
        assert_array_equal(weights_of(saved), weights_of(cluster))
        assert_array_equal(saved.labels_, cluster.labels_)
    warm = fit_cluster(images, warm_start=True).fit(images)
    assert warm.n_iter_ == 6
    with pytest.raises(ValueError, match="n_classes"):
        warm.set_params(n_clusters=5).fit(images)


def test_partial_fit_trains_further(images):
    first, second = images[:100], images[100:]
    cluster = ConvVAECluster(4, **PARAMS).partial_fit(first)
    assert_array_equal(cluster.labels_, cluster.predict(first))
    before = cluster.means_
    cluster.partial_fit(second)
    assert_array_equal(cluster.labels_, cluster.predict(second))
    assert not np.array_equal(cluster.means_, before)


def test_images_with_holes_have_clusters(images):
    X = images.astype(float)
    X[::2, 2:4, 2:4] = np.nan
    cluster = fit_cluster(X, missing_values=np.nan, likelihood="gaussian", early_stopping=True)
    assert np.isfinite(weights_of(cluster)).all()


def test_one_cluster_holds_all(images):
    assert set(fit_cluster(images, n_clusters=1).labels_) == {0}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_there_are_at_least_as_many_images_as_clusters(images, method):
    cluster = ConvVAECluster(8, **PARAMS)
    with pytest.raises(ValueError, match="n_samples=7 should be >= n_clusters=8"):
        getattr(cluster, method)(images[:7])
    assert not hasattr(cluster, "net_")


@pytest.mark.parametrize("n_clusters", [0, -1, 2.0, "3", None])
def test_wrong_numbers_of_clusters(images, n_clusters):
    with pytest.raises(ValueError, match="'n_clusters' parameter"):
        fit_cluster(images, n_clusters=n_clusters)


@pytest.mark.parametrize("wrong", [4, -1, "a", 0.5, [1]])
def test_clusters_that_do_not_exist(cluster, wrong):
    with pytest.raises(ValueError, match=r"is not in range\(4\)"):
        cluster.sample(cluster=wrong)
