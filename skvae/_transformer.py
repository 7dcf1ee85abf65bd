"""ConvVAETransformer: components of images, without labels (scikit-learn)."""

import numpy as np
from sklearn.base import _fit_context

from ._docstrings import with_sections_of
from ._estimator import BaseConvVAE
from ._files import storable
from ._training import fit


@with_sections_of(BaseConvVAE)
@storable
class ConvVAETransformer(BaseConvVAE):
    """A non-linear PCA for images: the posterior mean of a convolutional VAE.

    `transform` turns each image into `n_components` numbers. `inverse_transform` turns such
    numbers back into an image. `sample` draws new images.

    The encoder maps an image x to the posterior q(z|x) = N(mu, diag(sigma^2)) of K latent
    variables. The decoder maps z to the distribution p(x|z) of an image. Both are trained
    together, as in [1]_, to minimise the mean over the images of

        -ELBO = -log p(x|z) + beta * KL(q(z|x) || N(0, I)),  z = mu + sigma * noise,

    with KL = 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2). Likelihoods are summed over the pixels
    of an image, in nats.

    Parameters
    ----------
    {Parameters}

    Attributes
    ----------
    {Attributes}

    See Also
    --------
    sklearn.decomposition.PCA : Linear components.
    sklearn.neural_network.BernoulliRBM : Binary hidden units with a linear energy.

    References
    ----------
    {References}

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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoder and the decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Images, in any real dtype. They are never changed. If their memory is contiguous,
            they are never copied as a whole.

        y : Ignored
            Not used in the training. Callbacks of scikit-learn get it, or X if it is None.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X does not hold images, if a parameter does not suit them, if the checkpoint is
            damaged or belongs to another unfinished fit, or if the loss becomes NaN or infinite.
            After any error, the estimator is as it was before.

        TypeError
            If X is stored in chunks, such as an array of dask or zarr, which would be loaded as a
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
            If X was perhaps misread, such as channels first as channels last, or rows that may
            hold pictures other than squares. If values lie outside the pixel range, or span only
            a small part of it. If Ctrl-C ends the training; what is trained so far is kept. If
            the training ends within `beta_warmup`. If fewer than half of the components are
            active; see `n_active_components_`. The last three warnings are not given if a callback
            of scikit-learn ends the training. With `data_parallel`, and within a search or a
            cross-validation, Ctrl-C is a KeyboardInterrupt instead.
        """
        fit.fit(self, X, y)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train for one epoch on X, at a constant learning rate.

        The first call determines the shape and the pixel range. Give `pixel_range` if the first
        images may not show the whole range. With the Gaussian likelihood, the first images also
        determine the PCA at which training starts. Adam keeps its state from call to call, but a
        copy or a reloaded estimator starts it anew. Callbacks of scikit-learn are not called.

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
        ValueError, TypeError
            As `fit`.

        Warns
        -----
        UserWarning
            As `fit`, except for the last two reasons.
        """
        fit.partial_fit(self, X)
        return self

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
            Seeds the draws. None: NumPy's global generator.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), (n_samples, H, W), \
                (n_samples, H, W, C) or (n_samples, C, H, W), float32
            Images in the units and in the layout that `fit` saw.
        """
        rng = self._rng_for_samples(n_samples, random_state)
        return self._decode(rng.standard_normal((n_samples, self.n_components_)))
