"""Torch modules from X to results and back, and ONNX models of them."""

import copy
import logging
import warnings

import numpy as np
import onnx
import pytest
import torch
from nets import LIKELIHOODS, ImageFormat, network
from numpy.testing import assert_array_equal
from runtimes import runner

from skvae._graphs import (
    GRAPHS,
    REGISTRY_LOGGER,
    ImagesOfX,
    InverseTransformGraph,
    PredictGraph,
    TransformGraph,
    UnitImages,
    as_onnx,
    with_classes,
)

RANGE = (-1.0, 3.0)
RANGES = np.array([[0, 1.0], [-10, 10], [7, 7]])
FORMATS = {
    "rows": ImageFormat((4, 5), -1, RANGE, True),
    "images": ImageFormat((4, 5), -1, RANGE, False),
    "constant": ImageFormat((4, 5), -1, (2.0, 2.0), True),
    "unbounded": ImageFormat((4, 5), -1, RANGE, False, bounded=False),
    "signals": ImageFormat((1, 9), -1, (0.0, 255.0), True),
    "one pixel": ImageFormat((1, 1), -1, (0.0, 100.0), False),
    "channels last": ImageFormat((4, 5, 3), -1, RANGES, True, bounded=False),
    "channels first": ImageFormat((3, 4, 5), 0, RANGES, False),
    "NaN": ImageFormat((4, 5, 3), -1, RANGES, False, missing_values=np.nan),
    "far from 0": ImageFormat((4, 5, 3), -1, RANGES + np.array([[0], [0], [1e6]]), True),
    "marker": ImageFormat((3, 4, 5), 0, RANGE, False, bounded=False, missing_values=2),
}


@pytest.fixture(params=FORMATS, name="image_format")
def each_format(request):
    return FORMATS[request.param]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_unit_images_are_those_of_the_format(image_format, dtype):
    shape = (6, *image_format.shape)
    X = np.random.default_rng(0).uniform(0, 250 if dtype == np.uint8 else 5, shape).astype(dtype)
    if dtype in (np.float32, np.float64):
        X.flat[0] = np.finfo(np.float32).max
    marker = image_format.missing_values
    if marker is not None and (X.dtype.kind == "f" or not np.isnan(marker)):
        X.flat[::3] = marker
    rows = X.reshape(6, -1)
    expected = image_format.to_unit(rows)
    for given in (rows, X):
        x = UnitImages(image_format)(torch.from_numpy(given))
        assert_array_equal(x, expected, strict=True)


def test_images_of_x_are_those_of_the_format(image_format):
    shape = (6, *image_format.channels_first_shape)
    x = np.random.default_rng(0).uniform(-1, 2, shape).astype(np.float32)
    expected = image_format.from_unit(x)
    assert_array_equal(ImagesOfX(image_format)(torch.from_numpy(x)), expected, strict=True)


def test_a_mean_beyond_float32_is_clipped():
    wide = ImageFormat((1, 2), -1, (-1.6e38, 1.6e38), True, bounded=False)
    x = np.array([[[[-4.0, 4.0]]]], np.float32)
    assert_array_equal(ImagesOfX(wide)(torch.from_numpy(x)), wide.from_unit(x))


# Graphs

FORMAT = ImageFormat((8, 8), -1, (0.0, 16.0), True)
X = np.random.default_rng(0).integers(0, 17, (7, 64)).astype(np.float32)
z = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)


def graph_of(part, likelihood="bernoulli", dtype=np.float32, **params):
    return GRAPHS[part](network(likelihood=likelihood, **params), FORMAT, dtype).eval()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_graphs_compose_scaling_and_the_network(likelihood):
    module = network(likelihood=likelihood, n_classes=4)
    with torch.no_grad():
        mu, _ = module.encode(torch.from_numpy(FORMAT.to_unit(X)))
        graphs = [
            kind(module, FORMAT, np.float32)
            for kind in (TransformGraph, InverseTransformGraph, PredictGraph)
        ]
        assert_array_equal(graphs[0](torch.from_numpy(X)), mu)
        mean = module.likelihood.mean(module.decode(torch.from_numpy(z)))
        images = FORMAT.from_unit(mean.numpy())
        assert_array_equal(graphs[1](torch.from_numpy(z)), images)
        place, p = graphs[2](torch.from_numpy(X))
        expected = torch.softmax(module.prior.log_joint(mu).double(), 1)
    assert_array_equal(place, expected.argmax(1))
    torch.testing.assert_close(p.double(), expected, rtol=1e-5, atol=1e-6)
    assert p.dtype == torch.float32


def test_float64_stays_float64():
    with torch.no_grad():
        graph = graph_of("predict", dtype=np.float64, n_classes=4)
        assert graph(torch.from_numpy(X.astype(np.float64)))[1].dtype == torch.float64
        graph = graph_of("transform", dtype=np.float64)
        assert graph(torch.from_numpy(X.astype(np.float64))).dtype == torch.float64


def test_the_network_is_copied():
    module = network()
    graph = TransformGraph(module, FORMAT, np.float32)
    ours = {weight.data_ptr() for weight in module.state_dict().values()}
    assert not ours & {weight.data_ptr() for weight in graph.state_dict().values()}


# ONNX


@pytest.fixture(scope="module")
def model():
    return as_onnx(graph_of("transform"), (64,), np.float32, 18)


def test_names_types_and_shapes(model):
    (given,), (result,) = model.graph.input, model.graph.output
    for value, name, size in ((given, "X", 64), (result, "latents", 3)):
        assert value.name == name
        n, columns = value.type.tensor_type.shape.dim
        assert (n.dim_param, columns.dim_value) == ("n", size)
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [(part.domain, part.version) for part in model.opset_import] == [("", 18)]
    assert not model.functions


def test_the_same_network_gives_the_same_bytes_without_paths(model):
    content = model.SerializeToString()
    again = as_onnx(graph_of("transform"), (64,), np.float32, 18)
    assert again.SerializeToString() == content
    for word in (b"skvae", b"site-packages", b".py"):
        assert word not in content


def test_the_version_of_the_operators():
    model = as_onnx(graph_of("inverse_transform"), (3,), np.float32, 20)
    assert [(part.domain, part.version) for part in model.opset_import] == [("", 20)]
    with torch.no_grad():
        expected = graph_of("inverse_transform")(torch.from_numpy(z))
    np.testing.assert_allclose(runner(model)(z)[0], expected, atol=1e-5)


def test_exporting_leaves_the_process_as_it_was(capfd):
    logger, filters = logging.getLogger(REGISTRY_LOGGER), list(warnings.filters)
    level, state = logger.level, torch.random.get_rng_state()
    capfd.readouterr()
    as_onnx(graph_of("inverse_transform"), (3,), np.float32, 18)
    assert capfd.readouterr() == ("", "")
    assert (logger.level, warnings.filters) == (level, filters)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_labels_are_values_of_the_classes():
    graph = graph_of("predict", n_classes=4)
    places = as_onnx(graph, (64,), np.float32, 18)
    with torch.no_grad():
        place, expected = graph(torch.from_numpy(X))
    for classes in (np.array([-3, 5, 2**40, 2**41]), np.array(["", "b", "ß", "語"], object)):
        label, p = runner(with_classes(copy.deepcopy(places), classes))(X)
        assert_array_equal(label, classes[place])
        np.testing.assert_allclose(p, expected, atol=1e-6)
