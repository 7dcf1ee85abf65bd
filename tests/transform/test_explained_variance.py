"""The share of the variance explained: by scikit-learn's r2_score and PCA, in parts, with holes."""

import numpy as np
import pytest
import torch
from conftest import SMALL, fit, fit_classifier
from nets import LIKELIHOODS
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score
from skorch.callbacks import Callback

from skvae import ConvVAETransformer
from skvae._model.explained_variance import ExplainedVariance


def share(x, reconstruction):
    """By scikit-learn: R^2 of all numbers together."""
    x, reconstruction = (np.reshape(part, (len(part), -1)) for part in (x, reconstruction))
    return r2_score(x, reconstruction, multioutput="variance_weighted")


def summed(x, reconstruction, sizes, **params):
    """The sums over parts of some sizes."""
    sums = ExplainedVariance(**{"holes": False, **params})
    for part, other in zip(x.split(sizes), reconstruction.split(sizes), strict=True):
        sums.add(part, other)
    return sums


def images_and_others(seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    x = rng.normal(0.4, 0.1, (50, 3, 4, 5)) * np.array([1.0, 5.0, 0.1])[:, None, None]
    both = x, x + rng.normal(0, 0.06, x.shape)
    return [torch.from_numpy(part).to(dtype) for part in both]


# The sums


@pytest.mark.parametrize("sizes", [[50], [1] * 50, [20, 20, 0, 10], [0, 49, 1]])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_sums_over_parts_are_r2_score(sizes, dtype, offset):
    x, other = (part + offset for part in images_and_others(dtype=dtype))
    expected = share(x.double().numpy(), other.double().numpy())
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    assert summed(x, other, sizes).ratio == pytest.approx(expected, abs=tolerance)
    assert type(summed(x, other, sizes).ratio) is float


def test_channels_count_in_their_own_units():
    x, other = images_and_others()
    units = torch.tensor([1.0, 10.0, 0.3])[:, None, None]
    expected = share((x * units).numpy(), (other * units).numpy())
    assert summed(x, other, [30, 20], scale=units).ratio == pytest.approx(expected, rel=1e-6)
    assert summed(x, other, [30, 20]).ratio != pytest.approx(expected, rel=1e-2)


def with_holes(x):
    """Missing: half of all, the whole of the first ten images in one column, one pixel always."""
    x = x.clone()
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5] = torch.nan
    x[:10, :, :, 2] = torch.nan
    x[:, 0, 0, 0] = torch.nan
    return x


def share_of_observed(x, other):
    error, deviation = np.nansum((x - other) ** 2), 0.0
    for column in x.reshape(len(x), -1).T:
        column = column[~np.isnan(column)]
        if len(column):
            deviation += np.square(column - column.mean()).sum()
    return 1 - error / deviation


@pytest.mark.parametrize("sizes", [[50], [1] * 50, [0, 10, 40]])
def test_holes_do_not_count(sizes):
    x, other = images_and_others()
    x = with_holes(x) + 1e4
    other = other + 1e4
    expected = share_of_observed(x.numpy(), other.numpy())
    ratio = summed(x, other, sizes, holes=True).ratio
    assert ratio == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equal_images_have_nothing_to_explain(holes, dtype):
    x = torch.full((30, 1, 2, 2), 0.1, dtype=dtype)
    if holes:
        x[:3, :, 0] = torch.nan
    same = torch.full_like(x, 0.1)
    assert summed(x, same, [7, 23], holes=holes).ratio == 1.0
    assert summed(x, same + 0.01, [7, 23], holes=holes).ratio == 0.0


