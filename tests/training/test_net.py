"""The net: settings, the loss of a step, what is read, the noise, bounds, steps in parts."""

import math

import numpy as np
import pytest
import torch
from conftest import SMALL, fit, fit_classifier, weights_of
from nets import (
    ARCHITECTURE,
    LIKELIHOODS,
    SETTINGS,
    Budget,
    OneCycle,
    RunningStatistics,
    TrainSettings,
    batches,
    build_module,
    dataset_of,
    generator_for,
    network,
    split_of,
)
from skorch.callbacks import Callback

from skvae import ConvVAEClassifier, ConvVAECluster, ConvVAETransformer
from skvae._model.likelihoods import NOISE_UPDATE_SHARE
from skvae._model.noise import normal_draws
from skvae._training.callbacks import Ramp
from skvae._training.net import MAX_GRADIENT, build_net


def test_settings_are_those_of_the_estimator(small):
    vae = small.__sklearn_clone__()
    vae.__setstate__(small.__getstate__())
    vae.set_params(
        beta=np.float32(2.0),
        beta_warmup=np.float64(0.25),
        learning_rate=np.float64(0.5),
        tol=np.float64(0.125),
        n_iter_no_change=np.int64(3),
        binarize=np.bool_(True),
        verbose=np.int64(0),
    )
    vae._history = {"train_loss": [0.0] * 5}
    settings = vae._settings(Budget(4, 7), rate=0.5)
    expected = {
        **SETTINGS,
        "beta": 2.0,
        "beta_warmup": 0.25,
        "learning_rate": 0.25,
        "tol": 64 * 0.125,  # for each number of an image
        "binarize": True,
        "batch_size": 7,
        "n_epochs": 4,
        "n_iter_no_change": 3,
        "first_epoch": 5,
        "log_jacobian": pytest.approx((-math.log(16),)),
        "seed": small._seed,
    }
    assert settings == TrainSettings(**expected)
    # Plain Python: NumPy's scalars would not go into a file.
    plain = (str, int, float, bool, tuple)
    assert all(type(value) in plain for value in vars(settings).values())
    with pytest.raises(AttributeError, match="assign"):
        settings.beta = 1.0


