"""Does any fit stay at its linear start where another seed leaves it?

Short fits of each set with several seeds and sizes of batches. The gain is the share of the
variance that the linear start (probabilistic PCA) leaves unexplained and the fit explains, on test
images. The table has its least and greatest value over the seeds.
"""

import warnings

import numpy as np
from _common import argument_parser, report
from field import explained, picture_sets, rows_of
from sklearn.decomposition import PCA

from skvae import ConvVAETransformer

COMPONENTS = {"colour patches": 32, "colour patches, within": 32, "emoji": 32}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--clothes", help="a folder with the four IDX files of Fashion-MNIST")
    parser.add_argument("--emoji", help="a .npz file of images, with arrays train and test")
    parser.add_argument("--sets", nargs="+", help="names of sets; none: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 128])
    parser.add_argument("--steps", type=int, default=400, help="of each fit, about")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds, arguments.batches, arguments.steps = 2, [32], 10
    table = []
    for name, pictures in picture_sets(arguments).items():
        n_components = COMPONENTS.get(name, 10)
        pca = PCA(n_components, random_state=0).fit(rows_of(pictures.train[:10_000]))
        test = pictures.test[:1_000]
        of_pca = explained(test, pca.inverse_transform(pca.transform(rows_of(test))))
        for batch_size in arguments.batches:
            gains = [
                gain(pictures.train, test, of_pca, n_components, batch_size, seed, arguments.steps)
                for seed in range(arguments.seeds)
            ]
            table.append(
                {
                    "images": name,
                    "batch": str(batch_size),
                    "PCA": f"{of_pca:.3f}",
                    "least gain": f"{min(gains):.1%}",
                    "greatest gain": f"{max(gains):.1%}",
                    "stays": "yes" if min(gains) < 0.01 < max(gains) / 2 else "no",
                }
            )
            print(" | ".join(table[-1].values()), flush=True)
    report(arguments, table)


def gain(train, test, of_pca, n_components, batch_size, seed, n_steps):
    """Share of what PCA leaves unexplained that a short fit explains."""
    n_images = min(len(train), n_steps * batch_size)
    max_iter = max(1, round(n_steps * batch_size / n_images))
    vae = ConvVAETransformer(
        n_components,
        batch_size=batch_size,
        max_iter=max_iter,
        early_stopping=False,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # such short fits may well stay at PCA
        vae.fit(np.asarray(train[:n_images]))
    return (explained(test, vae.reconstruct(test)) - of_pca) / (1 - of_pca)


if __name__ == "__main__":
    main()
