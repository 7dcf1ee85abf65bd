"""Displays of the images along one or two components (NumPy, scikit-learn; matplotlib inside)."""

import math

import numpy as np

from .._counts import check_count
from . import mosaics
from .display import Display, check_is_vae, most_informative, name_of, name_with_nats

# Nearly all latents lie between these, in standard deviations of the prior N(0, I).
REACH = 3.0

N_STEPS = 7  # of a traversal; odd, so that one is at 0


class LatentTraversalDisplay(Display):
    """Plot of the meaning of components: each row has images for several values of one component.

    Create one with :meth:`from_estimator`, or from images already computed.

    Parameters
    ----------
    images : ndarray of shape (n_rows, n_steps, H, W) or (n_rows, n_steps, H, W, C)
        Mean images of p(x|z), a row for each component.

    steps : array-like of shape (n_steps,)
        How far each column moves the component. With `ConvVAETransformer`, the unit is the standard
        deviation of the prior.

    components : array-like of shape (n_rows,)
        Number of the component of each row.

    kl : array-like of shape (n_rows,)
        Information of the component of each row about an image, in nats.

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
    >>> from skvae import ConvVAETransformer, LatentTraversalDisplay
    >>> images = load_digits().images
    >>> vae = ConvVAETransformer(max_iter=2, random_state=0).fit(images)
    >>> LatentTraversalDisplay.from_estimator(vae, images[0], n_components=4)
    <...>
    >>> plt.close()
    """

    def __init__(self, *, images, steps, components, kl, pixel_range=(0, 1)):
        self.images = images
        self.steps = steps
        self.components = components
        self.kl = kl
        self.pixel_range = pixel_range

    def plot(self, ax=None, *, channels=None, cmap="gray"):
        """Draw a row for each component, named by its number and its nats.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        channels : int or sequence of int, default=None
            The channels to draw: one, or three as red, green and blue. None: all, if there are
            1, 3 or 4.

        cmap : str or Colormap, default="gray"
            Colours of images of one channel.

        Returns
        -------
        display : LatentTraversalDisplay

        Raises
        ------
        ValueError
            If `channels` do not exist, or are None where there are not 1, 3 or 4.
        """
        n_rows, n_steps, height, width = self.images.shape[:4]
        mosaic = np.concatenate([mosaics.row(images, n_steps) for images in self.images])
        mosaic = mosaic[:-1, :-1]  # nothing below and beside the last ones
        size = 1.8 + 0.8 * n_steps, 0.9 + 0.8 * n_rows * mosaics.proportion(height, width)
        ax = self._begin(ax, size, "compressed")
        look = {"channels": channels, "cmap": cmap, "aspect": mosaics.pixel_aspect(height, width)}
        self.image_ = mosaics.draw(ax, mosaic, self.pixel_range, **look)
        ax.set_yticks(
            np.arange(n_rows) * (height + 1) + (height - 1) / 2,
            [name_with_nats(i, nats) for i, nats in zip(self.components, self.kl, strict=True)],
        )
        ax.set_xticks(
            np.arange(n_steps) * (width + 1) + (width - 1) / 2,
            [f"{step:+g}".replace("-", "\N{MINUS SIGN}") if step else "0" for step in self.steps],
        )
        ax.set(
            xlabel="change of the component",
            title="Mean images along each component",
        )
        return self

    @classmethod
    def from_estimator(
        cls, estimator, image=None, *, n_components=10, ax=None, channels=None, cmap="gray"
    ):
        """Move one component at a time, from -3 to +3, and draw the mean images of p(x|z).

        Parameters
        ----------
        estimator : ConvVAETransformer
            Fitted.

        image : array-like of shape (n_features,), (H, W), (H, W, C) or (C, H, W), default=None
            Start from the components of this image, which is in the units of the training data.
            The middle column is then its reconstruction. X with one image, such as ``X[:1]``, is
            accepted as well. None: start from z = 0, which is the mean of the
            prior of `ConvVAETransformer`.

        n_components : int, default=10
            Number of components to show, or all if there are fewer. The most informative ones
            come first, by `kl_per_component_`.

        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        channels : int or sequence of int, default=None
            The channels to draw: one, or three as red, green and blue. None: all, if there are
            1, 3 or 4.

        cmap : str or Colormap, default="gray"
            Colours of images of one channel.

        Returns
        -------
        display : LatentTraversalDisplay

        Raises
        ------
        TypeError
            If `estimator` is not one of skvae, such as a pipeline that holds one.

        ValueError
            If `n_components` is below 1, if `image` is not one image, or if `channels` do not
            exist, or are None where there are not 1, 3 or 4.
        """
        check_is_vae(estimator)
        check_count("n_components", n_components)
        kl = estimator.kl_per_component_
        components = most_informative(estimator, n_components)
        steps = np.linspace(-REACH, REACH, N_STEPS)
        z = np.zeros((len(components), N_STEPS, len(kl)), np.float32)
        if image is not None:
            z += np.asarray(estimator.transform(_alone(estimator, image)))
        z[range(len(components)), :, components] += steps
        display = cls(
            images=_decoded(estimator, z),
            steps=steps,
            components=components,
            kl=kl[components],
            pixel_range=estimator.pixel_range_,
        )
        return display.plot(ax, channels=channels, cmap=cmap)


