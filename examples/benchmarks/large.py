"""Time and memory by the size of the picture: colour pictures from 28 x 28 to 1,024 x 1,024.

An epoch of `fit` and the other methods, with default parameters. Each side has its own process,
and so many pictures that all together have about as many pixels. Times are per 1,000 pictures, and
for `fit` also per pixel; memory is the peak of anonymous pages above that after importing.
"""

import json
import sys
from time import perf_counter

import numpy as np
from _common import argument_parser, report, run_worker
from scaling import peak_anonymous_memory

from skvae import ConvVAETransformer

METHODS = ("transform", "score_samples", "inverse_transform")


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--sides", nargs="+", type=int, default=[28, 64, 128, 256, 512, 1024])
    parser.add_argument("--pixels", type=float, default=16e6, help="in all pictures together")
    parser.add_argument("--side", type=int, help="measure this one; for the workers")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(sides=[28, 64], pixels=1e5)
    if arguments.side:
        print(json.dumps(measure(arguments.side, int(arguments.pixels), arguments.seed)))
        return
    results = []
    for side in arguments.sides:
        results += run_worker(
            sys.executable, __file__, "--side", side, "--pixels", int(arguments.pixels)
        )
    flattest = results[0]["fit"] / results[0]["side"] ** 2
    table = [
        {
            "side": f"{r['side']:,}",
            "pictures": f"{r['n']:,}",
            "fit, an epoch": f"{1e3 * r['fit']:.3g} s",
            "per pixel": f"{r['fit'] / r['side'] ** 2 / flattest:.2f}",
            **{name: f"{1e3 * r[name]:.3g} s" for name in METHODS},
            "MB above import": f"{r['memory_mb']:,.0f}",
        }
        for r in results
    ]
    report(arguments, table, results=results)


def measure(side, n_pixels, seed):
    """Seconds per picture of an epoch of `fit` and of each method, and the peak of memory."""
    n = min(4_096, max(6, n_pixels // side**2))
    X = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    with peak_anonymous_memory() as memory:
        vae = ConvVAETransformer(max_iter=1, device="cpu", random_state=seed)
        vae.fit(X[:6])  # the first fit of a process also loads modules and chooses kernels
        vae.set_params(early_stopping=False).fit(X)
        result = {"side": side, "n": n, "fit": vae.history_["duration"].sum() / n}
        some = X[: max(6, n // 4)]
        latents = vae.transform(some)
        for name in METHODS:
            start = perf_counter()
            getattr(vae, name)(latents if name == "inverse_transform" else some)
            result[name] = (perf_counter() - start) / len(some)
    return {**result, **memory}


if __name__ == "__main__":
    main()
