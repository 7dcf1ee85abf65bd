"""`skvae.load`: the estimator in a file."""

from . import _saving
from ._transformer import ConvVAETransformer

CLASSES = {cls.__name__: cls for cls in (ConvVAETransformer,)}


def load(path, device=None):
    """Read an estimator that its method `save` wrote.

    The file may come from a stranger: nothing in it is executed, and no more memory is taken
    than the parameters in it justify, at most 4 GiB.

    Parameters
    ----------
    path : str or path-like
        The file.

    device : str or torch.device, default=None
        Where to compute; it also becomes the parameter `device`. None: what that parameter
        says where this machine has it, else the CPU.

    Returns
    -------
    estimator : ConvVAETransformer
        Fitted; gives the same bits as the one that was saved.

    Raises
    ------
    skvae.InvalidFileError
        If the file is damaged or was not written by skvae; a ValueError.

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
