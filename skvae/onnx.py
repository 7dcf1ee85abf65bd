"""After ``import skvae.onnx``, skl2onnx converts pipelines that hold estimators of skvae.

`skl2onnx.to_onnx` and `skl2onnx.convert_sklearn` then convert two of the estimators: a
`ConvVAETransformer` anywhere in a pipeline, and a `ConvVAEClassifier` as its last step, with the
options ``zipmap`` and ``output_class_labels`` of other classifiers. If a `ConvVAEClassifier` is an
earlier step, where it transforms, set an option: ``options={id(classifier): {"transform": True}}``.

`target_opset` must be at least 18. A single estimator needs no skl2onnx: see `skvae.to_onnx`.
"""

from ._classifier import ConvVAEClassifier
from ._export import MISSING_PACKAGES, OPSET, labels_of, model_of
from ._transformer import ConvVAETransformer

try:
    import onnxscript  # noqa: F401
    from onnx.helper import tensor_dtype_to_np_dtype
    from skl2onnx import update_registered_converter
    from skl2onnx._parse import _parse_sklearn_classifier
    from skl2onnx.common import data_types
    from skl2onnx.helpers import add_onnx_graph
except ImportError as error:
    raise ImportError(MISSING_PACKAGES) from error


__all__ = []


def parse_classifier(scope, model, inputs, custom_parsers=None):
    """The outputs of a classifier in a pipeline: those of `predict`, or of `transform`."""
    if not scope.get_options(model, {"transform": False})["transform"]:
        return _parse_sklearn_classifier(scope, model, inputs, custom_parsers)
    operator = scope.declare_local_operator("SkvaeConvVAEClassifier", model)
    operator.inputs = inputs
    kind = data_types.guess_tensor_type(inputs[0].type)
    operator.outputs.append(scope.declare_local_variable("variable", kind))
    return operator.outputs


def set_output_types(operator):
    """Set the types and the shapes of the outputs of a step."""
    estimator = operator.raw_operator
    n_rows, n_columns = operator.inputs[0].get_first_dimension(), estimator.n_components_
    if len(operator.outputs) == 2:
        is_text = labels_of(estimator).dtype.kind == "O"
        label = data_types.StringTensorType if is_text else data_types.Int64TensorType
        operator.outputs[0].set_type(label([n_rows]))
        n_columns = len(estimator.classes_)
    # float64 stays float64, as in all converters of skl2onnx.
    kind = type(data_types.guess_tensor_type(operator.inputs[0].type))
    operator.outputs[-1].set_type(kind([n_rows, n_columns]))


def convert(scope, operator, container):
    """Add the graph of a step to that of its pipeline."""
    if container.target_opset < OPSET:
        raise ValueError(
            f"Estimators of skvae need target_opset={OPSET} or above. Got {container.target_opset}."
        )
    part = "predict" if len(operator.outputs) == 2 else "transform"
    kind = operator.inputs[0].type
    dtype = tensor_dtype_to_np_dtype(data_types.guess_proto_type(kind))
    model = model_of(operator.raw_operator, part, kind.shape[1:], dtype, container.target_opset)
    add_onnx_graph(scope, operator, container, model)


update_registered_converter(
    ConvVAETransformer, "SkvaeConvVAETransformer", set_output_types, convert
)


update_registered_converter(
    ConvVAEClassifier,
    "SkvaeConvVAEClassifier",
    set_output_types,
    convert,
    parser=parse_classifier,
    options={
        "zipmap": [True, False, "columns"],
        "output_class_labels": [False, True],
        "nocl": [False],  # skl2onnx asks each classifier with a zipmap for it
        "transform": [False, True],
    },
)
