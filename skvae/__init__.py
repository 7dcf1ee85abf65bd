"""Components and classes of images by variational auto-encoders, as scikit-learn estimators."""

from ._archive import InvalidFileError
from ._chart_displays import (
    ComponentInformationDisplay,
    LatentSpaceDisplay,
    TrainingCurveDisplay,
)
from ._classifier import ConvVAEClassifier
from ._export import to_onnx
from ._model_file import load
from ._read_images import read_images
from ._reconstruction_display import ReconstructionDisplay
from ._transformer import ConvVAETransformer
from ._traversal_displays import LatentManifoldDisplay, LatentTraversalDisplay
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
