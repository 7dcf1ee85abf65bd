"""The loss and its bookkeeping, the schedule, early stopping, faults and seeds."""

import gc
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
import torch
from conftest import SMALL
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback, EarlyStopping

from skvae import ConvVAETransformer, _inference
from skvae._training import default_max_iter, reorder_net


def fit(images, **params):
    return ConvVAETransformer(**{**SMALL, "pixel_range": (0, 16), "max_iter": 3, **params}).fit(
        images
    )


def weights(vae):
    return np.concatenate([p.detach().numpy().ravel() for p in vae.module_.parameters()])


def test_training_lowers_the_loss(small):
    assert small.loss_curve_[-1] < small.loss_curve_[0] - 5
    assert len(small.loss_curve_) == small.n_iter_ == 15


def test_training_beats_the_best_model_that_ignores_z(digits):
    images = digits[0]
    learner = {"n_components": 5, "hidden_channels": (16,), "hidden_units": 64}
    vae = fit(images[:300], max_iter=80, **learner)
    mean = np.clip(images[:300].mean(0) / 16, 1e-3, 1 - 1e-3)
    x = images[300:] / 16
    blind = (x * np.log(mean) + (1 - x) * np.log1p(-mean)).sum((1, 2)).mean()
    assert vae.score(images[300:]) > blind + 1  # nats per image


def test_a_short_last_batch_counts_by_its_images():
    # 128 dark images and a light one: the mean of the two batches would be far off.
    images = np.zeros((129, 4, 4), np.uint8)
    images[-1] = 16
    vae = fit(images, batch_size=128, max_iter=1, learning_rate=1e-30)
    scores = vae.score_samples(images)  # the weights have hardly moved; only the noise differs
    assert abs(scores[-1] - scores[0]) > 20
    assert_allclose(-vae.loss_curve_[0], scores.mean(), rtol=0.02)


def test_history_adds_up(digits):
    vae = fit(digits[0], beta=3.0, early_stopping=True)
    history = vae.history_
    assert list(history["epoch"]) == [1, 2, 3]
    for phase in ("train", "valid"):
        terms = 3.0 * history[f"{phase}_kl"] - history[f"{phase}_log_likelihood"]
        assert_allclose(history[f"{phase}_loss"], terms, rtol=1e-5)
    assert (history["train_kl"] > 0).all()
    assert (history["duration"] > 0).all()
    assert vae.loss_curve_ == list(history["train_loss"])


def test_beta_trades_kl_for_likelihood(digits):
    loose, tight = (fit(digits[0], beta=beta, max_iter=40) for beta in (0.1, 10))
    assert loose.kl_per_component_.sum() > tight.kl_per_component_.sum() + 1
    assert (
        loose.history_["train_log_likelihood"].iloc[-1]
        > tight.history_["train_log_likelihood"].iloc[-1]
    )


class Weights(Callback):
    """Note the weight of the KL term in every step."""

    def initialize(self):
        self.weights = []
        return self

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.weights.append(net.kl_weight_)


def test_warm_up_raises_the_weight_of_the_kl_term(digits):
    note = Weights()
    fit(digits[0], beta=2.0, beta_warmup=0.5, max_iter=4, callbacks=[note])
    expected = 2.0 * np.minimum(1, np.arange(52) / 26)
    assert_allclose(note.weights, expected)
    fit(digits[0], beta=2.0, callbacks=[note])
    assert note.weights == [2.0] * 39


def test_losses_are_recorded_with_beta_during_warm_up(digits):
    history = fit(digits[0], beta=2.0, beta_warmup=1.0, early_stopping=True).history_
    for phase in ("train", "valid"):
        terms = 2.0 * history[f"{phase}_kl"] - history[f"{phase}_log_likelihood"]
        assert_allclose(history[f"{phase}_loss"], terms, rtol=1e-5)


def test_warm_up_keeps_more_components_than_none(digits):
    learner = {"n_components": 8, "hidden_channels": (16,), "hidden_units": 64, "beta": 2.0}
    active = [
        fit(digits[0], max_iter=60, beta_warmup=share, **learner).n_active_components_
        for share in (0.0, 0.8)
    ]
    assert active[1] > active[0]


