"""Displays of points and curves: the latent space, components, training (NumPy, scikit-learn)."""

import math

import numpy as np
from sklearn.utils.multiclass import type_of_target

from .._data import with_types
from .display import Display, check_is_vae, most_informative, name_of

# Ten colours that are no greys and can be told apart, also by people with colour-vision
# deficiencies, found by a search. Any two differ by 35 or more in L*a*b*, and by 15 or more as seen
# with deuteranopia or protanopia.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#00e0fd",
    "#832db6",
    "#87dd99",
    "#939055",
    "#17755a",
    "#c2608b",
    "#621a2b",
)

GREY = "#b8b8b8"
MARKERS = "os^Dv<>P*X"
MAX_ROWS = 20  # of a legend, in each of its columns

# Panels of the training: a term of the history, the sign with which it is drawn, title and unit.
PANELS = (
    ("elbo", -1, "\N{MINUS SIGN}ELBO", "nats per image"),
    ("log_likelihood", -1, "\N{MINUS SIGN}log p(x|z)", "nats per image"),
    ("kl", 1, "KL", "nats per image"),
    ("label_loss", 1, "\N{MINUS SIGN}log p(y|z)", "nats per label"),
    ("accuracy", 1, "accuracy", "share of the labels"),
)

PHASES = (("train", "training", PALETTE[0]), ("valid", "validation", PALETTE[2]))


class LatentSpaceDisplay(Display):
    """Plot of images as points in a plane, coloured and labelled by class.

    Create one with :meth:`from_estimator`, or from points already computed.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
        The point of each image.

    y : array-like of shape (n,), default=None
        Classes, or continuous targets, to colour the points by. Points whose value is None or NaN
        are grey.

    names : tuple of two str, default=(None, None)
        Names of the axes. None: axes without names and units.

    Attributes
    ----------
    scatters_ : list of matplotlib PathCollection
        One for each class, or a single one without classes; then the one of the grey points, if
        there are any.

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

        More than ten classes have a legend, too.

        Parameters
        ----------
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
            If y does not hold one value for each point.
        """
        y, known = _known_values(self.y, len(self.points))
        n_columns = _columns_of_legend(y, known)
        ax = self._begin(ax, (6 + 0.9 * n_columns, 6))
        style = {"s": size, "linewidths": 0, "alpha": 0.7}
        points = self.points[known]
        if y is None:
            self.scatters_ = [ax.scatter(*points.T, color=PALETTE[0], **style)]
        elif _is_continuous(y):
            self.scatters_ = [ax.scatter(*points.T, c=y, cmap="viridis", **style)]
            ax.figure.colorbar(self.scatters_[0], ax=ax)
        else:
            self.scatters_ = _scatter_classes(ax, points, y, style)
        if not known.all():
            # Below all others.
            unknown = {**style, "color": GREY, "zorder": 0.5, "label": "unknown"}
            self.scatters_.append(ax.scatter(*self.points[~known].T, **unknown))
        scale = 6 / math.sqrt(size)  # to 36 square typographic points
        if n_columns:
            place = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "ncols": n_columns}
            ax.legend(handles=self.scatters_, markerscale=scale, frameon=False, **place)
        elif not known.all():
            ax.legend(handles=self.scatters_[-1:], markerscale=scale, loc="upper right")
        if self.names == (None, None):
            ax.set(xticks=[], yticks=[])  # such units mean nothing
        ax.set(xlabel=self.names[0], ylabel=self.names[1], title=f"{len(self.points):,} images")
        ax.set_aspect("equal", adjustable="datalim")
        return self

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, embedding=None, ax=None, size=8):
        """Transform X and draw its images as points in a plane.

        Parameters
        ----------
        estimator : ConvVAETransformer
            Fitted.

        X : array-like of shape (n_samples, n_features) or images in the layout of `fit`
            Images in the units of the training data.

        y : array-like of shape (n_samples,), default=None
            Classes, or continuous targets, to colour the points by. Images whose value is None or
            NaN are grey.

        embedding : object with a method `fit_transform`, default=None
            Maps the components to a plane, such as ``TSNE()``. None: show the two most informative
            components, by `kl_per_component_`.

        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        size : float, default=8
            Area of a point, in square typographic points.

        Returns
        -------
        display : LatentSpaceDisplay

        Raises
        ------
        TypeError
            If `estimator` is not one of skvae, such as a pipeline that holds one.

        ValueError
            If the estimator has one component and there is no `embedding`, or if y does not hold
            one value for each image.
        """
        check_is_vae(estimator)
        latents = np.asarray(estimator.transform(X))
        if embedding is not None:
            points = np.asarray(embedding.fit_transform(latents))
            if points.shape != (len(latents), 2):
                raise ValueError(
                    "embedding must give two numbers for each image, such as TSNE(2). Got an array "
                    f"of shape {points.shape}."
                )
            names = tuple(f"{type(embedding).__name__} {i}" for i in (1, 2))
        elif latents.shape[1] < 2:
            raise ValueError(
                "A plane needs two components, but the estimator has n_components=1. Give an "
                "embedding such as TSNE()."
            )
        else:
            best = most_informative(estimator, 2)
            points = latents[:, best]
            names = tuple(name_of(estimator, i) for i in best)
        return cls(points=points, y=y, names=names).plot(ax, size=size)


def _known_values(y, n_points):
    """The values of y that are no None or NaN, and which these are."""
    if y is None:
        return None, np.ones(n_points, bool)
    import pandas as pd

    y = np.asarray(with_types(y))
    if y.shape != (n_points,):
        raise ValueError(
            f"y must hold one value for each of the {n_points} images. Got the shape {y.shape}."
        )
    known = ~pd.isna(y)
    values = y[known]
    return (np.array(values.tolist()) if y.dtype == object else values), known


