"""What X and y mean: rows to images in [0, 1] and back, classes, holes, files of images.

Knows no estimator and no training.
"""

from .checks import check_images, learn_images
from .containers import check_in_memory, shape_of, without_array_api, without_mask
from .dataset import ImageDataset, binary_draw
from .format import ImageFormat
from .labels import (
    UNKNOWN,
    check_classes,
    encode_labels,
    is_missing,
    known_labels,
    resolve_priors,
    scarce,
    with_types,
)
from .misreadings import refuse_misreadings
from .pixel_range import FLOAT32_MAX, fits_float32, is_hole, whole_numbers
from .read import read_images