def test_an_end_within_the_warm_up_warns(digits):
    params = {"early_stopping": True, "n_iter_no_change": 1, "tol": 1e9, "max_iter": 20}
    with pytest.warns(UserWarning, match=r"after 2 of 20 epochs, within .*warmup=0.5"):
        fit(digits[0], beta_warmup=0.5, **params)
    assert fit(digits[0], beta_warmup=0.05, **params).n_iter_ == 2  # a warning would be an error


def test_warm_up_does_not_touch_partial_fit(digits):
    note = Weights()
    ConvVAETransformer(**SMALL, beta_warmup=1.0, callbacks=[note]).partial_fit(digits[0])
    assert note.weights == [1.0] * 13


def test_collapse_is_told(digits):
    with pytest.warns(
        UserWarning, match=r"Only 0 of 3 components are active.*beta_warmup"
    ) as record:
        vae = fit(digits[0], beta=1e3)
    assert [warning.filename for warning in record] == [__file__]
    assert vae.n_active_components_ == 0
    assert vae.transform(digits[0]).var(0).max() < 0.01


@pytest.mark.parametrize(("n_active", "n_components", "warns"), [(1, 3, 1), (2, 4, 0), (1, 1, 0)])
def test_half_of_the_components_is_enough(digits, monkeypatch, n_active, n_components, warns):
    def statistics(module, dataset):
        return np.ones(n_components), np.where(np.arange(n_components) < n_active, 0.02, 0.01)

    monkeypatch.setattr(_inference, "component_statistics", statistics)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        vae = fit(digits[0], n_components=n_components, max_iter=1)
    assert vae.n_active_components_ == n_active
    assert len(record) == warns