class LatentManifoldDisplay(Display):
    """Plot of the images over a plane of two components.

    Create one with :meth:`from_estimator`, or from images already computed.

    Parameters
    ----------
    images : ndarray of shape (n, n, H, W) or (n, n, H, W, C)
        Mean images of p(x|z). The first axis follows the second component, upwards. The second
        axis follows the first component, to the right.

    values : array-like of shape (n,)
        The values of both components, evenly spaced.

    names : tuple of two str, default=(None, None)
        Names of the axes.

    pixel_range : tuple of float, or array-like of shape (C, 2), default=(0, 1)
        Values of the darkest and the lightest pixel, for all channels or for each.

    Attributes
    ----------
    image_ : matplotlib AxesImage
        The mosaic.

    ax_ : matplotlib Axes
        Axes with the mosaic, in units of the components.

    figure_ : matplotlib Figure
        Figure containing the axes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ConvVAETransformer, LatentManifoldDisplay
    >>> images = load_digits().images
    >>> vae = ConvVAETransformer(n_components=2, max_iter=2, random_state=0).fit(images)
    >>> LatentManifoldDisplay.from_estimator(vae)
    <...>
    >>> plt.close()
    """

    def __init__(self, *, images, values, names=(None, None), pixel_range=(0, 1)):
        self.images = images
        self.values = values
        self.names = names
        self.pixel_range = pixel_range

    def plot(self, ax=None, *, channels=None, cmap="gray"):
        """Draw the images, each at its values of the two components.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        channels : int or sequence of int, default=None
            The channels to draw: one, or three as red, green and blue. None: all, if there are
            1, 3 or 4.

        cmap : str or Colormap, default="gray"
            Colours of images of one channel.

        Returns
        -------
        display : LatentManifoldDisplay

        Raises
        ------
        ValueError
            If `channels` do not exist, or are None where there are not 1, 3 or 4.
        """
        n, _, height, width = self.images.shape[:4]
        rows = [mosaics.row(images, n, right=0, below=0) for images in self.images[::-1]]
        size = 7, 7 * mosaics.proportion(height, width)
        ax = self._begin(ax, size, "compressed")
        first, last = self.values[0], self.values[-1]
        half = (last - first) / max(n - 1, 1) / 2 or 0.5  # of the place of one image
        self.image_ = mosaics.draw(
            ax,
            np.concatenate(rows),
            self.pixel_range,
            channels=channels,
            cmap=cmap,
            extent=(first - half, last + half) * 2,
            aspect=mosaics.pixel_aspect(height, width) * height / width,
        )
        ax.set(
            xlabel=self.names[0],
            ylabel=self.names[1],
            title="Mean images over two components",
        )
        return self

    @classmethod
    def from_estimator(
        cls, estimator, *, components=None, n_images=15, ax=None, channels=None, cmap="gray"
    ):
        """Decode a grid of two components, from -3 to 3, where all others are 0.

        Parameters
        ----------
        estimator : ConvVAETransformer
            Fitted.

        components : tuple of two int, default=None
            Numbers of the components to the right and upwards. None: the two most informative
            ones, by `kl_per_component_`.

        n_images : int, default=15
            Number of images in each row and column.

        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        channels : int or sequence of int, default=None
            The channels to draw: one, or three as red, green and blue. None: all, if there are
            1, 3 or 4.

        cmap : str or Colormap, default="gray"
            Colours of images of one channel.

        Returns
        -------
        display : LatentManifoldDisplay

        Raises
        ------
        TypeError
            If `estimator` is not one of skvae, such as a pipeline that holds one.

        ValueError
            If the estimator has one component, if `components` are not two of its components, if
            `n_images` is below 1, or if `channels` do not exist, or are None where there are not
            1, 3 or 4.
        """
        check_is_vae(estimator)
        check_count("n_images", n_images)
        kl = estimator.kl_per_component_
        if len(kl) < 2:
            raise ValueError("A plane needs two components, but the estimator has n_components=1.")
        if components is None:
            components = most_informative(estimator, 2)
        right_up = np.ravel(components).tolist()
        if len(right_up) != 2 or len({i for i in right_up if i in range(len(kl))}) != 2:
            raise ValueError(
                f"components must be two different numbers from 0 to {len(kl) - 1}. Got "
                f"{components!r}."
            )
        right, up = map(int, right_up)
        values = np.linspace(-REACH, REACH, n_images) if n_images > 1 else np.zeros(1)
        z = np.zeros((n_images, n_images, len(kl)), np.float32)
        z[..., right], z[..., up] = values, values[:, None]
        display = cls(
            images=_decoded(estimator, z),
            values=values,
            names=tuple(name_of(estimator, i) for i in (right, up)),
            pixel_range=estimator.pixel_range_,
        )
        return display.plot(ax, channels=channels, cmap=cmap)


def _alone(estimator, image):
    """One image, given as such or as X with one image, as X with one image."""
    shape = np.shape(image)
    if math.prod(shape) != estimator.n_features_in_:
        raise ValueError(
            f"image must be one image, of shape {estimator.image_shape_}. Got an array of shape "
            f"{shape}. Take one of them, such as X[0]."
        )
    if len(shape) > 1 and shape[0] == 1 and shape != estimator.image_shape_:
        return image
    # A row of a DataFrame keeps the names of its columns.
    return image.to_frame().T if hasattr(image, "iloc") else [image]


def _decoded(estimator, z):
    """Mean images of p(x|z), shape (rows, columns, H, W) or (rows, columns, H, W, C)."""
    X = estimator.inverse_transform(z.reshape(-1, z.shape[-1]))
    images = mosaics.images_of(estimator, np.asarray(X))
    return images.reshape(*z.shape[:2], *images.shape[1:])
