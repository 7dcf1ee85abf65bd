"""From X to results and back as torch modules, and these modules as ONNX graphs (torch)."""

import copy
import logging
import warnings
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ._data import FLOAT32_MAX, is_hole

# Where torch says once in each process that torchvision is not installed.
REGISTRY_LOGGER = "torch.onnx._internal.exporter._registration"


class UnitImages(nn.Module):
    """`ImageFormat.to_unit` for tensors."""

    def __init__(self, image_format):
        super().__init__()
        self.image_format = image_format
        for name in ("low", "span"):
            values = getattr(image_format, name)
            values = image_format.along_channels(values, image_format.unit_dtype)
            self.register_buffer(name, torch.from_numpy(values))

    def forward(self, X):
        """Rows or images in the units of X -> (n, C, H, W); missing pixels are NaN."""
        image_format = self.image_format
        X = X.reshape(-1, *image_format.shape)
        x = (X.to(self.low.dtype) - self.low) / self.span
        x = x.clamp(-image_format.margin, 1 + image_format.margin)
        if image_format.missing_values is not None:
            x = torch.where(is_hole(X, image_format.missing_values), torch.nan, x)
        if image_format.channels_last:
            x = x.movedim(-1, 1)
        return x.to(torch.float32).reshape(-1, *image_format.channels_first_shape)


class ImagesOfX(nn.Module):
    """`ImageFormat.from_unit` for tensors."""

    def __init__(self, image_format):
        super().__init__()
        self.image_format = image_format
        for name in ("low", "extent"):
            values = image_format.along_channels(getattr(image_format, name), np.float32)
            self.register_buffer(name, torch.from_numpy(values))

    def forward(self, x):
        """(n, C, H, W) -> rows or images in the units of X, as `fit` saw them."""
        image_format = self.image_format
        if image_format.channels_last:
            x = x.movedim(1, -1)
        X = x.reshape(-1, *image_format.shape) * self.extent + self.low
        if not image_format.bounded:
            X = X.clamp(-FLOAT32_MAX, FLOAT32_MAX)
        return X.reshape(-1, *image_format.output_shape)


class Graph(nn.Module):
    """What a method of an estimator computes, as one module; a subclass says what.

    The network is copied, to the CPU. `dtype` is that of the input: if it is float64, so are the
    results.
    """

    outputs = ()

    def __init__(self, module, image_format, dtype):
        super().__init__()
        self.module = copy.deepcopy(module).cpu()
        self.unit_images = UnitImages(image_format)
        self.images_of_x = ImagesOfX(image_format)
        self.dtype = torch.float64 if dtype == np.float64 else torch.float32

    def encode(self, X):
        """mu of the posterior: images in the units of X -> (n, K)."""
        mu, _ = self.module.encode(self.unit_images(X))
        return mu


class TransformGraph(Graph):
    """X -> mu: `transform`."""

    outputs = ("latents",)

    def forward(self, X):
        return self.encode(X).to(self.dtype)


class InverseTransformGraph(Graph):
    """z -> the mean of p(x|z) in the units of X: `inverse_transform`."""

    outputs = ("images",)

    def forward(self, X):
        return self.images_of_x(self.module.likelihood.mean(self.module.decode(X)))


class PredictGraph(Graph):
    """X -> the place of the most probable class, and p(y|z) of each at z = mu: `predict`."""

    outputs = ("label", "probabilities")

    def forward(self, X):
        log_joint = self.module.prior.log_joint(self.encode(X))
        return log_joint.argmax(1), log_joint.softmax(1).to(self.dtype)


GRAPHS = {
    "transform": TransformGraph,
    "inverse_transform": InverseTransformGraph,
    "predict": PredictGraph,
}


def as_onnx(graph, shape, dtype, opset):
    """A graph as an ONNX model, for any number of rows, each of which has `shape` and `dtype`.

    Its input is "X". It does not say where on this machine its code stands.
    """
    example = torch.from_numpy(np.zeros((2, *shape), dtype))
    with _quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            input_names=["X"],
            output_names=graph.outputs,
            opset_version=opset,
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input):
        part.ClearField("metadata_props")
    return model


def with_classes(model, classes):
    """The model of a `PredictGraph`, changed in place: its labels are classes, not their places.

    `classes` are as `labels_of` gives them.
    """
    from onnx import helper, numpy_helper

    label = model.graph.output[0]
    (node,) = (node for node in model.graph.node if label.name in node.output)
    node.output[:] = ["place"]
    model.graph.initializer.append(numpy_helper.from_array(classes, "classes"))
    # skl2onnx needs a name.
    gather = helper.make_node("Gather", ["classes", "place"], [label.name], name="node_label")
    model.graph.node.append(gather)
    label.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(classes.dtype)
    return model


@contextmanager
def _quiet():
    """Without what torch's exporter says about torch."""
    logger = logging.getLogger(REGISTRY_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