def test_images_that_do_not_differ_are_no_collapse(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for images in (digits[0][:1], np.full((5, 8, 8), 16, np.int64)):
            assert fit(images, pixel_range=None).n_active_components_ == 0


def test_moments_of_adam_move_with_their_weights(digits):
    images = digits[0]
    vae = fit(images, n_components=4)
    order = np.array([2, 0, 3, 1])
    other = fit(images, n_components=4)
    reorder_net(other.net_, order)
    assert_array_equal(other.transform(images), vae.transform(images)[:, order])
    moments = [
        {name: net.optimizer_.state[p]["exp_avg_sq"] for name, p in net.module_.named_parameters()}
        for net in (vae.net_, other.net_)
    ]
    assert torch.equal(moments[1]["mu_head.weight"], moments[0]["mu_head.weight"][order])
    assert torch.equal(moments[1]["logvar_head.bias"], moments[0]["logvar_head.bias"][order])
    assert torch.equal(moments[1]["decoder.0.weight"], moments[0]["decoder.0.weight"][:, order])
    assert torch.equal(moments[1]["mu_head.bias"], moments[0]["mu_head.bias"][order])


def test_partial_fit_leaves_components_in_their_places(digits):
    images = digits[0]
    vae = fit(images, learning_rate=1e-30)
    z, n_before = vae.transform(images), vae.n_iter_
    vae.partial_fit(images[::-1])
    assert vae.n_iter_ == n_before + 1
    assert_allclose(vae.transform(images), z, atol=1e-6)


def test_binarised_training_learns(digits):
    learner = {"n_components": 5, "hidden_channels": (16,), "hidden_units": 64, "max_iter": 60}
    images, held_out = digits[0][:300], digits[0][300:]
    vae = fit(images, binarize=True, **learner)
    assert vae.loss_curve_[-1] < vae.loss_curve_[0] - 8
    assert vae.score(held_out) < vae.log_likelihood(held_out).mean() < 0
    assert_array_equal(vae.score_samples(held_out[::-1])[::-1], vae.score_samples(held_out))


class Batches(Callback):
    """Keep the images of every batch, sorted, by phase and epoch."""

    def initialize(self):
        self.seen = {}
        return self

    def on_batch_begin(self, net, batch, training, **kwargs):
        key = training, net.history[-1, "epoch"]
        self.seen.setdefault(key, []).append(batch[0]["x"])


def test_training_binarises_anew_and_validation_once(digits):
    note = Batches()
    fit(digits[0], binarize=True, early_stopping=True, max_iter=2, callbacks=[note])
    x = {key: torch.cat(batches) for key, batches in note.seen.items()}
    assert all(set(images.unique().tolist()) == {0, 1} for images in x.values())
    assert torch.equal(x[False, 1], x[False, 2])
    sums = [x[True, epoch].sum((1, 2, 3)).sort().values for epoch in (1, 2)]
    assert not torch.equal(*sums)
    fit(digits[0], max_iter=1, callbacks=[note])
    assert len(note.seen[True, 1][0].unique()) > 2


@pytest.mark.parametrize("likelihood", ["continuous_bernoulli", "gaussian"])
def test_binarised_pixels_are_bernoulli(digits, likelihood):
    with pytest.raises(ValueError, match=f"binarize=True needs .* Got likelihood='{likelihood}'"):
        fit(digits[0], binarize=True, likelihood=likelihood)


def test_warm_start_needs_the_same_likelihood(digits):
    vae = fit(digits[0], warm_start=True)
    with pytest.raises(ValueError, match=r"likelihood.: 'bernoulli'.*ask for.*'gaussian'"):
        vae.set_params(likelihood="gaussian").fit(digits[0])
    with pytest.raises(ValueError, match="ask for"):
        vae.partial_fit(digits[0])


@pytest.mark.parametrize("likelihood", ["continuous_bernoulli", "gaussian"])
def test_every_family_learns(digits, likelihood):
    learner = {"n_components": 5, "hidden_channels": (16,), "hidden_units": 64, "max_iter": 60}
    images, held_out = digits[0][:300], digits[0][300:]
    vae = fit(images, likelihood=likelihood, **learner)
    assert vae.loss_curve_[-1] < vae.loss_curve_[0] - 30
    mean = np.mean((images.mean(0) - held_out) ** 2)
    reconstructions = vae.inverse_transform(vae.transform(held_out))
    assert np.mean((reconstructions - held_out) ** 2) < 0.75 * mean
    assert vae.score(held_out) < vae.log_likelihood(held_out).mean()


def test_gaussian_keeps_pixels_a_little_outside(digits):
    vae = fit(digits[0], likelihood="gaussian")
    image = digits[0][:1].astype(np.float64)
    brighter = np.where(image == 15, 20.0, image)  # within half a width of the range: no warning
    assert vae.score(brighter) != vae.score(image)
    with pytest.warns(UserWarning, match=r"clipped to \(-8, 24\)"):
        assert vae.score(10 * image) == vae.score(np.minimum(10 * image, 24))


class Rates(Callback):
    """Note the learning rate of every step."""

    def initialize(self):
        self.rates = []
        return self

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])


def test_learning_rate_peaks_once_and_ends_low(digits):
    rates = Rates()
    fit(digits[0], max_iter=10, learning_rate=0.01, callbacks=[rates])
    steps = np.array(rates.rates)
    assert len(steps) == 130
    assert steps.max() == pytest.approx(0.01, rel=0.01)
    assert steps[0] < 0.001
    assert steps[-1] < 0.001
    assert (np.diff(np.sign(np.diff(steps))) != 0).sum() == 1


def test_partial_fit_keeps_the_learning_rate(digits):
    rates = Rates()
    vae = ConvVAETransformer(**SMALL, learning_rate=0.002, callbacks=[rates])
    vae.partial_fit(digits[0])
    assert rates.rates == [0.002] * 13


def test_callers_callbacks_stay_as_they_are(digits):
    callbacks = [Rates()]
    vae = fit(digits[0], callbacks=callbacks)
    assert vae.callbacks is callbacks
    assert len(callbacks) == 1


@pytest.mark.parametrize(
    ("n_samples", "batch_size", "expected"),
    [(1, 128, 200), (1_797, 128, 200), (60_000, 128, 12), (60_000, 256, 24), (10**8, 128, 1)],
)
def test_default_budget(n_samples, batch_size, expected):
    assert default_max_iter(n_samples, batch_size) == expected


