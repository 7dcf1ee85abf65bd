"""ConvVAETransformer: components of images, and how a fit finds them (scikit-learn).

`ConvVAEClassifier` and `ConvVAECluster` extend it by what classes and clusters add.
"""

import os
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _num_samples, check_is_fitted

from . import _state
from ._compat import CallbackSupportMixin
from ._counts import check_count
from ._data import (
    ImageDataset,
    check_images,
    check_in_memory,
    is_hole,
    learn_images,
    refuse_misreadings,
    scarce,
    shape_of,
    whole_numbers,
    without_array_api,
    without_mask,
)
from ._files import model, storable
from ._history import extend, n_epochs_of
from ._keywords import suggesting
from ._model import (
    LIKELIHOODS,
    as_arrays,
    passes,
    resolve_device,
    set_weights,
    start,
    with_gradients,
)
from ._training import (
    Budget,
    TrainSettings,
    advice_on_memory,
    build_net,
    check_callbacks,
    check_parameters,
    fit_run,
    n_set_aside,
    resolve_architecture,
    resolve_budget,
    resolve_learning_rate,
    resolve_weight_decay,
    sort_components,
    split,
    train_increment,
)
from ._warnings import warn

# Share of the peak rate at which `partial_fit` trains after a `fit`, which ended at a low rate.
ANNEALED_RATE = 0.1

# The start of a network that was made from fewer images is made anew when there are more. About so
# many numbers of them are kept for that.
FEW_IMAGES, MAX_KEPT_NUMBERS = 256, 2**24

# A component is active if the variance of its posterior mean over images is above this;
# Burda et al. (2016).
ACTIVE_VARIANCE = 0.01


class Posterior(NamedTuple):
    """The normal posterior q(z|x) of each image, with independent components.

    Parameters
    ----------
    mean, std : ndarray of shape (n_samples, n_components)
        mu and sigma, in units of the components.
    """

    mean: np.ndarray
    std: np.ndarray