def test_the_loss_of_a_step_is_the_mean_over_its_images(digits):
    # By torch.distributions, for the noise that the net draws itself.
    settings = TrainSettings(**{**SETTINGS, "beta": 0.5, "batch_size": 50})
    net, dataset = build_net(network(), settings), dataset_of(digits[0][:50])
    net.notify("on_train_begin", X=dataset, y=None)
    net.history.new_epoch()
    net.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
    (batch,) = list(net.get_iterator(dataset, training=True))
    (part,) = parts = list(batch[0])
    batch[0].parts = parts
    step = net.train_step_single(batch)
    with torch.no_grad():
        logits, mu, logvar = net.module_(**part)
    normal = torch.distributions.Normal
    posterior = normal(mu, torch.exp(logvar / 2))
    kl = torch.distributions.kl_divergence(posterior, normal(0.0, 1.0)).sum(1)
    x = part["x"]
    dark, light = (
        torch.distributions.Bernoulli(logits=logits).log_prob(torch.full_like(x, value))
        for value in (0.0, 1.0)
    )
    log_p = (x * light + (1 - x) * dark).sum((1, 2, 3))
    torch.testing.assert_close(step["loss"], (0.5 * kl - log_p).mean())
    torch.testing.assert_close(step["y_pred"], [mu, logvar])
    # The gradient is that of the mean, too.
    terms = net.module_.terms(**part)
    loss = 0.5 * terms.kl.mean() - terms.log_p.mean()
    expected = torch.autograd.grad(loss, list(net.module_.parameters()))
    for parameter, gradient in zip(net.module_.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_labelled", [None, 0, 7, 100])
def test_no_number_is_read_from_the_device_within_an_epoch(digits, n_labelled):
    # The tensors of "meta" have no numbers: to read one is an error. On a GPU, the processor
    # would wait for it.
    settings = {**SETTINGS, "device": "meta", "beta_warmup": 0.5, "label_weight": 2.0}
    statistics = RunningStatistics(np.zeros((3, 3)), 1)
    callbacks = [OneCycle(1e-3, 3, 4, None), Ramp("kl_weight_", 0.0, 1.0, 6, 4), statistics]
    n_classes, labels = 0, None
    if n_labelled is not None:
        n_classes, labels = 10, np.where(np.arange(100) < n_labelled, digits[1][:100], -1)
    module = build_module({**ARCHITECTURE, "n_classes": n_classes}, "bernoulli", "meta")
    net = build_net(module, TrainSettings(**settings), callbacks)
    net.set_params(optimizer__fused=False)  # the fused step does not know "meta"
    dataset = dataset_of(digits[0][:100], labels)
    net.notify("on_train_begin", X=dataset, y=None)
    net.notify("on_epoch_begin", dataset_train=dataset, dataset_valid=dataset)
    for training, step in ((True, net.train_step), (False, net.validation_step)):
        iterator = net.get_iterator(dataset, training=training)
        net.run_single_epoch(iterator, training=training, prefix="", step_fn=step)
    assert net.sums_.keys() == {True, False}
    with pytest.raises(NotImplementedError, match="meta"):
        net.notify("on_epoch_end", dataset_train=dataset, dataset_valid=dataset)
    with pytest.raises(NotImplementedError, match="meta"):
        _ = statistics.moments


@pytest.mark.parametrize("n_labelled", [None, 10, 80])
def test_no_more_numbers_are_read_in_an_epoch_of_more_batches(digits, monkeypatch, n_labelled):
    reads = []

    def count(name):
        method = getattr(torch.Tensor, name)

        def counted(tensor, *args, **kwargs):
            reads.append(name)
            return method(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)

    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__"):
        count(name)
    images, counts = digits[0][:80], []
    for batch_size in (80, 4):
        reads.clear()
        # Weights that stand still are the best ones once.
        params = {"batch_size": batch_size, "early_stopping": True, "learning_rate": 1e-30}
        if n_labelled is None:
            fit(images, **params)
        else:
            params = {**SMALL, "pixel_range": (0, 16), "max_iter": 3, **params}
            labels = np.where(np.arange(80) < n_labelled, digits[1][:80], -1)
            ConvVAEClassifier(**params, unlabeled=-1).fit(images, labels)
        counts.append(sorted(reads))
    assert counts[0] == counts[1]
    assert "tolist" in counts[0]


# The noise of the normal family


class Errors(Callback):
    """Squared errors of the pixels of all images of an epoch, by `encode` and `decode`."""

    def initialize(self):
        self.seen = {}
        return self

    @torch.no_grad()
    def on_batch_begin(self, net, batch, training, **kwargs):
        module, seen = net.module_, self.seen.setdefault((training, len(net.history)), [])
        for part in batch[0]:
            mu, logvar = module.encode(part["x"])
            mean = module.decode(mu + torch.exp(logvar / 2) * part["noise"])
            seen.append((part["x"] - mean).double().square().numpy().reshape(len(mu), -1))

    def of(self, training, epoch=1):
        return np.concatenate(self.seen[training, epoch])


@pytest.mark.parametrize("random_state", [0, 1])
def test_the_noise_is_the_larger_error_of_the_images_set_aside_and_of_the_others(
    digits, random_state
):
    note = Errors()
    params = {"likelihood": "gaussian", "early_stopping": True, "random_state": random_state}
    vae = fit(digits[0], max_iter=1, callbacks=[note], **params)
    train_errors, valid_errors = note.of(True), note.of(False)
    assert (len(train_errors), len(valid_errors)) == (360, 40)
    noise = 16**2 * max(train_errors.mean(), valid_errors.mean())
    assert vae.noise_variance_ == pytest.approx(noise, rel=1e-5)
    # The likelihood of the images set aside is that with this noise, in the units of X.
    normal = torch.distributions.Normal(0.0, noise**0.5)
    densities = normal.log_prob(torch.from_numpy(16 * np.sqrt(valid_errors)))
    expected = densities.sum(1).mean().item()
    history = vae.history_
    assert history["valid_log_likelihood"].item() == pytest.approx(expected, rel=1e-6)
    loss = history["valid_kl"].item() - expected
    assert history["valid_loss"].item() == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    ("train_error", "valid_error", "expected"),
    [(0.3, 0.2, 0.3), (0.2, 0.3, 0.3), (1e-9, 1e-8, 1e-6)],
)
def test_which_noise_is_measured(train_error, valid_error, expected):
    net = build_net(network(likelihood="gaussian"), TrainSettings(**NORMAL))
    net.sums_ = {
        training: {
            "n_images": n,
            "squared_error": 64 * n * error,
            "n_observed": 64 * n,
            "log_jacobian": -3.0 * n,
        }
        for training, n, error in ((True, 90, train_error), (False, 10, valid_error))
    }
    log_likelihood = net._measure_noise()
    assert net.module_.likelihood.noise_logvar.exp().item() == pytest.approx(expected, rel=1e-5)
    density = -0.5 * (valid_error / expected + math.log(2 * math.pi * expected))
    assert log_likelihood == pytest.approx(64 * density - 3.0, rel=1e-5)


NORMAL = {**SETTINGS, "log_jacobian": (-3.0 / 64,)}


def test_the_losses_with_the_best_weights_are_those_of_their_noise(digits):
    vae = fit(digits[0], likelihood="gaussian", early_stopping=True, max_iter=4)
    _, valid = split_of(vae, digits[0])
    score = vae.score(valid.rows[valid.indices].reshape(-1, 8, 8))
    assert -score == pytest.approx(vae.history_["valid_loss"].min(), rel=1e-5)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_without_images_set_aside_the_noise_follows_the_batches(digits, method):
    errors, noises = Errors(), []

    class Noises(Callback):
        def on_batch_begin(self, net, **kwargs):
            noises.append(net.module_.likelihood.noise_logvar.exp().item())

    params = {"likelihood": "gaussian", "early_stopping": False, "callbacks": [errors, Noises()]}
    vae = fit(digits[0], max_iter=1, **params)
    if method == "partial_fit":
        noises.clear()
        errors.seen.clear()
        vae.partial_fit(digits[0])
    noises.append(vae.noise_variance_ / 16**2)
    assert len(noises) == 13 + 1
    batches = [batch.mean() for batch in errors.seen[True, 1]]
    for before, error, after in zip(noises[:-1], batches, noises[1:], strict=True):
        assert after == pytest.approx(
            (1 - NOISE_UPDATE_SHARE) * before + NOISE_UPDATE_SHARE * error, rel=1e-4
        )
    assert "valid_loss" not in vae.history_


