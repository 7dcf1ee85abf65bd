"""ConvVAETransformer: parameters, documentation and public methods (NumPy, scikit-learn)."""

import errno
import os
import warnings
from contextlib import contextmanager
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from . import _images, _inference, _persistence, _state, _training
from ._batches import ImageDataset
from ._elbo import LIKELIHOODS, noise_variance
from ._network import as_arrays, default_hidden_channels, set_weights
from ._version import __version__

# A component is active if the variance of its mean over images is above; Burda et al. (2016).
ACTIVE_VARIANCE = 0.01


class Posterior(NamedTuple):
    """The normal posterior q(z|x) of each image, with independent components.

    Parameters
    ----------
    mean, std : ndarray of shape (n_samples, n_components)
        mu and sigma, in units of the latent variables.
    """

    mean: np.ndarray
    std: np.ndarray


class ConvVAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Components of images: the posterior mean of a convolutional variational auto-encoder.

    What :class:`~sklearn.decomposition.PCA` does for tables, for pictures, and without being
    linear: `transform` gives each image `n_components` numbers, `inverse_transform` turns
    such numbers back into an image, and `sample` draws images that were never seen.

    The encoder maps an image x to the posterior q(z|x) = N(mu, diag(sigma^2)) of K latent
    variables, the decoder maps z to the distribution p(x|z) of an image. Both are trained
    together to minimise, over the images, the mean of

        -ELBO = -log p(x|z) + beta * KL(q(z|x) || N(0, I)),  z = mu + sigma * noise,

    with KL = 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2), as in [1]_. Likelihoods are in nats
    per image, summed over its pixels.

    Parameters
    ----------
    n_components : int, default=10
        K, the number of latent variables.

    image_shape : tuple of int, default=None
        ``(H, W)``, or three numbers with the channels where `channel_axis` says; one of them
        may be -1, for what is left. None: the shape of the images when X has 3 or 4
        dimensions; else a square where the number of features is a square number, and
        ``(1, n_features)`` where it is not.

    channel_axis : {-1, 0}, default=-1
        Place of the channels in a three-number `image_shape` and in the images of a 4-D X:
        -1 for ``(H, W, C)``, 0 for ``(C, H, W)``.

    pixel_range : tuple of float, default=None
        ``(low, high)``, the values of X that are the darkest and the lightest pixel. None:
        (0, 255) for uint8, (0, 1) for bool, else the least and the greatest value of the
        training data. Values outside are clipped: to the range, or with the Gaussian
        likelihood to half its width beyond.

    hidden_channels : tuple of int, default=None
        Channels of each stage of the encoder, from the image inwards; the decoder mirrors
        them. None: chosen by the size of the image.

    hidden_units : int, default=256
        Width of the dense layer between the convolutions and the latent variables.

    likelihood : {"bernoulli", "continuous_bernoulli", "gaussian"}, default="bernoulli"
        The family of p(x|z), with independent pixels. "bernoulli" is binary cross entropy on
        pixels scaled to [0, 1]; "continuous_bernoulli" [2]_ makes it a density on [0, 1];
        "gaussian" has one noise variance for all pixels, which is learned. Likelihoods of the
        last two are densities in the units of X, which may be above 1: their logarithms,
        and with them losses and scores, may have either sign.

    binarize : bool, default=False
        Whether training draws 0/1 pixels anew at every showing of an image, 1 with the
        probability that its pixel scaled to [0, 1] tells. Scores then are those of one such
        draw for each image, which belongs to the image; 0/1 images stay as they are.
        `transform` and `posterior` take images as they are, but `kl_per_component_` and
        `n_active_components_` are those of draws. Only with "bernoulli".

    beta : float, default=1.0
        Weight of the KL term in training. Scores always use 1.

    beta_warmup : float, default=0.0
        Share of the steps over which the weight of the KL term rises from 0 to `beta`:
        components get time to become useful before they cost anything. A warm start begins
        at 0 again. Losses are recorded with `beta` throughout. Has no effect on
        `partial_fit`.

    max_iter : int, default=None
        Number of epochs. None: as many as make about 5,600 steps of the optimiser, but at
        least 1 and at most 200.

    batch_size : int, default=128
        Images in each step of the optimiser.

    learning_rate : float, default=0.005
        Peak of the one-cycle schedule of Adam. It suits the default budget; a training of many
        more epochs gains from a lower one, such as 0.002. `partial_fit` uses it throughout.

    early_stopping : bool, default=False
        Whether to set `validation_fraction` of the images aside, stop when their loss has
        not improved for `n_iter_no_change` epochs, and restore the best weights (to within
        `tol`). Has no effect on `partial_fit`.

    validation_fraction : float, default=0.1
        Share of the training images to set aside with `early_stopping`.

    n_iter_no_change : int, default=10
        Epochs without improvement that end the training with `early_stopping`.

    tol : float, default=1e-4
        Improvement of the validation loss, in nats per image, that counts with
        `early_stopping`.

    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the previous `fit`. Shape, channel axis and
        pixel range stay those of the first one.

    device : str, default="auto"
        Where to compute: "auto" takes CUDA, else MPS, else the CPU; or any torch device
        string that this machine has.

    callbacks : list, default=None
        Further skorch callbacks.

    checkpoint : str or path-like, default=None
        A file to which `fit` writes its whole progress after each epoch. A `fit` with the
        same parameters and data that finds it goes on from there, and ends bit-identical to
        one that never stopped. `partial_fit` does not use it.

    random_state : int, RandomState instance or None, default=None
        Seeds the weights, the order of the images, the noise and the binarisation in training,
        and the draws of the scores and of `log_likelihood`. An int makes fits bit-identical on
        the same machine, versions, device and number of threads. NumPy's and torch's global
        generators are never used; None takes entropy from the operating system.

    verbose : int, default=0
        0 is silent; 1 shows a progress bar over the epochs.

    Attributes
    ----------
    image_shape_ : tuple of int
        Shape of one image, in the layout that `fit` saw.

    channel_axis_ : int
        Place of the channels in a three-number `image_shape_`.

    pixel_range_ : tuple of float
        ``(low, high)`` in the units of X.

    n_components_ : int
        Number of latent variables.

    n_features_in_ : int
        Numbers in one image.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, when X has names that are all strings.

    n_iter_ : int
        Epochs of training so far.

    loss_curve_ : list of float
        Mean -ELBO of the training images in each epoch (with `beta`), nats per image.

    n_active_components_ : int
        Number of components that tell images apart: the variance of their posterior mean
        over (at most 2,048 of) the training images is above 0.01 [3]_.

    noise_variance_ : float
        Learned variance of the noise of a pixel, in squared units of X. Only with
        ``likelihood="gaussian"``.

    history_ : DataFrame
        One row an epoch: ``epoch``, ``train_loss``, ``train_log_likelihood`` (log p(x|z) of
        one draw of z), ``train_kl``, with early stopping the same with ``valid_``, in nats per
        image, and ``duration`` in seconds.

    kl_per_component_ : ndarray of shape (n_components,)
        Mean KL divergence of each component over (at most 2,048 of) the training images, in
        nats: how much it tells about an image. `fit` sorts the components by it, descending,
        as PCA does by variance; `partial_fit` leaves them in their places.

    device_ : str
        Where the network is.

    net_ : skorch.NeuralNet
        The net that trained.

    module_ : torch.nn.Module
        The network: ``module_.encode(x)`` gives mu and log sigma^2, ``module_.decode(z)`` the
        logits, for x of shape (n, C, H, W) in [0, 1].

    See Also
    --------
    sklearn.decomposition.PCA : Linear components.
    sklearn.neural_network.BernoulliRBM : Binary hidden units with a linear energy.

    References
    ----------
    .. [1] D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
       https://arxiv.org/abs/1312.6114

    .. [2] G. Loaiza-Ganem and J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive
       error in variational autoencoders", NeurIPS 2019. https://arxiv.org/abs/1907.06845

    .. [3] Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders",
       ICLR 2016. https://arxiv.org/abs/1509.00519

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ConvVAETransformer
    >>> images = load_digits().images
    >>> images.shape
    (1797, 8, 8)
    >>> vae = ConvVAETransformer(n_components=4, max_iter=10, random_state=0).fit(images)
    >>> latents = vae.transform(images)
    >>> latents.shape
    (1797, 4)
    >>> vae.inverse_transform(latents).shape
    (1797, 8, 8)
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "image_shape": [tuple, list, None],
        "channel_axis": [Options(Integral, {-1, 0})],
        "pixel_range": [tuple, list, None],
        "hidden_channels": [tuple, list, None],
        "hidden_units": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [StrOptions(set(LIKELIHOODS))],
        "binarize": ["boolean"],
        "beta": [Interval(Real, 0, None, closed="left")],
        "beta_warmup": [Interval(Real, 0, 1, closed="both")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "device": [str],
        "callbacks": [list, tuple, None],
        "checkpoint": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=10,
        *,
        image_shape=None,
        channel_axis=-1,
        pixel_range=None,
        hidden_channels=None,
        hidden_units=256,
        likelihood="bernoulli",
        binarize=False,
        beta=1.0,
        beta_warmup=0.0,
        max_iter=None,
        batch_size=128,
        learning_rate=5e-3,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        device="auto",
        callbacks=None,
        checkpoint=None,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.image_shape = image_shape
        self.channel_axis = channel_axis
        self.pixel_range = pixel_range
        self.hidden_channels = hidden_channels
        self.hidden_units = hidden_units
        self.likelihood = likelihood
        self.binarize = binarize
        self.beta = beta
        self.beta_warmup = beta_warmup
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoder and the decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images, in any real dtype. Never changed, and never copied as a whole where
            their memory is contiguous.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X or a parameter does not fit the images, or if the loss becomes NaN or
            infinite. The estimator is then as it was before.

        Warns
        -----
        UserWarning
            If Ctrl-C ends the training; what is trained so far is kept. If the training ends
            within `beta_warmup`. If values lie outside a given `pixel_range`. If fewer than
            half of the components are active; see `n_active_components_`.
        """
        with _unchanged_on_error(self):
            self._fit(X, again=self.warm_start and hasattr(self, "net_"))
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train for one epoch on X, at a constant learning rate.

        Shape and pixel range are those of the first call: give `pixel_range` when the first
        images may not show the whole range. Adam goes on from call to call; a copy or a
        reloaded estimator starts it anew.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            As `fit`.
        """
        with _unchanged_on_error(self):
            self._fit(X, again=hasattr(self, "net_"), incremental=True)
        return self

    def _fit(self, X, *, again, incremental=False):
        if self.binarize and self.likelihood != "bernoulli":
            raise ValueError(
                "binarize=True needs likelihood='bernoulli', the family of 0/1 pixels. "
                f"Got likelihood={self.likelihood!r}."
            )
        if not again:
            self._likelihood = str(self.likelihood)
        rows = self._validate_images(X, reset=not again)
        device = _inference.resolve_device(self.device)
        architecture = self._resolve_architecture()
        if not again:
            self._seed = _draw_seed(self.random_state)
            self._history = []
        else:
            self._check_same_model(architecture)
        progress = save_progress = None
        if self.checkpoint is not None and not incremental:
            progress, save_progress = self._open_checkpoint(rows, architecture, device, again)

        dataset, valid = ImageDataset(rows, self._image_format), None
        if self.early_stopping and not incremental:
            dataset, valid = self._split(dataset)
            valid = valid.binarized(self._seed) if self.binarize else valid
        n_epochs = 1 if incremental else self.max_iter
        if n_epochs is None:
            n_epochs = _training.default_max_iter(len(dataset), self.batch_size)
        with _advice_on_memory():
            module = _inference.build_module(architecture, self._likelihood, device)
            if again:
                set_weights(module, as_arrays(self.module_.state_dict()))
            else:
                _inference.draw_weights(module, dataset, self._likelihood, self._seed)
            net, interrupted = _training.train(
                module,
                dataset,
                n_epochs=n_epochs,
                valid=valid,
                one_cycle=not incremental,
                beta_warmup=0.0 if incremental else self.beta_warmup,
                optimizer=self.net_.optimizer_ if again and incremental else None,
                progress=progress,
                save_progress=save_progress,
                patience=self.n_iter_no_change,
                tol=self.tol,
                verbose=self.verbose,
                callbacks=self.callbacks or (),
                **self._net_params(
                    device, len(self._history) if progress is None else len(progress["history"])
                ),
            )
        new_rows = _training.history_rows(net, len(self._history))
        self._history = self._history + new_rows
        self._set_fitted(net, dataset, device, architecture, sort=not incremental)
        if interrupted:
            _warn("Training interrupted by user; what is trained so far is kept.")
        elif not incremental:
            for doubt in self._doubts(len(rows), len(new_rows), n_epochs):
                _warn(doubt)

    def _doubts(self, n_images, n_run, n_epochs):
        """What a user should know of a training that ended by itself."""
        if n_run < self.beta_warmup * n_epochs:
            yield (
                f"Training ended after {n_run} of {n_epochs} epochs, within the warm-up of the KL "
                f"term (beta_warmup={self.beta_warmup}). Lower beta_warmup, or raise "
                "n_iter_no_change."
            )
        images_differ = n_images > 1 and self.pixel_range_[0] < self.pixel_range_[1]
        if images_differ and 2 * self.n_active_components_ < self.n_components_:
            yield (
                f"Only {self.n_active_components_} of {self.n_components_} components are active; "
                "an idle one tells nothing about an image. Try fewer components, a smaller beta, "
                "or a warm-up such as beta_warmup=0.3; after a short training, a longer one."
            )

    def _net_params(self, device, first_epoch):
        return {
            "likelihood": self._likelihood,
            "log_jacobian": self._image_format.log_jacobian,
            "beta": float(self.beta),
            "binarize": self.binarize,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "seed": self._seed,
            "first_epoch": first_epoch,
            "device": device,
        }

    def _set_fitted(self, net, dataset, device, architecture, *, sort):
        self.net_ = net
        self.device_ = device
        self._architecture = architecture
        self._binarize = bool(self.binarize)
        self.n_components_ = int(self.n_components)
        self.n_iter_ = len(self._history)
        self.loss_curve_ = [row["train_loss"] for row in self._history]
        dataset = dataset.binarized(self._seed) if self.binarize else dataset
        kl, variance = _inference.component_statistics(net.module_, dataset)
        if sort:
            order = np.argsort(-kl, kind="stable")
            _training.reorder_net(net, order)
            kl = kl[order]
        self.kl_per_component_ = kl
        self.n_active_components_ = int(np.sum(variance > ACTIVE_VARIANCE))

    def _check_same_model(self, architecture):
        fitted = {**self._architecture, "likelihood": self._likelihood}
        asked = {**architecture, "likelihood": self.likelihood}
        if asked != fitted:
            raise ValueError(
                f"The network was fitted as {fitted}, and training goes on from it; its "
                f"parameters now ask for {asked}. Set them back, or call fit with "
                "warm_start=False."
            )

    def _open_checkpoint(self, rows, architecture, device, again):
        """Progress to go on from, or None; and the function that saves what comes."""
        if again:
            raise ValueError(
                "A checkpoint holds a whole fit: with warm_start=True a second fit cannot use "
                "it. Set checkpoint=None or warm_start=False."
            )
        path = os.fspath(self.checkpoint)
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise FileNotFoundError(
                errno.ENOENT, "The folder of the checkpoint does not exist; make it first", path
            )
        plan = _state.training_plan(
            self.get_params(deep=False), rows, architecture, self._seed, device
        )
        try:
            header, arrays = _persistence.read(path, _state.progress_arrays)
        except FileNotFoundError:
            progress = None
        else:
            if self.random_state is None:  # then the seed of the file is as good as ours
                self._seed = plan["seed"] = header["seed"]
            progress = _state.progress_from_file(plan, header, arrays)

        def save_progress(progress):
            try:
                _persistence.write(path, *_state.progress_to_file(plan, progress))
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"The checkpoint could not be written ({error.strerror}). What the epoch "
                    "before wrote is whole: mend the cause and call fit again to go on",
                    path,
                ) from error

        return progress, save_progress

    def _validate_images(self, X, *, reset=False):
        """Rows of X in their own dtype; with `reset`, sets the attributes of the format."""
        rows, seen_shape = _images.flatten_images(X)
        if not reset and seen_shape not in (None, self.image_shape_):
            raise ValueError(
                f"X holds images of shape {seen_shape}, but {type(self).__name__} was fitted "
                f"on images of shape {self.image_shape_}."
            )
        # "numeric" keeps every numeric dtype: pixels become float32 in their batch.
        rows = validate_data(self, rows, dtype="numeric", reset=reset)
        if rows.dtype.kind not in "biuf":
            raise ValueError(f"X must hold real numbers. Got dtype {rows.dtype}.")
        if reset:
            self.image_shape_ = _images.resolve_shape(
                self.image_shape, self.channel_axis, rows.shape[1], seen_shape
            )
            self.pixel_range_ = _images.resolve_pixel_range(self.pixel_range, rows)
            self.channel_axis_ = int(self.channel_axis)
            self._as_rows = seen_shape is None
        _images.warn_if_outside(rows, self._image_format, training=reset)
        return rows

    @property
    def _image_format(self):
        return _images.ImageFormat(
            self.image_shape_,
            self.channel_axis_,
            self.pixel_range_,
            self._as_rows,
            bounded=LIKELIHOODS[self._likelihood].bounded,
        )

    def _resolve_architecture(self):
        image_shape = self._image_format.channels_first_shape
        hidden_channels = self.hidden_channels
        if hidden_channels is None:
            hidden_channels = default_hidden_channels(*image_shape[1:])
        if not hidden_channels or not all(
            isinstance(n, Integral) and n > 0 for n in hidden_channels
        ):
            raise ValueError(
                "hidden_channels must hold one whole number above 0 for each stage. "
                f"Got {self.hidden_channels!r}."
            )
        return {
            "image_shape": image_shape,
            "n_components": int(self.n_components),
            "hidden_channels": tuple(int(n) for n in hidden_channels),
            "hidden_units": int(self.hidden_units),
        }

    def _split(self, dataset):
        train, held_out = train_test_split(
            np.arange(len(dataset)),
            test_size=self.validation_fraction,
            random_state=self._seed,
        )
        return (
            ImageDataset(dataset.rows, dataset.image_format, indices)
            for indices in (np.sort(train), np.sort(held_out))
        )

    def transform(self, X):
        """Mean mu of the posterior q(z|x) of each image.

        A row of the result depends on that image alone, to the last bit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images in the units of the training data, as rows or in the layout of `fit`.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components), float32
            The latent means.

        Warns
        -----
        UserWarning
            If values lie far outside `pixel_range_`.
        """
        check_is_fitted(self)
        mu, _ = _inference.encode(self.module_, self._dataset(X))
        return mu

    def posterior(self, X):
        """Mean mu and standard deviation sigma of the posterior q(z|x) of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images in the units of the training data.

        Returns
        -------
        mean, std : ndarray of shape (n_samples, n_components), float32
            A named pair, in units of the latent variables.
        """
        check_is_fitted(self)
        mu, logvar = _inference.encode(self.module_, self._dataset(X))
        return Posterior(mean=mu, std=np.exp(logvar / 2))

    def inverse_transform(self, X):
        """Mean image of p(x|z) for latent variables.

        With the Gaussian likelihood, values may lie outside `pixel_range_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Latent variables z.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W), float32
            Images in the units and in the layout that `fit` saw.
        """
        check_is_fitted(self)
        z = check_array(X, dtype=np.float32, estimator=self, input_name="X")
        if z.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {z.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_components_} features as input."
            )
        return self._decode(z)

    def score_samples(self, X):
        """ELBO of each image: log p(x|z) - KL(q(z|x) || N(0, I)), whatever `beta` trained.

        A lower bound of log p(x) in expectation, by one draw z ~ q(z|x). The draw belongs to
        the image: the same image gets the same value in every call, wherever it stands.
        With a continuous `likelihood`, p is a density in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images in the units of the training data.

        Returns
        -------
        elbo : ndarray of shape (n_samples,), float64
            In nats per image; higher is better.
        """
        check_is_fitted(self)
        dataset = self._scoring_dataset(X)
        return _inference.elbo(self.module_, dataset, self._likelihood, self.net_.noise)

    def log_likelihood(self, X, n_draws=100):
        """Importance-weighted estimate of log p(x) of each image.

        The log of the mean of p(x|z) p(z) / q(z|x) over draws z ~ q(z|x), as in [1]_. In
        expectation it lies between the ELBO and log p(x), and rises with the number of draws.
        The draws belong to the image, as those of `score_samples`; the first of many are those
        of few.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images in the units of the training data.

        n_draws : int, default=100
            Draws of the latent variables for each image. They are decoded 128 at a time, the
            last ones filled up: time grows with every 128, memory does not.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,), float64
            In nats per image. With a continuous `likelihood`, log of a density in the units
            of X.

        Raises
        ------
        ValueError
            If `n_draws` is below 1.

        References
        ----------
        .. [1] Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders",
           ICLR 2016, equation 8. https://arxiv.org/abs/1509.00519

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skvae import ConvVAETransformer
        >>> images = load_digits().images
        >>> vae = ConvVAETransformer(n_components=4, max_iter=10, random_state=0).fit(images)
        >>> bool(vae.log_likelihood(images[:100]).mean() > vae.score(images[:100]))
        True
        """
        check_is_fitted(self)
        if not isinstance(n_draws, Integral) or n_draws < 1:
            raise ValueError(f"n_draws must be a whole number above 0. Got {n_draws!r}.")
        return _inference.log_likelihood(
            self.module_, self._scoring_dataset(X), self._likelihood, int(n_draws), self._seed
        )

    def score(self, X, y=None):
        """Mean of `score_samples`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images in the units of the training data.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        score : float
            Mean ELBO, nats per image; higher is better.
        """
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples=1, random_state=None):
        """Mean images of p(x|z) for new draws z ~ N(0, I).

        With the Gaussian likelihood, values may lie outside `pixel_range_`.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images.

        random_state : int, RandomState instance or None, default=None
            Seeds the draws. None: new ones in every call.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W), float32
            Images in the units and in the layout that `fit` saw.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be a whole number above 0. Got {n_samples!r}.")
        z = _generator(random_state).standard_normal((n_samples, self.n_components_))
        return self._decode(z)

    def save(self, path):
        """Write the fitted estimator to a file that holds no pickle; `skvae.load` reads it.

        The file is a zip archive of JSON and NumPy arrays. It is written beside `path` and
        moved into place, so that a crash leaves an old file whole. The parameters `callbacks`
        and `checkpoint`, and a `random_state` that is a RandomState, are left out.

        Parameters
        ----------
        path : str or path-like
            The file; replaced if it is there.

        Raises
        ------
        OSError
            If the file cannot be written; an old file is then as it was.
        """
        check_is_fitted(self)
        params, state = self.get_params(deep=False), self.__getstate__()
        _persistence.write(path, *_state.model_to_file(params, state))

    def _dataset(self, X):
        return ImageDataset(self._validate_images(X), self._image_format)

    def _scoring_dataset(self, X):
        dataset = self._dataset(X)
        return dataset.binarized(self._seed) if self._binarize else dataset

    def _decode(self, z):
        return _inference.decode(self.module_, z, self._likelihood, self._image_format)

    @property
    def module_(self):
        """The trained `torch.nn.Module`."""
        return self.net_.module_

    @property
    def noise_variance_(self):
        """Learned variance of the noise of a pixel, in squared units of X."""
        if self._likelihood != "gaussian":
            raise AttributeError("noise_variance_ is there only with likelihood='gaussian'.")
        variance = noise_variance(self.module_.noise_logvar.detach()).item()
        return variance * self._image_format.width**2

    @property
    def history_(self):
        """Losses and duration of each epoch, as a pandas DataFrame."""
        return pd.DataFrame(self._history)

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self):
        # Plain Python and NumPy arrays: the net would carry its device and a pickle of torch.
        state = dict(super().__getstate__())
        if "net_" in state:
            del state["net_"]
            state["_weights"] = as_arrays(self.module_.state_dict())
            state["_skvae_version"] = __version__
        return state

    def __setstate__(self, state):
        state = dict(state)
        weights, version = state.pop("_weights", None), state.pop("_skvae_version", None)
        super().__setstate__(state)
        if weights is None:
            return
        if version != __version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=f"skvae {__version__}",
                    original_sklearn_version=f"skvae {version}",
                ),
                stacklevel=2,
            )
        # joblib may hand over a memory map, which would keep its file open.
        self.kl_per_component_ = np.array(self.kl_per_component_)
        try:
            self.device_ = _inference.resolve_device(self.device_)
        except ValueError:
            self.device_ = "cpu"
        module = _inference.build_module(self._architecture, self._likelihood, self.device_)
        set_weights(module, weights)
        self.net_ = _training.build_net(module, **self._net_params(self.device_, self.n_iter_))


def _warn(message):
    # Past _warn, _fit, fit, and scikit-learn's wrapper of fit: where the user called it.
    warnings.warn(message, UserWarning, stacklevel=5)


def _generator(random_state):
    """As `check_random_state`, but None never stands for NumPy's global generator."""
    return np.random.RandomState() if random_state is None else check_random_state(random_state)


