"""Callbacks of training: rate, warm-up, early stopping, statistics, bar, the caller's own."""

import io
import json
import math
import re
import sys
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import skorch.callbacks
import torch
from conftest import SMALL, fit, fit_classifier, weights_of
from faults import interrupt
from joblib import Parallel, delayed
from nets import WINDOW, OneCycle, RunningStatistics, network, split_of
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from skorch.history import History

from skvae import ConvVAETransformer
from skvae._training import callbacks
from skvae._training.callbacks import (
    COOLDOWN,
    FIRST_RATE,
    LAST_RATE,
    REFUSED,
    RISE,
    EarlyStopping,
    one_cycle,
)


class Steps(Callback):
    """Note the rate and the weights of two terms in every step, and every finished epoch."""

    def initialize(self):
        self.rates, self.weights, self.of_labelled, self.epochs = [], [], [], []
        return self

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])
        self.weights.append(net.kl_weight_)
        self.of_labelled.append(net.labelled_weight_)

    def on_epoch_end(self, net, **kwargs):
        self.epochs.append(net.history[-1, "epoch"])


# The rate


@pytest.mark.parametrize("n_steps", [10, 13, 1_000])
def test_one_cycle_is_that_of_torch(n_steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=2.0,
        # torch puts the ends of both slopes half a step apart from ours: they are the same
        # function of the share if the number of steps makes the first slope a whole one.
        total_steps=n_steps + 1,
        pct_start=(RISE * n_steps + 1) / (n_steps + 1),
    )
    expected = []
    for _ in range(n_steps + 1):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) <= n_steps:
            scheduler.step()
    actual = [2.0 * one_cycle(step / n_steps) for step in range(n_steps + 1)]
    assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)


def test_one_cycle_has_the_defaults_of_torch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    (group,) = optimizer.param_groups
    assert group["initial_lr"] == pytest.approx(FIRST_RATE)
    assert group["min_lr"] == pytest.approx(LAST_RATE)


def test_learning_rate_follows_the_cycle(digits):
    steps = Steps()
    fit(digits[0], max_iter=10, learning_rate=0.01, callbacks=[steps])
    assert_allclose(steps.rates, [0.01 * one_cycle(step / 130) for step in range(130)])


def test_partial_fit_keeps_the_learning_rate(digits):
    steps = Steps()
    vae = ConvVAETransformer(**SMALL, learning_rate=0.002, callbacks=[steps])
    vae.partial_fit(digits[0]).partial_fit(digits[0][:100])
    assert steps.rates == [0.002] * (13 + 4)


# The warm-up


def test_warm_up_raises_the_weight_of_the_kl_term(digits):
    steps = Steps()
    fit(digits[0], beta=2.0, beta_warmup=0.5, max_iter=4, callbacks=[steps])
    assert_allclose(steps.weights, 2.0 * np.minimum(1, np.arange(52) / 26))
    fit(digits[0], beta=2.0, callbacks=[steps])
    assert steps.weights == [2.0] * 39


@pytest.mark.parametrize("n_labels", [20, 199, 200, 400])
def test_further_labelled_images_count_four_times_at_first(digits, n_labels):
    images, labels = digits
    y, steps = np.where(np.arange(400) < n_labels, labels, -1), Steps()
    clf = fit_classifier(images, y, unlabeled=-1, max_iter=4, callbacks=[steps])
    falls = np.maximum(1, 4 - 3 * np.arange(52) / 26)
    assert_allclose(steps.of_labelled, falls if n_labels < 200 else np.ones(52))
    clf.partial_fit(images, y)
    assert steps.of_labelled[52:] == [1.0] * 13


def test_losses_are_recorded_with_beta_during_warm_up(digits):
    history = fit(digits[0], beta=2.0, beta_warmup=1.0, early_stopping=True).history_
    for phase in ("train", "valid"):
        terms = 2.0 * history[f"{phase}_kl"] - history[f"{phase}_log_likelihood"]
        assert_allclose(history[f"{phase}_loss"], terms, rtol=1e-5)


def test_warm_up_keeps_more_components_than_none(digits):
    learner = {"n_components": 8, "hidden_channels": (16,), "hidden_units": 64, "beta": 2.0}
    active = [
        fit(digits[0], max_iter=40, beta_warmup=share, **learner).n_active_components_
        for share in (0.0, 0.8)
    ]
    assert active[1] > active[0]