# What keeps a training within bounds


class Norms(Callback):
    """Norm of the gradient of every step, and the pull of the weights."""

    def initialize(self):
        self.norms, self.pulls = [], set()
        return self

    def on_grad_computed(self, net, named_parameters, **kwargs):
        squares = [p.grad.double().square().sum().item() for _, p in named_parameters]
        self.norms.append(math.sqrt(sum(squares)))
        self.pulls.add(net.optimizer_.param_groups[0]["weight_decay"])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_the_gradient_is_bounded(digits, method, likelihood):
    note, bound = Norms(), MAX_GRADIENT * 64
    params = {"likelihood": likelihood, "learning_rate": 0.05, "callbacks": [note]}
    vae = fit(digits[0][:40], **params)
    if method == "partial_fit" and likelihood == "gaussian":
        # Images that the model does not know, at a noise of next to nothing.
        vae.module_.likelihood.noise_logvar.fill_(-20.0)
        vae.partial_fit(digits[0][40:])
    assert max(note.norms) <= bound * (1 + 1e-4)
    assert min(note.norms) > 0


@pytest.mark.parametrize("likelihood", LIKELIHOODS)  # of these, only one has a linear path
def test_every_network_has_a_gradient_at_its_bound(digits, likelihood):
    note = Norms()
    settings = TrainSettings(**{**SETTINGS, "beta": 1e6, "callbacks": (note,)})
    net = build_net(network(likelihood=likelihood), settings)
    net.fit_loop(dataset_of(digits[0][:32]), epochs=1)
    assert note.norms[0] == pytest.approx(MAX_GRADIENT * 64, rel=1e-4)


@pytest.mark.parametrize(
    ("n_images", "likelihood", "expected"),
    [
        (400, "bernoulli", 0.005),
        (10_000, "gaussian", 0.005),
        # Without a linear path.
        (10_000, "bernoulli", 0.003),
        (10_000, "continuous_bernoulli", 0.003),
    ],
)
def test_the_automatic_learning_rate(n_images, likelihood, expected):
    X = np.random.default_rng(0).uniform(size=(n_images, 1, 3))
    params = {"pixel_range": None, "batch_size": 2_500, "max_iter": 1, "likelihood": likelihood}
    assert fit(X, **params).net_.lr == expected
    assert fit(X, **params, learning_rate=0.01).net_.lr == 0.01


@pytest.mark.parametrize(("likelihood", "expected"), [("gaussian", 0.005), ("bernoulli", 0.002)])
@pytest.mark.parametrize("cls", [ConvVAEClassifier, ConvVAECluster])
def test_the_automatic_learning_rate_with_classes(cls, likelihood, expected):
    X = np.random.default_rng(0).uniform(size=(10_000, 1, 3))
    params = {**SMALL, "batch_size": 2_500, "max_iter": 1, "likelihood": likelihood}
    assert cls(**params).fit(X, np.arange(len(X)) % 2).net_.lr == expected


@pytest.mark.parametrize(
    ("n_images", "likelihood", "early_stopping", "expected"),
    [
        (400, "gaussian", True, 1.0),
        (1_000, "gaussian", False, 1.0),
        (1_600, "gaussian", False, 0.625),
        (1_600, "gaussian", True, 1_000 / 1_440),
        (1_600, "bernoulli", True, 1_000 / 1_440),
        (400, "continuous_bernoulli", False, 1.0),
        # Without a linear path.
        (10_000, "bernoulli", False, 0.0),
        (10_000, "continuous_bernoulli", False, 0.0),
        (10_000, "gaussian", False, 0.1),
    ],
)
def test_weights_are_pulled_the_less_the_more_images_train(
    n_images, likelihood, early_stopping, expected
):
    note, X = Norms(), np.random.default_rng(0).uniform(size=(n_images, 1, 3))
    params = {"pixel_range": None, "batch_size": 2_500, "max_iter": 1, "callbacks": [note]}
    fit(X, likelihood=likelihood, early_stopping=early_stopping, **params)
    assert list(note.pulls) == [pytest.approx(expected)]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_partial_fit_pulls_no_weight(digits, likelihood):
    note = Norms()
    params = {**SMALL, "likelihood": likelihood, "pixel_range": (0, 16), "callbacks": [note]}
    ConvVAETransformer(**params).partial_fit(digits[0])
    assert note.pulls == {0.0}


# Steps in parts


