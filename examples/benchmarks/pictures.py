"""Whether the defaults, chosen on MNIST, hold for other pictures.

scikit-learn's 8 x 8 digits, colour pictures of 32 x 32 (an ellipse in each channel) and grey ones
of 64 x 64. Each default is tried against its neighbours, with the same share of the default budget
of epochs, and judged on images set aside: -ELBO in nats per image, and how much of the variance of
the pixels the reconstructions explain, beside as many principal components.
"""

from time import perf_counter

import numpy as np
from _common import argument_parser, ellipses, report
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from skvae import ConvVAETransformer
from skvae._training import default_max_iter

VARIANTS = {
    "default": {},
    "peak rate 0.002": {"learning_rate": 0.002},
    "peak rate 0.01": {"learning_rate": 0.01},
    "batches of 64": {"batch_size": 64},
    "half the hidden units": {"hidden_units": 128},
}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--share", type=float, default=1.0, help="of the default budget")
    parser.add_argument("--pictures", type=int, default=6_000, help="of each synthetic set")
    parser.add_argument("--components", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(share=0.01, pictures=300)

    table, results = [], []
    for name, images in picture_sets(arguments).items():
        train, held_out = train_test_split(images, test_size=0.2, random_state=0)
        pca = explained_by_pca(train, held_out, arguments)
        for variant in arguments.variants:
            result = measure(variant, train, held_out, arguments)
            results.append({"pictures": name, "variant": variant, "pca": pca, **result})
            table.append(
                {
                    "pictures": name,
                    "variant": variant,
                    "epochs": str(result["n_epochs"]),
                    "seconds": f"{result['seconds']:.0f}",
                    "-ELBO": f"{result['negative_elbo']:.2f}",
                    "active": str(result["n_active"]),
                    "variance explained": f"{result['explained']:.1%}",
                    "by PCA": f"{pca:.1%}",
                }
            )
    report(arguments, table, results=results)


def picture_sets(arguments):
    n, seed = arguments.pictures, arguments.seed
    colour = np.stack([ellipses(n, 32, [seed, channel]) for channel in range(3)], -1)
    return {
        "digits, 8 x 8": load_digits().images,
        "colour ellipses, 32 x 32": colour,
        "ellipses, 64 x 64": ellipses(n, 64, seed),
    }


def measure(variant, train, held_out, arguments):
    params = VARIANTS[variant]
    # As many epochs for each variant, so that all see as many images.
    n_epochs = max(1, round(arguments.share * default_max_iter(len(train), 128)))
    vae = ConvVAETransformer(
        arguments.components, max_iter=n_epochs, random_state=arguments.seed, **params
    )
    start = perf_counter()
    vae.fit(train)
    seconds = perf_counter() - start
    reconstructions = vae.inverse_transform(vae.transform(held_out))
    return {
        "n_epochs": n_epochs,
        "seconds": seconds,
        "negative_elbo": -vae.score(held_out),
        "n_active": vae.n_active_components_,
        "explained": explained(held_out, reconstructions),
    }


def explained_by_pca(train, held_out, arguments):
    rows, held_out = (X.reshape(len(X), -1).astype(np.float32) for X in (train, held_out))
    pca = PCA(arguments.components, random_state=arguments.seed).fit(rows)
    return explained(held_out, pca.inverse_transform(pca.transform(held_out)))


def explained(X, reconstructions):
    rows = (part.reshape(len(part), -1) for part in (X, reconstructions))
    return float(r2_score(*rows, multioutput="variance_weighted"))


if __name__ == "__main__":
    main()