def test_warm_up_does_not_touch_partial_fit(digits):
    steps = Steps()
    ConvVAETransformer(**SMALL, beta_warmup=1.0, callbacks=[steps]).partial_fit(digits[0])
    assert steps.weights == [1.0] * 13
    fit(digits[0], beta_warmup=1.0, callbacks=[steps]).partial_fit(digits[0])
    assert steps.weights[39:] == [1.0] * 13


# Early stopping


class FakeNet:
    """A history of validation losses, and a module whose only weight is the epoch."""

    def __init__(self):
        self.history = History()
        self.module_ = torch.nn.Module()
        self.module_.register_buffer("epoch", torch.tensor(0.0))

    def run(self, stop, losses):
        """Epochs with these losses, until early stopping ends them."""
        for loss in losses:
            if len(self.history) >= stop.last_epoch:
                break
            self.history.new_epoch()
            self.module_.epoch.fill_(len(self.history))
            self.history.record("valid_loss", loss)
            stop.on_epoch_end(self)
        stop.on_train_end(self)
        return len(self.history)


def start_of_cooldown(losses, patience, tol):
    """The epoch in which the loss has not improved for long enough, counted anew."""
    # The waiting begins at the end of a rise from the very start.
    first = 0
    while first + 1 < len(losses) and losses[first + 1] > losses[first]:
        first += 1
    for epoch in range(first + patience + 1, len(losses) + 1):
        before = losses[first : epoch - patience]
        # The loss that counts steps down by more than `tol` at a time.
        reference = before[0]
        for loss in before:
            reference = loss if loss < reference - tol else reference
        if all(loss >= reference - tol for loss in losses[epoch - patience : epoch]):
            return epoch
    return None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("patience", "tol"), [(1, 0.0), (3, 0.1), (10, 1e-4)])
@pytest.mark.parametrize("n_rises", [0, 5])
def test_the_law_of_early_stopping(seed, patience, tol, n_rises):
    rng = np.random.default_rng(seed)
    n_epochs = 60
    losses = 5 * np.exp(-np.arange(n_epochs) / 6) + 0.3 * rng.standard_normal(n_epochs)
    losses = np.r_[np.linspace(0, losses[0], n_rises, endpoint=False), losses][:n_epochs]
    stop, net = EarlyStopping(patience, tol, n_epochs).initialize(), FakeNet()
    n_run = net.run(stop, losses)
    start = start_of_cooldown(losses, patience, tol)
    expected = n_epochs if start is None else min(n_epochs, start + math.ceil(COOLDOWN * start))
    assert stop.cooldown_ == start
    assert n_run == expected
    # The best weights of all epochs, those of the cool-down too, and better ones by any amount.
    assert net.module_.epoch == losses[:n_run].argmin() + 1


def test_a_loss_that_rises_from_its_start_and_falls_slowly_below_it_is_not_stalled():
    losses = np.r_[0.0, 2.0, 4.0, 6.0, 6.0 - 0.5 * np.arange(1, 37)]
    stop, net = EarlyStopping(10, 1e-4, 40).initialize(), FakeNet()
    assert net.run(stop, losses) == 40
    assert net.module_.epoch == 40
    # The start stays the best if nothing falls below it.
    stop, net = EarlyStopping(10, 1e-4, 40).initialize(), FakeNet()
    assert net.run(stop, losses.clip(1.0)) < 40
    assert net.module_.epoch == 1


def test_a_loss_that_always_improves_takes_the_whole_budget():
    stop, net = EarlyStopping(1, 1e-4, 30).initialize(), FakeNet()
    assert net.run(stop, -np.arange(40.0)) == 30
    assert stop.cooldown_ is None


def test_improvements_below_tol_are_none_but_add_up():
    stop, net = EarlyStopping(5, 1.0, 100).initialize(), FakeNet()
    assert net.run(stop, -0.3 * np.arange(100.0)) == 100
    stop, net = EarlyStopping(3, 1.0, 100).initialize(), FakeNet()
    assert net.run(stop, -0.3 * np.arange(100.0)) == 4 + 1
    assert net.module_.epoch == 5  # the best nevertheless