def first_step(parts, likelihood, noise_logvar, *, set_aside=True, holes=False):
    """Gradients, result, sums and noise of a step of a net, for a batch of these parts."""
    module = network(likelihood=likelihood, holes=holes)
    if likelihood == "gaussian":
        module.likelihood.noise_logvar.fill_(noise_logvar)
    net = build_net(module, TrainSettings(**SETTINGS))
    net.notify("on_train_begin", X=None, y=None)
    net.history.new_epoch()
    net.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
    net.train_split = (lambda dataset, y: (dataset, None)) if set_aside else None
    batch = batches.Batch(sum(len(part["x"]) for part in parts), parts)
    step = net.train_step_single((batch, None))
    gradients = [p.grad.clone() for p in module.parameters()]
    return gradients, step, net.sums_[True], list(module.likelihood.buffers())


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "gaussian"])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(digits, limit_passes, likelihood):
    settings = TrainSettings(**{**SETTINGS, "batch_size": 50})
    net, dataset = build_net(network(likelihood=likelihood), settings), dataset_of(digits[0][:60])

    def parts_of_a_batch():
        batches = [list(batch) for batch, _ in net.get_iterator(dataset, training=True)]
        assert [sum(len(part["x"]) for part in parts) for parts in batches] == [50, 10]
        return batches[0]

    (part,) = parts_of_a_batch()
    limit_passes(n_numbers=16 * 64)
    divided = parts_of_a_batch()
    assert [len(part["x"]) for part in divided] == [16, 16, 16, 2]
    expected, step, sums, _ = first_step([part], likelihood, 1.0)
    gradients, other, other_sums, _ = first_step(divided, likelihood, 1.0)
    scale = max(gradient.abs().max().item() for gradient in expected)
    for gradient, whole in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, whole, rtol=1e-4, atol=1e-6 * scale)
    torch.testing.assert_close(other["loss"], step["loss"])
    torch.testing.assert_close(other["y_pred"], step["y_pred"])
    assert other_sums["n_images"] == sums["n_images"] == 50
    torch.testing.assert_close(other_sums, sums)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("size", [60, 20, 7])
@pytest.mark.parametrize("least", [0.01, 10.0])
def test_the_noise_of_a_step_is_that_of_the_whole_batch(digits, holes, size, least):
    # By torch.distributions: one variance, the mean squared error of all observed pixels of the
    # batch, but not less than that of the images set aside.
    images = punch(digits[0][:60]) if holes else digits[0][:60]
    x = torch.from_numpy(images / 16).float()[:, None]
    noise = normal_draws(60, 3, generator_for(0))
    parts = [{"x": x[i : i + size], "noise": noise[i : i + size]} for i in range(0, 60, size)]
    params = {"noise_logvar": math.log(least), "holes": holes}
    gradients, step, sums, _ = first_step(parts, "gaussian", **params)
    module = network(likelihood="gaussian", holes=holes)
    logits, mu, logvar, *_ = module(x, noise)
    observed = ~x.isnan()
    variance = (x - logits.detach())[observed].square().mean().clamp_min(least)
    normal = torch.distributions.Normal(logits[observed], variance.sqrt())
    log_p, posterior = normal.log_prob(x[observed]).sum(), torch.exp(logvar / 2)
    posterior = torch.distributions.Normal(mu, posterior)
    prior = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(posterior, prior).sum()
    loss = (kl - log_p) / 60
    torch.testing.assert_close(step["loss"], loss.detach())
    assert sums["n_images"] == 60
    for name, expected in (("log_likelihood", log_p), ("kl", kl)):
        torch.testing.assert_close(sums[name].float(), expected.detach())
    loss.backward()
    scale = max(parameter.grad.abs().max().item() for parameter in module.parameters())
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6 * scale)


def test_without_images_set_aside_the_running_mean_takes_one_step_for_all_parts(digits):
    dataset, n = dataset_of(digits[0][:60]), 60
    noise = normal_draws(n, 3, generator_for(0))
    whole, parts = (
        [{"x": dataset[i : i + size], "noise": noise[i : i + size]} for i in range(0, n, size)]
        for size in (60, 20)
    )
    params = {"likelihood": "gaussian", "noise_logvar": 1.0, "set_aside": False}
    torch.testing.assert_close(first_step(parts, **params)[3], first_step(whole, **params)[3])


class Reads(Callback):
    """A callback that reads the batches of every step, before and after."""

    def on_batch_begin(self, net, batch, **kwargs):
        assert sum(len(part["x"]) for part in batch[0]) == len(batch[0])

    def on_batch_end(self, net, batch, **kwargs):
        assert sum(len(part["x"]) for part in batch[0]) == len(batch[0])
        assert all(len(part["y"]) for part in batch[0].labelled)


