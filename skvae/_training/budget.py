"""How long a fit trains by default, in how large batches, and at which rates."""

from typing import NamedTuple

from .._model import n_products
from .batches import N_LABELLED

# Multiplications of the network that take the time of what else is done: for each number of an
# image, and for each image.
PRODUCTS_PER_NUMBER, PRODUCTS_PER_IMAGE = 650, 2_000_000

# Share of the multiplications of the network that are the encoder's.
ENCODER_SHARE = 0.5

# The most epochs by default, and the fewest steps of the optimiser to aim at.
MAX_EPOCHS, N_STEPS = 200, 4_500

# Smallest and largest automatic size of a batch.
MIN_BATCH_SIZE, MAX_BATCH_SIZE = 16, 128

# Peak of the learning rate with a linear path, and without: with no classes, and with classes.
LEARNING_RATE_BESIDE_LINEAR, LEARNING_RATE, LEARNING_RATE_OF_CLASSES = 5e-3, 3e-3, 2e-3

# Weight decay of networks with a linear path, times the number of images.
WEIGHT_DECAY = 1_000.0


def cost_of_image(products, n_numbers):
    """The time of a training image, in multiplications: `products` of the network, and the rest."""
    return products + PRODUCTS_PER_NUMBER * n_numbers + PRODUCTS_PER_IMAGE


# The default work: that of 20 epochs of 60,000 images of 28 x 28 pixels.
WORK = 20 * 60_000 * cost_of_image(2_165_248, 784)


class Budget(NamedTuple):
    """Epochs of a training, and images in each of its steps."""

    n_epochs: int
    batch_size: int


def default_budget(n_images, architecture, n_encoded=0.0):
    """The work of MNIST's 20 epochs: the time of a fit, whatever the size and number of images.

    An image costs the multiplications of the network, 650 for each of its numbers, and 2,000,000.
    For each image, `n_encoded` others pass through the encoder alone, which costs half of the
    multiplications. Of images that are few or cheap, 200 epochs are enough. The size of a batch is
    a power of two from 16 to 128 with which there are at least 4,500 steps.

    >>> mnist = {
    ...     "image_shape": (1, 28, 28),
    ...     "n_components": 10,
    ...     "hidden_channels": (32,),
    ...     "hidden_units": 256,
    ... }
    >>> default_budget(60_000, mnist)
    Budget(n_epochs=20, batch_size=128)
    >>> default_budget(1_000, mnist)
    Budget(n_epochs=200, batch_size=32)
    """
    channels, height, width = architecture["image_shape"]
    products = n_products(**architecture) * (1 + ENCODER_SHARE * n_encoded)
    cost = cost_of_image(products, channels * height * width)
    n_epochs = min(MAX_EPOCHS, max(1, round(WORK / (cost * n_images))))
    batch_size = MIN_BATCH_SIZE
    while batch_size < MAX_BATCH_SIZE and 2 * batch_size * N_STEPS <= n_epochs * n_images:
        batch_size *= 2
    return Budget(n_epochs, batch_size)


def resolve_budget(max_iter, batch_size, n_images, architecture, *, consistency, few_labels):
    """Epochs and size of a batch: the parameters, or the default for so many images."""
    # Images under maps, and the labelled images that a step sees in addition.
    n_encoded = (consistency > 0) + few_labels * N_LABELLED / MAX_BATCH_SIZE
    n_epochs, default_size = default_budget(n_images, architecture, n_encoded)
    return Budget(
        n_epochs if max_iter is None else int(max_iter),
        default_size if batch_size == "auto" else int(batch_size),
    )


def resolve_learning_rate(learning_rate, architecture):
    """Peak of the learning rate: the parameter, or the default of the network."""
    if learning_rate != "auto":
        return float(learning_rate)
    if architecture["linear_path"]:
        return LEARNING_RATE_BESIDE_LINEAR
    return LEARNING_RATE_OF_CLASSES if architecture["n_classes"] else LEARNING_RATE


def resolve_weight_decay(n_images, architecture):
    """Rate at which the weights decay towards 0: lower if there are more images."""
    return min(1.0, WEIGHT_DECAY / n_images) if architecture["linear_path"] else 0.0
