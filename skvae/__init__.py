"""Components and classes of images by variational auto-encoders, as scikit-learn estimators."""

from ._classifier import ConvVAEClassifier
from ._display import LatentSpaceDisplay, ReconstructionDisplay
from ._load import load
from ._persistence import InvalidFileError
from ._transformer import ConvVAETransformer
from ._version import __version__

__all__ = [
    "ConvVAEClassifier",
    "ConvVAETransformer",
    "InvalidFileError",
    "LatentSpaceDisplay",
    "ReconstructionDisplay",
    "__version__",
    "load",
]