@pytest.mark.parametrize("n_in_a_pass", [10, 100])
@pytest.mark.parametrize(
    "params",
    [{"likelihood": "gaussian"}, {"likelihood": "bernoulli", "binarize": True}],
    ids=["gaussian", "binarize"],
)
def test_who_reads_the_parts_of_a_batch_changes_no_bit(digits, limit_passes, params, n_in_a_pass):
    limit_passes(n_in_a_pass, n_in_a_pass * 64)
    labels = np.where(np.arange(100) % 5, -1, digits[1][:100] % 3)
    params = {**params, "unlabeled": -1, "max_iter": 2}
    read, unread = (
        fit_classifier(digits[0][:100], labels, callbacks=callbacks, **params)
        for callbacks in ([Reads()], None)
    )
    np.testing.assert_array_equal(weights_of(read), weights_of(unread))


# Holes


def punch(images):
    """Images in which 40 % of the pixels, and all of the first image, are missing."""
    X = np.where(np.random.default_rng(0).uniform(size=images.shape) < 0.4, np.nan, images)
    X[0] = np.nan
    return X


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "gaussian"])
def test_a_step_in_parts_with_holes_is_that_of_the_whole_batch(digits, likelihood):
    x = torch.from_numpy(punch(digits[0][:60]) / 16).float()[:, None]
    noise = normal_draws(60, 3, generator_for(0))
    whole, parts = (
        [{"x": x[i : i + size], "noise": noise[i : i + size]} for i in range(0, 60, size)]
        for size in (60, 20)
    )
    params = {"likelihood": likelihood, "noise_logvar": -20.0, "set_aside": False, "holes": True}
    expected, step, sums, noise_logvar = first_step(whole, **params)
    gradients, other, other_sums, other_logvar = first_step(parts, **params)
    scale = max(gradient.abs().max().item() for gradient in expected)
    assert scale > 0
    for gradient, other_gradient in zip(expected, gradients, strict=True):
        torch.testing.assert_close(other_gradient, gradient, rtol=1e-4, atol=1e-6 * scale)
    torch.testing.assert_close(other["loss"], step["loss"])
    torch.testing.assert_close(other_sums, sums)
    torch.testing.assert_close(other_logvar, noise_logvar)
    if likelihood == "gaussian":
        assert sums["n_observed"] == (~x.isnan()).sum()


@pytest.mark.parametrize("random_state", [0, 1])
def test_with_holes_the_noise_is_that_of_the_observed_pixels(digits, random_state):
    note, X = Errors(), punch(digits[0])
    params = {"likelihood": "gaussian", "early_stopping": True, "random_state": random_state}
    vae = fit(X, max_iter=1, callbacks=[note], missing_values=np.nan, **params)
    train_errors, valid_errors = note.of(True), note.of(False)
    noise = 16**2 * max(np.nanmean(train_errors), np.nanmean(valid_errors))
    assert vae.noise_variance_ == pytest.approx(noise, rel=1e-5)
    normal = torch.distributions.Normal(0.0, noise**0.5, validate_args=False)
    densities = normal.log_prob(torch.from_numpy(16 * np.sqrt(valid_errors)))
    expected = densities.nansum(1).mean().item()
    assert vae.history_["valid_log_likelihood"].item() == pytest.approx(expected, rel=1e-6)


def test_with_holes_the_noise_follows_what_was_observed_of_the_batches(digits):
    errors, noises, X = Errors(), [], punch(digits[0])
    X[40:] = np.nan  # some batches have nothing

    class Noises(Callback):
        def on_batch_begin(self, net, **kwargs):
            noises.append(net.module_.likelihood.noise_logvar.exp().item())

    params = {"likelihood": "gaussian", "missing_values": np.nan, "batch_size": 8}
    vae = fit(X, max_iter=1, callbacks=[errors, Noises()], **params)
    noises.append(vae.noise_variance_ / 16**2)
    batches = errors.seen[True, 1]
    assert len(noises) == len(batches) + 1
    assert any(np.isnan(batch).all() for batch in batches)
    for before, batch, after in zip(noises[:-1], batches, noises[1:], strict=True):
        expected = before
        if not np.isnan(batch).all():
            error = np.nanmean(batch)
            expected = (1 - NOISE_UPDATE_SHARE) * before + NOISE_UPDATE_SHARE * error
        assert after == pytest.approx(expected, rel=1e-4)


def test_nothing_of_the_images_set_aside_was_observed(digits):
    X = digits[0][:40].astype(float)
    X[4:] = np.nan  # of the other four all, so that no pixel has never been observed
    params = {"likelihood": "gaussian", "early_stopping": True, "missing_values": np.nan}
    for seed in range(3):
        vae = fit(X, random_state=seed, **params)
        assert np.isfinite(vae.history_.to_numpy()).all()
        assert np.isfinite(vae.noise_variance_)


# Labels

N = 60
CODES = {
    "all": lambda labels: labels,
    "many": lambda labels: np.where(np.arange(N) % 3, labels, -1),
    "few": lambda labels: np.where(np.arange(N) % 4 == 1, labels, -1),
    "none": lambda labels: np.full(N, -1),
}


class Seen(Callback):
    """All parts of batches of an epoch."""

    def initialize(self):
        self.parts, self.further = {True: [], False: []}, []
        return self

    def on_batch_begin(self, net, batch, training, **kwargs):
        self.parts[training] += list(batch[0])
        self.further += list(batch[0].labelled)


