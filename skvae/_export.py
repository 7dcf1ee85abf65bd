"""`to_onnx`: what a fitted estimator computes, for other runtimes (scikit-learn)."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from ._graphs import GRAPHS, as_onnx, with_classes
from ._transformer import ConvVAETransformer

# Version of ONNX's operators: the lowest that torch exports, which most runtimes have.
OPSET = 18

MISSING_PACKAGES = (
    "ONNX needs packages that are not installed: pip install onnx onnxscript skl2onnx"
)


def to_onnx(estimator, part="transform"):
    """What a fitted estimator computes, as an ONNX model that needs neither Python nor PyTorch.

    The model takes any number of rows. It does not check its input: if `transform` would raise an
    error, as for NaN without `missing_values`, the results of the model are meaningless.

    Parameters
    ----------
    estimator : ConvVAETransformer or ConvVAEClassifier
        Fitted. A pipeline is converted by skl2onnx, after ``import skvae.onnx``.

    part : {"transform", "inverse_transform", "predict"}, default="transform"
        The method. "predict" is for a classifier.

    Returns
    -------
    model : onnx.ModelProto
        With operators of opset 18. Its input is called "X":

        - of "transform" and "predict", images in the units and the layout of the X of `fit`, of
          shape (n, n_features), (n, H, W), (n, H, W, C) or (n, C, H, W); uint8 if that was uint8,
          else float32;
        - of "inverse_transform", components of shape (n, n_components), float32.

        Its outputs are

        - of "transform", "latents" of shape (n, n_components), float32;
        - of "inverse_transform", "images" in the units and the layout of the X of `fit`, float32;
        - of "predict", "label" of shape (n,), int64 or strings, and "probabilities" of shape
          (n, n_classes), float32. Bools become 0 and 1.

    Raises
    ------
    ImportError
        If onnx, onnxscript or skl2onnx is missing; the extra ``onnx`` brings them.

    NotFittedError
        If the estimator is not fitted.

    TypeError
        If `estimator` is not an estimator of skvae.

    ValueError
        If there is no such part, or if the estimator does not have it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import skvae
    >>> images = load_digits().images
    >>> vae = skvae.ConvVAETransformer(n_components=4, max_iter=1, random_state=0).fit(images)
    >>> model = skvae.to_onnx(vae)
    >>> [node.name for node in model.graph.input], [node.name for node in model.graph.output]
    (['X'], ['latents'])
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(MISSING_PACKAGES) from error
    if not isinstance(estimator, ConvVAETransformer):
        raise TypeError(
            f"to_onnx takes a ConvVAETransformer or a ConvVAEClassifier. Got {estimator!r:.200}. "
            "For a pipeline, import skvae.onnx and use skl2onnx.to_onnx."
        )
    check_is_fitted(estimator)
    if part not in list(GRAPHS):
        raise ValueError(f"part must be one of {', '.join(map(repr, GRAPHS))}. Got {part!r}.")
    if part == "predict" and not is_classifier(estimator):
        raise ValueError(f"{type(estimator).__name__} does not predict. Choose another part.")
    if part == "inverse_transform":
        return model_of(estimator, part, (estimator.n_components_,), np.float32, OPSET)
    dtype = np.uint8 if estimator._format.saw_uint8 else np.float32
    return model_of(estimator, part, estimator._format.output_shape, dtype, OPSET)


def model_of(estimator, part, shape, dtype, opset):
    """A part of a fitted estimator as an ONNX model; a row of its input has `shape` and `dtype`."""
    image_format = estimator._format
    graph = GRAPHS[part](estimator.module_, image_format, dtype)
    model = as_onnx(graph, shape, dtype, opset)
    return with_classes(model, labels_of(estimator)) if part == "predict" else model


def labels_of(classifier):
    """The classes of a classifier as ONNX can hold them: int64, or str in an array of objects."""
    labels = classifier.classes_.tolist()
    classes = np.array(labels)
    if classes.dtype.kind not in "biuf":
        return classes.astype(object)
    too_large = [label for label in labels if not -(2**63) <= label < 2**63]
    if too_large:
        raise ValueError(
            f"ONNX holds whole numbers of 64 bits with a sign. The label {too_large[0]} is none of "
            "them. Fit with labels of text, such as y.astype(str)."
        )
    return np.array(labels, np.int64)
