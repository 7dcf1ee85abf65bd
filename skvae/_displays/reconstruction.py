"""Display of images above their reconstructions (NumPy, scikit-learn; matplotlib inside)."""

import math

import numpy as np

from .._counts import check_count
from .._data import check_images, is_hole, refuse_misreadings
from . import mosaics
from .display import Display, check_is_vae

GAP = 3  # pixels between the pairs of rows; 1 between all other images


class ReconstructionDisplay(Display):
    """Plot of images above their reconstructions by a model.

    Create one with :meth:`from_estimator`, or from arrays already computed.

    Parameters
    ----------
    images : ndarray of shape (n, H, W) or (n, H, W, C)
        Originals.

    reconstructions : ndarray of the same shape
        Images that the model decodes from the components of the originals.

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

    def plot(self, ax=None, *, n_columns=10, channels=None, cmap="gray"):
        """Draw rows of originals, each above the row of their reconstructions.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        n_columns : int, default=10
            Images in a row.

        channels : int or sequence of int, default=None
            The channels to draw: one, or three as red, green and blue. None: all, if there are
            1, 3 or 4.

        cmap : str or Colormap, default="gray"
            Colours of images of one channel.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ValueError
            If `n_columns` is below 1, or if `channels` do not exist, or are None where there are
            not 1, 3 or 4.
        """
        check_count("n_columns", n_columns)
        n_columns, rows = min(n_columns, len(self.images)), []
        for start in range(0, len(self.images), n_columns):
            part = slice(start, start + n_columns)
            rows.append(mosaics.row(self.images[part], n_columns))
            rows.append(mosaics.row(self.reconstructions[part], n_columns, below=GAP))
        mosaic = np.concatenate(rows)[:-GAP, :-1]  # nothing below and beside the last ones
        n_pairs = math.ceil(len(self.images) / n_columns)
        height, width = self.images.shape[1:3]
        size = 1.2 + n_columns, 2 * n_pairs * mosaics.proportion(height, width)
        ax = self._begin(ax, size, "compressed")
        look = {"channels": channels, "cmap": cmap, "aspect": mosaics.pixel_aspect(height, width)}
        self.image_ = mosaics.draw(ax, mosaic, self.pixel_range, **look)
        tops = np.add.outer((2 * height + 1 + GAP) * np.arange(n_pairs), [0, height + 1])
        ax.set_yticks(tops.ravel() + (height - 1) / 2, ["original", "reconstruction"] * n_pairs)
        ax.set_xticks([])
        return self

    @classmethod
    def from_estimator(
        cls, estimator, X, *, n_images=10, ax=None, n_columns=10, channels=None, cmap="gray"
    ):
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

        channels : int or sequence of int, default=None
            The channels to draw: one, or three as red, green and blue. None: all, if there are
            1, 3 or 4.

        cmap : str or Colormap, default="gray"
            Colours of images of one channel.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        TypeError
            If `estimator` is not one of skvae, such as a pipeline that holds one.

        ValueError
            If X is one image, if `n_images` or `n_columns` is below 1, or if `channels` do not
            exist, or are None where there are not 1, 3 or 4.
        """
        check_is_vae(estimator)
        check_count("n_images", n_images)
        check_count("n_columns", n_columns)
        refuse_misreadings(X, estimator.image_shape_)  # before X is cut
        X = X[:n_images]
        values = check_images(estimator, X)
        holes = is_hole(values.rows, values.missing_values)
        display = cls(
            images=mosaics.images_of(estimator, np.where(holes, np.nan, values.rows)),
            reconstructions=mosaics.images_of(estimator, estimator.reconstruct(X)),
            pixel_range=estimator.pixel_range_,
        )
        return display.plot(ax, n_columns=n_columns, channels=channels, cmap=cmap)