def together(parts):
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def classifier_net(likelihood="bernoulli", callbacks=(), **settings):
    """A net with three classes, whose means differ and whose weights stand still."""
    module = network(likelihood=likelihood, n_classes=3)
    with torch.no_grad():
        module.prior.means.normal_(generator=torch.Generator().manual_seed(1))
    settings = {**SETTINGS, "learning_rate": 1e-30, **settings}
    return build_net(module, TrainSettings(**settings), list(callbacks))


def codes_of(digits, which):
    return CODES[which](digits[1][:N] % 3)


def cross_entropies(decoder, mu, y, log_weights):
    """-log p(y|z) at z = mu by torch.distributions, where the classes have the given weights."""
    normal = torch.distributions.Independent(
        torch.distributions.Normal(decoder.means, torch.exp(decoder.logvar / 2)), 1
    )
    logits = normal.log_prob(mu[:, None]) + log_weights
    return torch.nn.functional.cross_entropy(logits, y, ignore_index=-1, reduction="none")


@pytest.mark.parametrize("which", CODES)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_recorded_terms_of_labels_are_means_over_labelled_images(digits, which, likelihood):
    seen = Seen()
    settings = {"label_weight": 3.0, "beta": 0.5, "few_labels": which == "few"}
    net = classifier_net(likelihood, [seen], **settings)
    codes = codes_of(digits, which)
    dataset, decoder = dataset_of(digits[0][:N], codes), net.module_.prior
    valid = dataset_of(digits[0][N : 2 * N], digits[1][N : 2 * N] % 3)
    net.train_split = lambda X, y=None: (X, valid)
    net.notify("on_train_begin", X=dataset, y=None)
    net.fit_loop(dataset, epochs=1)
    record = net.history[0]
    frequencies = torch.log(torch.from_numpy(np.bincount(codes[codes >= 0], minlength=3)).float())
    if which == "none":
        frequencies = torch.zeros(3)
        assert "train_label_loss" not in record
        assert "train_accuracy" not in record
    phases = {"train": seen.parts[True], "valid": seen.parts[False]}
    assert (len(seen.further) > 0) == (which == "few")
    for phase, parts in phases.items():
        part, weights = together(parts), frequencies
        expected = 0.5 * record[f"{phase}_kl"] - record[f"{phase}_log_likelihood"]
        if (phase, which) == ("train", "few"):
            part, weights = together(seen.further), torch.zeros(3)
        if (phase, which) != ("train", "none"):
            known = part["y"] >= 0
            with torch.no_grad():
                mu, _ = net.module_.encode(part["x"][known])
                losses = cross_entropies(decoder, mu, part["y"][known], weights)
                right = decoder.log_joint(mu).argmax(1) == part["y"][known]
            assert record[f"{phase}_label_loss"] == pytest.approx(losses.mean().item(), rel=1e-4)
            assert record[f"{phase}_accuracy"] == pytest.approx(right.double().mean().item())
            expected += 3.0 * record[f"{phase}_label_loss"]
        assert record[f"{phase}_loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("which", CODES)
def test_recorded_kl_is_that_of_the_classes(digits, which):
    seen = Seen()
    net = classifier_net(callbacks=[seen])
    dataset, decoder = dataset_of(digits[0][:N], codes_of(digits, which)), net.module_.prior
    net.notify("on_train_begin", X=dataset, y=None)
    net.fit_loop(dataset, epochs=1)
    part, normal = together(seen.parts[True]), torch.distributions.Normal
    with torch.no_grad():
        mu, logvar = net.module_.encode(part["x"])
        posterior = normal(mu[:, None], torch.exp(logvar / 2)[:, None])
        prior = normal(decoder.means, torch.exp(decoder.logvar / 2))
        kls = torch.distributions.kl_divergence(posterior, prior).sum(2)
    expected = [
        -torch.logsumexp(-math.log(3) - kl, 0) if y < 0 else math.log(3) + kl[y]
        for kl, y in zip(kls, part["y"], strict=True)
    ]
    assert net.history[0]["train_kl"] == pytest.approx(np.mean(expected), rel=1e-5)


def labelled_step(parts, further=(), *, codes, of_further=1.0, **settings):
    """Gradients, loss and sums of a step of a net with classes, where further images count so."""
    net = classifier_net(**{"label_weight": 3.0, **settings})
    net.labelled_weight_ = of_further
    if net.module_.likelihood.normal:
        net.module_.likelihood.noise_logvar.fill_(-20.0)  # so that the error of the batch counts
    net.notify("on_train_begin", X=dataset_of(np.zeros((N, 64)), codes), y=None)
    net.history.new_epoch()
    net.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
    n_labelled = sum(int((part["y"] >= 0).sum()) for part in parts)
    batch = batches.Batch(sum(len(part["x"]) for part in parts), parts, n_labelled, further)
    step = net.train_step_single((batch, None))
    gradients = {name: p.grad.clone() for name, p in net.module_.named_parameters()}
    return gradients, step["loss"], net.sums_[True]


def parts_of(digits, codes, sizes, *, maps=False):
    """All N images in parts of these sizes; with `maps` each with its neighbour as its map."""
    x = dataset_of(digits[0][:N])[:]
    noise = normal_draws(N, 3, generator_for(0))
    tensors = {"x": x, "noise": noise, "y": torch.from_numpy(codes)}
    if maps:
        tensors["mapped"] = x.roll(1, 0)
    split = [tensor.split(sizes) for tensor in tensors.values()]
    return [dict(zip(tensors, part, strict=True)) for part in zip(*split, strict=True)]


@pytest.mark.parametrize("which", CODES)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("maps", [False, True])
def test_a_step_with_labels_in_parts_is_that_of_the_whole_batch(digits, which, likelihood, maps):
    codes = codes_of(digits, which)
    params = {"codes": codes, "likelihood": likelihood}
    further = {True: [], False: []}
    if which == "few":
        known = np.resize(np.flatnonzero(codes >= 0), batches.N_LABELLED)
        x, y = dataset_of(digits[0][:N])[known], torch.from_numpy(codes[known])
        further[False] = [{"x": x, "y": y}]
        further[True] = [{"x": x[:40], "y": y[:40]}, {"x": x[40:], "y": y[40:]}]
    whole = labelled_step(parts_of(digits, codes, [N], maps=maps), further[False], **params)
    some = parts_of(digits, codes, [25, 25, 10], maps=maps)
    parts = labelled_step(some, further[True], **params)
    scale = max(gradient.abs().max().item() for gradient in whole[0].values())
    for name, gradient in whole[0].items():
        torch.testing.assert_close(parts[0][name], gradient, rtol=1e-4, atol=1e-6 * scale)
    torch.testing.assert_close(parts[1], whole[1])
    torch.testing.assert_close(parts[2], whole[2])


def test_frequencies_of_unknown_classes_follow_the_steps(digits):
    codes = codes_of(digits, "many")
    (part,) = parts_of(digits, codes, [N])
    net = classifier_net()
    decoder, unknown = net.module_.prior, part["y"] < 0
    logits = decoder.class_logits(*net.module_.encode(part["x"][unknown]))
    mean = torch.softmax(logits, 1).mean(0).detach()
    net.notify("on_train_begin", X=dataset_of(np.zeros((N, 64)), codes), y=None)
    net.history.new_epoch()
    net.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
    batch = batches.Batch(N, [part], int((~unknown).sum()))
    net.train_step_single((batch, None))
    expected = torch.lerp(torch.full((3,), 1 / 3), mean, int(unknown.sum()) / 2_048)
    torch.testing.assert_close(decoder.shares, expected)


@pytest.mark.parametrize("of_further", [1.0, 2.5])
@pytest.mark.parametrize("which", ["all", "many", "few"])
def test_the_loss_of_a_step_has_the_mean_cross_entropy(digits, which, of_further):
    codes = codes_of(digits, which)
    parts = parts_of(digits, codes, [N])
    (part,), further = parts, []
    labelled, log_weights = part, torch.from_numpy(np.bincount(codes[codes >= 0]))
    log_weights = log_weights.float().log()
    if which == "few":
        known = np.resize(np.flatnonzero(codes >= 0), batches.N_LABELLED)
        labelled = {"x": part["x"][known], "y": part["y"][known]}
        further, log_weights = [labelled], torch.zeros(3)
    settings = {"codes": codes, "of_further": of_further}
    gradients, loss, *_ = labelled_step(parts, further, **settings)
    plain_gradients, plain_loss, *_ = labelled_step(parts, further, **settings, label_weight=0.0)
    module = classifier_net().module_
    decoder = module.prior
    mu, _ = module.encode(labelled["x"])
    losses = cross_entropies(decoder, mu, labelled["y"], log_weights)
    expected = 3.0 * losses.sum() / (labelled["y"] >= 0).sum()
    if which == "few":  # those of the batch itself count once
        expected = of_further * expected
    if (codes < 0).any():
        mu, _ = module.encode(part["x"][part["y"] < 0])
        each = torch.arange(3)[:, None].expand(3, len(mu))
        log_p = torch.stack([-cross_entropies(decoder, mu, y, torch.zeros(3)) for y in each], 1)
        # The frequencies are those of the steps before, and start as equal ones.
        terms = -log_p.exp() * log_p
        expected = expected + 3.0 * terms.sum() / N
    torch.testing.assert_close(loss - plain_loss, expected.detach(), rtol=1e-4, atol=1e-4)
    expected.backward()
    scale = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, parameter in module.named_parameters():
        actual = gradients[name] - plain_gradients[name]
        expected = parameter.grad
        if expected is None or name.startswith("logvar_head."):  # which it does not reach
            expected = torch.zeros_like(actual)
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-6 * scale)


