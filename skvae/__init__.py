"""Components of images by variational auto-encoders, as scikit-learn transformers."""

from ._display import LatentSpaceDisplay, ReconstructionDisplay
from ._estimator import ConvVAETransformer
from ._version import __version__

__all__ = [
    "ConvVAETransformer",
    "LatentSpaceDisplay",
    "ReconstructionDisplay",
    "__version__",
]