def test_early_stopping_restores_the_best_weights(digits):
    class Spoil(Callback):
        """Ruin the weights after the third epoch."""

        def on_epoch_begin(self, net, **kwargs):
            if net.history[-1, "epoch"] == 4:
                with torch.no_grad():
                    net.module_.decoder[-2].bias += 5.0

    params = {"early_stopping": True, "n_iter_no_change": 2, "learning_rate": 1e-4}
    vae = fit(digits[0], max_iter=50, callbacks=[Spoil()], **params)
    valid = vae.history_["valid_loss"].to_numpy()
    assert valid.argmin() == 2
    assert vae.n_iter_ == 5
    # The loss of the best epoch, on the same images with the same noise.
    _, split = vae._split(vae._dataset(digits[0]))
    score = vae.score(split.rows[split.indices].reshape(-1, 8, 8))
    assert_allclose(-score, valid[2], rtol=1e-5)


def test_early_stopping_sets_images_aside(digits):
    vae = fit(digits[0], early_stopping=True, validation_fraction=0.25)
    _, valid = vae._split(vae._dataset(digits[0]))
    assert len(valid) == 100
    with pytest.raises(ValueError, match="n_samples=1"):
        fit(digits[0][:1], early_stopping=True)


def test_callers_early_stopping_is_no_interruption(digits):
    stop = EarlyStopping("train_loss", patience=2, threshold=1e9, threshold_mode="abs")
    vae = fit(digits[0], max_iter=50, callbacks=[stop])  # a warning would be an error
    assert vae.n_iter_ == 3


class Raise(Callback):
    """Raise an exception in the middle of an epoch."""

    def __init__(self, exception, epoch):
        self.exception = exception
        self.epoch = epoch

    def on_batch_begin(self, net, batch, training, **kwargs):
        if net.history[-1, "epoch"] == self.epoch:
            raise self.exception


@pytest.mark.parametrize("early_stopping", [False, True])
def test_interruption_keeps_what_is_trained(digits, early_stopping):
    params = {"early_stopping": early_stopping, "max_iter": 20}
    with pytest.warns(UserWarning, match="interrupted by user"):
        vae = fit(digits[0], callbacks=[Raise(KeyboardInterrupt(), 3)], **params)
    assert vae.n_iter_ == len(vae.history_) == 2
    untrained = fit(digits[0], max_iter=1, learning_rate=1e-30)
    assert vae.score(digits[0]) > untrained.score(digits[0])


def test_interruption_in_the_first_epoch(digits):
    with pytest.warns(UserWarning, match="interrupted by user"):
        vae = fit(digits[0], callbacks=[Raise(KeyboardInterrupt(), 1)])
    assert vae.n_iter_ == 0
    assert vae.loss_curve_ == []
    assert np.isfinite(vae.transform(digits[0])).all()


def refit(vae, images, how):
    vae.set_params(warm_start=how == "warm_start")
    return vae.partial_fit(images) if how == "partial_fit" else vae.fit(images)


@pytest.mark.parametrize("how", ["fit", "warm_start", "partial_fit"])
def test_a_failed_fit_leaves_the_estimator_as_it_was(digits, how):
    images = digits[0]
    vae = fit(images)
    before, attributes = weights(vae), {**vars(vae)}
    scores = vae.score_samples(images)
    for fault, match in [
        ({"learning_rate": 1e30}, r"became (nan|inf|-inf) in epoch \d+. Lower learning_rate"),
        ({"callbacks": [Raise(RuntimeError("out of paper"), 1)]}, "out of paper"),
    ]:
        kept = {name: getattr(vae, name) for name in fault}
        vae.set_params(**fault)
        with pytest.raises((ValueError, RuntimeError), match=match):
            refit(vae, images[:200], how)
        vae.set_params(**kept, warm_start=False)
        assert vars(vae).keys() == attributes.keys()
        assert all(vars(vae)[name] is value for name, value in attributes.items())
        assert_array_equal(weights(vae), before)
        assert_array_equal(vae.score_samples(images), scores)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_weights_that_the_last_step_ruined(digits, method):
    # The loss of the only step is measured before it, and is finite.
    params = {**SMALL, "batch_size": 400, "max_iter": 1, "learning_rate": 1e38}
    vae = ConvVAETransformer(**params)
    with pytest.raises(ValueError, match=r"weights became NaN or infinite\. Lower learning_rate"):
        getattr(vae, method)(digits[0])
    assert not hasattr(vae, "net_")