@pytest.mark.parametrize("which", CODES)
def test_the_loss_of_a_step_under_maps(digits, which):
    codes = codes_of(digits, which)
    (part,) = parts_of(digits, codes, [N], maps=True)
    further, plain_further = [], []
    if which == "few":  # without maps, as many further images as none
        places = np.resize(np.flatnonzero(codes >= 0), batches.N_LABELLED)
        labelled = {name: part[name][places] for name in ("x", "mapped", "y")}
        further, plain_further = [labelled], [{"x": part["x"][:0], "y": part["y"][:0]}]
    gradients, loss, *_ = labelled_step([part], further, codes=codes)
    plain = {name: tensor for name, tensor in part.items() if name != "mapped"}
    plain_gradients, plain_loss, _ = labelled_step([plain], plain_further, codes=codes)
    module = classifier_net().module_
    with torch.no_grad():
        p = torch.softmax(module.prior.log_joint(module.encode(part["x"])[0]), 1)
    log_q = torch.log_softmax(module.prior.log_joint(module.encode(part["mapped"])[0]), 1)
    expected = 3.0 * torch.nn.functional.kl_div(log_q, p, reduction="batchmean")
    if which == "few":
        mu, _ = module.encode(labelled["mapped"])
        losses = cross_entropies(module.prior, mu, labelled["y"], torch.zeros(3))
        expected = expected + 3.0 * losses.mean()
    torch.testing.assert_close(loss - plain_loss, expected.detach(), rtol=1e-4, atol=1e-4)
    expected.backward()
    scale = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, parameter in module.named_parameters():
        expected = 0.0 if parameter.grad is None else parameter.grad
        actual = gradients[name] - plain_gradients[name]
        torch.testing.assert_close(
            actual, torch.zeros_like(actual) + expected, rtol=1e-3, atol=2e-6 * scale
        )


