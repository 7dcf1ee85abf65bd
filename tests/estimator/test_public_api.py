"""What `skvae` offers, no more and no less."""

import subprocess
import sys
from importlib.metadata import version
from inspect import Parameter, signature

import skvae
from skvae import ConvVAEClassifier, ConvVAECluster, ConvVAETransformer


def test_all_is_exact():
    assert sorted(skvae.__all__) == [
        "ComponentInformationDisplay",
        "ConvVAEClassifier",
        "ConvVAECluster",
        "ConvVAETransformer",
        "InvalidFileError",
        "LatentManifoldDisplay",
        "LatentSpaceDisplay",
        "LatentTraversalDisplay",
        "ReconstructionDisplay",
        "TrainingCurveDisplay",
        "__version__",
        "load",
        "read_images",
        "to_onnx",
    ]
    public = {name for name in vars(skvae) if not name.startswith("_")}
    public -= {"onnx"}  # a module of its own, which another test may have imported
    assert public == {name for name in skvae.__all__ if not name.startswith("_")}
    assert skvae.__version__ == version("skvae")


def test_parameters_and_defaults():
    parameters = signature(ConvVAETransformer).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "n_components": 10,
        "image_shape": None,
        "channel_axis": -1,
        "pixel_range": None,
        "missing_values": None,
        "hidden_channels": None,
        "hidden_units": 256,
        "likelihood": "auto",
        "binarize": False,
        "augment": 0.0,
        "beta": 1.0,
        "beta_warmup": 0.0,
        "max_iter": None,
        "batch_size": "auto",
        "learning_rate": "auto",
        "early_stopping": "auto",
        "validation_fraction": 0.1,
        "n_iter_no_change": 10,
        "tol": 1e-4,
        "warm_start": False,
        "device": "auto",
        "callbacks": None,
        "checkpoint": None,
        "data_parallel": False,
        "random_state": None,
        "verbose": 0,
    }
    kinds = [parameter.kind for parameter in parameters.values()]
    assert kinds == [Parameter.POSITIONAL_OR_KEYWORD] + [Parameter.KEYWORD_ONLY] * 25


def methods_of(cls):
    """Public methods, but for those by which scikit-learn routes metadata."""
    return {
        name
        for cls in {cls, ConvVAETransformer}
        for name, member in vars(cls).items()
        if callable(member) and not name.startswith("_")
        if not (name.startswith("set_") and name.endswith("_request"))
    }


def test_methods():
    assert methods_of(ConvVAETransformer) == {
        "explained_variance_ratio",
        "fit",
        "impute",
        "inverse_transform",
        "log_likelihood",
        "partial_fit",
        "posterior",
        "reconstruct",
        "sample",
        "save",
        "score",
        "score_samples",
        "transform",
    }
    more = {"decision_function", "predict", "predict_log_proba", "predict_proba"}
    assert methods_of(ConvVAEClassifier) == methods_of(ConvVAETransformer) | more
    assert methods_of(ConvVAECluster) == methods_of(ConvVAETransformer) | {"predict"}


def test_import_adds_no_package_to_those_it_stands_on():
    code = (
        "import sys, torch, sklearn, skorch; before = set(sys.modules); import skvae;"
        "print(*set(sys.modules) - before)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    added = {name.split(".")[0] for name in done.stdout.split()}
    assert "skvae" in added
    # pandas and matplotlib are imported where they are used; _loss is a module of scikit-learn.
    known = {"_loss", "skvae", "sklearn", "skorch", "scipy", "torch", "tqdm"}
    assert added <= known | set(sys.stdlib_module_names)