def test_a_validation_loss_that_is_not_finite(digits):
    class Spoil(Callback):
        def on_batch_begin(self, net, batch, training, **kwargs):
            if not training:
                with torch.no_grad():
                    net.module_.decoder[-2].bias += float("inf")

    with pytest.raises(ValueError, match=r"loss of the validation images became .* in epoch 1"):
        fit(digits[0], early_stopping=True, callbacks=[Spoil()])


def test_training_data_are_not_kept_alive(digits):
    images = digits[0].copy()
    alive = weakref.ref(images)
    vae = fit(images, early_stopping=True, checkpoint=None)
    del images
    gc.collect()
    assert alive() is None
    assert vae.n_iter_ == 3


def test_a_failed_first_fit_leaves_nothing(digits):
    vae = ConvVAETransformer(**SMALL, learning_rate=1e30)
    before = {**vars(vae)}
    with pytest.raises(ValueError, match="Lower learning_rate"):
        vae.fit(digits[0])
    assert vars(vae) == before


def test_same_seed_same_bits(digits):
    images = digits[0]
    expected = weights(fit(images))
    assert_array_equal(weights(fit(images)), expected)
    assert (weights(fit(images, random_state=1)) != expected).any()
    assert (
        weights(fit(images, random_state=None)) != weights(fit(images, random_state=None))
    ).any()
    rng = np.random.RandomState(3)
    assert (weights(fit(images, random_state=rng)) != weights(fit(images, random_state=rng))).any()


def test_same_bits_from_threads_at_once(digits):
    expected = weights(fit(digits[0]))
    results = {}
    threads = [
        threading.Thread(target=lambda i=i: results.update({i: weights(fit(digits[0]))}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results.values():
        assert_array_equal(result, expected)


def test_global_generators_are_neither_read_nor_written(digits):
    images = digits[0]

    def run():
        vae = fit(images, early_stopping=True).partial_fit(images)
        z = vae.fit_transform(images)
        vae.inverse_transform(z)
        vae.sample(2)
        vae.score(images)
        vae.set_params(binarize=True, early_stopping=False).fit(images[:50])
        vae.log_likelihood(images[:2])

    np.random.seed(1)  # noqa: NPY002 - the global generator is what is tested
    torch.manual_seed(1)
    numpy_state, torch_state = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    run()
    assert all(
        np.array_equal(now, then)
        for now, then in zip(np.random.get_state(), numpy_state, strict=True)  # noqa: NPY002
    )
    assert torch.equal(torch.random.get_rng_state(), torch_state)


def test_warm_start_goes_on(digits):
    images = digits[0]
    vae = fit(images, warm_start=True, max_iter=5)
    module, losses = vae.module_, list(vae.loss_curve_)
    vae.fit(images)
    assert vae.module_ is not module
    assert vae.n_iter_ == 10
    assert vae.loss_curve_[:5] == losses
    assert vae.loss_curve_[5] < losses[0]
    assert list(vae.history_["epoch"]) == list(range(1, 11))


def test_warm_start_needs_the_same_network(digits):
    vae = fit(digits[0], warm_start=True)
    with pytest.raises(ValueError, match=r"hidden_units.: 16.*ask for.*hidden_units.: 17"):
        vae.set_params(hidden_units=17).fit(digits[0])
    with pytest.raises(ValueError, match="9 features"):
        vae.set_params(hidden_units=16).fit(np.zeros((5, 9)))


def test_partial_fit_is_an_epoch_of_adam(digits):
    images = digits[0]
    vae = ConvVAETransformer(**SMALL)
    for n in range(1, 4):
        vae.partial_fit(images)
        assert vae.n_iter_ == n
        step = next(iter(vae.net_.optimizer_.state.values()))["step"].item()
        assert step == 13 * n  # the moments of Adam go on
    assert vae.loss_curve_[2] < vae.loss_curve_[0]


def test_progress_bar_over_epochs(digits, capsys):
    fit(digits[0], verbose=1)
    assert "3/3" in capsys.readouterr().err
    fit(digits[0])
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_durations_are_seconds(digits):
    start = time.perf_counter()
    vae = fit(digits[0], max_iter=5)
    assert 0 < vae.history_["duration"].sum() < time.perf_counter() - start