def _draw_seed(random_state):
    return int(_generator(random_state).randint(2**31))


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


def load(path, device=None):
    """Read an estimator that `ConvVAETransformer.save` wrote.

    The file may be a stranger's: nothing in it is executed, and no more memory is taken than
    the parameters in it justify, at most 4 GiB.

    Parameters
    ----------
    path : str or path-like
        The file.

    device : str, default=None
        Where to compute, which also becomes the parameter `device`. None: what that parameter
        says where this machine has it, else the CPU.

    Returns
    -------
    estimator : ConvVAETransformer
        Fitted; gives the same bits as the one that was saved.

    Raises
    ------
    skvae.InvalidFileError
        If the file is damaged or not one that skvae wrote; a ValueError.

    ValueError
        If this machine does not have `device`.

    OSError
        If the file cannot be read.

    Warns
    -----
    InconsistentVersionWarning
        If another version of skvae wrote the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skvae
    >>> images = np.random.default_rng(0).uniform(size=(20, 8, 8))
    >>> vae = skvae.ConvVAETransformer(max_iter=1, random_state=0).fit(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     vae.save(os.path.join(folder, "model.skvae"))
    ...     same = skvae.load(os.path.join(folder, "model.skvae"))
    >>> bool((same.transform(images) == vae.transform(images)).all())
    True
    """

    def expected(header):
        specs = _state.model_arrays(header)
        ConvVAETransformer(**_state.restored_params(header["params"]))._validate_params()
        return specs

    header, arrays = _persistence.read(path, expected)
    params, state = _state.model_from_file(header, arrays)
    estimator = ConvVAETransformer(**params)
    if device is not None:
        _inference.resolve_device(device)
        estimator.device = device
    # The state may name a device that is not here: then __setstate__ takes the CPU.
    estimator.__setstate__({**vars(estimator), **state, "device_": estimator.device})
    return estimator
