"""Plots of reconstructions and of the latent space (NumPy; matplotlib inside functions)."""

import math
from numbers import Integral

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

# Ten colours that people with colour-vision deficiencies can tell apart: M. A. Petroff,
# "Accessible Color Sequences for Data Visualization", 2021, https://arxiv.org/abs/2107.02270.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
MARKERS = "os^Dv<>P*X"


class ReconstructionDisplay:
    """Plot of images above their reconstructions by a model.

    Create one with :meth:`from_estimator`, or from arrays already computed.

    Parameters
    ----------
    images : ndarray of shape (n, H, W) or (n, H, W, C)
        Originals.

    reconstructions : ndarray of the same shape
        Images that the model decodes from the latents of the originals.

    pixel_range : tuple of float, or array-like of shape (C, 2), default=(0, 1)
        Values of the darkest and the lightest pixel, for all channels or for each.

    Attributes
    ----------
    image_ : matplotlib AxesImage
        The mosaic.

    ax_ : matplotlib Axes
        Axes with the mosaic.

    figure_ : matplotlib Figure
        Figure containing the axes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ConvVAETransformer, ReconstructionDisplay
    >>> images = load_digits().images
    >>> vae = ConvVAETransformer(max_iter=2, random_state=0).fit(images)
    >>> ReconstructionDisplay.from_estimator(vae, images, n_images=8)
    <...>
    >>> plt.close()
    """

    def __init__(self, *, images, reconstructions, pixel_range=(0, 1)):
        self.images = images
        self.reconstructions = reconstructions
        self.pixel_range = pixel_range

    def plot(self, ax=None, *, n_columns=10, cmap="gray"):
        """Draw rows of originals, each above the row of their reconstructions.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        n_columns : int, default=10
            Images in a row.

        cmap : str or Colormap, default="gray"
            Colours of images of one channel.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ValueError
            If the images have another number of channels than 1, 3 or 4.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        n_columns = min(n_columns, len(self.images))
        mosaic = _mosaic(self.images, self.reconstructions, n_columns)
        low, high = np.reshape(self.pixel_range, (-1, 2)).T  # of all channels, or of each
        if mosaic.shape[-1] not in (1, 3, 4):
            raise ValueError(
                "Images of 1, 3 or 4 channels can be drawn (grey, RGB, RGBA). Got "
                f"{mosaic.shape[-1]} channels. Choose some and give arrays with these to "
                "ReconstructionDisplay(images=..., reconstructions=...)."
            )
        if mosaic.shape[-1] == 1:
            mosaic, low, high = mosaic[..., 0], low[0], high[0]
        else:
            span = np.where(high > low, high - low, 1)
            mosaic, low, high = np.clip((mosaic - low) / span, 0, 1), 0, 1
        n_pairs = math.ceil(len(self.images) / n_columns)
        if ax is None:
            _, ax = plt.subplots(figsize=(n_columns, 2.2 * n_pairs), layout="constrained")
        self.image_ = ax.imshow(mosaic, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        height = len(mosaic) / n_pairs
        ax.set_yticks(
            [height * (i + share) for i in range(n_pairs) for share in (0.24, 0.72)],
            ["original", "reconstruction"] * n_pairs,
        )
        ax.tick_params(length=0)
        ax.set_xticks([])
        ax.spines[:].set_visible(False)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_estimator(cls, estimator, X, *, n_images=10, ax=None, n_columns=10, cmap="gray"):
        """Reconstruct the first images of X and draw them.

        Parameters
        ----------
        estimator : ConvVAETransformer
            Fitted.

        X : array-like of shape (n_samples, n_features) or images in the layout of `fit`
            Images in the units of the training data.

        n_images : int, default=10
            Number of images to show, from the start of X.

        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        n_columns : int, default=10
            Images in a row.

        cmap : str or Colormap, default="gray"
            Colours of images of one channel.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ValueError
            If `n_images` is below 1.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if not isinstance(n_images, Integral) or n_images < 1:
            raise ValueError(f"n_images must be a whole number above 0. Got {n_images!r}.")
        X = X[:n_images]
        reconstructions = estimator.inverse_transform(estimator.transform(X))
        display = cls(
            images=_channels_last(estimator, np.asarray(X)),
            reconstructions=_channels_last(estimator, reconstructions),
            pixel_range=estimator.pixel_range_,
        )
        return display.plot(ax, n_columns=n_columns, cmap=cmap)


