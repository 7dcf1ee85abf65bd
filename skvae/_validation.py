"""What a user gives, checked at the door: images and parameters (NumPy, scikit-learn)."""

from numbers import Integral

from sklearn.utils.validation import validate_data

from . import _images
from ._elbo import LIKELIHOODS
from ._network import default_hidden_channels
from ._pixel_range import resolve_pixel_range, warn_about_values


def validate_images(estimator, X, *, training=False, reset=False):
    """Rows of X in their own dtype.

    Parameters
    ----------
    estimator : estimator of skvae

    X : array-like
        Images, as rows or in their layout.

    training : bool, default=False
        Whether they are to be trained on.

    reset : bool, default=False
        Whether X determines shape and range of the images, which become attributes.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)

    Raises
    ------
    ValueError, TypeError
        If X does not hold images, or others than those of the fit.

    Warns
    -----
    UserWarning
        If X may be read otherwise, or if its values do not fit the pixel range.
    """
    rows, seen_shape = _images.flatten_images(X)
    if not reset and seen_shape not in (None, estimator.image_shape_):
        raise ValueError(
            f"X holds images of shape {seen_shape}, but {type(estimator).__name__} was fitted "
            f"on images of shape {estimator.image_shape_}."
        )
    # "numeric" keeps every numeric dtype: pixels become float32 in their batch.
    rows = validate_data(estimator, rows, dtype="numeric", reset=reset)
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"X must hold real numbers. Got dtype {rows.dtype}.")
    if reset:
        estimator.image_shape_ = _images.resolve_shape(
            estimator.image_shape, estimator.channel_axis, rows.shape[1], seen_shape
        )
        estimator.channel_axis_ = int(estimator.channel_axis)
        estimator._as_rows = seen_shape is None
        estimator._likelihood = str(estimator.likelihood)
        estimator.pixel_range_ = (0.0, 1.0)  # until the format can tell the channels apart
        channels = image_format_of(estimator).channels(rows)
        estimator.pixel_range_ = resolve_pixel_range(estimator.pixel_range, channels)
        estimator._robust = isinstance(estimator.pixel_range, str)
        shape_given = estimator.image_shape is not None
        _images.warn_how_read(image_format_of(estimator), shape_given=shape_given)
    image_format = image_format_of(estimator)
    warn_about_values(
        image_format.channels(rows),
        image_format.pixel_range,
        bounded=image_format.bounded,
        robust=estimator._robust,
        training=training,
    )
    return rows


def image_format_of(estimator):
    """How the rows of X hold images, from the fitted attributes.

    Parameters
    ----------
    estimator : estimator of skvae

    Returns
    -------
    image_format : ImageFormat
    """
    return _images.ImageFormat(
        estimator.image_shape_,
        estimator.channel_axis_,
        estimator.pixel_range_,
        estimator._as_rows,
        bounded=LIKELIHOODS[estimator._likelihood].bounded,
    )


def check_parameters(estimator):
    """Refuse parameters that do not go together.

    Parameters
    ----------
    estimator : estimator of skvae

    Raises
    ------
    ValueError
        If pixels are to be binarised under a family of other pixels.
    """
    if estimator.binarize and estimator.likelihood != "bernoulli":
        raise ValueError(
            "binarize=True needs likelihood='bernoulli', the family of 0/1 pixels. "
            f"Got likelihood={str(estimator.likelihood)!r}."
        )


def resolve_architecture(estimator):
    """Sizes of the network for the images and the parameters.

    Parameters
    ----------
    estimator : estimator of skvae

    Returns
    -------
    architecture : dict
        The parameters of `ConvVAE`, but for `learns_noise`.

    Raises
    ------
    ValueError
        If `hidden_channels` does not hold whole numbers above 0.
    """
    image_shape = image_format_of(estimator).channels_first_shape
    hidden_channels = estimator.hidden_channels
    if hidden_channels is None:
        hidden_channels = default_hidden_channels(*image_shape[1:])
    if not hidden_channels or not all(isinstance(n, Integral) and n > 0 for n in hidden_channels):
        raise ValueError(
            "hidden_channels must hold one whole number above 0 for each stage. "
            f"Got {estimator.hidden_channels!r}."
        )
    return {
        "image_shape": image_shape,
        "n_components": int(estimator.n_components),
        "hidden_channels": tuple(int(n) for n in hidden_channels),
        "hidden_units": int(estimator.hidden_units),
    }


def check_same_model(estimator, architecture):
    """Refuse to go on with a network of other sizes or another family.

    Parameters
    ----------
    estimator : estimator of skvae
        Fitted.

    architecture : dict
        What its parameters ask for now.

    Raises
    ------
    ValueError
        Naming both.
    """
    fitted = {**estimator._architecture, "likelihood": estimator._likelihood}
    asked = {**architecture, "likelihood": str(estimator.likelihood)}
    if asked != fitted:
        raise ValueError(
            f"The network was fitted as {fitted}, and training goes on from it; its "
            f"parameters now ask for {asked}. Set them back, or call fit with "
            "warm_start=False."
        )