def test_early_stopping_goes_on_where_its_state_was_taken():
    losses = np.r_[np.arange(10.0, 0, -1), np.full(30, 2.0), 0.5, np.full(30, 2.0)]
    for n_before in (3, 12, 17):
        whole, net = EarlyStopping(4, 0.1, 70).initialize(), FakeNet()
        n_run = net.run(whole, losses)
        first, other = EarlyStopping(4, 0.1, 70).initialize(), FakeNet()
        other.run(first, losses[:n_before])
        second = EarlyStopping(4, 0.1, 70).initialize()
        second.restore(losses[:n_before].tolist(), first.best_weights_)
        assert other.run(second, losses[n_before:]) == n_run
        assert torch.equal(other.module_.epoch, net.module_.epoch)
        assert vars(second) == vars(whole)


def test_the_cool_down_falls_from_where_it_starts_to_0():
    stop = EarlyStopping(2, 0.1, 40).initialize()
    schedule = OneCycle(0.01, 40, 5, stop)
    before = [schedule.rate(epoch) for epoch in np.arange(0, 20, 0.2)]
    assert_allclose(before, [0.01 * one_cycle(epoch / 40) for epoch in np.arange(0, 20, 0.2)])
    stop.cooldown_ = 20
    assert stop.last_epoch == 20 + 20 * COOLDOWN
    epochs = np.linspace(20, stop.last_epoch, 21)
    rates = [schedule.rate(epoch) for epoch in epochs]
    assert_allclose(rates, np.linspace(0.01 * one_cycle(0.5), 0, 21), atol=1e-12)


# At the whole: the loss counts as stalled from the second epoch on.
STALLS = {"early_stopping": True, "n_iter_no_change": 9, "tol": 1e9, "n_components": 1}


def test_a_fit_that_stops_early(digits, capsys):
    steps = Steps()
    vae = fit(digits[0], max_iter=30, learning_rate=0.01, callbacks=[steps], verbose=1, **STALLS)
    # One epoch of improvement, 9 without, and the cool-down.
    n_run = 10 + math.ceil(10 * COOLDOWN)
    assert vae.n_iter_ == n_run
    n_batches = math.ceil(360 / 32)
    rates = np.reshape(steps.rates, (n_run, n_batches))
    epochs = np.arange(n_run * n_batches).reshape(n_run, n_batches) / n_batches
    cycle = np.vectorize(lambda epoch: 0.01 * one_cycle(epoch / 30))
    assert_allclose(rates[:10], cycle(epochs[:10]))
    assert_allclose(rates[10:], cycle(10) * (n_run - epochs[10:]) / (n_run - 10))
    # Every epoch is seen by all: the history, the caller's callbacks, the bar.
    assert steps.epochs == list(vae.history_["epoch"]) == list(range(1, n_run + 1))
    shown = capsys.readouterr().err
    assert "at most 30 epochs of 12 steps of 32 images" in shown
    best = vae.history_["valid_loss"].argmin() + 1
    assert f"epoch {best}, best of {n_run} 100%" in shown


def valid_images(vae, images):
    """The images that a fit set aside."""
    _, valid = split_of(vae, images, validation_fraction=vae.validation_fraction)
    return valid.rows[valid.indices].reshape(-1, *images.shape[1:])


def test_the_best_weights_are_restored(digits):
    class Spoil(Callback):
        """Ruin the weights before the twelfth epoch, in the cool-down."""

        def on_epoch_begin(self, net, **kwargs):
            if net.history[-1, "epoch"] == 12:
                with torch.no_grad():
                    net.module_.decoder[-2].bias += 5.0

    vae = fit(digits[0], max_iter=30, learning_rate=0.01, callbacks=[Spoil()], **STALLS)
    losses = vae.history_["valid_loss"].to_numpy()
    best = losses.argmin()
    assert best < 11
    assert losses[-1] > losses[best] + 1
    assert_allclose(-vae.score(valid_images(vae, digits[0])), losses[best], rtol=1e-6)


