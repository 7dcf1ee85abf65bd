"""ConvVAECluster: components and clusters of images, of which none has a label (scikit-learn)."""

from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import ClusterMixin, _fit_context
from sklearn.cluster import KMeans
from sklearn.utils._param_validation import Interval

from ._class_normals import ClassNormalsMixin
from ._data import UNKNOWN
from ._files import storable
from ._keywords import suggesting
from ._model import CLUSTERS, generator_for, normal_draws, passes
from ._transformer import ConvVAETransformer

# Weight of the entropy of p(y|z) in the loss of the clusters, and the number of images that tell
# how frequent clusters are: with more, training learns too late that one has grown.
ENTROPY_WEIGHT, SHARES_WINDOW = 0.3, 128


@storable
class ConvVAECluster(ClusterMixin, ClassNormalsMixin, ConvVAETransformer):
    """Clusters of images, by a convolutional VAE with a normal prior for each cluster.

    It is a clusterer, and a transformer like :class:`ConvVAETransformer`. It also generates images
    of a cluster. Four parameters matter most. The defaults of all others suit most images.

    - `n_clusters`: the number of clusters. All become about equally frequent.
    - `n_components`: the number of components that each image is compressed to.
    - `consistency`: the strength of small maps of an image that should leave it in its cluster.
    - `random_state`: a whole number, so that a second fit gives the same result.

    The model is that of :class:`ConvVAEClassifier`, with clusters y in place of its classes: each
    has a normal prior p(z|y) = N(m_y, diag(tau^2)), with a tau that all clusters share, and the
    same probability 1 / n_clusters. Training minimises the mean over the images of

        -log p(x|z) - beta * log mean_y exp(-KL(q(z|x) || p(z|y)))

    plus `cluster_weight` times the sum of three terms: KL(shares || 1 / n_clusters), so that the
    clusters are equally frequent; 0.3 times the entropy of p(y|z = mu), so that each image clearly
    belongs to one cluster [6]_; and KL(p(y|x) || p(y|T x)) with small random maps T, so that a map
    leaves the cluster of an image as it is [7]_.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.

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

    cluster_weight : float, default=100.0
        Weight of the loss of the clusters; that of the images is 1. A larger one helps the
        clusters, a smaller one the images.

    consistency : float, default=1.0
        Strength of the small random affine maps that should not change the cluster of an image, in
        the units of `augment`: at 1, up to 10 degrees of rotation, 10 % of scale and of shear, and
        shifts of 5 % of each side. Images are never mirrored. 0: no maps. This is needed if such a
        map changes what an image shows, as with orientations or positions.

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

    labels_ : ndarray of shape (n_samples,)
        Cluster of each image of the last `fit` or `partial_fit`. Files do not keep it.

    means_ : ndarray of shape (n_clusters, n_components)
        m_y, the mean of the components of each cluster.

    variances_ : ndarray of shape (n_components,)
        tau^2, the variance of the components within each cluster.

    See Also
    --------
    ConvVAEClassifier : The same with labels.
    sklearn.cluster.KMeans : Clusters by the distances between rows.

    Notes
    -----
    `loss_curve_` and `history_` hold nothing of the loss of the clusters. Early stopping watches
    the images alone, too.

    For `kl_per_component_` and `n_active_components_`, components are scaled to mean 0 and variance
    1 under the prior p(z) = sum_y p(z|y) / n_clusters.

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

    .. [6] A. Krause, P. Perona and R. Gomes, "Discriminative clustering by regularized information
       maximization", NeurIPS 2010.

    .. [7] W. Hu, T. Miyato, S. Tokui, E. Matsumoto and M. Sugiyama, "Learning discrete
       representations via information maximizing self-augmented training", ICML 2017.
       https://arxiv.org/abs/1702.08720

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ConvVAECluster
    >>> images = load_digits().images
    >>> cluster = ConvVAECluster(n_clusters=10, max_iter=20, random_state=0)
    >>> cluster.fit_predict(images).shape
    (1797,)
    >>> cluster.transform(images).shape
    (1797, 10)
    >>> cluster.sample(3, cluster=7).shape
    (3, 8, 8)
    """

    _parameter_constraints: dict = {
        **ConvVAETransformer._parameter_constraints,
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "cluster_weight": [Interval(Real, 0, None, closed="left")],
        "consistency": [Interval(Real, 0, 1, closed="both")],
    }

    @suggesting
    def __init__(
        self,
        n_clusters=8,
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
        cluster_weight=100.0,
        consistency=1.0,
    ):
        super().__init__(
            n_components,
            image_shape=image_shape,
            channel_axis=channel_axis,
            pixel_range=pixel_range,
            missing_values=missing_values,
            hidden_channels=hidden_channels,
            hidden_units=hidden_units,
            likelihood=likelihood,
            binarize=binarize,
            augment=augment,
            beta=beta,
            beta_warmup=beta_warmup,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate=learning_rate,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            device=device,
            callbacks=callbacks,
            checkpoint=checkpoint,
            data_parallel=data_parallel,
            random_state=random_state,
            verbose=verbose,
        )
        self.n_clusters = n_clusters
        self.cluster_weight = cluster_weight
        self.consistency = consistency

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoder, the decoder and the clusters.

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
            As :meth:`ConvVAETransformer.fit`, and if there are fewer images than clusters.

        TypeError, MemoryError, OSError, RuntimeError
            As :meth:`ConvVAETransformer.fit`.

        Warns
        -----
        UserWarning
            As :meth:`ConvVAETransformer.fit`.
        """
        self._fit(X, y)
        self.labels_ = self.predict(X)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train for one epoch on X, at a constant learning rate.

        See :meth:`ConvVAETransformer.partial_fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images; in the first call, at least as many as clusters.

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
            As :meth:`ConvVAETransformer.partial_fit`.
        """
        self._partial_fit(X)
        self.labels_ = self.predict(X)
        return self

    def _learn_labels(self, rows, y, continuing, all_images, classes):
        """No image has a known cluster."""
        if len(rows) < self.n_clusters and not continuing:
            raise ValueError(
                f"n_samples={len(rows)} should be >= n_clusters={self.n_clusters}. Send more "
                "images, or lower n_clusters."
            )
        return np.full(len(rows), UNKNOWN)

    def _set_weights(self, vae, training, valid, continuing, *, is_first=True):
        super()._set_weights(vae, training, valid, continuing, is_first=is_first)
        if is_first and not continuing:  # the other processes get the weights of the first
            vae.prior.start_at(self._first_means(vae, training))

    def _first_means(self, vae, images):
        """Means of the clusters: of k-means where mu starts at PCA, else drawn from N(0, I)."""
        if vae.linear is not None:
            mu, _ = passes.encode(vae, images.subsample())
            if len(np.unique(mu, axis=0)) >= self.n_clusters:
                k_means = KMeans(self.n_clusters, n_init=10, random_state=self._seed).fit(mu)
                return torch.from_numpy(k_means.cluster_centers_)
        generator = generator_for(self._seed, CLUSTERS)
        return normal_draws(self.n_clusters, self.n_components, generator)

    def _settings(self, budget, **how):
        settings = super()._settings(budget, **how)
        return replace(settings, entropy_weight=ENTROPY_WEIGHT, shares_window=SHARES_WINDOW)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # ClusterMixin empties this: other clusterers transform to distances, in float64.
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_classes(self):
        return int(self.n_clusters)

    @property
    def _priors(self):
        return np.full(self.n_clusters, 1 / self.n_clusters)

    @property
    def _label_weight(self):
        return float(self.cluster_weight)

    def predict(self, X):
        """The most probable cluster of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Whole numbers from 0 to n_clusters - 1.
        """
        return self._log_joint(X).argmax(1)

    def sample(self, n_samples=1, cluster=None, random_state=None):
        """Generate new images, of one cluster or of all: the mean of p(x|z) for draws of z.

        With the Gaussian likelihood, values may lie outside `pixel_range_`.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images.

        cluster : int, default=None
            A cluster y: z is drawn from p(z|y) = N(m_y, diag(tau^2)). None: each image is of a
            random cluster.

        random_state : int, RandomState instance or None, default=None
            Seeds the draws. None: NumPy's global generator.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features) or of n_samples images, float32
            Images in the units and the layout of the X of `fit`.

        Raises
        ------
        ValueError
            If `n_samples` is below 1, or if there is no such cluster.
        """
        rng = self._rng_for_samples(n_samples, random_state)
        n_clusters = len(self.means_)
        if cluster is None:
            return self._draw(rng.randint(n_clusters, size=n_samples), rng)
        if np.ndim(cluster) > 0 or cluster not in range(n_clusters):
            raise ValueError(f"cluster={cluster!r} is not in range({n_clusters}).")
        return self._draw(np.full(n_samples, int(cluster)), rng)
