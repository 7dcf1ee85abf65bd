"""Components of images by variational auto-encoders, as scikit-learn transformers."""

from ._estimator import ConvVAETransformer
from ._version import __version__

__all__ = ["ConvVAETransformer", "__version__"]