def test_the_best_weights_are_restored_after_the_whole_budget_too(digits):
    class Spoil(Callback):
        """Ruin the weights before the last epoch."""

        def on_epoch_begin(self, net, **kwargs):
            if net.history[-1, "epoch"] == 4:
                with torch.no_grad():
                    net.module_.decoder[-2].bias += 5.0

    vae = fit(digits[0], max_iter=4, callbacks=[Spoil()], **STALLS)
    losses = vae.history_["valid_loss"].to_numpy()
    assert len(losses) == 4
    best = losses.argmin()
    assert best < 3
    assert losses[-1] > losses[best] + 1
    assert_allclose(-vae.score(valid_images(vae, digits[0])), losses[best], rtol=1e-6)


def test_early_stopping_sets_images_aside(digits):
    vae = fit(digits[0], early_stopping=True, validation_fraction=0.25)
    assert len(valid_images(vae, digits[0])) == 100
    with pytest.raises(ValueError, match="Early stopping sets 1 of n_samples=1 images aside"):
        fit(digits[0][:1], early_stopping=True)
    with pytest.raises(ValueError, match="sets 20 of n_samples=20 images aside"):
        fit(digits[0][:20], early_stopping="auto", validation_fraction=0.99)


def test_an_end_within_the_warm_up_warns(digits):
    params = {**STALLS, "n_iter_no_change": 1, "max_iter": 20}
    with pytest.warns(UserWarning, match=r"of 20 epochs, within .*warmup=0.5") as record:
        vae = fit(digits[0], beta_warmup=0.5, **params)
    assert f"after {vae.n_iter_} of 20" in str(record[0].message)
    assert vae.n_iter_ <= 10
    assert fit(digits[0], beta_warmup=0.05, **params).n_iter_ == 3  # a warning would be an error


# The running statistics

NET = SimpleNamespace(module_=network())


def batch(n, rng):
    """The posterior of n images: mu and logvar."""
    return list(torch.from_numpy(rng.standard_normal((2, n, 3)).astype(np.float32)))


def moments_of(mu, logvar):
    """Means over images of the KL divergence, mu and mu^2, by torch's own formula."""
    normal = torch.distributions.Normal
    posterior = normal(mu.double(), torch.exp(logvar.double() / 2))
    kl = torch.distributions.kl_divergence(posterior, normal(0.0, 1.0))
    terms = torch.stack([kl, mu.double(), mu.double().square()])
    return terms.detach().numpy().mean(1)


def test_the_first_statistics_are_means_over_all_images():
    rng = np.random.default_rng(0)
    statistics = RunningStatistics()
    batches = [batch(n, rng) for n in (100, 100, 7)]
    for y_pred in batches:
        statistics.on_batch_end(NET, training=True, y_pred=y_pred)
    mu, logvar = (torch.cat([y_pred[i] for y_pred in batches]) for i in (0, 1))
    assert_allclose(statistics.moments, moments_of(mu, logvar), rtol=1e-5, atol=1e-6)


def test_later_images_count_by_their_number_and_earlier_ones_by_the_rest():
    rng = np.random.default_rng(1)
    before = rng.uniform(size=(3, 3))
    statistics, sizes = RunningStatistics(before, WINDOW), (128, 128, 50)
    batches = [batch(n, rng) for n in sizes]
    for y_pred in batches:
        statistics.on_batch_end(NET, training=True, y_pred=y_pred)
        statistics.on_batch_end(NET, training=False, y_pred=batch(20, rng))  # validation
    # An image that is followed by batches of a, b, ... others counts by (1 - a / w)(1 - b / w)...
    left = np.cumprod(1 - np.array([0, *sizes[::-1]]) / WINDOW)[::-1]
    parts = [moments_of(mu, logvar) for mu, logvar in batches]
    expected = left[0] * before + sum(
        share * n / WINDOW * part for share, n, part in zip(left[1:], sizes, parts, strict=True)
    )
    assert_allclose(statistics.moments, expected, rtol=1e-5, atol=1e-6)


def test_a_batch_larger_than_the_window_is_all_that_counts():
    y_pred = batch(WINDOW + 1, np.random.default_rng(2))
    statistics = RunningStatistics(np.full((3, 3), 1e9), WINDOW)
    statistics.on_batch_end(NET, training=True, y_pred=y_pred)
    assert_allclose(statistics.moments, moments_of(*y_pred), rtol=1e-5, atol=1e-6)


