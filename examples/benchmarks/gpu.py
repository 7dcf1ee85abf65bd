"""An epoch on a GPU: the library beside a hand-written loop and beside skorch's default loop.

The hand-written loop holds the uint8 images on the device and shuffles them there; skorch comes
with its default loader and callbacks. Same network, first weights, optimiser, schedule and steps;
contenders take turns in one process. The first fit, with all that is chosen or compiled for the
device then, is timed on its own.
"""

from time import perf_counter

import torch
from _common import argument_parser, interleave, load_images, ratios, report, spread
from _loops import bare_fit, held_out_loss, skorch_fit, start_of_fit

from skvae import ConvVAETransformer


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--train", type=int, default=None, help="images to fit on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(train=1000, epochs=1, rounds=2)
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print("No GPU: torch.cuda is not available here, nothing measured.")
        return

    images = load_images(arguments.data, arguments.train)
    n_epochs, device = arguments.epochs, arguments.device
    vae = ConvVAETransformer(
        arguments.components,
        likelihood="bernoulli",
        device=device,
        random_state=arguments.seed,
    )
    begin = perf_counter()
    start = start_of_fit(vae, images.train)
    first_fit = perf_counter() - begin
    vae.set_params(callbacks=None, max_iter=n_epochs)
    pixels, held_out = (torch.tensor(X)[:, None].to(device) for X in (images.train, images.test))
    trained = {}

    def synchronised(name, train):
        def run():
            trained[name] = train()
            if device.startswith("cuda"):
                torch.cuda.synchronize()

        return run

    loops = {
        "skvae": lambda: vae.fit(images.train).module_,
        "hand-written, data on the device": lambda: bare_fit(start, pixels, vae, n_epochs),
        "skorch's defaults": lambda: skorch_fit(start, images.train[:, None], vae, n_epochs),
    }
    contenders = {name: synchronised(name, train) for name, train in loops.items()}
    interleave(contenders, 1)  # kernels are chosen in the first round
    seconds = interleave(contenders, arguments.rounds)
    losses = {
        name: held_out_loss(module, held_out, vae.n_components) for name, module in trained.items()
    }
    table = [
        {
            "loop": name,
            "seconds per epoch": spread([s / n_epochs for s in times]),
            "skvae / this": spread(ratios(seconds["skvae"], times)),
            "held-out -ELBO": f"{losses[name]:.2f}",
        }
        for name, times in seconds.items()
    ]
    report(
        arguments,
        table,
        seconds=seconds,
        first_fit_of_one_epoch_s=first_fit,
        held_out_negative_elbo=losses,
    )
    print(f"\nFirst fit (one epoch, warm-up counted): {first_fit:.1f} s")


if __name__ == "__main__":
    main()
