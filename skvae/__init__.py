"""Components and classes of images by variational auto-encoders, as scikit-learn estimators."""

from ._classifier import ConvVAEClassifier
from ._data import read_images
from ._displays import (
    ComponentInformationDisplay,
    LatentManifoldDisplay,
    LatentSpaceDisplay,
    LatentTraversalDisplay,
    ReconstructionDisplay,
    TrainingCurveDisplay,
)
from ._export import to_onnx
from ._files import InvalidFileError, load
from ._transformer import ConvVAETransformer
from ._version import __version__

__all__ = [
    "ComponentInformationDisplay",
    "ConvVAEClassifier",
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
