"""How a fit goes: what it leaves behind, faults, going on, `partial_fit`, and seeds."""

import gc
import math
import pickle
import warnings
import weakref

import numpy as np
import pytest
import scipy.sparse
import torch
from conftest import SMALL, fit, weights_of
from nets import WINDOW, dataset_of, n_set_aside, passes, train
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback

from skvae import ConvVAEClassifier, ConvVAECluster, ConvVAETransformer, load


def test_collapse_is_told(digits):
    params = {"max_iter": 20, "learning_rate": 0.02, "beta": 1e3}
    vae = ConvVAETransformer(**SMALL, pixel_range=(0, 16), **params)
    message = r"Only 0 of 3 components are active.*beta_warmup"
    with pytest.warns(UserWarning, match=message) as record:
        vae.fit(digits[0])
    assert {warning.filename for warning in record} == {__file__}
    assert vae.n_active_components_ == 0
    assert vae.transform(digits[0]).var(0).max() < 0.01


@pytest.mark.parametrize(("n_active", "n_components", "warns"), [(1, 3, 1), (2, 4, 0), (1, 1, 0)])
def test_half_of_the_components_is_enough(digits, monkeypatch, n_active, n_components, warns):
    def moments(module, dataset):
        active = np.arange(n_components) < n_active
        # KL, mu and mu^2: the variance of mu is 1.02 - 1 or 1.01 - 1.
        ones = np.ones(n_components)
        return np.stack([ones, ones, np.where(active, 1.02, 1.0099)])

    monkeypatch.setattr(passes, "component_moments", moments)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        vae = fit(digits[0], n_components=n_components, max_iter=1)
    assert vae.n_active_components_ == n_active
    assert sum("are active" in str(warning.message) for warning in record) == warns


