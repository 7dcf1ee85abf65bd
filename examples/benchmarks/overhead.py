"""What the library costs: its calls beside bare PyTorch on the same network.

`fit` runs beside a plain loop over slices of the same uint8 images, and beside skorch with its
default loader and callbacks: same network, first weights, optimiser, schedule and steps. The
other methods run beside the bare pass of the network in chunks of 128. Contenders take turns in
one process; ratios are those of each round.
"""

from statistics import median
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from _common import argument_parser, interleave, load_images, ratios, report, spread
from _loops import bare_fit, held_out_loss, negative_elbo, skorch_fit, start_of_fit
from torch.utils.flop_counter import FlopCounterMode

from skvae import ConvVAETransformer
from skvae._model.latents import kl_divergence

CHUNK = 128
SECONDS_PER_TURN = 0.2


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--train", type=int, default=20_000, help="images to fit on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5, help="of fits")
    parser.add_argument("--call-rounds", type=int, default=15, help="of the other methods")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(train=1500, epochs=1, rounds=2, call_rounds=3)

    images = load_images(arguments.data, arguments.train)
    vae = ConvVAETransformer(
        arguments.components,
        likelihood="bernoulli",
        early_stopping=False,
        device="cpu",
        random_state=arguments.seed,
    )
    fits = measure_fits(vae, images.train, images.test, arguments.epochs, arguments.rounds)
    methods = [
        measure_method(name, n_rows, call, bare, arguments.call_rounds)
        for n_rows in (CHUNK, 8 * CHUNK)
        for name, call, bare in method_pairs(vae, np.resize(images.test, (n_rows, 28, 28)))
    ]
    measurements = [fits["fit"], fits["fit, epochs only"], fits["skorch"], *methods]
    table = [
        {
            "call": m["call"],
            "µs per image": spread(m["us_per_image"]),
            "bare PyTorch": spread(m["bare_us_per_image"]),
            "ratio": spread(m["ratios"], ".3f"),
        }
        for m in measurements
    ]
    report(
        arguments,
        table,
        figure=plot(measurements),
        measurements=measurements,
        held_out_negative_elbo=fits["losses"],
    )
    losses = {name: round(loss, 2) for name, loss in fits["losses"].items()}
    print(f"\nHeld-out -ELBO after {arguments.epochs} epochs, nats per image: {losses}")
    flops, peak = flops_per_image(vae.module_), matrix_product_peak()
    achieved = flops / (median(fits["fit, epochs only"]["us_per_image"]) * 1e3)
    print(
        f"Training: {flops / 1e6:.1f} MFLOP an image, {achieved:.0f} GFLOP/s; products of 2,048 x "
        f"2,048 matrices: {peak:.0f} GFLOP/s; share {achieved / peak:.2f}"
    )


def flops_per_image(module):
    """Floating-point operations of a step, forward and backward, for each image."""
    x, noise = torch.rand(128, *module.image_shape), torch.randn(128, module.n_components)
    with FlopCounterMode(display=False) as counter:
        negative_elbo(module, x, noise).backward()
    return counter.get_total_flops() / len(x)


def matrix_product_peak(side=2_048, n_products=20):
    """GFLOP/s of the fastest of some matrix products."""
    a, b = torch.rand(2, side, side)
    seconds = []
    for _ in range(n_products):
        start = perf_counter()
        a @ b
        seconds.append(perf_counter() - start)
    return 2 * side**3 / min(seconds) / 1e9


def measure_fits(vae, train, test, n_epochs, n_rounds):
    """Time the three ways to train, and prove by the held-out loss that they do the same work."""
    start = start_of_fit(vae, train)
    vae.set_params(callbacks=None, max_iter=n_epochs)
    pixels, held_out = (torch.tensor(X)[:, None] for X in (train, test))
    trained, epoch_seconds = {}, []

    def fit():
        trained["skvae"] = vae.fit(train).module_
        epoch_seconds.append(float(vae.history_["duration"].sum()))

    def bare():
        trained["bare"] = bare_fit(start, pixels, vae, n_epochs)

    def skorch():
        trained["skorch"] = skorch_fit(start, train[:, None], vae, n_epochs)

    seconds = interleave({"fit": fit, "bare": bare, "skorch": skorch}, n_rounds)
    n_shown = n_epochs * len(train)
    return {
        "fit": measurement("fit", seconds["fit"], seconds["bare"], n_shown),
        "fit, epochs only": measurement(
            "fit, epochs only", epoch_seconds, seconds["bare"], n_shown
        ),
        "skorch": measurement("skorch's defaults", seconds["skorch"], seconds["bare"], n_shown),
        "losses": {
            name: held_out_loss(module, held_out, vae.n_components)
            for name, module in trained.items()
        },
    }


def method_pairs(vae, X):
    """``(name, call, bare pass)`` of each method on the rows of X."""
    module = vae.module_
    latents = vae.transform(X)

    def encode(x):
        return module.encode(x.float().div_(255)[:, None])[0]

    def decode(z):
        return torch.sigmoid(module.decode(z)).mul_(255)

    def elbo(x):
        x = x.float().div_(255)[:, None]
        mu, logvar = module.encode(x)
        logits = module.decode(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        return -cross_entropy.flatten(1).sum(1) - kl_divergence(mu, logvar).sum(1)

    return [
        ("transform", lambda: vae.transform(X), lambda: in_chunks(encode, X)),
        (
            "inverse_transform",
            lambda: vae.inverse_transform(latents),
            lambda: in_chunks(decode, latents),
        ),
        ("score_samples", lambda: vae.score_samples(X), lambda: in_chunks(elbo, X)),
    ]


@torch.inference_mode()
def in_chunks(function, X):
    return torch.cat([function(chunk) for chunk in torch.tensor(X).split(CHUNK)]).numpy()


def measure_method(name, n_rows, call, bare, n_rounds):
    """Time a method and its bare pass by turns of so many calls that a turn can be timed."""
    interleave({"call": call, "bare": bare}, 2)  # the first calls choose their kernels
    once = median(interleave({"call": call}, 3)["call"])
    n_calls = max(1, round(SECONDS_PER_TURN / once))
    contenders = {"call": repeated(call, n_calls), "bare": repeated(bare, n_calls)}
    seconds = interleave(contenders, n_rounds)
    label = f"{name}, {n_rows:,} rows"
    return measurement(label, seconds["call"], seconds["bare"], n_calls * n_rows)


def repeated(function, n_calls):
    def calls():
        for _ in range(n_calls):
            function()

    return calls


def measurement(call, seconds, bare_seconds, n_images):
    return {
        "call": call,
        "us_per_image": [1e6 * s / n_images for s in seconds],
        "bare_us_per_image": [1e6 * s / n_images for s in bare_seconds],
        "ratios": ratios(seconds, bare_seconds),
    }


def plot(measurements):
    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    for i, m in enumerate(measurements):
        ax.plot(m["ratios"], [i] * len(m["ratios"]), "o", color="C0", alpha=0.4)
        ax.plot(median(m["ratios"]), i, "|", color="C3", markersize=18)
    ax.axvline(1, color="0.5", linewidth=1)
    ax.set(xlabel="time / bare PyTorch (each round; bar: median)")
    ax.set_yticks(range(len(measurements)), [m["call"] for m in measurements])
    ax.invert_yaxis()
    return figure


if __name__ == "__main__":
    main()