@storable
class ConvVAETransformer(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Non-linear PCA for images, by a convolutional variational auto-encoder (VAE).

    Three parameters matter most. The defaults of all others suit most images.

    - `n_components`: the number of components that each image is compressed to.
    - `max_iter`: the length of the training. The default takes a few minutes.
    - `random_state`: a whole number, so that a second fit gives the same result.

    `transform` computes the components of images. `inverse_transform` computes images from
    components. `sample` generates new images.

    The encoder maps an image x to the posterior q(z|x) = N(mu, diag(sigma^2)) of its K components
    z. The decoder maps z to the distribution p(x|z) of an image. Both are trained together, as in
    [1]_, to minimise the mean over the images of

        -ELBO = -log p(x|z) + beta * KL(q(z|x) || N(0, I)),  z = mu + sigma * noise,

    with KL = 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2). Likelihoods are summed over the pixels
    of an image, in nats.

    Parameters
    ----------
    n_components : int, default=10
        K, the number of components: the numbers that each image is compressed to.

    image_shape : tuple of int, default=None
        ``(H, W)``, or three numbers with the channels where `channel_axis` says. One of them
        may be -1: it follows from the number of features. None: taken from X if X has 3 or 4
        dimensions. For rows, None means a square if the number of features is a square number,
        else ``(1, n_features)``.

    channel_axis : {-1, 0}, default=-1
        Place of the channels in an `image_shape` of three numbers, and in the images of a 4-D X:
        -1 for ``(H, W, C)``, 0 for ``(C, H, W)``.

    pixel_range : tuple, array-like of shape (n_channels, 2), "robust" or None, default=None
        ``(low, high)``: the values of X that are mapped to 0 and 1, for all channels or for each
        of them.

        - None is (0, 255) for uint8. It is (0, 1) for bool, and for uint8 whose values are all 0
          or 1. For other types, it is the smallest and the largest value of the training data, for
          each channel separately.
        - "robust" is the 0.1 and the 99.9 percentiles of the training data, so that a few very
          bright or dark pixels do not reduce the contrast of all others. It is for each channel
          separately, except for uint8 and bool.

        Values outside the range are clipped to it. With the Gaussian likelihood, they may lie up
        to half the width of the range outside.

    missing_values : float or int, default=None
        The value of X that marks missing pixels, such as NaN or -1: all pixels with this value
        count as missing. None: no pixel is missing, and NaN is an error. Training and all methods
        use the observed pixels only. This is valid if the positions of the missing pixels do not
        depend on the missing values, as with dust or a moving mask, but not with pixels that are
        missing because they were too bright.

    hidden_channels : tuple of int, default=None
        Channels of each stage of the encoder, starting at the image. The decoder mirrors them.
        None: one stage, or two if a side has more than 28 pixels. A stage has 64 channels, or 32
        with the Bernoulli likelihood and without classes, if `fit` gets 10,000 images or more, or
        if `partial_fit` starts. A warm start keeps them.

    hidden_units : int, default=256
        Width of the dense layer between the convolutions and the components.

    likelihood : {"auto", "bernoulli", "continuous_bernoulli", "gaussian"}, default="auto"
        The distribution p(x|z) of the pixels, which are independent given z.

        - "auto" chooses "bernoulli" for nearly black-and-white pixels: those whose variance is
          more than three quarters of the largest possible for their mean. It also does so with
          `binarize`. Otherwise it chooses "gaussian".
        - "bernoulli" is the binary cross entropy of pixels scaled to [0, 1]. It is a probability
          for 0/1 pixels, but not a normalised density for grey ones.
        - "continuous_bernoulli" [2]_ is normalised to a density on [0, 1].
        - "gaussian" has one noise variance for all pixels, estimated as in [4]_. Training starts
          at probabilistic PCA [5]_.

        With the other likelihoods, training starts at a linear model if `fit` gets fewer than
        10,000 images. "continuous_bernoulli" and "gaussian" are densities in the units of X. A
        density can be above 1, so losses and scores can have either sign.

    binarize : bool, default=False
        Whether training replaces each image by random 0/1 pixels, drawn anew in every epoch. The
        scaled value of a pixel is its probability of a 1. Scores are those of one such draw,
        which depends on the image alone. `transform` and `posterior` use the grey images, but
        `kl_per_component_` and `n_active_components_` are those of the 0/1 images. Images of 0/1
        pixels stay as they are. Only with "bernoulli".

    augment : float, default=0.0
        Strength of small random affine maps of the training images, drawn anew in every epoch: at
        1, up to 10 degrees of rotation, 10 % of scale and of shear, and shifts of 5 % of each side.
        It helps if there are few images, of things that may be a little turned or moved. It makes
        results worse for tiny images. Images set aside for `early_stopping` are not changed.
        `GridSearchCV` can choose it by `score`.

    beta : float, default=1.0
        Weight of the KL term in training. Scores always use 1.

    beta_warmup : float, default=0.0
        Share of the training steps in which the weight of the KL term rises from 0 to `beta`.
        So components become useful before they cost anything. A warm start begins at 0 again.
        Recorded losses always use `beta`. `partial_fit` does not use it.

    max_iter : int, default=None
        Number of epochs. None: as many epochs as take about the time of 20 epochs of MNIST, which
        is a few minutes; at least 1 and at most 200.

    batch_size : int or "auto", default="auto"
        Images in each step of the optimiser. "auto": 16, 32, 64 or 128, so that the default
        number of epochs has at least 4,500 steps. Small batches are better for few images.

    learning_rate : float or "auto", default="auto"
        Peak of the one-cycle schedule of Adam. "auto": 0.005 if the network has a linear path,
        that is with the Gaussian likelihood or with fewer than 10,000 images. Otherwise 0.003,
        or 0.002 if there are classes or clusters. It suits the default number of epochs. A higher
        rate is better for very few epochs, and a lower one for many more. `partial_fit` uses this
        rate throughout, or a tenth of it after a `fit`.

    early_stopping : bool or "auto", default="auto"
        Whether to set `validation_fraction` of the images aside and to monitor their loss. When
        it has not improved for `n_iter_no_change` epochs, the learning rate falls to 0 within
        a fifth of the epochs so far, and training ends. The weights of the best epoch are
        restored. The noise of the Gaussian likelihood is the error of these images or of the
        training images, whichever is larger.

        "auto" is on for 20 to 29,999 images, and with the Gaussian likelihood for 20 or more. It
        sets at most 2,048 images aside. `partial_fit` does not use it.

    validation_fraction : float, default=0.1
        Share of the images to set aside for `early_stopping`.

    n_iter_no_change : int, default=10
        Epochs without improvement after which `early_stopping` lowers the learning rate. The
        first epochs do not count as long as the loss only rises.

    tol : float, default=1e-4
        Smallest improvement of the validation loss that counts for `early_stopping`, in nats
        per number of an image.

    warm_start : bool, default=False
        Whether `fit` continues from the weights of the previous `fit`. Shape, channel axis and
        pixel range stay those of the first `fit`. If the first one had fewer than 256 images, and
        the new one has more, `fit` starts anew.

    device : str or torch.device, default="auto"
        The device of the computations. "auto" is the accelerator that torch finds, such as CUDA
        or MPS, else the CPU.

    callbacks : list, default=None
        Additional skorch callbacks. Those of scikit-learn are set by `set_callbacks`.

    checkpoint : str or path-like, default=None
        A file to which `fit` writes its progress after each epoch. If a fit was killed, the
        next one with the same parameters and data continues from the file. On a CPU, the result
        is bit-identical to that of a fit that never stopped. If a fit was finished, the next one
        with the same parameters and data is restored from the file at once; any other starts anew
        and overwrites the file. Fits that run at the same time need a file each. `partial_fit`
        does not use it.

    data_parallel : bool, default=False
        Whether `fit` trains together with the other processes of torch.distributed's default
        group. All of them call `fit` with the same data and parameters. Each trains on its share
        of every batch, and all end with the same weights. Up to rounding, these are the weights
        of one process. Only process 0 prints, warns, writes the checkpoint and calls the callbacks
        of scikit-learn.

    random_state : int, RandomState instance or None, default=None
        Seeds the weights, the order of the images, the noise and the binarisation in training,
        and the draws of the scores and of `log_likelihood`. With an int, fits on a CPU are
        bit-identical on the same machine with the same versions and number of threads. On a GPU
        they agree up to rounding, because its sums have no fixed order. None draws a seed from
        NumPy's global generator, as in all of scikit-learn. torch's global generator is never
        used.

    verbose : int, default=0
        0: silent. 1: a line about images, network and steps before training, and a progress bar
        with the time left, the losses and the share of the variance explained.

    Attributes
    ----------
    image_shape_ : tuple of int
        Shape of one image, in the layout of the X of `fit`.

    channel_axis_ : int
        Place of the channels in an `image_shape_` of three numbers.

    pixel_range_ : tuple of float, or ndarray of shape (n_channels, 2)
        ``(low, high)`` in the units of X, for all channels or for each.

    n_components_ : int
        Number of components.

    n_features_in_ : int
        Numbers in one image.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X has names that are all strings.

    n_iter_ : int
        Epochs of training so far.

    likelihood_ : str
        The family of p(x|z): the parameter, or what "auto" chose.

    loss_curve_ : list of float
        Mean -ELBO of the training images in each epoch (with `beta`), nats per image.

    n_active_components_ : int
        Number of components that differ between images: their posterior mean has a variance above
        0.01 over the images [3]_. The images are those of `kl_per_component_`.

    noise_variance_ : float, or ndarray of shape (n_channels,)
        Estimated variance of the noise of a pixel, in squared units of X. One for each channel
        if each channel has its own pixel range. Only with the Gaussian likelihood.

    history_ : DataFrame
        One row for each epoch. The columns are ``epoch`` and

        - ``train_loss``, ``train_log_likelihood`` (log p(x|z) of one draw of z) and ``train_kl``,
          in nats per image;
        - ``train_explained_variance_ratio``, the share of the variance of the pixels that the mean
          of p(x|z) explains, for one draw of z and at most about 1,024 images of the epoch (fewer
          if they are large);
        - the same four with ``valid_`` instead of ``train_``, if there was early stopping;
        - ``duration``, in seconds.

    kl_per_component_ : ndarray of shape (n_components,)
        Mean KL divergence of each component over images, in nats: the information of the component
        about an image. `fit` takes the mean over at most 2,048 of the training images, and sorts
        the components by it in descending order, as PCA sorts by variance. `partial_fit` keeps
        the order, and updates a running mean over about 2,048 images.

    device_ : str
        Where the network is.

    net_ : skorch.NeuralNet
        The net that was trained.

    module_ : torch.nn.Module
        The network. For images x of shape (n, C, H, W) in [0, 1], ``module_.encode(x)`` gives
        mu and log sigma^2. ``module_.decode(z)`` gives the logits.

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

    .. [4] O. Rybkin, K. Daniilidis and S. Levine, "Simple and effective VAE training with
       calibrated decoders", ICML 2021. https://arxiv.org/abs/2006.13202

    .. [5] M. E. Tipping and C. M. Bishop, "Probabilistic principal component analysis", Journal
       of the Royal Statistical Society B 61, 1999.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ConvVAETransformer
    >>> images = load_digits().images
    >>> images.shape
    (1797, 8, 8)
    >>> vae = ConvVAETransformer(n_components=4, max_iter=10, random_state=0).fit(images)
    >>> components = vae.transform(images)
    >>> components.shape
    (1797, 4)
    >>> vae.inverse_transform(components).shape
    (1797, 8, 8)
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "image_shape": [tuple, list, None],
        "channel_axis": [Options(Integral, {-1, 0})],
        "pixel_range": ["array-like", StrOptions({"robust"}), None],
        "missing_values": [Real, None],
        "hidden_channels": [tuple, list, None],
        "hidden_units": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [StrOptions({"auto", *LIKELIHOODS})],
        "binarize": ["boolean"],
        "augment": [Interval(Real, 0, 1, closed="both")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "beta_warmup": [Interval(Real, 0, 1, closed="both")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "callbacks": [list, tuple, None],
        "checkpoint": [str, os.PathLike, None],
        "data_parallel": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # An estimator with classes has properties in their place.
    _n_classes, _label_weight, _consistency = 0, 0.0, 0.0

    @suggesting
    def __init__(
        self,
        n_components=10,
        *,
        image_shape=None,
        channel_axis=-1,
        pixel_range=None,
        missing_values=None,
        hidden_channels=None,
        hidden_units=256,
        likelihood="auto",
        binarize=False,
        augment=0.0,
        beta=1.0,
        beta_warmup=0.0,
        max_iter=None,
        batch_size="auto",
        learning_rate="auto",
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        device="auto",
        callbacks=None,
        checkpoint=None,
        data_parallel=False,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.image_shape = image_shape
        self.channel_axis = channel_axis
        self.pixel_range = pixel_range
        self.missing_values = missing_values
        self.hidden_channels = hidden_channels
        self.hidden_units = hidden_units
        self.likelihood = likelihood
        self.binarize = binarize
        self.augment = augment
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
        self.data_parallel = data_parallel
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoder and the decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images of shape (H, W), (H, W, C) or (C, H, W), or rows, in any real dtype. They are
            never changed. If their memory is contiguous, they are never copied as a whole.

        y : Ignored
            Not used in the training. Callbacks of scikit-learn get it, or X if it is None.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X does not hold images, if a parameter does not fit to them, if the checkpoint is
            damaged or belongs to another unfinished fit, or if the loss becomes NaN or infinite.
            After any error, the estimator is as it was before.

        TypeError
            If X is stored in chunks, such as an array of dask or zarr. It would be loaded as a
            whole. Pass a memory map instead.

        MemoryError
            If torch runs out of memory. The message says which parameters to lower.

        OSError
            If the checkpoint cannot be read or written.

        RuntimeError
            With `data_parallel`, if another process ended or did not answer.

        Warns
        -----
        UserWarning
            - If X was perhaps misread, such as channels first as channels last, or rows that may
              hold images other than squares.
            - If values lie outside the pixel range, or span only a small part of it.
            - If values lie so far from 0 that float32 cannot tell them apart.
            - If Ctrl-C ends the training; the weights so far are kept. With `data_parallel`, and
              within a search or a cross-validation, Ctrl-C is a KeyboardInterrupt instead.
            - If the training hardly improved on PCA, if it ended within `beta_warmup`, or if fewer
              than half of the components are active. These are not given if a callback of
              scikit-learn ends the training.
        """
        return self._fit(X, y)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train for one epoch on X, at a constant learning rate.

        The first call determines the shape and the pixel range. Set `pixel_range` if the first
        images may not show the whole range. Until there are 256 images, the estimator keeps all
        images so far, and each call starts anew from them. Later calls continue, and Adam keeps its
        state. A copy or a reloaded estimator has neither the first images nor the state of Adam.
        Callbacks of scikit-learn are not called.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            As `fit`.

        Warns
        -----
        UserWarning
            As `fit`, except for those of its last point.
        """
        return self._partial_fit(X)

    # What a training keeps for those that continue it, beside the attributes whose names end in _:
    # _seed                of all draws
    # _history             the columns of `history_`
    # _n_start             images from which the first weights came; from few, training starts anew
    # _first_images        these images and their labels, in `partial_fit`, as long as they are few
    # _annealed            whether the rate ended at 0, so that `partial_fit` goes on at a low one
    # _few_labels          whether each step also sees labelled images in addition
    # _component_moments   averages of `passes.component_terms`, (3, K), and
    # _n_averaged          over about how many images

    @with_gradients()
    def _fit(self, X, y):
        """Learn the format, split, build the VAE, start at PCA, train, sort, keep."""
        # Outside of what restores the attributes: scikit-learn needs one of them to tear the
        # callbacks down. The number of epochs follows from the images, which come later.
        new_context = partial(self._init_callback_context, max_subtasks=None)
        with fit_run(self.data_parallel, new_context) as run, self._unchanged_on_error():
            continuing = self._continues_with(X)
            images = self._learn(X, y, continuing)
            n_valid = n_set_aside(
                images, self.likelihood_, self.early_stopping, self.validation_fraction
            )
            check_callbacks(self.callbacks or (), validates=n_valid > 0)
            self._seed = run.agree(self, images, n_valid, continuing)
            training, valid = split(images, n_valid, self._seed)
            valid = None if valid is None else self._as_trained(valid)
            self._few_labels = scarce(training.y)

            vae = passes.build_module(self._architecture, self.likelihood_, self.device_)
            self._set_weights(vae, training, valid, continuing, is_first=run.processes.is_first)
            run.start(vae, training.subsample() if valid is None else valid)

            n_images = len(training)
            budget = self._budget(self.max_iter, n_images)
            decay = resolve_weight_decay(n_images, self._architecture)
            net = run.train(
                vae,
                training,
                valid,
                self._settings(budget, weight_decay=decay),
                # Without labels, the images are what the network learns to give back.
                arguments={"estimator": self, "X": X, "y": X if y is None else y},
                fitted=lambda net: self._sorted(net, training, continuing),
            )
            attributes = self._sorted(net, training, continuing, run.processes)
            run.processes.wait()  # no fit ends before all have succeeded
            vars(self).update(attributes)
            run.end(self, n_images)
        return self

    @with_gradients()
    def _partial_fit(self, X, y=None, classes=None):
        """One epoch more: the steps of `_fit`, without images set aside and without sorting."""
        with self._unchanged_on_error(), advice_on_memory():
            if self.data_parallel:
                raise ValueError("partial_fit trains in one process: set data_parallel=False.")
            continuing = hasattr(self, "net_")
            images = self._learn(X, y, continuing, all_images=False, classes=classes)
            if continuing and self._n_start < FEW_IMAGES:
                images, continuing = self._with_the_first(images)
            check_callbacks(self.callbacks or (), validates=False)
            if not continuing:
                self._few_labels = scarce(images.y)

            annealed = continuing and self._annealed
            budget = self._budget(1, len(images))
            settings = self._settings(budget, rate=ANNEALED_RATE if annealed else 1.0)
            if continuing:
                net, so_far = self.net_, (self._component_moments, self._n_averaged)
            else:
                vae = passes.build_module(self._architecture, self.likelihood_, self.device_)
                self._set_weights(vae, images, None, continuing)
                net, so_far = build_net(vae, settings), (None, 0)
            net, moments, n_averaged, interrupted = train_increment(net, images, settings, *so_far)
            if moments is None:  # interrupted before the first batch
                sample = self._as_trained(images.subsample())
                moments, n_averaged = passes.component_moments(net.module_, sample), len(sample)

            vars(self).update(self._trained(net, moments, n_averaged, annealed))
            if not continuing:
                self._n_start, self._first_images = len(images), _kept(images)
            if net.module_.prior.n_classes:
                net.module_.prior.set_priors(self._priors)
            # In place, so that the cost of a call does not grow. Last, so that nothing fails after.
            extend(self._history, net.finished_epochs)
        if interrupted:
            warn("Training interrupted by user; what is trained so far is kept.")
        return self

    def _learn(self, X, y, continuing, *, all_images=True, classes=None):
        """The images of X, after checks; sets what they determine, such as their format."""
        check_parameters(self)
        if continuing:
            values = check_images(self, X, training=True)
            self._format = self._format.after(values)
        else:
            values, self._format, self.likelihood_ = learn_images(self, X)
        rows = values.rows
        labels = self._learn_labels(rows, y, continuing, all_images, classes)
        n_images = len(rows) if all_images else np.inf
        architecture = resolve_architecture(self, n_images, continuing=continuing)
        device = resolve_device(self.device)
        if not continuing:
            self._seed = int(check_random_state(self.random_state).randint(2**31))
            self._history = {}
            # A copy that a callback makes is one of this fit.
            vars(self).pop("net_", None)
        self._architecture, self.device_ = architecture, device
        return ImageDataset(rows, self._format, labels=labels)

    def _learn_labels(self, rows, y, continuing, all_images, classes):
        """The class of each image; None: this estimator has no classes."""
        return None

    def _continues_with(self, X):
        """Whether `fit` continues from the weights of the fit before."""
        if not self.warm_start or not hasattr(self, "net_"):
            return False
        refuse_misreadings(X)
        return self._n_start >= FEW_IMAGES or _num_samples(X) <= self._n_start

    def _with_the_first(self, images):
        """Images with those of the calls before, to start anew; whether to continue instead."""
        before = getattr(self, "_first_images", None)  # neither copies nor files have them
        if before is None:
            return images, len(images) <= self._n_start
        rows = np.concatenate([before[0], images.rows])
        labels = None if images.labels is None else np.concatenate([before[1], images.labels])
        return ImageDataset(rows, self._format, labels=labels), False

    def _as_trained(self, images):
        """The images as the network sees them in training: binarised if `binarize` says so."""
        return images.binarized(self._seed) if self.binarize else images

    def _set_weights(self, vae, training, valid, continuing, *, is_first=True):
        """Give a network its first weights: those before, or PCA's; all processes get these."""
        if continuing:
            set_weights(vae, as_arrays(self.module_.state_dict()))
        elif is_first:
            start.set_first_weights(vae, training, valid, self._seed)
        if vae.prior.n_classes:
            vae.prior.set_priors(self._priors)

    def _budget(self, max_iter, n_images):
        """Epochs and size of a batch of a training on so many images."""
        return resolve_budget(
            max_iter,
            self.batch_size,
            n_images,
            self._architecture,
            consistency=self._consistency,
            few_labels=self._few_labels,
        )

    def _settings(self, budget, *, rate=1.0, weight_decay=0.0):
        """What a training depends on; `rate` is a factor of the learning rate."""
        return TrainSettings(
            log_jacobian=self._format.log_jacobian,
            beta=float(self.beta),
            beta_warmup=float(self.beta_warmup),
            label_weight=self._label_weight,
            learning_rate=rate * resolve_learning_rate(self.learning_rate, self._architecture),
            weight_decay=weight_decay,
            tol=float(self.tol) * self._format.n_features,
            binarize=bool(self.binarize),
            augment=float(self.augment),
            consistency=self._consistency,
            batch_size=budget.batch_size,
            n_epochs=budget.n_epochs,
            n_iter_no_change=int(self.n_iter_no_change),
            seed=self._seed,
            first_epoch=n_epochs_of(self._history),
            device=self.device_,
            verbose=int(self.verbose),
            name=type(self).__name__,
            callbacks=tuple(self.callbacks or ()),
            few_labels=self._few_labels,
        )

    def _sorted(self, net, training, continuing, processes=None):
        """The attributes that a fit ends with; sorts the components of its net by their KL."""
        moments, n_averaged = sort_components(net, self._as_trained(training), processes)
        history = {name: list(column) for name, column in self._history.items()}
        extend(history, net.finished_epochs)
        attributes = self._trained(net, moments, n_averaged, annealed=True)
        attributes |= {"_history": history, "_first_images": None}
        if not continuing:
            attributes["_n_start"] = len(training.rows)  # with those set aside
        return attributes

    def _trained(self, net, moments, n_averaged, annealed):
        """The attributes of every training; moments (3, K) are averages over so many images."""
        return {
            "net_": net,
            "_binarize": bool(self.binarize),
            "_annealed": annealed,
            "_component_moments": moments,
            "_n_averaged": n_averaged,
        }

    @contextmanager
    def _unchanged_on_error(self):
        """Restore the attributes after an exception."""
        attributes = vars(self).copy()
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(attributes)
            raise

    def transform(self, X):
        """Components of each image: the mean mu of the posterior q(z|x).

        A row of the result depends on that image alone, to the last bit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data, as rows or in the layout of `fit`.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components), float32
            The components.

        Warns
        -----
        UserWarning
            If values lie far outside `pixel_range_`, or span only a small part of it.
        """
        check_is_fitted(self)
        mu, _ = passes.encode(self.module_, self._dataset(X))
        return mu

    def posterior(self, X):
        """Mean mu and standard deviation sigma of the posterior q(z|x) of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        Returns
        -------
        mean, std : ndarray of shape (n_samples, n_components), float32
            A named tuple, in units of the components.
        """
        check_is_fitted(self)
        mu, logvar = passes.encode(self.module_, self._dataset(X))
        return Posterior(mean=mu, std=np.exp(logvar / 2))

    def inverse_transform(self, X):
        """Images from components: the mean of p(x|z).

        With the Gaussian likelihood, values may lie outside `pixel_range_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Components z.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features) or of n_samples images, float32
            Images in the units and in the layout that `fit` saw.
        """
        check_is_fitted(self)
        check_in_memory(X)
        X = without_array_api(without_mask(X))
        z = check_array(X, dtype=np.float32, estimator=self, input_name="X")
        if z.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {z.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_components_} features as input."
            )
        return self._decode(z)

    def reconstruct(self, X):
        """Mean image of p(x|z) for the posterior mean z = mu of each image.

        The numbers are those of ``inverse_transform(transform(X))``, bit for bit. With the
        Gaussian likelihood, values may lie outside `pixel_range_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data, as rows or in the layout of `fit`.

        Returns
        -------
        X_mean : ndarray of the shape of X, float32
            Images in the units and in the layout of X. A row depends on that image alone.
        """
        check_is_fitted(self)
        mu, _ = passes.encode(self.module_, self._dataset(X))
        return self._decode(mu).reshape(shape_of(X))

    def score_samples(self, X):
        """ELBO of each image: log p(x|z) - KL(q(z|x) || p(z)), regardless of `beta`.

        The prior p(z) is N(0, I); for a classifier, it is the mixture of the priors of its classes.
        The estimate uses one draw z ~ q(z|x), which depends on the pixels of the image alone. So
        the same image gets the same value in every call and at every place in X. Images are the
        same if their values are equal as float32, whatever the dtype of X. (They must be equal as
        float64 if `pixel_range_` is narrow and far from 0.)

        In expectation, the ELBO is a lower bound of log p(x). This holds for the continuous
        likelihoods, whose p is a density in the units of X, and for "bernoulli" with 0/1 pixels.
        For grey pixels, "bernoulli" is not a normalised density. The score is then a mean of
        such bounds, over 0/1 images drawn from the grey one.

        Values outside `pixel_range_` are clipped to it. With "gaussian", they may lie up to half
        the width of the range outside. Strictly, the density of "continuous_bernoulli" is 0 outside
        the range. Then a single pixel of a held-out image would make the mean of all scores minus
        infinity. To compare densities strictly, set a `pixel_range` that includes all values.

        Scores of different models, such as those of a grid search, can only be compared if the
        models have the same `likelihood`, `binarize` and `pixel_range`. The two continuous
        likelihoods can also be compared with each other and with other densities of X, such as
        :meth:`sklearn.decomposition.PCA.score`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        Returns
        -------
        elbo : ndarray of shape (n_samples,), float64
            In nats per image; higher is better.
        """
        check_is_fitted(self)
        dataset = self._scoring_dataset(X)
        return passes.elbo(self.module_, dataset, self.net_.noise)

    def score(self, X, y=None):
        """Mean of `score_samples`.

        Its notes hold here, too: which scores can be compared, and that values outside
        `pixel_range_` are clipped.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        score : float
            Mean ELBO, nats per image; higher is better.
        """
        return float(np.mean(self.score_samples(X)))

    def explained_variance_ratio(self, X):
        """Share of the variance of the pixels of X that `reconstruct` explains.

        It is 1 - sum (x - reconstruction)^2 / sum (x - mean image of X)^2 over all observed
        pixels of all images, in the units of X: the R^2 of all pixels together. If no pixel has the
        same value in all images, it is ``sklearn.metrics.r2_score`` of rows with
        ``multioutput="variance_weighted"``. PCA, on its training data, has the sum of its
        ``explained_variance_ratio_``.

        Unlike `score`, it compares models with different `likelihood`, `binarize` and
        `pixel_range`, and a VAE with PCA. But it ignores the noise and the posterior, and usually
        rises with every further component.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data. They pass through the network a few at a time,
            so the reconstructions are never held as a whole.

        Returns
        -------
        ratio : float
            At most 1. It is 0 if all reconstructions are the mean image of X, and below 0 if they
            are worse. If all images of X are equal, it is 1 if the reconstructions are equal to
            them, else 0.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skvae import ConvVAETransformer
        >>> images = load_digits().images
        >>> vae = ConvVAETransformer(n_components=4, max_iter=2, random_state=0).fit(images)
        >>> 0.5 < vae.explained_variance_ratio(images) < 1
        True
        """
        check_is_fitted(self)
        return passes.explained_variance_ratio(self.module_, self._dataset(X))

    def log_likelihood(self, X, n_draws=100):
        """Importance-weighted estimate of log p(x) of each image.

        The log of the mean of p(x|z) p(z) / q(z|x) over draws z ~ q(z|x), as in [1]_. In
        expectation it lies between the ELBO and log p(x), and rises with the number of draws.
        The draws depend on the pixels of the image alone. A larger `n_draws` extends the same
        sequence of draws. The notes of `score_samples` on grey pixels and on comparisons hold
        here too.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        n_draws : int, default=100
            Draws of the components for each image. They are decoded 128 at a time, or
            fewer for large images, so memory does not grow with their number.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,), float64
            In nats per image. With a continuous `likelihood`, the log of a density in the units
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
        >>> vae = ConvVAETransformer(n_components=4, max_iter=2, random_state=0).fit(images)
        >>> bool(vae.log_likelihood(images[:100]).mean() > vae.score(images[:100]))
        True
        """
        check_is_fitted(self)
        check_count("n_draws", n_draws)
        return passes.marginal_log_likelihood(
            self.module_, self._scoring_dataset(X), int(n_draws), self._seed
        )

    def impute(self, X, n_draws=100, *, sample=False, random_state=None):
        """Fill the missing pixels of images.

        By default, they are filled by their mean given the observed pixels: the mean of E[x|z] over
        draws z ~ q(z|x), weighted by p(x|z) p(z) / q(z|x), as in [1]_. With `sample`, each image is
        filled by E[x|z] for one draw from the posterior p(z|x), which is one possible filling. The
        noise of single pixels is not added.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data. `missing_values` marks missing pixels.

        n_draws : int, default=100
            Draws of the components for each image.

        sample : bool, default=False
            Whether to fill each image by a single draw, which is chosen among `n_draws` by its
            weight. Each image has different draws.

        random_state : int, RandomState instance or None, default=None
            Seeds the draws and the choice of `sample`. None: NumPy's global generator.

        Returns
        -------
        X_filled : ndarray of the shape of X
            Observed values are those of X, to the bit. The dtype is that of ``np.asarray(X)``. For
            integers, the filled values are rounded, but never to `missing_values`.

        Raises
        ------
        ValueError
            If the estimator was fitted with ``missing_values=None``, or if `n_draws` is below 1.

        References
        ----------
        .. [1] P.-A. Mattei and J. Frellsen, "MIWAE: Deep generative modelling and imputation of
           incomplete data sets", ICML 2019. https://arxiv.org/abs/1812.02633

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from skvae import ConvVAETransformer
        >>> images = load_digits().images
        >>> images[:, 2:5, 2:5] = np.where(np.arange(1797) % 2, np.nan, images[:, 2:5, 2:5].T).T
        >>> vae = ConvVAETransformer(missing_values=np.nan, max_iter=2, random_state=0).fit(images)
        >>> filled = vae.impute(images[:100])
        >>> bool(np.isnan(filled).any())
        False
        """
        check_is_fitted(self)
        image_format = self._format
        if image_format.missing_values is None:
            raise ValueError(
                f"This {type(self).__name__} was fitted with missing_values=None, so nothing is "
                "missing. Set missing_values, such as missing_values=np.nan, before fit."
            )
        check_count("n_draws", n_draws)
        rng = check_random_state(random_state) if sample else None
        dataset = self._dataset(X)
        rows = dataset.rows
        filled = rows.copy()
        holes = is_hole(rows, image_format.missing_values)
        some = np.flatnonzero(holes.any(axis=1))
        if len(some):
            decoded = passes.impute(
                self.module_, dataset.at(some), int(n_draws), self._seed, rng
            ).reshape(len(some), -1)
            values = decoded[holes[some]]
            if filled.dtype.kind in "iu":
                values = whole_numbers(values, filled.dtype, image_format.missing_values)
            elif filled.dtype.kind == "f":  # float16 cannot hold each float32
                values = values.clip(*np.finfo(filled.dtype).max * np.array([-1, 1]))
            filled[holes] = values
        return filled.reshape(shape_of(X))

    def sample(self, n_samples=1, random_state=None):
        """Generate new images: the mean of p(x|z) for draws z ~ N(0, I).

        With the Gaussian likelihood, values may lie outside `pixel_range_`.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images.

        random_state : int, RandomState instance or None, default=None
            Seeds the draws. None: NumPy's global generator.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features) or of n_samples images, float32
            Images in the units and the layout of the X of `fit`.
        """
        rng = self._rng_for_samples(n_samples, random_state)
        return self._decode(rng.standard_normal((n_samples, self.n_components_)))

    def save(self, path):
        """Write the fitted estimator to a file, without pickle; `skvae.load` reads it.

        The file is a zip archive of JSON and NumPy arrays. It is written beside `path` and then
        moved into place, so a crash leaves an old file intact. The parameters `callbacks`,
        `checkpoint` and `data_parallel`, and a `random_state` that is a RandomState, are not saved.

        Parameters
        ----------
        path : str or path-like
            The file. An existing one is replaced.

        Raises
        ------
        OSError
            If the file cannot be written. An old file then stays as it was.

        TypeError
            If the estimator is of a subclass, whose code a file cannot hold.

        ValueError
            If the network or its history is larger than a file may hold; see
            ``docs/file-format.md``.
        """
        check_is_fitted(self)
        model.save(self, path)

    def _dataset(self, X):
        return ImageDataset(check_images(self, X).rows, self._format)

    def _scoring_dataset(self, X):
        dataset = self._dataset(X)
        return dataset.binarized(self._seed) if self._binarize else dataset

    def _rng_for_samples(self, n_samples, random_state):
        """The generator of `sample`, after checks."""
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        return check_random_state(random_state)

    def _decode(self, z):
        return passes.decode(self.module_, z, self._format)

    @property
    def image_shape_(self):
        """Shape of one image, in the layout of the X of `fit`."""
        return self._format.shape

    @property
    def channel_axis_(self):
        """Place of the channels in an `image_shape_` of three numbers."""
        return self._format.channel_axis

    @property
    def pixel_range_(self):
        """``(low, high)`` in the units of X, for all channels or for each."""
        return self._format.pixel_range

    @property
    def module_(self):
        """The trained `torch.nn.Module`."""
        return self.net_.module_

    @property
    def n_components_(self):
        """Number of components."""
        return self._architecture["n_components"]

    @property
    def n_iter_(self):
        """Epochs of training so far."""
        return n_epochs_of(self._history)

    @property
    def loss_curve_(self):
        """Mean -ELBO of the training images in each epoch, nats per image."""
        return list(self._history.get("train_loss", []))

    @property
    def history_(self):
        """Losses and duration of each epoch, as a pandas DataFrame."""
        history = self._history  # before the import: only a fitted estimator has one
        import pandas as pd

        return pd.DataFrame({"epoch": np.arange(1, self.n_iter_ + 1), **history})

    @property
    def kl_per_component_(self):
        """Mean KL divergence of each component over images, in nats."""
        return self._component_moments[0].copy()

    @property
    def n_active_components_(self):
        """Number of components whose posterior mean varies over images."""
        _, mean, mean_square = self._component_moments
        return int(np.sum(mean_square - mean**2 > ACTIVE_VARIANCE))

    @property
    def noise_variance_(self):
        """Estimated variance of the noise of a pixel, in squared units of X."""
        if self.likelihood_ != "gaussian":
            raise AttributeError("noise_variance_ exists only with the Gaussian likelihood.")
        variance = self.module_.likelihood.variance.item()
        in_units = variance * self._format.span**2
        return float(in_units[0]) if len(in_units) == 1 else in_units

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.three_d_array = True
        marker = self.missing_values
        tags.input_tags.allow_nan = isinstance(marker, Real) and bool(np.isnan(marker))
        return tags

    def __getstate__(self):
        return _state.state_of(self, super().__getstate__())

    def __setstate__(self, state):
        state = _state.with_format(state)
        weights, version = state.pop("_weights", None), state.pop("_skvae_version", None)
        super().__setstate__(state)
        if weights is not None:
            _state.warn_about_version(self, version)
            self._restore(weights)

    @with_gradients()
    def _restore(self, weights):
        """Build the network anew, when all other attributes are there."""
        # Copied: joblib may give a memory map, which would keep its file open.
        self._component_moments = np.array(self._component_moments)
        try:
            self.device_ = resolve_device(self.device_)
        except ValueError:
            self.device_ = "cpu"
        vae = passes.build_module(self._architecture, self.likelihood_, self.device_)
        set_weights(vae, weights)
        # Without callbacks. If it trains again, `train_increment` builds a net that has them.
        self.net_ = build_net(vae, replace(self._settings(Budget(1, 1)), callbacks=()))


def _kept(images):
    """Rows and labels for `_with_the_first`; None if they are enough, or too large to keep."""
    if len(images) >= FEW_IMAGES or images.rows.size > MAX_KEPT_NUMBERS:
        return None
    return np.array(images.rows), images.labels
