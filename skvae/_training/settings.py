"""What a training depends on, besides the network and the images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """What a training depends on, besides the network and the images."""

    log_jacobian: tuple  # of the scaling of the pixels; see `ImageFormat.log_jacobian`
    beta: float
    beta_warmup: float
    label_weight: float
    learning_rate: float
    weight_decay: float
    tol: float
    binarize: bool
    augment: float
    consistency: float
    batch_size: int
    n_epochs: int
    n_iter_no_change: int
    seed: int  # of the noise and of the order of the images
    first_epoch: int  # epochs before this training; each epoch has its own noise
    device: str
    verbose: int
    name: str  # of the estimator, for the progress bar
    callbacks: tuple = ()  # the user's, of skorch
    few_labels: bool = False  # whether each step also sees labelled images in addition
    entropy_weight: float = 1.0  # in the loss of unknown classes
    shares_window: int = 2_048  # images without a label that tell how frequent classes are
