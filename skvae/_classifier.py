"""ConvVAEClassifier: components and classes of images, few of which need labels (scikit-learn)."""

from numbers import Real

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import Interval

from ._class_normals import ClassNormalsMixin
from ._data import check_classes, encode_labels, known_labels, resolve_priors
from ._files import storable
from ._keywords import suggesting
from ._transformer import ConvVAETransformer

# Default weight of the labels for each number of an image, if log p(x|z) is a density: that grows
# with these numbers, however little the components can tell of them. And the least default weight.
WEIGHT_PER_NUMBER, LEAST_WEIGHT = 0.4, 20.0

# With "bernoulli": if fewer than half of the images are labelled, and if more are.
FEW_LABELS_WEIGHT, MANY_LABELS_WEIGHT = 30.0, 100.0


@storable
class ConvVAEClassifier(ClassifierMixin, ClassNormalsMixin, ConvVAETransformer):
    """Non-linear discriminant analysis for images, by a convolutional VAE with a label decoder.

    It is a classifier, and a transformer like :class:`ConvVAETransformer`. It also generates images
    of a class. Four parameters matter most. The defaults of all others suit most images.

    - `unlabeled`: the value of y that marks images without a label. Training uses these, too.
    - `n_components`: the number of components that each image is compressed to.
    - `max_iter`: the length of the training. The default takes a few minutes.
    - `random_state`: a whole number, so that a second fit gives the same result.

    The decoder of images p(x|z) and the encoder q(z|x) = N(mu, diag(sigma^2)) are those of
    `ConvVAETransformer`. But each class y has a normal prior of its own,
    p(z|y) = N(m_y, diag(tau^2)), with a tau that all classes share. With the probabilities pi_y of
    the classes, the label decoder p(y|z) is therefore the softmax of

        log pi_y + log p(z|y),

    which is linear in z up to a number that all classes share, as in linear discriminant analysis.
    Training minimises the mean over the images of

        -log p(x|z) + beta * KL(q(z|x) || p(z|y)) - beta * log pi_y    if the class is known,
        -log p(x|z) - beta * log sum_y pi_y exp(-KL(q(z|x) || p(z|y)))    if it is not,

    plus `label_weight` times the loss of the labels. The second line is a bound of -log p(x) in
    which the class is summed out, as in [6]_. The loss of the labels has three terms:

    - for images with a label, the mean of -log p(y|z = mu); if fewer than half of the images have
      a label, it counts more in the first half of all possible epochs;
    - for images without a label, the mean entropy of p(y|z = mu), so that each image clearly
      belongs to one class, plus KL(frequencies of the classes || pi), as in [7]_;
    - for all images, KL(p(y|x) || p(y|T x)) with small random maps T, so that a map does not
      change the class of an image, as in [8]_.

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

    label_weight : float, default=None
        Weight of the loss of the labels. A larger one helps the classes, a smaller one the images.
        None: 0.4 for each number of an image, because -log p(x|z) grows with them, and at least
        20. With "bernoulli" it is 30 if fewer than half of the images are labelled, else 100.

        If fewer than half are, each step uses 64 labelled images in addition, as many of each
        class. This is decided once per fit, for the images that are not set aside. `partial_fit`
        decides it by the images of the first calls, up to 256 or more.

    consistency : float, default=1.0
        Strength of the small random affine maps that should not change the class of an image, in
        the units of `augment`: at 1, up to 10 degrees of rotation, 10 % of scale and of shear, and
        shifts of 5 % of each side. If fewer than half of the images are labelled, a rectangle of
        each map is covered, at 1 of up to the size of the image. Three quarters of the 64 labelled
        images of a step then get maps of twice this strength. Images are never mirrored. 0: no
        maps. Choose 0 if such a map can change the class, as with orientations or positions, and
        less than 1 if a small part of an image tells its class.

    unlabeled : scalar, default=None
        The value of y that marks images without a label, such as -1, ``""`` or NaN. NaN also stands
        for None, for all that pandas calls missing, and for masked labels. None: every value is a
        class.

    priors : array-like of shape (n_classes,), dict or Series, default=None
        Probability pi_y of each class, in the order of the sorted classes, or by class. None: the
        frequencies of the labels. Set it if the images without a label have other frequencies.

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

    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.

    class_counts_ : ndarray of shape (n_classes,)
        Labelled images of each class.

    priors_ : ndarray of shape (n_classes,)
        pi_y, the probability of each class.

    means_ : ndarray of shape (n_classes, n_components)
        m_y, the mean of the components of each class.

    variances_ : ndarray of shape (n_components,)
        tau^2, the variance of the components within each class.

    See Also
    --------
    ConvVAETransformer : The same without labels.
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : Normal classes of the pixels.
    sklearn.semi_supervised.SelfTrainingClassifier : Another way to use images without labels.

    Notes
    -----
    `history_` also has two columns for the labelled images of each epoch: ``train_label_loss``, the
    mean of -log p(y|z = mu) in nats, and ``train_accuracy``. ``train_loss`` and `loss_curve_`
    include `label_weight` times ``train_label_loss``, but not the two other terms of the loss of
    the labels. If fewer than half of the images have a label, early stopping sets only images
    without a label aside.

    For `kl_per_component_` and `n_active_components_`, components are scaled to mean 0 and variance
    1 under the prior p(z) = sum_y pi_y p(z|y).

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

    .. [6] D. P. Kingma, D. J. Rezende, S. Mohamed and M. Welling, "Semi-supervised learning with
       deep generative models", NeurIPS 2014. https://arxiv.org/abs/1406.5298

    .. [7] A. Krause, P. Perona and R. Gomes, "Discriminative clustering by regularized information
       maximization", NeurIPS 2010.

    .. [8] W. Hu, T. Miyato, S. Tokui, E. Matsumoto and M. Sugiyama, "Learning discrete
       representations via information maximizing self-augmented training", ICML 2017.
       https://arxiv.org/abs/1702.08720

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ConvVAEClassifier
    >>> images, labels = load_digits(return_X_y=True)
    >>> few = labels.copy()
    >>> few[100:] = -1  # no label
    >>> clf = ConvVAEClassifier(unlabeled=-1, max_iter=20, random_state=0).fit(images, few)
    >>> clf.predict(images[:5])
    array([0, 1, 2, 3, 4])
    >>> clf.transform(images).shape
    (1797, 10)
    >>> clf.sample(3, y=7).shape
    (3, 64)
    """

    _parameter_constraints: dict = {
        **ConvVAETransformer._parameter_constraints,
        "label_weight": [Interval(Real, 0, None, closed="left"), None],
        "consistency": [Interval(Real, 0, 1, closed="both")],
        "unlabeled": "no_validation",  # any label
        "priors": ["array-like", dict, None],
    }

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
        label_weight=None,
        consistency=1.0,
        unlabeled=None,
        priors=None,
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
        self.label_weight = label_weight
        self.consistency = consistency
        self.unlabeled = unlabeled
        self.priors = priors

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Train the encoder and both decoders.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images of shape (H, W), (H, W, C) or (C, H, W), or rows, in any real dtype. They are
            never changed. If their memory is contiguous, they are never copied as a whole.

        y : array-like of shape (n_samples,)
            Labels: numbers, strings or bools. The value `unlabeled` marks images without one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            As :meth:`ConvVAETransformer.fit`. Also if y has another length than X, if no image has
            a label, if labels are missing and `unlabeled` does not say so, or if labels are numbers
            that are not whole. Also if y holds `unlabeled` only as another type, such as the text
            "-1" for -1.

        TypeError, MemoryError, OSError
            As :meth:`ConvVAETransformer.fit`. A TypeError also if some labels are text and others
            are not.

        RuntimeError
            With `data_parallel`, if another process ended or did not answer.

        Warns
        -----
        UserWarning
            As :meth:`ConvVAETransformer.fit`, and if -1 seems to mark images without a label, but
            `unlabeled` is None.
        """
        return self._fit(X, y)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None):
        """Train for one epoch on X, at a constant learning rate.

        See :meth:`ConvVAETransformer.partial_fit`. `class_counts_` and `priors_` are those of all
        calls so far.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images.

        y : array-like of shape (n_samples,)
            Labels. All of them may be missing.

        classes : array-like of shape (n_classes,), default=None
            All labels that will ever occur. Required in the first call. `unlabeled` may be among
            them, as in ``np.unique(y)``, and is no class.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            As `fit`; if the first call names no classes or a later one names others; if a label is
            not among them.

        Warns
        -----
        UserWarning
            As :meth:`ConvVAETransformer.partial_fit`.
        """
        return self._partial_fit(X, y, classes)

    def _learn_labels(self, rows, y, continuing, all_images, classes):
        """The class of each image, -1 if not known; sets the attributes that tell about classes."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        known = self.classes_ if continuing else None
        if not all_images:
            known = check_classes(classes, self.unlabeled, known)
        self.classes_, labels = encode_labels(y, self.unlabeled, known)
        check_consistent_length(rows, labels)
        counts = np.bincount(labels[labels >= 0], minlength=len(self.classes_))
        if continuing and not all_images:
            counts = counts + self.class_counts_
        self.class_counts_ = counts
        self.priors_ = resolve_priors(self.priors, counts, self.classes_)
        return labels

    @property
    def _label_weight(self):
        if self.label_weight is not None:
            return float(self.label_weight)
        if self.likelihood_ != "bernoulli":
            return max(LEAST_WEIGHT, WEIGHT_PER_NUMBER * self._format.n_features)
        return FEW_LABELS_WEIGHT if self._few_labels else MANY_LABELS_WEIGHT

    @property
    def _n_classes(self):
        return len(self.classes_)

    @property
    def _priors(self):
        return self.priors_

    def decision_function(self, X):
        """Log of pi_y p(z|y) of each class, at the posterior mean z = mu of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        Returns
        -------
        decision : ndarray of shape (n_samples, n_classes) or (n_samples,), float64
            In nats. With two classes, the difference between the second and the first.
        """
        log_joint = self._log_joint(X)
        return log_joint[:, 1] - log_joint[:, 0] if len(self.classes_) == 2 else log_joint

    def predict_log_proba(self, X):
        """Log of p(y|z) of each class, at the posterior mean z = mu of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`.
        """
        log_joint = self._log_joint(X)
        return log_joint - np.logaddexp.reduce(log_joint, axis=1, keepdims=True)

    def predict_proba(self, X):
        """Probability p(y|z) of each class, at the posterior mean z = mu of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`.
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X):
        """The most probable class of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Values of `classes_`.
        """
        log_joint = self._log_joint(X)  # before the classes: only a fitted estimator has them
        return self.classes_[log_joint.argmax(1)]

    def score(self, X, y, sample_weight=None):
        """Accuracy over the images that have a label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or of n_samples images
            Images in the units of the training data.

        y : array-like of shape (n_samples,)
            True labels. The value `unlabeled` marks images without one.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each image.

        Returns
        -------
        score : float
            Share of the labels that `predict` gives.

        Raises
        ------
        ValueError
            If no image has a label.
        """
        y_pred = self.predict(X)
        labels, known = known_labels(y, self.unlabeled)
        check_consistent_length(y_pred, known, sample_weight)
        if not known.any():
            raise ValueError(f"No image has a label: all of y is unlabeled={self.unlabeled!r}.")
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(accuracy_score(labels, y_pred[known], sample_weight=weight))

    def sample(self, n_samples=1, y=None, random_state=None):
        """Generate new images, of one class or of all: the mean of p(x|z) for draws of z.

        With the Gaussian likelihood, values may lie outside `pixel_range_`.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images.

        y : scalar, default=None
            The class of the images: z is drawn from p(z|y) = N(m_y, diag(tau^2)). None: the class
            of each image is drawn from `priors_`.

        random_state : int, RandomState instance or None, default=None
            Seeds the draws. None: NumPy's global generator.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features) or of n_samples images, float32
            Images in the units and the layout of the X of `fit`.

        Raises
        ------
        ValueError
            If `n_samples` is below 1, or if y is not in `classes_`.
        """
        rng = self._rng_for_samples(n_samples, random_state)
        n_classes = len(self.classes_)
        if y is None:
            codes = rng.choice(n_classes, n_samples, p=self.priors_ / self.priors_.sum())
        else:
            codes = np.flatnonzero(self.classes_ == y) if np.ndim(y) == 0 else []
            if len(codes) == 0:
                raise ValueError(f"y={y!r} is not one of the classes {self.classes_}.")
        return self._draw(np.resize(codes, n_samples), rng)
