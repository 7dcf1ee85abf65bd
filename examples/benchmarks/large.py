"""Time and memory by the size of the image: colour images from 28 x 28 to 1,024 x 1,024.

An epoch of `fit` and the other methods, with default parameters. Each side has its own process,
and so many images that all together have about as many pixels. Times are per 1,000 images, and
for `fit` also per pixel; memory is the peak of anonymous pages above that after importing.

With ``--default-fits``: whole fits with default parameters of drawn ellipses, beside PCA. R2 is the
share of the variance of the pixels of 50 test images that reconstructions explain.
"""

import json
import sys
from time import perf_counter

import numpy as np
from _common import argument_parser, report, run_worker
from _pictures import colour_ellipses
from scaling import peak_anonymous_memory
from sklearn.decomposition import IncrementalPCA

from skvae import ConvVAETransformer

METHODS = ("transform", "score_samples", "inverse_transform")
# Side and number of images of the default fits.
DEFAULT_FITS = [(256, 500), (256, 5_000), (1_024, 1_000)]


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--sides", nargs="+", type=int, default=[28, 64, 128, 256, 512, 1024])
    parser.add_argument("--pixels", type=float, default=16e6, help="in all images together")
    parser.add_argument("--side", type=int, help="measure this one; for the workers")
    parser.add_argument("--default-fits", action="store_true", help="whole fits, beside PCA")
    parser.add_argument("--pictures", type=int, help="fit so many of --side; for the workers")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(sides=[28, 64], pixels=1e5)
    if arguments.pictures:
        print(json.dumps(default_fit(arguments.side, arguments.pictures, arguments.seed)))
        return
    if arguments.default_fits:
        report_default_fits(arguments)
        return
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
            "images": f"{r['n']:,}",
            "fit, an epoch": f"{1e3 * r['fit']:.3g} s",
            "per pixel": f"{r['fit'] / r['side'] ** 2 / flattest:.2f}",
            **{name: f"{1e3 * r[name]:.3g} s" for name in METHODS},
            "MB above import": f"{r['memory_mb']:,.0f}",
        }
        for r in results
    ]
    report(arguments, table, results=results)


def measure(side, n_pixels, seed):
    """Seconds per image of an epoch of `fit` and of each method, and the peak of memory."""
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


def report_default_fits(arguments):
    """A process for each fit, and a table of all."""
    table, results = [], []
    for side, n in [(40, 100)] if arguments.quick else DEFAULT_FITS:
        (r,) = run_worker(sys.executable, __file__, "--side", side, "--pictures", n)
        results.append(r)
        table.append(
            {
                "side": f"{side:,}",
                "images": f"{n:,}",
                "epochs": f"{r['epochs']}",
                "seconds": f"{r['seconds']:.0f}",
                "MB above import": f"{r['memory_mb']:,.0f}",
                "R2": f"{r['r2']:.3f}",
                "PCA": f"{r['pca']:.3f}",
                "PCA, seconds": f"{r['pca_seconds']:.0f}",
            }
        )
        print(" | ".join(table[-1].values()), flush=True)
    report(arguments, table, results=results)


def default_fit(side, n, seed):
    """Seconds, memory and quality of a fit with default parameters, and of PCA."""
    X = np.empty((n + 50, side, side, 3), np.uint8)
    for i in range(0, len(X), 10):  # drawn in blocks: masks are numbers of 8 bytes
        X[i : i + 10] = colour_ellipses(seed + i, side=side, n_train=10, n_test=0).train
    train, test = X[:n], X[n:]
    with peak_anonymous_memory() as memory:
        vae = ConvVAETransformer(device="cpu", random_state=seed)
        start = perf_counter()
        vae.fit(train)
        seconds = perf_counter() - start
    start, pca = perf_counter(), IncrementalPCA(vae.n_components)
    for block in np.array_split(train, max(1, n // 50)):
        pca.partial_fit(block.reshape(len(block), -1).astype(np.float32))
    pca_seconds = perf_counter() - start
    error = 0.0
    for x in test.reshape(50, 1, -1).astype(np.float32):
        error += np.square(pca.inverse_transform(pca.transform(x)) - x).sum(dtype=float)
    rows = test.reshape(50, -1)
    variance = rows.var(0, dtype=float).sum() * len(rows)
    return {
        "seconds": seconds,
        "epochs": vae.n_iter_,
        "r2": vae.explained_variance_ratio(test),
        "pca": 1 - error / variance,
        "pca_seconds": pca_seconds,
        **memory,
    }


if __name__ == "__main__":
    main()
