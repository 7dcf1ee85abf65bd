"""`skvae.load`: read an estimator from a file."""

from . import _saving
from ._classifier import ConvVAEClassifier
from ._transformer import ConvVAETransformer

CLASSES = {cls.__name__: cls for cls in (ConvVAEClassifier, ConvVAETransformer)}


def load(path, device=None):
    """Read an estimator that its method `save` wrote.

    The file need not be trusted. Nothing in it is executed. Memory for its arrays is taken only if
    the file has exactly the size that its header asks for, which is at most 4 GiB.

    Parameters
    ----------
    path : str or path-like
        The file.

    device : str or torch.device, default=None
        Where to compute. It also becomes the parameter `device`. None: where that parameter
        says, or on the CPU if this machine does not have that device.

    Returns
    -------
    estimator : ConvVAETransformer or ConvVAEClassifier
        The fitted estimator. On the same machine, its results are bit-identical to those of the
        one that was saved.

    Raises
    ------
    skvae.InvalidFileError
        If the file is damaged or was not written by skvae. It is a ValueError.

    ValueError
        If this machine does not have `device`.

    OSError
        If the file cannot be read.

    Warns
    -----
    InconsistentVersionWarning
        If another version of skvae wrote the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skvae
    >>> images = np.random.default_rng(0).uniform(size=(20, 8, 8))
    >>> vae = skvae.ConvVAETransformer(max_iter=1, random_state=0).fit(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     vae.save(os.path.join(folder, "model.skvae"))
    ...     same = skvae.load(os.path.join(folder, "model.skvae"))
    >>> bool((same.transform(images) == vae.transform(images)).all())
    True
    """
    return _saving.load(path, CLASSES, device)
