"""Displays of points and curves: the latent space, components, training (NumPy, scikit-learn)."""

import math

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
# Terms of the history, the sign with which they are in the loss, and their names.
CURVES = (
    ("loss", 1, "\N{MINUS SIGN}ELBO"),
    ("log_likelihood", -1, "\N{MINUS SIGN}log p(x|z)"),
    ("kl", 1, "KL"),
)
PHASES = (("train", "training", PALETTE[0]), ("valid", "validation", PALETTE[6]))


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


class ComponentInformationDisplay:
    """Scree plot: how much each component tells about an image.

    Create one with :meth:`from_estimator`, or from values already computed.

    Parameters
    ----------
    kl : array-like of shape (n_components,)
        Mean KL divergence of each component, in nats.

    active : array-like of bool of shape (n_components,)
        Whether each component is active: whether it tells images apart.

    Attributes
    ----------
    line_ : matplotlib Line2D
        All components, the most informative first.

    active_ : matplotlib Line2D
        The markers of the active components.

    idle_ : matplotlib Line2D
        The markers of all other components.

    ax_ : matplotlib Axes
        Axes with the plot.

    figure_ : matplotlib Figure
        Figure containing the axes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ComponentInformationDisplay, ConvVAETransformer
    >>> vae = ConvVAETransformer(max_iter=2, random_state=0).fit(load_digits().images)
    >>> ComponentInformationDisplay.from_estimator(vae)
    <...>
    >>> plt.close()
    """

    def __init__(self, *, kl, active):
        self.kl = kl
        self.active = active

    def plot(self, ax=None):
        """Draw the KL of the components in descending order, and mark the active ones.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : ComponentInformationDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(6, 4), layout="constrained")
        order = np.argsort(-np.asarray(self.kl), kind="stable")
        kl, active = np.asarray(self.kl)[order], np.asarray(self.active)[order]
        places = np.arange(len(kl))
        (self.line_,) = ax.plot(places, kl, color=PALETTE[3], linewidth=1, zorder=1)
        self.active_ = _markers(ax, places[active], kl[active], "active", color=PALETTE[0])
        self.idle_ = _markers(
            ax, places[~active], kl[~active], "idle", color=PALETTE[8], markerfacecolor="white"
        )
        every = math.ceil(len(kl) / 12)  # so that the numbers do not overlap
        ax.set_xticks(places[::every], order[::every])
        ax.set(xlabel="component", ylabel="KL, nats", title=f"{kl.sum():.1f} nats in all")
        ax.set_ylim(0, 1.1 * kl[0] or 1)
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw `kl_per_component_` and mark the active components.

        Parameters
        ----------
        estimator : ConvVAETransformer
            Fitted. Its `n_active_components_` components with the largest KL are taken as the
            active ones.

        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : ComponentInformationDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        kl = estimator.kl_per_component_
        active = np.zeros(len(kl), bool)
        active[np.argsort(-kl, kind="stable")[: estimator.n_active_components_]] = True
        return cls(kl=kl, active=active).plot(ax)


def _markers(ax, places, kl, kind, **colors):
    """Markers of the components of one kind. The legend counts them, if there are any."""
    label = f"{len(kl)} {kind}" if len(kl) else None
    style = {"linestyle": "none", "marker": "o", "markersize": 7, **colors}
    (markers,) = ax.plot(places, kl, label=label, **style)
    return markers


class TrainingCurveDisplay:
    """Plot of the loss and its two terms over the epochs of training.

    Create one with :meth:`from_estimator`, or from a history.

    Parameters
    ----------
    history : DataFrame
        With the columns of :attr:`ConvVAETransformer.history_`.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        The curves, by the column of the history.

    axes_ : list of three matplotlib Axes
        The panels, inside `ax_`: -ELBO (with `beta`), -log p(x|z), and KL.

    ax_ : matplotlib Axes
        Axes that hold the panels.

    figure_ : matplotlib Figure
        Figure containing the axes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ConvVAETransformer, TrainingCurveDisplay
    >>> vae = ConvVAETransformer(max_iter=3, random_state=0).fit(load_digits().images)
    >>> TrainingCurveDisplay.from_estimator(vae)
    <...>
    >>> plt.close()
    """

    def __init__(self, *, history):
        self.history = history

    def plot(self, ax=None):
        """Draw three panels, each with a curve of training and one of validation, if there was.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes whose place the panels take; None: a new figure.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(11, 3.2), layout="constrained")
        ax.set_axis_off()
        self.axes_, self.lines_ = [], {}
        for i, (term, sign, title) in enumerate(CURVES):
            panel = ax.inset_axes((0.36 * i, 0, 0.28, 1))
            for phase, name, color in PHASES:
                column = f"{phase}_{term}"
                if column in self.history:
                    (self.lines_[column],) = panel.plot(
                        self.history["epoch"],
                        sign * self.history[column],
                        color=color,
                        marker=".",
                        label=name,
                    )
            panel.set(xlabel="epoch", title=title)
            panel.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            panel.spines[["top", "right"]].set_visible(False)
            self.axes_.append(panel)
        self.axes_[0].set_ylabel("nats per image")
        self.axes_[0].legend(frameon=False)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw `history_`.

        Parameters
        ----------
        estimator : ConvVAETransformer
            Fitted.

        ax : matplotlib Axes, default=None
            Axes whose place the panels take; None: a new figure.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        return cls(history=estimator.history_).plot(ax)