class LatentSpaceDisplay:
    """Plot of images as points in a plane, coloured and labelled by class.

    Create one with :meth:`from_estimator`, or from points already computed.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
        The point of each image.

    y : array-like of shape (n,), default=None
        Classes, or continuous targets, to colour the points by.

    names : tuple of two str, default=(None, None)
        Names of the axes.

    Attributes
    ----------
    scatters_ : list of matplotlib PathCollection
        One for each class, or a single one without classes.

    ax_ : matplotlib Axes
        Axes with the points.

    figure_ : matplotlib Figure
        Figure containing the axes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ConvVAETransformer, LatentSpaceDisplay
    >>> images, digits = load_digits().images, load_digits().target
    >>> vae = ConvVAETransformer(n_components=2, max_iter=2, random_state=0).fit(images)
    >>> LatentSpaceDisplay.from_estimator(vae, images, digits)
    <...>
    >>> plt.close()
    """

    def __init__(self, *, points, y=None, names=(None, None)):
        self.points = points
        self.y = y
        self.names = names

    def plot(self, ax=None, *, size=8):
        """Draw the points, and the name of each class at its most central point.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        size : float, default=8
            Area of a point, in square typographic points.

        Returns
        -------
        display : LatentSpaceDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(6, 6), layout="constrained")
        style = {"s": size, "linewidths": 0, "alpha": 0.7}
        if self.y is None:
            self.scatters_ = [ax.scatter(*self.points.T, color=PALETTE[0], **style)]
        elif type_of_target(self.y).startswith("continuous"):
            self.scatters_ = [ax.scatter(*self.points.T, c=self.y, cmap="viridis", **style)]
            ax.figure.colorbar(self.scatters_[0], ax=ax)
        else:
            self.scatters_ = self._scatter_classes(ax, style)
        if self.names == (None, None):
            ax.set(xticks=[], yticks=[])  # the units of an embedding mean nothing
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        ax.set_aspect("equal", adjustable="datalim")
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _scatter_classes(self, ax, style):
        from matplotlib.patheffects import withStroke

        y, scatters = np.asarray(self.y), []
        for i, label in enumerate(np.unique(y)):
            color, marker = PALETTE[i % len(PALETTE)], MARKERS[i // len(PALETTE) % len(MARKERS)]
            points = self.points[y == label]
            scatters.append(
                ax.scatter(*points.T, color=color, marker=marker, label=str(label), **style)
            )
            # Not at the median: that of a class in two clusters lies between them.
            distances = np.linalg.norm(points - np.median(points, axis=0), axis=1)
            ax.annotate(
                str(label),
                points[distances.argmin()],
                ha="center",
                va="center",
                weight="bold",
                size="large",
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
        return scatters

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, embedding=None, ax=None, size=8):
        """Transform X and draw the latents.

        Parameters
        ----------
        estimator : ConvVAETransformer
            Fitted.

        X : array-like of shape (n_samples, n_features) or images in the layout of `fit`
            Images in the units of the training data.

        y : array-like of shape (n_samples,), default=None
            Classes, or continuous targets, to colour the points by.

        embedding : object with a method `fit_transform`, default=None
            Maps the latents to a plane, such as ``TSNE()``. None: show the two components that
            tell most about an image, by `kl_per_component_`.

        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        size : float, default=8
            Area of a point, in square typographic points.

        Returns
        -------
        display : LatentSpaceDisplay

        Raises
        ------
        ValueError
            If the estimator has one component and there is no `embedding`.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        latents = np.asarray(estimator.transform(X))
        names = (None, None)
        if embedding is not None:
            points = np.asarray(embedding.fit_transform(latents))
        elif latents.shape[1] < 2:
            raise ValueError(
                "A plane needs two components, but the estimator has n_components=1. Give an "
                "embedding such as TSNE()."
            )
        else:
            best = np.argsort(-estimator.kl_per_component_, kind="stable")[:2]
            points = latents[:, best]
            names = tuple(estimator.get_feature_names_out()[best])
        return cls(points=points, y=y, names=names).plot(ax, size=size)


def _channels_last(estimator, X):
    """Images of shape (n, H, W) or (n, H, W, C) from rows or images."""
    images = X.reshape(len(X), *estimator.image_shape_)
    if images.ndim == 4 and estimator.channel_axis_ == 0:
        images = np.moveaxis(images, 1, -1)
    return images


def _mosaic(images, reconstructions, n_columns):
    """Rows of images, each above a row of their reconstructions, as one image with channels."""
    rows = []
    for start in range(0, len(images), n_columns):
        part = slice(start, start + n_columns)
        rows.append(_row(images[part], n_columns, gap=1))
        rows.append(_row(reconstructions[part], n_columns, gap=3))
    return np.concatenate(rows)


def _row(images, n_columns, gap):
    """Images side by side, (H + gap, n_columns * (W + 1), C), with NaN between them."""
    if images.ndim == 3:
        images = images[..., None]
    n, height, width, channels = images.shape
    row = np.full((height + gap, n_columns, width + 1, channels), np.nan)
    row[:height, :n, :width] = np.moveaxis(images, 0, 1)
    return row.reshape(len(row), -1, channels)
