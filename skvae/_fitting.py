"""How one fit goes: prepare, set the weights, train, record (NumPy, scikit-learn)."""

import math
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from . import _inference, _start, _training
from ._batches import ImageDataset
from ._callbacks import finished_epochs
from ._checkpoint import CheckpointFile, training_plan
from ._devices import resolve_device
from ._elbo import LIKELIHOODS
from ._history import extend, n_epochs_of
from ._network import as_arrays, set_weights
from ._validation import (
    check_parameters,
    check_same_model,
    image_format_of,
    resolve_architecture,
    validate_images,
)
from ._warnings import warn

# `partial_fit` after a `fit`, which ended at a low rate, trains at this share of the peak rate.
ANNEALED_RATE = 0.1

# early_stopping="auto" watches a training on fewer images than MANY_IMAGES, for so many do not
# overfit, and one on at least FEW_IMAGES.
FEW_IMAGES, MANY_IMAGES, MOST_VALID = 20, 10_000, 2_048

# Weight decay of the normal family, times the number of images.
WEIGHT_DECAY = 1_000.0


class Job(NamedTuple):
    """What a fit decides before it trains.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)

    architecture : dict
        The parameters of `ConvVAE`, but for `linear_path`.

    device : str

    continuing : bool
        Whether training goes on from the weights of an earlier fit.
    """

    rows: np.ndarray
    architecture: dict
    device: str
    continuing: bool


def fit(estimator, X):
    """Train an estimator for all its epochs and set its fitted attributes.

    Parameters
    ----------
    estimator : estimator of skvae
        As it was before, if an exception passes.

    X : array-like
        Images.
    """
    with _unchanged_on_error(estimator), _advice_on_memory():
        continuing = bool(estimator.warm_start) and hasattr(estimator, "net_")
        job = _prepare(estimator, X, continuing)
        n_valid = _n_valid(estimator, len(job.rows))
        checkpoint, progress = _open_checkpoint(estimator, job, n_valid)
        dataset, valid = _split(estimator, job.rows, n_valid)
        settings = settings_of(
            estimator,
            job.device,
            n_epochs=_n_epochs(estimator, len(dataset)),
            first_epoch=n_epochs_of(estimator._history) if continuing else 0,
            weight_decay=_weight_decay(estimator, len(dataset)),
        )
        net, interrupted = _training.train(
            _module(estimator, job, dataset, valid),
            dataset,
            settings,
            valid=valid,
            progress=progress,
            save_progress=None if checkpoint is None else checkpoint.write,
        )
        rows = finished_epochs(net)
        estimator._history = {k: list(v) for k, v in estimator._history.items()}
        extend(estimator._history, rows)
        moments = _inference.component_moments(net.module_, _as_trained(estimator, dataset))
        if not np.isfinite(moments).all():  # of weights too large, which the last step may make
            raise ValueError(f"The latent variables became NaN or infinite. {_training.ADVICE}")
        order = np.argsort(-moments[0], kind="stable")
        _training.reorder_net(net, order)
        _record(estimator, job, net, moments[:, order], annealed=True)
        if checkpoint is not None and not interrupted:
            checkpoint.write(None)
    if interrupted:
        warn("Training interrupted by user; what is trained so far is kept.")
    else:
        for message in _convergence_warnings(estimator, len(job.rows), len(rows), settings):
            warn(message)


def partial_fit(estimator, X):
    """Train an estimator for one epoch and set its fitted attributes.

    Parameters
    ----------
    estimator : estimator of skvae
        As it was before, if an exception passes.

    X : array-like
        Images.
    """
    with _unchanged_on_error(estimator), _advice_on_memory():
        continuing = hasattr(estimator, "net_")
        job = _prepare(estimator, X, continuing)
        dataset = ImageDataset(job.rows, image_format_of(estimator))
        annealed = continuing and estimator._annealed
        settings = settings_of(
            estimator,
            job.device,
            n_epochs=1,
            first_epoch=n_epochs_of(estimator._history),
            rate=ANNEALED_RATE if annealed else 1.0,
        )
        if continuing:
            net, moments = estimator.net_, estimator._component_moments
        else:
            module = _module(estimator, job, dataset, None)
            net = _training.build_net(module, settings, settings.callbacks)
            moments = None
        net, interrupted, moments = _training.train_increment(net, dataset, settings, moments)
        if moments is None:  # interrupted before the first batch
            moments = _inference.component_moments(net.module_, _as_trained(estimator, dataset))
        _record(estimator, job, net, moments, annealed=annealed)
        # In place, so that its cost does not grow: nothing can fail any more.
        extend(estimator._history, finished_epochs(net))
    if interrupted:
        warn("Training interrupted by user; what is trained so far is kept.")


def _prepare(estimator, X, continuing):
    """Check the input; set the attributes that the first fit determines."""
    check_parameters(estimator)
    rows = validate_images(estimator, X, training=True, reset=not continuing)
    job = Job(rows, resolve_architecture(estimator), resolve_device(estimator.device), continuing)
    if continuing:
        check_same_model(estimator, job.architecture)
    else:
        estimator._seed = int(check_random_state(estimator.random_state).randint(2**31))
        estimator._history = {}
    return job


def _n_valid(estimator, n_images):
    """How many images are set aside to validate on."""
    asked = estimator.early_stopping
    n_valid = math.ceil(n_images * estimator.validation_fraction)
    if asked == "auto":
        of_use = n_images < MANY_IMAGES or LIKELIHOODS[estimator.likelihood_].linear
        return min(n_valid, MOST_VALID) if of_use and n_images >= FEW_IMAGES else 0
    if asked and n_valid >= n_images:
        raise ValueError(
            f"early_stopping=True sets {n_valid} of n_samples={n_images} images aside, which "
            "leaves none to train on. Send more images, or lower validation_fraction."
        )
    return n_valid if asked else 0


