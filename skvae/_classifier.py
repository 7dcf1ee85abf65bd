"""ConvVAEClassifier: components and classes of images, few of which need labels (scikit-learn)."""

from numbers import Real

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ._data import known_labels
from ._docstrings import with_sections_of
from ._estimator import BaseConvVAE
from ._files import storable
from ._keywords import suggesting
from ._model import passes
from ._training import fit


@with_sections_of(BaseConvVAE)
@storable
class ConvVAEClassifier(ClassifierMixin, BaseConvVAE):
    """A non-linear discriminant analysis for images: a convolutional VAE with a label decoder.

    It is a classifier, and a transformer like :class:`ConvVAETransformer`. It can draw images of a
    class. Images without a label help, if `unlabeled` says how y marks them.

    The decoder of images p(x|z) and the encoder q(z|x) = N(mu, diag(sigma^2)) are those of
    `ConvVAETransformer`. But each class y has a normal prior of its own,
    p(z|y) = N(m_y, diag(s^2)), with an s that all classes share. With the probabilities pi_y of
    the classes, the label decoder p(y|z) is therefore the softmax of

        log pi_y + log p(z|y),

    which is linear in z up to a number that all classes share, as in linear discriminant analysis.
    Training minimises the mean over the images of

        -log p(x|z) + beta * KL(q(z|x) || p(z|y)) - beta * log pi_y    if the class is known,
        -log p(x|z) - beta * log sum_y pi_y exp(-KL(q(z|x) || p(z|y)))    if it is not,

    plus `label_weight` times the loss of the labels. The second line is a bound of -log p(x) in
    which the class is summed out, as in [6]_. The loss of the labels is the mean of
    -log p(y|z = mu) over labelled images. For the others it is the entropy of p(y|z = mu), so that
    each image clearly belongs to one class, plus KL(shares || pi), so that the classes are as
    frequent among them as pi says; see [7]_.

    Parameters
    ----------
    {Parameters}

    label_weight : float, default=None
        Weight of the loss of the labels. A larger one helps the classes, a smaller one the images.
        None: 30 if fewer than half of the images are labelled, else 100. In the first case, each
        step also sees 64 labelled images in addition, as many of each class. This is decided once a
        fit, for the images that are not set aside, and in the first call of `partial_fit`.

    unlabeled : scalar, default=None
        The value of y that marks images without a label, such as -1, ``""`` or NaN. NaN stands for
        all that pandas calls missing. None: every value is a class.

    priors : array-like of shape (n_classes,) or dict, default=None
        Probability pi_y of each class, in the order of the sorted classes, or by class. None: the
        frequencies of the labels. Give them if the images without a label have other frequencies.

    Attributes
    ----------
    {Attributes}

    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.

    class_counts_ : ndarray of shape (n_classes,)
        Labelled images of each class.

    priors_ : ndarray of shape (n_classes,)
        pi_y.

    means_ : ndarray of shape (n_classes, n_components)
        m_y, the mean of the latent variables of each class.

    variances_ : ndarray of shape (n_components,)
        s^2, the variance of the latent variables within each class.

    See Also
    --------
    ConvVAETransformer : The same without labels.
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : Normal classes of the pixels.
    sklearn.semi_supervised.SelfTrainingClassifier : Another way to use images without labels.

    Notes
    -----
    `history_` also has the columns ``train_label_loss``, the mean of -log p(y|z = mu) in nats, and
    ``train_accuracy``, of the labelled images that the steps have seen. ``train_loss`` and
    `loss_curve_` include `label_weight` times the former, but nothing of the labels of images
    without one. If fewer than half of the images have a label, early stopping sets only others
    aside.

    KL divergences of `kl_per_component_`, and the variances from which `n_active_components_` is
    determined, are in units in which each latent variable has mean 0 and variance 1 under the prior
    p(z) = sum_y pi_y p(z|y).

    References
    ----------
    {References}

    .. [6] D. P. Kingma, D. J. Rezende, S. Mohamed and M. Welling, "Semi-supervised learning with
       deep generative models", NeurIPS 2014. https://arxiv.org/abs/1406.5298

    .. [7] A. Krause, P. Perona and R. Gomes, "Discriminative clustering by regularized information
       maximization", NeurIPS 2010.

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
        **BaseConvVAE._parameter_constraints,
        "label_weight": [Interval(Real, 0, None, closed="left"), None],
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
        learning_rate=5e-3,
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
        self.unlabeled = unlabeled
        self.priors = priors

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Train the encoder and both decoders.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images, in any real dtype. They are never changed. If their memory is contiguous,
            they are never copied as a whole.

        y : array-like of shape (n_samples,)
            Labels: numbers, strings or bools. The value `unlabeled` marks images without one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            As :meth:`ConvVAETransformer.fit`, and if y has another length than X, if no image has
            a label, or if labels are numbers that are not whole.

        TypeError, MemoryError, OSError
            As :meth:`ConvVAETransformer.fit`.

        RuntimeError
            With `data_parallel`, if another process ended or did not answer.

        Warns
        -----
        UserWarning
            As :meth:`ConvVAETransformer.fit`, and if -1 seems to mark images without a label, but
            `unlabeled` is None.
        """
        fit.fit(self, X, y)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None):
        """Train for one epoch on X, at a constant learning rate.

        See :meth:`ConvVAETransformer.partial_fit`. `class_counts_` and `priors_` are those of all
        calls so far.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images.

        y : array-like of shape (n_samples,)
            Labels. All of them may be missing.

        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come. Required in the first call.

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
        fit.partial_fit(self, X, y, classes)
        return self

    def decision_function(self, X):
        """Log of pi_y p(z|y) of each class, at the posterior mean z = mu of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
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
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
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
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
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
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
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
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images in the units of the training data.

        y : array-like of shape (n_samples,)
            True labels. The value `unlabeled` marks images without one.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each image.

        Returns
        -------
        score : float
            Share of the labels that `predict` finds.

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
        """Mean images of p(x|z) for new draws of z: of one class, or of all.

        With the Gaussian likelihood, values may lie outside `pixel_range_`.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images.

        y : scalar, default=None
            A class: z is drawn from p(z|y) = N(m_y, diag(s^2)). None: the class of each image is
            drawn from `priors_` first.

        random_state : int, RandomState instance or None, default=None
            Seeds the draws. None: NumPy's global generator.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W), float32
            Images in the units and in the layout that `fit` saw.

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
        noise = rng.standard_normal((n_samples, self.n_components_))
        return self._decode(self.means_[codes] + np.sqrt(self.variances_) * noise)

    def _log_joint(self, X):
        check_is_fitted(self)
        return passes.label_log_joint(self.module_, self._dataset(X)).astype(np.float64)

    @property
    def means_(self):
        """Mean of the latent variables of each class."""
        return self.module_.label_decoder.means.detach().cpu().double().numpy()

    @property
    def variances_(self):
        """Variance of the latent variables within each class."""
        return np.exp(self.module_.label_decoder.logvar.detach().cpu().double().numpy())