def test_images_that_do_not_differ_are_no_collapse(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for images in (digits[0][:1], np.full((5, 8, 8), 16, np.int64)):
            assert fit(images, pixel_range=None).n_active_components_ == 0


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


class Raise(Callback):
    """Raise an exception in an epoch, before the batch of a number."""

    def __init__(self, exception, epoch, batch=0):
        self.exception = exception
        self.epoch = epoch
        self.batch = batch

    def on_epoch_begin(self, net, **kwargs):
        self.n_batches = 0

    def on_batch_begin(self, net, batch, training, **kwargs):
        if net.history[-1, "epoch"] == self.epoch and self.n_batches == self.batch:
            raise self.exception
        self.n_batches += 1


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


def state_of_net(net):
    """Weights of a net and what Adam remembers, as arrays."""
    optimizer = net.optimizer_
    arrays = [weight.numpy().copy() for weight in net.module_.state_dict().values()]
    for parameter in net.module_.parameters():
        state = optimizer.state.get(parameter, {})
        arrays += [state[name].numpy().copy() for name in sorted(state)]
    return arrays


# All pairs of two of the three.
@pytest.mark.parametrize(
    ("before", "how", "likelihood"),
    [
        ("fit", "fit", "bernoulli"),
        ("partial_fit", "fit", "gaussian"),
        ("fit", "warm_start", "gaussian"),
        ("partial_fit", "warm_start", "bernoulli"),
        ("fit", "partial_fit", "bernoulli"),
        ("partial_fit", "partial_fit", "gaussian"),
    ],
)
def test_a_failed_fit_leaves_the_estimator_as_it_was(digits, before, how, likelihood):
    images, params = digits[0], {**SMALL, "likelihood": likelihood}
    vae = getattr(ConvVAETransformer(**params, pixel_range=(0, 16), max_iter=3), before)(images)
    attributes, net = {**vars(vae)}, state_of_net(vae.net_)
    history, scores, kl = vae.history_, vae.score_samples(images), vae.kl_per_component_
    raising = Raise(RuntimeError("out of paper"), 1, batch=3)
    for fault, match in [
        ({"learning_rate": 1e30}, r"became (nan|inf|-inf) in epoch \d+. Lower learning_rate"),
        ({"callbacks": [raising]}, "out of paper"),
        ({"n_components": 4} if how != "fit" else {"hidden_channels": ()}, "ask for|hidden_chan"),
    ]:
        kept = {name: getattr(vae, name) for name in fault}
        vae.set_params(**fault)
        with pytest.raises((ValueError, RuntimeError), match=match):
            refit(vae, images[:200], how)
        vae.set_params(**kept, warm_start=False)
        assert vars(vae).keys() == attributes.keys()
        assert all(vars(vae)[name] is value for name, value in attributes.items())
        for array, expected in zip(state_of_net(vae.net_), net, strict=True):
            assert_array_equal(array, expected)
        assert vae.history_.equals(history)
        assert_array_equal(vae.kl_per_component_, kl)
        assert_array_equal(vae.score_samples(images), scores)


def test_after_a_failed_partial_fit_the_next_is_as_if_it_had_not_been(digits):
    images = digits[0]
    vae, other = (fit(images).partial_fit(images) for _ in range(2))
    with pytest.raises(ValueError, match="Lower learning_rate"):
        vae.set_params(learning_rate=1e30).partial_fit(images)
    vae.set_params(learning_rate=other.learning_rate).partial_fit(images)
    other.partial_fit(images)
    assert_array_equal(weights_of(vae), weights_of(other))
    assert vae.loss_curve_ == other.loss_curve_
    assert_array_equal(vae.kl_per_component_, other.kl_per_component_)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_weights_that_the_last_step_ruined(digits, method):
    # The loss of the only step is measured before it, and is finite.
    params = {**SMALL, "batch_size": 400, "max_iter": 1, "learning_rate": 1e40}
    vae = ConvVAETransformer(**params)
    with pytest.raises(ValueError, match=r"weights became NaN or infinite\. Lower learning_rate"):
        getattr(vae, method)(digits[0])
    assert not hasattr(vae, "net_")


def test_weights_that_are_finite_and_useless(digits):
    # Weights of 1e36 are numbers, but their products are none.
    vae = ConvVAETransformer(**{**SMALL, "batch_size": 400}, max_iter=1, learning_rate=1e38)
    with pytest.raises(ValueError, match=r"latent variables became NaN or infinite\. Lower learn"):
        vae.fit(digits[0])
    assert not hasattr(vae, "net_")


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


def test_out_of_memory_says_what_to_lower(digits):
    with pytest.raises(MemoryError, match="Lower batch_size, hidden_channels or hidden_units"):
        fit(digits[0], hidden_units=10**12)


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


@pytest.mark.parametrize("n", [20, 40, 260, 300])
def test_more_training_on_the_same_images_goes_on_from_the_weights(digits, n):
    # Also where images are set aside, so that fewer were trained on.
    images, params = digits[0][:n], {"early_stopping": "auto", "likelihood": "gaussian"}
    vae = fit(images, **params, warm_start=True, max_iter=6)
    latents = vae.transform(images)
    still = {"learning_rate": 1e-30, "max_iter": 1}
    vae.set_params(**still).fit(images)
    assert_allclose(vae.transform(images), latents, rtol=1e-4, atol=1e-5)
    vae.partial_fit(images)
    assert_allclose(vae.transform(images), latents, rtol=1e-4, atol=1e-5)
    assert vae.n_iter_ == 8


def test_a_sparse_x_is_refused_whether_training_goes_on_or_not(digits):
    vae = fit(digits[0][:40], warm_start=True)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        vae.fit(scipy.sparse.csr_array(digits[0][:40].reshape(40, 64)))


def test_warm_start_needs_the_same_network(digits):
    vae = fit(digits[0], warm_start=True)
    with pytest.raises(ValueError, match=r"hidden_units.: 16.*ask for.*hidden_units.: 17"):
        vae.set_params(hidden_units=17).fit(digits[0])
    with pytest.raises(ValueError, match="9 features"):
        vae.set_params(hidden_units=16).fit(np.zeros((5, 9)))


# partial_fit


def test_partial_fit_is_an_epoch_of_adam(digits):
    images = digits[0]
    vae = ConvVAETransformer(**SMALL)
    for n in range(1, 4):
        vae.partial_fit(images)
        assert vae.n_iter_ == n
        step = next(iter(vae.net_.optimizer_.state.values()))["step"].item()
        assert step == 13 * n  # the moments of Adam go on
    assert vae.loss_curve_[2] < vae.loss_curve_[0]


def test_partial_fit_leaves_components_in_their_places(digits):
    images = digits[0]
    vae = fit(images, learning_rate=1e-30)
    z, n_before = vae.transform(images), vae.n_iter_
    vae.partial_fit(images[::-1])
    assert vae.n_iter_ == n_before + 1
    assert_allclose(vae.transform(images), z, atol=1e-6)


class Posteriors(Callback):
    """Keep the posterior of every batch that trains."""

    def initialize(self):
        self.batches = []
        return self

    def on_batch_end(self, net, training, y_pred, **kwargs):
        if training:
            self.batches.append([part.double().clone() for part in y_pred])


@pytest.mark.parametrize("fitted", [False, True])
def test_partial_fit_updates_what_components_tell(digits, fitted):
    note = Posteriors()
    vae = ConvVAETransformer(**SMALL, pixel_range=(0, 16), max_iter=3, callbacks=[note])
    if fitted:
        vae.fit(digits[0])
        note.batches.clear()
        moments, n_seen = vae._component_moments, WINDOW
    else:
        moments, n_seen = np.zeros((3, 3)), 0
    vae.partial_fit(digits[0])
    for mu, logvar in note.batches:
        posterior = torch.distributions.Normal(mu, torch.exp(logvar / 2))
        kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
        new = np.stack([np.mean(term.numpy(), 0) for term in (kl, mu, mu**2)])
        n_seen = min(WINDOW, n_seen + len(mu))
        moments = (1 - len(mu) / n_seen) * moments + len(mu) / n_seen * new
    assert len(note.batches) == 13
    assert_allclose(vae.kl_per_component_, moments[0], rtol=1e-5)
    variance = moments[2] - moments[1] ** 2
    assert vae.n_active_components_ == (variance > 0.01).sum()
    before = weights_of(vae)
    vae.kl_per_component_[:] = 0  # a copy
    assert_allclose(vae.kl_per_component_, moments[0], rtol=1e-5)
    assert_array_equal(weights_of(vae), before)


def same(vae, path):
    return vae


def pickled(vae, path):
    return pickle.loads(pickle.dumps(vae))


def saved(vae, path):
    vae.save(path)
    return load(path)


@pytest.mark.parametrize("via", [same, pickled, saved])
def test_small_calls_of_partial_fit_count_by_their_images(digits, tmp_path, via):
    # Weights that stand still: the averages are those over all images, by torch.distributions.
    images, start = digits[0][:330], 0
    vae = ConvVAETransformer(**SMALL, pixel_range=(0, 16), learning_rate=1e-30)
    for n in (256, 1, 32, 5, 4, 32):
        vae = via(vae.partial_fit(images[start : start + n]), tmp_path / "model.skvae")
        start += n
    assert start == len(images)
    posterior = torch.distributions.Normal(*map(torch.from_numpy, vae.posterior(images)))
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    assert_allclose(vae.kl_per_component_, kl.mean(0), rtol=1e-4)
    assert vae.n_active_components_ == (vae.transform(images).var(0) > 0.01).sum()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_partial_fit_after_fit_does_not_undo_it(digits, likelihood):
    images, held_out = digits[0][:300], digits[0][300:]
    learner = {"n_components": 5, "hidden_channels": (16,), "hidden_units": 64, "max_iter": 30}
    vae = fit(images, likelihood=likelihood, **learner)
    before = vae.score(held_out)
    vae.partial_fit(images)
    # On -ELBO, which is lower where it is better: at most 1 % worse.
    assert -vae.score(held_out) < -before + 0.01 * abs(before)


def test_partial_fit_after_fit_takes_smaller_steps(digits):
    def moved(vae):
        before = weights_of(vae)
        return np.abs(weights_of(vae.partial_fit(digits[0][:32])) - before).max()

    rates = []
    for first in ("fit", "partial_fit"):
        vae = getattr(ConvVAETransformer(**SMALL, max_iter=3, pixel_range=(0, 16)), first)(
            digits[0]
        )
        moved(vae)
        rates.append(vae.net_.optimizer_.param_groups[0]["lr"])
        copied = pickle.loads(pickle.dumps(vae)).partial_fit(digits[0][:32])
        assert copied.net_.optimizer_.param_groups[0]["lr"] == rates[-1]
    # The network of the first fit has a linear path, as its images are few. That of the second
    # has none, as more images may come.
    assert rates == pytest.approx([0.1 * 0.005, 0.003])


def test_the_cost_of_partial_fit_does_not_grow(digits, monkeypatch):
    # Counted, not timed: the same net and columns, one epoch in the net, no copy of weights to
    # NumPy, and as many calls of torch and appended numbers in the last call as in the first.
    images, calls = digits[0][:64], []
    vae = ConvVAETransformer(**SMALL, pixel_range=(0, 16)).partial_fit(digits[0][:300])
    net, columns = vae.net_, dict(vae._history)

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls.append(str(function))
            return function(*args, **(kwargs or {}))

    def forbidden(*args, **kwargs):
        raise AssertionError("weights are copied, or a net is built")

    for name in ("build_net", "reorder_net"):
        monkeypatch.setattr(train, name, forbidden)
    monkeypatch.setattr(passes, "build_module", forbidden)
    counts = []
    for n in range(2, 12):
        calls.clear()
        with Count():
            vae.partial_fit(images)
        counts.append(sorted(calls))
        assert vae.net_ is net
        assert len(net.history) == 1
        assert [name for name, _ in net.callbacks_] == ["epoch_timer", "clip"]
        assert vae._history.keys() == columns.keys()
        assert all(vae._history[name] is column for name, column in columns.items())
        assert [len(column) for column in columns.values()] == [n] * len(columns)
    assert counts[0] == counts[-1]
    assert len(counts[0]) > 100


def test_many_calls_of_partial_fit_make_a_file(digits, tmp_path):
    vae = ConvVAETransformer(**SMALL, pixel_range=(0, 16)).partial_fit(digits[0][:2])
    # As many calls would have left it.
    for column in vae._history.values():
        column *= 200_000
    vae.save(tmp_path / "model")
    assert vae.partial_fit(digits[0][:2]).n_iter_ == 200_001


class Note(Callback):
    """Note rate and beta of every step."""

    def initialize(self):
        self.steps = []
        return self

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.steps.append((net.optimizer_.param_groups[0]["lr"], net.kl_weight_))


@pytest.mark.parametrize("restored", [False, True])
def test_partial_fit_heeds_parameters_that_change(digits, restored):
    images, note, other = digits[0][:256], Note(), Note()
    params = {**SMALL, "batch_size": 128, "pixel_range": (0, 16), "learning_rate": 0.02}
    vae = ConvVAETransformer(**params, callbacks=[note])
    vae.partial_fit(images)
    assert note.steps == [(0.02, 1.0)] * 2
    if restored:
        vae = pickle.loads(pickle.dumps(vae))
        (note,) = vae.callbacks
    vae.set_params(learning_rate=0.01, beta=3.0).partial_fit(images)
    assert note.steps[-2:] == [(0.01, 3.0)] * 2
    vae.set_params(callbacks=[other]).partial_fit(images)
    assert other.steps == [(0.01, 3.0)] * 2
    n_steps = len(note.steps)
    vae.set_params(callbacks=None, batch_size=256).partial_fit(images)
    assert (len(note.steps), len(other.steps)) == (n_steps, 2)
    # The moments of Adam went along: it has made 2 steps in each call but the last.
    (n_steps,) = {state["step"].item() for state in vae.net_.optimizer_.state.values()}
    assert n_steps == (5 if restored else 7)
    with pytest.raises(ValueError, match="binarize=True needs"):
        vae.set_params(binarize=True, likelihood="gaussian").partial_fit(images)


def test_other_callbacks_change_no_bit(digits):
    one, other = (ConvVAETransformer(**SMALL, pixel_range=(0, 16)) for _ in range(2))
    for n in range(3):
        one.set_params(callbacks=[Note()]).partial_fit(digits[0])
        other.partial_fit(digits[0])
        assert_array_equal(weights_of(one), weights_of(other), err_msg=str(n))


# Seeds


def test_same_seed_same_bits(digits):
    images = digits[0]
    expected = weights_of(fit(images))
    assert_array_equal(weights_of(fit(images)), expected)
    assert (weights_of(fit(images, random_state=1)) != expected).any()
    rng = np.random.RandomState(3)
    first, second = (weights_of(fit(images, random_state=rng)) for _ in range(2))
    assert (first != second).any()
    assert_array_equal(weights_of(fit(images, random_state=np.random.RandomState(3))), first)


def everything(images, random_state, method):
    """Do all that an estimator does; latents."""
    vae = ConvVAETransformer(
        **{**SMALL, "random_state": random_state}, pixel_range=(0, 16), max_iter=2
    )
    getattr(vae, method)(images)
    vae.partial_fit(images)
    z = vae.transform(images)
    vae.inverse_transform(z)
    vae.sample(2, random_state=0 if random_state is None else random_state)
    vae.score(images)
    vae.log_likelihood(images[:2])
    clone(vae).set_params(binarize=True, early_stopping=True).fit(images[:50])
    pickle.loads(pickle.dumps(vae)).score(images)
    return z


@pytest.mark.parametrize("make", [int, np.random.RandomState], ids=["int", "RandomState"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_global_generators_are_neither_read_nor_written(digits, make, method):
    results = []
    for seed in (1, 2):  # not read: the results are the same
        np.random.seed(seed)  # noqa: NPY002 - the global generator is what is tested
        torch.manual_seed(seed)
        before, torch_before = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
        results.append(everything(digits[0], make(5), method))
        for now, then in zip(np.random.get_state(), before, strict=True):  # noqa: NPY002
            assert_array_equal(now, then)
        assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert_array_equal(*results)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_none_draws_one_seed_from_numpys_global_generator(digits, method):
    def train():
        vae = ConvVAETransformer(**{**SMALL, "random_state": None}, pixel_range=(0, 16), max_iter=2)
        return getattr(vae, method)(digits[0])

    np.random.seed(0)  # noqa: NPY002
    torch_before = torch.random.get_rng_state()
    first, second = train(), train()
    state = np.random.get_state()  # noqa: NPY002
    assert (weights_of(first) != weights_of(second)).any()
    # Two fits have drawn two seeds.
    rng = np.random.RandomState(0)
    assert [first._seed, second._seed] == [rng.randint(2**31) for _ in range(2)]
    for now, then in zip(state, rng.get_state(), strict=True):
        assert_array_equal(now, then)
    # What a fitted one does draws nothing, and goes by its seed.
    first.partial_fit(digits[0]).score(digits[0])
    first.log_likelihood(digits[0][:2])
    for now, then in zip(np.random.get_state(), state, strict=True):  # noqa: NPY002
        assert_array_equal(now, then)
    np.random.seed(0)  # noqa: NPY002
    again = train().partial_fit(digits[0])
    assert_array_equal(weights_of(again), weights_of(first))
    assert torch.equal(torch.random.get_rng_state(), torch_before)


def test_samples_go_by_numpys_global_generator_or_touch_it_not(small):
    np.random.seed(0)  # noqa: NPY002
    first, second = small.sample(3), small.sample(3)
    assert (first != second).any()
    np.random.seed(0)  # noqa: NPY002
    assert_array_equal(small.sample(3), first)
    state = np.random.get_state()  # noqa: NPY002
    assert_array_equal(small.sample(3, random_state=7), small.sample(3, random_state=7))
    z = np.random.RandomState(7).standard_normal((3, 3))
    assert_array_equal(small.sample(3, random_state=7), small.inverse_transform(z))
    for now, then in zip(np.random.get_state(), state, strict=True):  # noqa: NPY002
        assert_array_equal(now, then)


# Images set aside

FAMILIES = ["bernoulli", "continuous_bernoulli", "gaussian"]


def n_valid(n_images, likelihood, **params):
    """How many images a fit would set aside."""
    params = {"early_stopping": "auto", "validation_fraction": 0.1, **params}
    return n_set_aside(
        dataset_of(np.broadcast_to(np.uint8(0), (n_images, 64))), likelihood, **params
    )


@pytest.mark.parametrize("likelihood", FAMILIES)
@pytest.mark.parametrize(
    ("n_images", "expected"),
    [
        (1, 0),
        (19, 0),
        (20, 2),
        (201, 21),
        (9_999, 1_000),
        (29_999, 2_048),
        (30_000, 0),
        (60_000, 0),
    ],
)
def test_whom_auto_sets_aside(likelihood, n_images, expected):
    if likelihood == "gaussian" and n_images >= 30_000:
        expected = min(2_048, n_images // 10)
    assert n_valid(n_images, likelihood) == expected
    assert n_valid(n_images, likelihood, early_stopping="auto") == expected
    assert n_valid(n_images, likelihood, early_stopping=False) == 0
    if n_images > 1:
        asked = n_valid(n_images, likelihood, early_stopping=True)
        assert asked == math.ceil(n_images / 10)  # however many


def test_auto_goes_by_the_share_too():
    assert n_valid(100, "gaussian", validation_fraction=0.25) == 25
    assert n_valid(9_000, "gaussian", validation_fraction=0.5) == 2_048
    for early_stopping in ("auto", True):
        params = {"validation_fraction": 0.99, "early_stopping": early_stopping}
        assert n_valid(200, "bernoulli", **params) == 198
        with pytest.raises(ValueError, match="n_samples=20 images aside"):
            n_valid(20, "bernoulli", **params)


class Counts(Callback):
    """Count the images of an epoch that train, and those set aside."""

    def initialize(self):
        self.seen = {}
        return self

    def on_batch_begin(self, net, batch, training, **kwargs):
        self.seen[training] = self.seen.get(training, 0) + len(batch[0])


@pytest.mark.parametrize("likelihood", FAMILIES)
@pytest.mark.parametrize(
    ("n_images", "early_stopping", "n_aside"),
    [
        (19, "auto", 0),
        (20, "auto", 2),
        (20, False, 0),
        (19, True, 2),
        (2, True, 1),
        (200, "auto", 20),
    ],
)
def test_every_image_trains_or_is_set_aside(digits, likelihood, n_images, early_stopping, n_aside):
    note, images = Counts(), digits[0][:n_images]
    params = {"likelihood": likelihood, "early_stopping": early_stopping, "callbacks": [note]}
    vae = fit(images, max_iter=1, **params)
    expected = {True: n_images - n_aside, False: n_aside}
    assert note.seen == {training: n for training, n in expected.items() if n}
    assert ("valid_loss" in vae.history_) == (n_aside > 0)
    note.seen.clear()
    vae.partial_fit(images)
    assert note.seen == {True: n_images}


@pytest.mark.parametrize("likelihood", FAMILIES)
@pytest.mark.parametrize(("n_images", "few"), [(9_999, True), (10_000, False)])
def test_who_starts_from_a_linear_network(likelihood, n_images, few):
    X = np.random.default_rng(0).uniform(size=(n_images, 1, 3))
    params = {"likelihood": likelihood, "pixel_range": None, "batch_size": 5_000, "max_iter": 1}
    vae = fit(X, **params)
    assert (vae.module_.linear is not None) == (few or likelihood == "gaussian")
    # The first images of `partial_fit` do not tell how many will come.
    vae = ConvVAETransformer(**{**SMALL, **params}).partial_fit(X[:9])
    assert (vae.module_.linear is not None) == (likelihood == "gaussian")


@pytest.mark.parametrize("likelihood", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 3), (1, 29)], ids=str)
def test_a_bernoulli_network_without_linear_path_has_half_as_many_channels(likelihood, shape):
    X = np.random.default_rng(0).uniform(size=(10_000, *shape))
    params = {**SMALL, "likelihood": likelihood, "pixel_range": None, "hidden_channels": None}
    params |= {"batch_size": 5_000, "max_iter": 1}
    n_stages = 1 if shape == (1, 3) else 2
    for n_images in (300, 10_000):
        vae = ConvVAETransformer(**params).fit(X[:n_images])
        n_channels = 32 if likelihood == "bernoulli" and n_images == 10_000 else 64
        assert vae.module_.hidden_channels == (n_channels,) * n_stages
        # Whether there is a linear path was decided by the images of the first fit.
        module = vae.set_params(warm_start=True).fit(X[: 10_300 - n_images]).module_
        assert module.hidden_channels == (n_channels,) * n_stages
    # The first images of `partial_fit` do not tell how many will come.
    n_channels = 32 if likelihood == "bernoulli" else 64
    module = ConvVAETransformer(**params).partial_fit(X[:9]).module_
    assert module.hidden_channels == (n_channels,) * n_stages
    for estimator in (ConvVAEClassifier(**params), ConvVAECluster(2, **params)):
        estimator.fit(X, np.arange(len(X)) % 2)
        assert estimator.module_.hidden_channels == (64,) * n_stages


def test_a_warm_start_keeps_channels_that_were_given(digits):
    vae = fit(digits[0], max_iter=1).set_params(hidden_channels=None, warm_start=True)
    assert vae.fit(digits[0]).module_.hidden_channels == SMALL["hidden_channels"]


# The least that there can be

DEFAULTS = {"max_iter": 4, "random_state": 0}


@pytest.mark.parametrize("likelihood", ["auto", *FAMILIES])
@pytest.mark.parametrize(
    "images",
    [
        np.full((5, 6, 6), 7.0),
        np.zeros((3, 6, 6), np.uint8),
        np.full((30, 6, 6), 255, np.uint8),
        np.arange(36.0).reshape(1, 6, 6),
        np.arange(72.0).reshape(2, 6, 6),
        np.zeros((1, 1, 1)),
        np.repeat(np.arange(36.0).reshape(1, 6, 6), 30, 0),
    ],
    ids=["grey", "black", "white", "one", "two", "a pixel", "thirty times one"],
)
def test_default_fits_of_next_to_nothing(whole_start, likelihood, images):
    vae = ConvVAETransformer(**DEFAULTS, likelihood=likelihood)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Documented: images that differ, and components that do not tell them apart.
        warnings.filterwarnings("ignore", "Only . of 10 components are active", UserWarning)
        vae.fit(images)
    assert vae.n_iter_ == 4
    z = vae.transform(images)
    assert np.isfinite(z).all()
    assert np.isfinite(vae.loss_curve_).all()
    assert np.isfinite(vae.score_samples(images)).all()
    assert np.isfinite(vae.log_likelihood(images[:2], 3)).all()
    assert np.isfinite(vae.inverse_transform(z)).all()
    assert np.isfinite(vae.sample(3, random_state=0)).all()
    assert np.isfinite(vae.partial_fit(images).loss_curve_).all()
    if vae.likelihood_ == "gaussian":
        assert vae.noise_variance_ > 0
        if len(np.unique(images)) == 1:  # the mean is known exactly
            np.testing.assert_allclose(vae.inverse_transform(z), images, atol=0.05)


# The first images do not decide for ever


@pytest.mark.parametrize(
    ("likelihood", "few"), [("gaussian", (1, 20)), ("bernoulli", (5, 20))], ids=str
)
def test_a_few_first_images_cost_little_later(digits, likelihood, few):
    images, explained = digits[0], []
    params = {**SMALL, "likelihood": likelihood, "pixel_range": (0, 16), "hidden_channels": (16,)}
    params["learning_rate"] = 0.005  # so that 30 passes are enough
    for n_first in (None, *few):
        vae = ConvVAETransformer(**params)
        if n_first is not None:
            vae.partial_fit(images[:n_first])
        for _ in range(30):
            vae.partial_fit(images)
        explained.append(vae.explained_variance_ratio(images))
    assert min(explained) > explained[0] - 0.02


def test_small_calls_start_anew_until_there_are_enough_images(digits):
    images = digits[0]
    params = {**SMALL, "likelihood": "gaussian"}
    vae, whole = (ConvVAETransformer(**params) for _ in range(2))
    for start in range(0, 256, 32):
        vae.partial_fit(images[start : start + 32])
    whole.partial_fit(images[:256])
    # Adam starts anew in each call, and the noise of the epochs differs: only the start is equal.
    assert_array_equal(vae.module_.linear.mean, whole.module_.linear.mean)
    assert_array_equal(vae.module_.linear.encoder, whole.module_.linear.encoder)
    assert vae.n_iter_ == 8
    before = vae.module_.linear.encoder.clone()
    vae.partial_fit(images[:32])
    assert_array_equal(vae.module_.linear.encoder, before)
    assert vae._first_images is None


def test_a_pickle_holds_no_images(digits):
    images = digits[0][:20]
    vae = ConvVAETransformer(**SMALL).partial_fit(images)
    assert images[7].tobytes() in b"".join(row.tobytes() for row in vae._first_images[0])
    assert images[7].tobytes() not in pickle.dumps(vae)
    copied = pickle.loads(pickle.dumps(vae))
    assert_array_equal(copied.partial_fit(images).transform(images).shape, (20, 3))


def test_a_warm_start_from_a_few_images_starts_anew_with_more(digits):
    images = digits[0]
    vae = ConvVAETransformer(**{**SMALL, "likelihood": "gaussian"}, warm_start=True, max_iter=2)
    vae.fit(images[:2]).fit(images)
    fresh = ConvVAETransformer(**{**SMALL, "likelihood": "gaussian"}, max_iter=2).fit(images)
    assert_array_equal(vae.transform(images), fresh.transform(images))
    assert_array_equal(vae.fit(images).n_iter_, 4)


# A training that hardly improves on its start


def test_a_training_that_stays_at_pca_is_told(digits):
    with pytest.warns(UserWarning, match=r"PCA with 3 components would do as well.*max_iter"):
        fit(digits[0], likelihood="gaussian", learning_rate=1e-7)


def test_a_training_that_leaves_pca_is_not_told(digits):
    params = {"hidden_channels": (16,), "hidden_units": 64, "max_iter": 15}
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        fit(digits[0], likelihood="gaussian", **params)
    assert [str(warning.message) for warning in record] == []
