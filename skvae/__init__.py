"""Components, classes and clusters of images by variational auto-encoders (scikit-learn)."""

from ._classifier import ConvVAEClassifier
from ._cluster import ConvVAECluster
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