def _is_continuous(y):
    return len(y) > 0 and type_of_target(y).startswith("continuous")


def _columns_of_legend(y, known):
    """Columns of the legend, which more classes than colours have; 0: there is none."""
    if y is None or _is_continuous(y) or len(np.unique(y)) <= len(PALETTE):
        return 0
    return math.ceil((len(np.unique(y)) + (not known.all())) / MAX_ROWS)


def _scatter_classes(ax, points, y, style):
    """The points of each class, in its colour and marker, and its name at its most central one."""
    from matplotlib.patheffects import withStroke

    scatters = []
    for i, label in enumerate(np.unique(y)):
        color, marker = PALETTE[i % len(PALETTE)], MARKERS[i // len(PALETTE) % len(MARKERS)]
        members = points[y == label]
        name = f"{label:g}" if isinstance(label, np.floating) else str(label)
        scatters.append(ax.scatter(*members.T, color=color, marker=marker, label=name, **style))
        # Not at the median: that of a class in two clusters lies between them.
        distances = np.linalg.norm(members - np.median(members, axis=0), axis=1)
        ax.annotate(
            name,
            members[distances.argmin()],
            ha="center",
            va="center",
            weight="bold",
            size="large",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    return scatters


class ComponentInformationDisplay(Display):
    """Scree plot: the information of each component about an image.

    Create one with :meth:`from_estimator`, or from values already computed.

    Parameters
    ----------
    kl : array-like of shape (n_components,)
        Mean KL divergence of each component, in nats.

    active : array-like of bool of shape (n_components,)
        Whether each component is active: whether it differs between images.

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
        ax = self._begin(ax, (6, 4))
        order = np.argsort(-np.asarray(self.kl), kind="stable")
        kl, active = np.asarray(self.kl)[order], np.asarray(self.active)[order]
        places = np.arange(len(kl))
        (self.line_,) = ax.plot(places, kl, color=GREY, linewidth=1, zorder=1)
        self.active_ = _markers(ax, places[active], kl[active], "active", color=PALETTE[0])
        self.idle_ = _markers(
            ax, places[~active], kl[~active], "idle", color=GREY, markerfacecolor="white"
        )
        every = math.ceil(len(kl) / 12)  # so that the numbers do not overlap
        ax.set_xticks(places[::every], order[::every])
        title = f"Information of the components about an image: {kl.sum():.1f} nats"
        ax.set(xlabel="component", ylabel="KL, nats", title=title)
        ax.set_ylim(0, 1.1 * kl[0] or 1)
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return self

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw `kl_per_component_` and mark the active components.

        Parameters
        ----------
        estimator : ConvVAETransformer
            Fitted. The `n_active_components_` components with the largest KL count as active.

        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : ComponentInformationDisplay

        Raises
        ------
        TypeError
            If `estimator` is not one of skvae, such as a pipeline that holds one.
        """
        check_is_vae(estimator)
        kl = estimator.kl_per_component_
        active = np.zeros(len(kl), bool)
        active[most_informative(estimator, estimator.n_active_components_)] = True
        return cls(kl=kl, active=active).plot(ax)


def _markers(ax, places, kl, kind, **colors):
    """Markers of the components of one kind. The legend counts them, if there are any."""
    label = f"{len(kl)} {kind}" if len(kl) else None
    style = {"linestyle": "none", "marker": "o", "markersize": 7, **colors}
    (markers,) = ax.plot(places, kl, label=label, **style)
    return markers


class TrainingCurveDisplay(Display):
    """Plot of the ELBO and its terms over the epochs of training, and of the loss of labels.

    Create one with :meth:`from_estimator`, or from a history.

    Parameters
    ----------
    history : DataFrame
        With the columns of :attr:`ConvVAETransformer.history_`.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        The curves, by the column of the history; those of the ELBO are ``"train_elbo"`` and
        ``"valid_elbo"``.

    axes_ : list of three or five matplotlib Axes
        The panels, inside `ax_`: -ELBO (as in `score`, without `beta` and without the loss of the
        labels), -log p(x|z), and KL. For a classifier, also -log p(y|z) and the accuracy, over the
        images that have a label.

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
        """Draw three or five panels, each with training and validation, if there was one.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes whose place the panels take; None: a new figure.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        history = self.history.copy()
        for phase, _, _ in PHASES:
            if f"{phase}_kl" in history:
                history[f"{phase}_elbo"] = (
                    history[f"{phase}_log_likelihood"] - history[f"{phase}_kl"]
                )
        panels = [panel for panel in PANELS if f"train_{panel[0]}" in history]
        ax = self._begin(ax, (3.7 * len(panels), 3.2))
        ax.set_axis_off()
        self.axes_, self.lines_ = [], {}
        width = 1 / (len(panels) + 0.35 * (len(panels) - 1))  # and gaps of 0.35 of it
        for i, panel in enumerate(panels):
            axes = ax.inset_axes((1.35 * width * i, 0, width, 1))
            self._draw_panel(axes, history, *panel)
            self.axes_.append(axes)
        self.axes_[0].legend(frameon=False)
        return self

    def _draw_panel(self, axes, history, term, sign, title, unit):
        """Draw one term of the history over the epochs."""
        for phase, name, color in PHASES:
            column = f"{phase}_{term}"
            if column in history and history[column].notna().any():
                (self.lines_[column],) = axes.plot(
                    history["epoch"], sign * history[column], color=color, marker=".", label=name
                )
        axes.set(xlabel="epoch", title=title, ylabel=unit)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.spines[["top", "right"]].set_visible(False)

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

        Raises
        ------
        TypeError
            If `estimator` is not one of skvae, such as a pipeline that holds one.
        """
        check_is_vae(estimator)
        return cls(history=estimator.history_).plot(ax)
