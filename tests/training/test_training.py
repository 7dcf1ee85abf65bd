"""Training as a whole: what it learns, the budget, progress, the same bits."""

import threading
import time

import numpy as np
import pytest
import torch
from conftest import fit, weights_of
from nets import SETTINGS, TrainSettings, dataset_of, network
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback

from skvae._training.train import reorder_net, train


def test_training_lowers_the_loss(small):
    assert small.loss_curve_[-1] < small.loss_curve_[0] - 0.3  # the start is a linear network
    assert len(small.loss_curve_) == small.n_iter_ == 15


def test_training_beats_the_best_model_that_ignores_z(digits):
    images = digits[0]
    learner = {"n_components": 5, "hidden_channels": (16,), "hidden_units": 64}
    vae = fit(images[:300], max_iter=20, **learner)
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
    loose, tight = (fit(digits[0], beta=beta, max_iter=20) for beta in (0.1, 10))
    assert loose.kl_per_component_.sum() > tight.kl_per_component_.sum() + 1
    assert (
        loose.history_["train_log_likelihood"].iloc[-1]
        > tight.history_["train_log_likelihood"].iloc[-1]
    )


def test_moments_of_adam_move_with_their_weights_of(digits):
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


def test_binarised_training_learns(digits):
    learner = {"n_components": 5, "hidden_channels": (16,), "hidden_units": 64, "max_iter": 30}
    images, held_out = digits[0][:300], digits[0][300:]
    vae = fit(images, binarize=True, **learner)
    assert vae.loss_curve_[-1] < vae.loss_curve_[0] - 0.5  # it starts at a linear network
    assert vae.score(held_out) < vae.log_likelihood(held_out).mean() < 0
    assert_array_equal(vae.score_samples(held_out[::-1])[::-1], vae.score_samples(held_out))


class Batches(Callback):
    """Keep the images of every batch, sorted, by phase and epoch."""

    def initialize(self):
        self.seen = {}
        return self

    def on_batch_begin(self, net, batch, training, **kwargs):
        key = training, net.history[-1, "epoch"]
        parts = batch[0].parts = list(batch[0])
        self.seen.setdefault(key, []).extend(part["x"] for part in parts)


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
def test_every_family_learns(digits, likelihood):
    learner = {"n_components": 5, "hidden_channels": (16,), "hidden_units": 64, "max_iter": 30}
    images, held_out = digits[0][:300], digits[0][300:]
    vae = fit(images, likelihood=likelihood, **learner)
    assert vae.loss_curve_[-1] < vae.loss_curve_[0] - 15  # "gaussian" starts at PCA
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


def test_a_validation_loss_that_is_not_finite(digits):
    class Spoil(Callback):
        def on_batch_begin(self, net, batch, training, **kwargs):
            if not training:
                with torch.no_grad():
                    net.module_.decoder[-2].bias += float("inf")

    with pytest.raises(ValueError, match=r"loss of the validation images became .* in epoch 1"):
        fit(digits[0], early_stopping=True, callbacks=[Spoil()])


def test_durations_are_seconds(digits):
    start = time.perf_counter()
    vae = fit(digits[0], max_iter=5)
    assert 0 < vae.history_["duration"].sum() < time.perf_counter() - start


def test_progress_is_handed_on_after_every_epoch(digits):
    dataset, seen = dataset_of(digits[0][:100]), []
    settings = TrainSettings(**{**SETTINGS, "n_epochs": 20, "n_iter_no_change": 3, "tol": 1e9})
    net, interrupted = train(
        network(),
        dataset,
        settings,
        valid=dataset_of(digits[0][100:150]),
        save_progress=lambda progress: seen.append(progress),
    )
    # One epoch, three without improvement, a cool-down of a quarter.
    assert len(seen) == 1 + 3 + 1
    assert not interrupted
    losses = [progress["epoch"]["valid_loss"] for progress in seen]
    best = seen[np.argmin(losses)]["weights"]
    for name, weight in net.module_.state_dict().items():
        assert_array_equal(weight.numpy(), best[name])


@pytest.mark.parametrize("n_done", [1, 4, 5])
def test_a_training_goes_on_where_its_progress_was_taken(digits, n_done):
    dataset, valid = dataset_of(digits[0][:100]), dataset_of(digits[0][100:150])
    settings = TrainSettings(**{**SETTINGS, "n_epochs": 20, "n_iter_no_change": 3, "tol": 1e9})
    seen = []
    whole, _ = train(network(), dataset, settings, valid=valid, save_progress=seen.append)
    history = [earlier["epoch"] for earlier in seen[:n_done]]
    progress = {**seen[n_done - 1], "history": history, "finished": False}
    net, _ = train(network(1), dataset, settings, valid=valid, progress=progress)
    for weight, expected in zip(net.module_.parameters(), whole.module_.parameters(), strict=True):
        assert torch.equal(weight, expected)
    assert len(net.history) == len(whole.history) == 5


def test_same_bits_from_threads_at_once(digits):
    expected = weights_of(fit(digits[0]))
    results = {}
    threads = [
        threading.Thread(target=lambda i=i: results.update({i: weights_of(fit(digits[0]))}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results.values():
        assert_array_equal(result, expected)
