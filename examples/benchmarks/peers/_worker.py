"""What the workers share: arguments, images, a stopwatch, and the held-out loss.

NumPy only: each worker runs in the environment of its own library. It prints one JSON object a
line; `time_to_loss.py` and `quality.py` read them.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter

import numpy as np

BATCH_SIZE = 128  # the same for all


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, help="folder with train.npy and valid.npy")
    parser.add_argument("--components", type=int, required=True)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--net", default="own", help="whose network, for libraries that take any")
    return parser.parse_args()


def load(args, name):
    """The images in ``name.npy``, uint8 of shape (n, 28, 28)."""
    return np.load(Path(args.images) / f"{name}.npy")


def report(**values):
    """Tell the parent process; the first report names the versions."""
    print(json.dumps(values), flush=True)


class Stopwatch:
    """Seconds of training, from the moment it is made; stands still while losses are computed.

    Attributes
    ----------
    encode : callable
        To be set before the first epoch ends, as `decode`.
        ``encode(x)`` gives mu and log sigma^2, (n, K) each, as NumPy arrays, for float32
        images x of shape (n, 28, 28) in [0, 1].

    decode : callable
        ``decode(z)`` gives the pixels' means, (n, 28 * 28) numbers in any shape.
    """

    def __init__(self, args):
        self.x = load(args, "valid").astype(np.float32) / 255
        noise = np.random.default_rng(args.seed).standard_normal((len(self.x), args.components))
        self.noise = noise.astype(np.float32)
        self.encode = self.decode = None
        self.n_epochs = 0
        self.seconds, self.start = 0.0, perf_counter()

    def end_epoch(self, *ignored, **also_ignored):
        """Report the training time so far and the held-out loss."""
        self.seconds += perf_counter() - self.start
        self.n_epochs += 1
        report(epoch=self.n_epochs, seconds=self.seconds, negative_elbo=self.negative_elbo())
        self.start = perf_counter()

    def negative_elbo(self):
        """Mean of -log p(x|z) + KL(q(z|x) || N(0, I)) in nats, one draw of z for each image."""
        total = 0.0
        for rows in np.array_split(np.arange(len(self.x)), -(-len(self.x) // 1000)):
            x = self.x[rows]
            mu, logvar = self.encode(x)
            p = self.decode(mu + np.exp(logvar / 2) * self.noise[rows]).reshape(x.shape)
            p = np.clip(p, 1e-7, 1 - 1e-7)  # as Keras does; a float32 sigmoid may round to 1
            total -= (x * np.log(p) + (1 - x) * np.log1p(-p)).sum(dtype=np.float64)
            total += (mu**2 + np.exp(logvar) - 1 - logvar).sum(dtype=np.float64) / 2
        return total / len(self.x)