def test_statistics_with_classes_are_in_units_of_the_prior():
    net, rng = SimpleNamespace(module_=network(n_classes=4)), np.random.default_rng(3)
    mu, logvar = batch(100, rng)
    statistics = RunningStatistics()
    statistics.on_batch_end(net, training=True, y_pred=[mu, logvar])
    mean, variance = (part.detach() for part in net.module_.prior.moments())
    expected = moments_of((mu - mean) / variance.sqrt(), logvar - variance.log())
    assert_allclose(statistics.moments, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(statistics.moments, moments_of(mu, logvar))


# The caller's


def test_callers_callbacks_stay_as_they_are(digits):
    callbacks = [Steps()]
    vae = fit(digits[0], callbacks=callbacks)
    assert vae.callbacks is callbacks
    assert len(callbacks) == 1


@pytest.mark.parametrize(
    "run",
    [
        lambda vae, X: GridSearchCV(vae, {"n_components": [2, 3]}, cv=2).fit(X),
        lambda vae, X: cross_val_score(Pipeline([("vae", vae)]), X, cv=2),
        lambda vae, X: Parallel(n_jobs=1)([delayed(vae.fit)(X)]),
        lambda vae, X: Parallel(n_jobs=1)([delayed(vae.partial_fit)(X)]),
    ],
)
def test_ctrl_c_ends_a_search(digits, run):
    vae = ConvVAETransformer(**{**SMALL, "max_iter": 3}, callbacks=[interrupt(1)])
    with pytest.raises(KeyboardInterrupt):
        run(vae, digits[0][:200])
    assert not hasattr(vae, "net_")


def test_ctrl_c_in_a_fit_of_a_pipeline_keeps_what_is_trained(digits):
    vae = ConvVAETransformer(**{**SMALL, "max_iter": 3}, callbacks=[interrupt(2)])
    pipeline = Pipeline([("vae", vae), ("scale", StandardScaler())])
    with pytest.warns(UserWarning, match="interrupted by user; what is trained so far is kept"):
        pipeline.fit(digits[0][:200])
    assert vae.n_iter_ == 1
    assert pipeline.transform(digits[0]).shape == (len(digits[0]), 3)


@pytest.mark.parametrize("named", [False, True])
def test_callers_early_stopping_is_no_interruption(digits, capsys, named):
    stop = skorch.callbacks.EarlyStopping(
        "train_loss", patience=2, threshold=1e9, threshold_mode="abs", sink=lambda message: None
    )
    steps = Steps()
    # A warning would be an error.
    callbacks = [steps, ("stop", stop) if named else stop]
    vae = fit(digits[0], max_iter=50, callbacks=callbacks, verbose=1)
    assert vae.n_iter_ == 3
    assert steps.epochs == [1, 2, 3]
    assert "epoch 3/50 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pattern", "early_stopping"),
    [("decoder.0.*", False), ("mu_head.*", True), ("logvar_head.bias", False)],
)
def test_frozen_weights_stay_as_they_start(digits, pattern, early_stopping):
    params = {"callbacks": [skorch.callbacks.Freezer(pattern)], "early_stopping": early_stopping}
    vae = fit(digits[0], **params).partial_fit(digits[0])
    # The linear start, too, is that of the images that train.
    start = fit(digits[0], learning_rate=1e-30, early_stopping=early_stopping)
    start = dict(start.module_.named_parameters())
    for name, parameter in vae.module_.named_parameters():
        ours, theirs = (np.sort(p.detach().numpy().ravel()) for p in (parameter, start[name]))
        # Components are sorted after training: the same numbers in other places.
        assert np.allclose(ours, theirs, atol=1e-6) == fnmatch(name, pattern), name
    assert np.isfinite(vae.transform(digits[0])).all()


# The bar