class FakeProcesses:
    """Two processes in one: the sums of the other are given."""

    def __init__(self):
        self.size, self.messages, self.others = 2, [], []

    def sum(self, tensors):
        self.messages.append(tensors)
        other = self.others[len(self.messages) - 1] if self.others else tensors
        return [a + b for a, b in zip(tensors, other, strict=True)]


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("scale", [None, torch.tensor([2.0, 1.0, 0.5])[:, None, None]])
def test_the_sums_of_two_processes_are_those_of_one(holes, scale):
    x, other = images_and_others()
    x = with_holes(x) if holes else x
    params = {"holes": holes, "scale": scale}
    first, second = (summed(x[i::2], other[i::2], [25], **params) for i in (0, 1))
    # Each sends its origin first, and then what depends on the mean of both.
    origins = [sums.origin.nan_to_num() for sums in (first, second)]
    listen = FakeProcesses()
    listen.others = [[origins[0]], [torch.zeros(())] * 4]
    second.sum_over(listen)
    speak = FakeProcesses()
    speak.others = [[origins[1]], listen.messages[1]]
    first.sum_over(speak)
    expected = summed(x, other, [50], **params).ratio
    assert first.ratio == pytest.approx(expected, abs=1e-10)


# The method

KINDS = {
    "rows": lambda images: images.reshape(len(images), -1),
    "images": lambda images: images,
    "channels": lambda images: np.stack([images, 100.0 - images / 7], -1),
    "float32": lambda images: images.astype(np.float32) / 16 + 100,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_it_is_r2_score_of_the_reconstructions(digits, kind, likelihood):
    # In scikit-learn's, errors of a pixel that is the same in all images do not count.
    images = digits[0][:100] + np.random.default_rng(0).integers(0, 3, (100, 8, 8), np.uint8)
    X = KINDS[kind](images)
    vae = ConvVAETransformer(**{**SMALL, "likelihood": likelihood}, max_iter=2).fit(X[:60])
    for some in (X[:60], X[60:]):
        expected = share(some.astype(float), vae.reconstruct(some))
        assert vae.explained_variance_ratio(some) == pytest.approx(expected, rel=1e-9)
    assert type(vae.explained_variance_ratio(X)) is float


def test_errors_of_a_constant_pixel_count(digits, small):
    X = digits[0].astype(float)
    X[:, 0, 0] = 9
    expected = share_of_observed(X, small.reconstruct(X))
    assert small.explained_variance_ratio(X) == pytest.approx(expected, rel=1e-9)
    assert expected < small.explained_variance_ratio(digits[0]) - 0.05


def test_values_outside_the_range_count_as_they_are(digits):
    vae = fit(digits[0] // 2, pixel_range=(0, 8))
    with pytest.warns(UserWarning, match="clipped to"):
        mean = vae.reconstruct(digits[0])
    with pytest.warns(UserWarning, match="clipped to"):
        ratio = vae.explained_variance_ratio(digits[0])
    expected = share_of_observed(digits[0].astype(float), mean)
    assert ratio == pytest.approx(expected, rel=1e-9)


def test_it_starts_at_that_of_pca(digits):
    # Training starts at probabilistic PCA, whose reconstructions shrink by the share of the noise.
    rng = np.random.default_rng(0)
    factors, loadings = rng.normal(size=(500, 3)), rng.normal(size=(3, 64))
    X = factors @ loadings + 0.01 * rng.normal(size=(500, 64))
    params = {**SMALL, "likelihood": "gaussian", "learning_rate": 1e-30, "max_iter": 1}
    vae = ConvVAETransformer(**params).fit(X)
    expected = PCA(3).fit(X).explained_variance_ratio_.sum()
    assert vae.explained_variance_ratio(X) == pytest.approx(expected, abs=1e-4)
    fewer = ConvVAETransformer(**params).set_params(n_components=2).fit(X)
    expected = PCA(2).fit(X).explained_variance_ratio_.sum()
    assert expected < 0.95
    assert fewer.explained_variance_ratio(X) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("marker", [np.nan, 99])
def test_missing_pixels_of_images_do_not_count(digits, marker):
    X = digits[0].astype(float)
    holes = np.random.default_rng(0).random(X.shape) < 0.3
    X[holes] = marker
    vae = fit(X, missing_values=marker)
    expected = share_of_observed(np.where(holes, np.nan, X), vae.reconstruct(X))
    assert vae.explained_variance_ratio(X) == pytest.approx(expected, rel=1e-9)
    filled = np.where(holes, -3.0, X)
    assert vae.explained_variance_ratio(filled) != pytest.approx(expected, rel=1e-3)


def test_equal_images_give_0_or_1(small, digits):
    X = np.repeat(digits[0][:1], 5, axis=0)
    assert small.explained_variance_ratio(X) == 0.0
    constant = np.full((20, 8, 8), 7.0)
    vae = ConvVAETransformer(**SMALL, max_iter=1).fit(constant)
    assert vae.explained_variance_ratio(constant) == 1.0


def test_a_classifier_has_it_too(small_classifier, digits):
    expected = share_of_observed(digits[0].astype(float), small_classifier.reconstruct(digits[0]))
    assert small_classifier.explained_variance_ratio(digits[0]) == pytest.approx(expected)


# The history


class Pairs(Callback):
    """Note the images that the net saw and the mean images that it decoded, of each epoch."""

    def __init__(self, likelihood):
        self.mean = LIKELIHOODS[likelihood]().mean

    def initialize(self):
        self.seen = {}
        return self

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        # Before the step, with the weights and the noise that it will use.
        for part in batch[0]:
            with torch.no_grad():
                logits = net.module_(part["x"], part["noise"])[0]
            pair = part["x"].double().numpy(), self.mean(logits).double().numpy()
            self.seen.setdefault((training, len(net.history)), []).append(pair)

    def share(self, training, epoch, scale=1.0):
        x, mean = (np.concatenate(p) for p in zip(*self.seen[training, epoch], strict=True))
        return share_of_observed(x * scale, mean * scale)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("variant", ["plain", "binarize", "holes", "channels"])
def test_the_history_has_the_share_of_each_epoch(digits, likelihood, variant):
    X, params, scale = digits[0][:100].astype(float), {"pixel_range": (0, 16)}, 1.0
    if variant == "binarize":
        params["binarize"] = likelihood == "bernoulli"
    if variant == "holes":
        X[np.random.default_rng(0).random(X.shape) < 0.3] = np.nan
        params["missing_values"] = np.nan
    if variant == "channels":
        X = np.stack([X, X[:, ::-1] * 3], -1)
        params["pixel_range"] = [[0, 16], [0, 48]]
        scale = np.array([1, 3])[:, None, None]
    pairs = Pairs(likelihood)
    params |= {"likelihood": likelihood, "early_stopping": True, "callbacks": [pairs]}
    vae = fit(X, **params)
    for training, phase in ((True, "train"), (False, "valid")):
        expected = [pairs.share(training, epoch, scale) for epoch in (1, 2, 3)]
        column = vae.history_[f"{phase}_explained_variance_ratio"]
        assert_allclose(column, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("n_images", "repeats", "batch_size", "every"),
    # About 1,000 of 5,000 small images, and about 64 of 130 large ones.
    [(5_000, (1, 1), 170, 5), (130, (32, 64), 10, 3)],
    ids=["many", "large"],
)
def test_of_many_or_large_images_some_tell_the_share(digits, n_images, repeats, batch_size, every):
    X = np.kron(np.concatenate([digits[0]] * 13)[:n_images], np.ones(repeats, np.uint8))
    pairs = Pairs("bernoulli")
    vae = fit(X, max_iter=1, batch_size=batch_size, callbacks=[pairs])
    batches = pairs.seen[True, 1]
    assert len(batches) == -(-n_images // batch_size)
    pairs.seen[True, 1] = batches[::every]
    column = vae.history_["train_explained_variance_ratio"]
    assert column.item() == pytest.approx(pairs.share(True, 1), abs=2e-5)


def test_an_increment_and_a_classifier_have_the_share_too(digits):
    vae = ConvVAETransformer(**SMALL, pixel_range=(0, 16)).partial_fit(digits[0])
    clf = fit_classifier(*digits, max_iter=2)
    for estimator in (vae, clf):
        column = estimator.history_["train_explained_variance_ratio"]
        assert column.between(-1, 1).all()
    assert "valid_explained_variance_ratio" not in vae.history_