@pytest.mark.parametrize("n_unlabelled", [1, 6, 30, N])
def test_an_unlabelled_image_counts_the_same_among_few_and_many(digits, n_unlabelled):
    # Copies of one image, of which some have no label: the loss grows in proportion to them.
    codes = np.where(np.arange(N) < n_unlabelled, -1, 1)
    x = dataset_of(np.repeat(digits[0][:1], N, 0))[:]
    part = {"x": x, "noise": torch.zeros(N, 3), "y": torch.from_numpy(codes)}
    with_term, without = (
        labelled_step([part], codes=codes, label_weight=weight) for weight in (3.0, 0.0)
    )
    net = classifier_net()
    log_p = torch.log_softmax(net.module_.prior.class_logits(*net.module_.encode(x[:1])), 1)
    entropy = -(log_p.exp() * log_p).sum().item()
    frequencies = torch.tensor(np.bincount(codes[codes >= 0], minlength=3).clip(1)).log()
    mu, _ = net.module_.encode(x[:1])
    known = cross_entropies(net.module_.prior, mu, torch.tensor([1]), frequencies).item()
    expected = 3.0 * (n_unlabelled / N * entropy + (known if n_unlabelled < N else 0.0))
    assert (with_term[1] - without[1]).item() == pytest.approx(expected, rel=1e-3)


def test_the_kl_of_an_unlabelled_image_does_not_depend_on_any_label(digits):
    net = classifier_net()
    codes = codes_of(digits, "many")
    other = np.where(codes >= 0, (codes + 1) % 3, -1)
    terms = []
    for y in (codes, other, np.full(N, -1), None):
        (part,) = parts_of(digits, codes if y is None else y, [N])
        y = None if y is None else part["y"]
        with torch.no_grad():
            terms.append(net.module_.terms(part["x"], part["noise"], y).kl[codes < 0])
    assert all(torch.equal(term, terms[0]) for term in terms)


@pytest.mark.parametrize("which", ["all", "few"])
def test_the_cross_entropy_goes_by_frequencies_and_not_by_the_priors(digits, which):
    records = []
    for priors in ([1 / 3] * 3, [0.98, 0.01, 0.01]):
        net = classifier_net(label_weight=3.0, few_labels=which == "few")
        net.module_.prior.set_priors(priors)
        dataset = dataset_of(digits[0][:N], codes_of(digits, which))
        net.notify("on_train_begin", X=dataset, y=None)
        net.fit_loop(dataset, epochs=1)
        records.append(net.history[0])
    assert records[0]["train_label_loss"] == pytest.approx(records[1]["train_label_loss"], rel=1e-5)
    assert records[0]["train_kl"] != pytest.approx(records[1]["train_kl"], rel=1e-3)
    # What is said of a class is said with the priors: the first one nearly always.
    assert records[1]["train_accuracy"] == pytest.approx(
        np.mean(codes_of(digits, "all") == 0) if which == "all" else 1 / 3, abs=0.02
    )


def test_frequencies_of_labelled_images():
    net = classifier_net()
    for counts, expected in (([6, 3, 1], [0.6, 0.3, 0.1]), ([8, 0, 1], [0.8, 0.1, 0.1])):
        codes = np.repeat([0, 1, 2, -1], [*counts, N - sum(counts)])
        net.notify("on_train_begin", X=dataset_of(np.zeros((N, 64)), codes), y=None)
        torch.testing.assert_close(net.log_frequencies_.exp(), torch.tensor(expected))