def _split(estimator, rows, n_valid):
    """The images to train on, and those to validate on or None."""
    dataset = ImageDataset(rows, image_format_of(estimator))
    if not n_valid:
        return dataset, None
    train, valid = train_test_split(
        np.arange(len(rows)), test_size=n_valid, random_state=estimator._seed
    )
    return dataset.at(np.sort(train)), _as_trained(estimator, dataset.at(np.sort(valid)))


def _as_trained(estimator, dataset):
    """The images as the network is trained on them, for statistics and validation."""
    return dataset.binarized(estimator._seed) if estimator.binarize else dataset


def _n_epochs(estimator, n_images):
    if estimator.max_iter is not None:
        return int(estimator.max_iter)
    return _training.default_max_iter(n_images, int(estimator.batch_size))


def _weight_decay(estimator, n_images):
    """Pull of the weights towards 0: the weaker, the more images there are to learn from."""
    if not LIKELIHOODS[estimator.likelihood_].linear:
        return 0.0
    return min(1.0, WEIGHT_DECAY / n_images)


def _open_checkpoint(estimator, job, n_valid):
    """The file to note progress in, and the progress to go on from; or None for either."""
    if estimator.checkpoint is None:
        return None, None
    if job.continuing:
        raise ValueError(
            "A checkpoint holds a whole fit: with warm_start=True a second fit cannot use "
            "it. Set checkpoint=None or warm_start=False."
        )
    plan = training_plan(
        estimator.get_params(deep=False),
        job.rows,
        n_valid,
        job.architecture,
        estimator.likelihood_,
        estimator._seed,
        job.device,
    )
    checkpoint = CheckpointFile(estimator.checkpoint, plan)
    # With random_state=None, the seed of the file is as good as the one just drawn.
    progress = checkpoint.read(any_seed=estimator.random_state is None)
    estimator._seed = checkpoint.plan["seed"]
    return checkpoint, progress


def settings_of(estimator, device, *, n_epochs=1, first_epoch=0, rate=1.0, weight_decay=0.0):
    """What a training of the estimator depends on.

    Parameters
    ----------
    estimator : estimator of skvae
        With the attributes that the first fit determines.

    device : str

    n_epochs, first_epoch : int

    rate : float, default=1.0
        Factor of the learning rate.

    weight_decay : float, default=0.0

    Returns
    -------
    settings : TrainSettings
    """
    return _training.TrainSettings(
        likelihood=estimator.likelihood_,
        log_jacobian=image_format_of(estimator).log_jacobian,
        beta=float(estimator.beta),
        beta_warmup=float(estimator.beta_warmup),
        learning_rate=rate * float(estimator.learning_rate),
        weight_decay=weight_decay,
        tol=float(estimator.tol),
        binarize=bool(estimator.binarize),
        batch_size=int(estimator.batch_size),
        n_epochs=n_epochs,
        n_iter_no_change=int(estimator.n_iter_no_change),
        seed=estimator._seed,
        first_epoch=first_epoch,
        device=device,
        verbose=int(estimator.verbose),
        name=type(estimator).__name__,
        callbacks=tuple(estimator.callbacks or ()),
    )


def _module(estimator, job, dataset, valid):
    """The network with the weights to begin with."""
    likelihood = estimator.likelihood_
    module = _inference.build_module(job.architecture, likelihood, job.device)
    if job.continuing:
        set_weights(module, as_arrays(estimator.module_.state_dict()))
    else:
        _start.set_first_weights(module, dataset, valid, likelihood, estimator._seed)
    return module


def _record(estimator, job, net, moments, *, annealed):
    """Set what every estimator of skvae has after a fit."""
    estimator.net_ = net
    estimator.device_ = job.device
    estimator._architecture = job.architecture
    estimator._binarize = bool(estimator.binarize)
    estimator._annealed = annealed
    estimator._component_moments = moments


def _convergence_warnings(estimator, n_images, n_run, settings):
    """What a user should know of a training that ended by itself."""
    if n_run < settings.beta_warmup * settings.n_epochs:
        yield (
            f"Training ended after {n_run} of {settings.n_epochs} epochs, within the warm-up of "
            f"the KL term (beta_warmup={settings.beta_warmup}). Lower beta_warmup, or raise "
            "n_iter_no_change."
        )
    images_differ = n_images > 1 and np.diff(estimator.pixel_range_).max() > 0
    n_active, n_components = estimator.n_active_components_, estimator.n_components_
    if images_differ and 2 * n_active < n_components:
        yield (
            f"Only {n_active} of {n_components} components are active; "
            "an idle one tells nothing about an image. Try fewer components, a smaller beta, "
            "or a warm-up such as beta_warmup=0.3; after a short training, a longer one."
        )


@contextmanager
def _unchanged_on_error(estimator):
    """Put the attributes of the estimator back when an exception passes."""
    attributes = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(attributes)
        raise


@contextmanager
def _advice_on_memory():
    """Say what to lower when torch runs out of memory."""
    try:
        yield
    except RuntimeError as error:
        # torch.OutOfMemoryError on a GPU, a plain RuntimeError of the allocator on the CPU.
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        raise MemoryError(
            "Memory ran out. Lower batch_size, hidden_channels or hidden_units. "
            f"({str(error).splitlines()[0]:.200})"
        ) from error
