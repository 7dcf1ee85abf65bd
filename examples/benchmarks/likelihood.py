"""How likely the test images are: -ELBO and an estimate of -log p(x), dynamic binarisation.

The protocol of the literature: training draws 0/1 pixels anew at every showing of an image, each
test image is one draw, and log p(x) is estimated by importance weighting. With ``--valid`` the
models are judged on images set aside from the training images: that is where choices are made.
The test images come last, and once.
"""

from time import perf_counter

import matplotlib.pyplot as plt
from _common import argument_parser, load_images, report, split_off_validation

from skvae import ConvVAETransformer

SETTINGS = {
    "K = 20, default": {"n_components": 20},
    "K = 64, default": {"n_components": 64},
    "K = 32, 48 epochs": {
        "n_components": 32,
        "hidden_channels": (64,),
        "max_iter": 48,
        "learning_rate": 2e-3,
    },
    "K = 32, two stages": {
        "n_components": 32,
        "hidden_channels": (32, 64),
        "max_iter": 100,
        "learning_rate": 2e-3,
    },
}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--train", type=int, default=None, help="of the training images")
    parser.add_argument("--valid", type=int, default=0, help="of these, set aside and judged on")
    parser.add_argument("--max-iter", type=int, default=None, help="epochs, whatever the setting")
    parser.add_argument("--warmups", nargs="+", type=float, default=[0.0], help="beta_warmup")
    parser.add_argument("--draws", type=int, default=500, help="for log p(x); 0: leave it out")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(train=1500, max_iter=1, draws=10)
    images = load_images(arguments.data, arguments.train)
    train, held_out = images.train, images.test
    if arguments.valid:
        train, held_out = split_off_validation(train, arguments.valid, seed=0)
    if arguments.quick:
        held_out = held_out[:200]

    results = [
        measure(name, warmup, train, held_out, arguments)
        for name in arguments.settings
        for warmup in arguments.warmups
    ]
    table = [
        {
            "setting": result["setting"],
            "beta_warmup": f"{result['beta_warmup']:g}",
            "seed": str(arguments.seed),
            "epochs": str(result["n_epochs"]),
            "fit, s": f"{result['fit_s']:.0f}",
            "active": str(result["n_active"]),
            "-ELBO": f"{result['negative_elbo']:.2f}",
            "NLL": f"{result['nll']:.2f}" if "nll" in result else "",
        }
        for result in results
    ]
    report(arguments, table, figure=plot(results), results=results)


def measure(name, warmup, train, held_out, arguments):
    params = dict(SETTINGS[name])
    if arguments.max_iter is not None:
        params["max_iter"] = arguments.max_iter
    vae = ConvVAETransformer(
        **params, binarize=True, beta_warmup=warmup, random_state=arguments.seed
    )
    start = perf_counter()
    vae.fit(train)
    result = {
        "setting": name,
        "beta_warmup": warmup,
        "fit_s": perf_counter() - start,
        "n_epochs": vae.n_iter_,
        "n_active": vae.n_active_components_,
        "kl_per_component": vae.kl_per_component_.tolist(),
        "negative_elbo": -vae.score(held_out),
        "loss_curve": vae.loss_curve_,
    }
    if arguments.draws:
        start = perf_counter()
        result["nll"] = -float(vae.log_likelihood(held_out, arguments.draws).mean())
        result["nll_s"] = perf_counter() - start
    return result


def plot(results):
    figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
    for result in results:
        label = f"{result['setting']}, beta_warmup={result['beta_warmup']:g}"
        ax.plot(result["kl_per_component"], "o-", label=label)
    ax.set(xlabel="component", ylabel="mean KL, nats", title="What each component tells")
    ax.legend()
    return figure


if __name__ == "__main__":
    main()