def states(text):
    """What a bar showed, one state after the other, without the spaces at the end."""
    return [state.rstrip() for state in re.split(r"[\r\n]+", text) if state.strip()]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A function that puts a terminal in place of the errors; a bar then shows each step."""

    def terminal(n_columns=150):
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        style = {"mininterval": 0, "ncols": n_columns}
        monkeypatch.setattr(callbacks, "TERMINAL_STYLE", style)
        return stream

    return terminal


def test_a_bar_moves_within_an_epoch(digits, terminal):
    stream = terminal()
    vae = fit(digits[0], verbose=1)
    summary, *shown, last = states(stream.getvalue())
    assert summary.startswith("ConvVAETransformer: 400 images of 8 x 8; 1 stage of 8 channels, ")
    n_weights = sum(p.numel() for p in vae.module_.parameters())
    assert f"{n_weights:,} weights; 3 epochs of 13 steps of 32 images" in summary
    percents = [int(re.search(r"(\d+)%", state)[1]) for state in shown]
    expected = [round(100 * step / 39) for step in range(40)]
    assert set(expected) - {100} <= set(percents)
    assert percents == sorted(percents)
    epochs = [int(re.match(r"epoch (\d)/3 ", state)[1]) for state in shown]
    assert sorted(set(epochs)) == [1, 2, 3]
    assert re.search(r"\| \d\d:\d\d<\d\d:\d\d", shown[2])  # the time left, after a step
    loss, share = vae.history_.iloc[-1][["train_loss", "train_explained_variance_ratio"]]
    assert last.startswith("epoch 3/3 100%")
    assert last.endswith(f", train loss {loss:.2f}, explained {share:.1%}")


def test_a_bar_tells_of_early_stopping(digits, terminal):
    stream = terminal()
    vae = fit(digits[0], max_iter=30, learning_rate=0.01, verbose=1, **STALLS)
    summary, *shown, last = states(stream.getvalue())
    assert "360 images of 8 x 8 and 40 to validate; " in summary
    assert "at most 30 epochs of 12 steps" in summary
    assert shown[0].startswith("epoch 1/30 at most ")
    # In the cool-down the last epoch is known.
    assert any(re.match(r"epoch 11/12  \d\d%", state) for state in shown)
    best = vae.history_.iloc[vae.history_["valid_loss"].argmin()]
    assert last.startswith(f"epoch {best['epoch']:.0f}, best of 12 100%")
    for phase in ("train", "valid"):
        loss, share = best[f"{phase}_loss"], best[f"{phase}_explained_variance_ratio"]
        assert f"{phase} loss {loss:.2f}, explained {share:.1%}" in last


def test_a_narrow_terminal_has_the_figures_that_tell_most(digits, terminal):
    stream = terminal(79)
    fit(digits[0], early_stopping=True, verbose=1)
    _, *_, last = states(stream.getvalue())
    assert len(last) <= 79
    assert re.search(r", valid loss [\d.]+, explained -?[\d.]+%$", last)
    assert "train" not in last


def test_a_log_gets_few_lines(digits, capsys):
    fit(digits[0][:40], max_iter=20, verbose=1)
    shown = capsys.readouterr().err
    assert "\r" not in shown
    summary, start, end = shown.splitlines()
    assert summary.startswith("ConvVAETransformer: ")
    assert start.startswith("epoch 1/20   0%|")
    assert end.startswith("epoch 20/20 100%|")
    assert "train loss" in end


def test_ctrl_c_leaves_the_bar_where_it_was(digits, terminal):
    class CtrlC(Callback):
        def on_batch_end(self, net, training, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    stream = terminal()
    with pytest.warns(UserWarning, match="interrupted by user"):
        fit(digits[0], verbose=1, callbacks=[CtrlC()])
    shown = states(stream.getvalue())
    assert shown[-1].startswith("epoch 2/3  36%")


def test_an_error_closes_the_bar(digits, terminal):
    stream = terminal()
    with pytest.raises(ValueError, match="loss of the training images became"):
        fit(digits[0], verbose=1, learning_rate=1e30)
    assert stream.getvalue().endswith("\n")


def test_silence_costs_nothing(digits, capsys):
    names = []

    class Names(Callback):
        def on_train_begin(self, net, **kwargs):
            names.extend(type(callback).__name__ for _, callback in net.callbacks_)

    fit(digits[0], callbacks=[Names()])
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""
    assert "ProgressBar" not in names
    fit(digits[0], callbacks=[Names()], verbose=1)
    assert "ProgressBar" in names


def test_callbacks_change_no_bit(digits):
    assert_array_equal(weights_of(fit(digits[0], callbacks=[Steps()])), weights_of(fit(digits[0])))


# Those of skorch: each works, or is refused with a reason

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "callbacks.md"
ROWS = dict(re.findall(r"^\| `(\w+)` \| (works|refused)", PAGE.read_text(), re.M))
VALIDATED = {"early_stopping": True, "max_iter": 3}


def test_the_table_has_all_callbacks_of_skorch():
    known = set(skorch.callbacks.__all__) - {"Callback", "WarmRestartLR"}  # which are none
    assert known <= ROWS.keys()
    assert {name for name, answer in ROWS.items() if answer == "refused"} == REFUSED.keys()


def refused_callback(name):
    """An object of a class that is refused."""
    needs = {
        "EpochScoring": ["accuracy"],
        "BatchScoring": ["accuracy"],
        "PassthroughScoring": ["train_loss"],
        "LoadInitState": [skorch.callbacks.Checkpoint()],
    }
    return getattr(skorch.callbacks, name)(*needs.get(name, []))


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_callbacks_that_cannot_work_are_refused(digits, name, method):
    vae = ConvVAETransformer(**SMALL)
    for callback in (refused_callback(name), ("mine", refused_callback(name))):
        vae.set_params(callbacks=[Steps(), callback])
        with pytest.raises(ValueError, match=f"callbacks has {name}, which does not work here"):
            getattr(vae, method)(digits[0])
    assert not hasattr(vae, "net_")
    with pytest.raises(ValueError, match="LRScheduler"):
        fit(digits[0], callbacks=[skorch.callbacks.LRScheduler])  # a class


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_is_no_callback_of_skorch(digits, method):
    for other, name in ((print, "builtin"), (("a", Path()), r"\w*Path")):
        vae = ConvVAETransformer(**SMALL, callbacks=[other])
        with pytest.raises(TypeError, match=rf"callbacks has {name}.*set by set_callbacks"):
            getattr(vae, method)(digits[0])


@pytest.mark.parametrize("name", ["NeptuneLogger", "SacredLogger", "MlflowLogger"])
def test_losses_of_batches_cannot_be_logged(digits, name):
    logger = getattr(skorch.callbacks, name)(MagicMock(), log_on_batch_end=True)
    with pytest.raises(ValueError, match=f"{name} with log_on_batch_end=True"):
        fit(digits[0], callbacks=[logger])


@pytest.mark.parametrize(
    "callback",
    [
        skorch.callbacks.Checkpoint(),
        skorch.callbacks.Checkpoint,
        skorch.callbacks.EarlyStopping(),
        skorch.callbacks.WandbLogger(MagicMock()),
    ],
)
def test_what_needs_a_validation_loss_says_so(digits, callback):
    with pytest.raises(ValueError, match=r"needs valid_loss.* Set early_stopping=True"):
        fit(digits[0], callbacks=[callback])
    vae = ConvVAETransformer(**SMALL, callbacks=[callback])
    with pytest.raises(ValueError, match="needs valid_loss"):
        vae.partial_fit(digits[0])


def test_which_losses_are_the_best_so_far(digits):
    class Best(Callback):
        def on_train_end(self, net, **kwargs):
            self.columns = {
                name: net.history[:, name]
                for phase in ("train", "valid")
                for name in (f"{phase}_loss", f"{phase}_loss_best")
            }

    note = Best()
    fit(digits[0], callbacks=[note], early_stopping=True, max_iter=12, learning_rate=0.05)
    for phase in ("train", "valid"):
        losses, best = (note.columns[f"{phase}_loss{end}"] for end in ("", "_best"))
        assert best == [i == np.argmin(losses[: i + 1]) for i in range(12)]
    assert not all(note.columns["valid_loss_best"])


def test_checkpoints_hold_the_best_and_the_last_weights(digits, tmp_path):
    callbacks = [
        skorch.callbacks.Checkpoint(dirname=str(tmp_path), f_pickle=None),
        skorch.callbacks.TrainEndCheckpoint(dirname=str(tmp_path)),
    ]
    vae = fit(digits[0], callbacks=callbacks, **VALIDATED)
    assert vae.n_iter_ == 3
    for name in ("params.pt", "train_end_params.pt"):
        # The components were not sorted yet.
        weights = torch.load(tmp_path / name, weights_only=True)
        for key, weight in vae.module_.state_dict().items():
            assert_array_equal(np.sort(weight.ravel()), np.sort(weights[key].ravel()))
    best = int(vae.history_["valid_loss"].argmin())
    for name, n_epochs in (("history.json", best + 1), ("train_end_history.json", 3)):
        assert len(json.loads((tmp_path / name).read_text())) == n_epochs
    for name in ("optimizer.pt", "train_end_optimizer.pt"):
        assert (tmp_path / name).exists()


def test_what_loggers_log(digits, monkeypatch, tmp_path):
    for module in ("neptune", "neptune.types", "neptune.handler"):
        monkeypatch.setitem(sys.modules, module, MagicMock())
    sys.modules["neptune.handler"].Handler = type("Handler", (), {})
    board, wandb, sacred, run, client = (MagicMock() for _ in range(5))
    wandb.dir = str(tmp_path)
    neptune, lines = MagicMock(), []
    c = skorch.callbacks
    callbacks = [
        c.TensorBoard(board),
        c.WandbLogger(wandb),
        c.SacredLogger(sacred),
        c.MlflowLogger(run, client),
        c.NeptuneLogger(neptune),
        c.PrintLog(sink=lines.append),
        c.EpochTimer(),
    ]
    vae = fit(digits[0], callbacks=callbacks, **VALIDATED)
    losses = list(vae.history_["valid_loss"])
    calls = board.add_scalar.call_args_list
    tag = "Loss/valid_loss"
    assert [call.kwargs["scalar_value"] for call in calls if call.kwargs["tag"] == tag] == losses
    assert [call.args[0]["valid_loss"] for call in wandb.log.call_args_list] == losses
    assert (tmp_path / "best_model.pth").exists()
    for logged, places in ((sacred.log_scalar, (0, 1)), (client.log_metric, (1, 2))):
        pairs = [[call.args[i] for i in places] for call in logged.call_args_list]
        assert [value for name, value in pairs if name == "valid_loss"] == losses
    assert client.log_artifact.call_count == 4
    config = dict(call.args for call in neptune["training"].__setitem__.call_args_list)
    expected = {"lr": 0.005, "epochs": 3, "batch_size": 32, "device": "cpu"}
    assert {name: config[f"config/{name}"] for name in expected} == expected
    assert len(lines) == 2 + 3  # a header
    assert all(f"{loss:.4f}" in line for loss, line in zip(losses, lines[2:], strict=True))


@pytest.mark.parametrize("verbose", [0, 1])
def test_print_log_prints_if_verbose(digits, capsys, verbose):
    fit(digits[0], callbacks=[skorch.callbacks.PrintLog()], verbose=verbose)
    assert ("train_loss" in capsys.readouterr().out) == bool(verbose)


def test_mappers_of_weights_and_clipping(digits):
    note = Norms()
    c = skorch.callbacks
    callbacks = [
        c.Initializer("mu_head.bias", fn=partial(torch.nn.init.constant_, val=0.25)),
        c.ParamMapper("logvar_head.bias", fn=partial(torch.nn.init.constant_, val=0.5), at=2),
        c.Freezer("mu_head.bias"),
        c.Freezer("logvar_head.bias", at=2),
        c.Freezer("decoder.0.bias"),
        c.Unfreezer("decoder.0.bias", at=2),
        c.GradientNormClipping(0.01),
        note,
    ]
    vae = fit(digits[0], callbacks=callbacks)
    module = vae.module_
    assert (module.mu_head.bias == 0.25).all()
    assert (module.logvar_head.bias == 0.5).all()
    start = fit(digits[0], learning_rate=1e-30).module_
    assert not torch.equal(module.decoder[0].bias, start.decoder[0].bias)
    assert max(note.norms) <= 0.01 * (1 + 1e-4)


class Norms(Callback):
    """Norm of the gradient of every step."""

    def initialize(self):
        self.norms = []
        return self

    def on_grad_computed(self, net, named_parameters, **kwargs):
        squares = [p.grad.square().sum() for _, p in named_parameters if p.grad is not None]
        self.norms.append(torch.stack(squares).sum().sqrt().item())
