"""Components of images by variational auto-encoders, as scikit-learn transformers."""

from ._display import LatentSpaceDisplay, ReconstructionDisplay
from ._load import load
from ._persistence import InvalidFileError
from ._read_images import read_images
from ._transformer import ConvVAETransformer
from ._version import __version__

__all__ = [
    "ConvVAETransformer",
    "InvalidFileError",
    "LatentSpaceDisplay",
    "ReconstructionDisplay",
    "__version__",
    "load",
    "read_images",
]
