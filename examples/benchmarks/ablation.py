"""What each choice of the default network and recipe is worth, at equal time.

Every variant trains for about `--seconds` (so many whole epochs as take that long, timed on one
epoch of its own) and is judged by the held-out -ELBO on a validation split of the training
images: grey targets, nats per image. Test images are not used.
"""

from statistics import median

import matplotlib.pyplot as plt
import torch
from _common import argument_parser, load_images, report, split_off_validation
from skorch.callbacks import Callback
from torch import nn

from skvae import ConvVAETransformer


class Swap(Callback):
    """Use another activation."""

    def __init__(self, activation):
        self.activation = activation

    def on_train_begin(self, net, **kwargs):
        for part in (net.module_.encoder, net.module_.decoder):
            for i, layer in enumerate(part):
                if isinstance(layer, nn.GELU):
                    part[i] = self.activation()


class SingleConvolution(Callback):
    """Leave out the second convolution of each stage, in which size and channels stay."""

    def on_train_begin(self, net, **kwargs):
        for part in (net.module_.encoder, net.module_.decoder):
            for i, layer in enumerate(part):
                if isinstance(layer, nn.Conv2d) and layer.in_channels == layer.out_channels:
                    part[i] = nn.Identity()


class DarkStart(Callback):
    """Start the output bias at zero instead of the logit of the mean pixel."""

    def on_train_begin(self, net, **kwargs):
        nn.init.zeros_(net.module_.decoder[-2].bias)


class ConstantRate(Callback):
    """Keep one learning rate."""

    def __init__(self, rate):
        self.rate = rate

    def on_batch_begin(self, net, **kwargs):
        net.optimizer_.param_groups[0]["lr"] = self.rate


class Decay(Callback):
    """Set the second moment's decay of Adam."""

    def on_train_begin(self, net, **kwargs):
        net.optimizer_.param_groups[0]["betas"] = (0.9, 0.999)


class Clip(Callback):
    """Clip the norm of the gradient."""

    def on_grad_computed(self, net, named_parameters, **kwargs):
        nn.utils.clip_grad_norm_(net.module_.parameters(), 100)


class Average(Callback):
    """End with an exponential moving average of the weights."""

    def on_train_begin(self, net, **kwargs):
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
        self.average_ = torch.optim.swa_utils.AveragedModel(net.module_, multi_avg_fn=average)

    def on_batch_end(self, net, training, **kwargs):
        self.average_.update_parameters(net.module_)

    def on_train_end(self, net, **kwargs):
        net.module_.load_state_dict(self.average_.module.state_dict())


VARIANTS = {
    "default": ({}, []),
    "SiLU": ({}, [Swap(nn.SiLU)]),
    "ReLU": ({}, [Swap(nn.ReLU)]),
    "one convolution a stage": ({}, [SingleConvolution()]),
    "16 channels": ({"hidden_channels": (16,)}, []),
    "64 channels": ({"hidden_channels": (64,)}, []),
    "two stages, 32 and 64": ({"hidden_channels": (32, 64)}, []),
    "128 hidden units": ({"hidden_units": 128}, []),
    "512 hidden units": ({"hidden_units": 512}, []),
    "output bias at 0": ({}, [DarkStart()]),
    "peak rate 0.002": ({"learning_rate": 0.002}, []),
    "peak rate 0.008": ({"learning_rate": 0.008}, []),
    "constant rate 0.001": ({}, [ConstantRate(1e-3)]),
    "batches of 64": ({"batch_size": 64}, []),
    "batches of 256": ({"batch_size": 256}, []),
    "Adam's beta2 0.999": ({}, [Decay()]),
    "gradient norm clipped": ({}, [Clip()]),
    "averaged weights": ({}, [Average()]),
}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seconds", type=float, default=60, help="of training, each")
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--train", type=int, default=None, help="of the training images")
    parser.add_argument("--valid", type=int, default=5000, help="of these, set aside")
    parser.add_argument("--repeats", type=int, default=1, help="with other seeds")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(train=1500, valid=500, seconds=1)
    images = load_images(arguments.data, arguments.train).train
    train, valid = split_off_validation(images, arguments.valid, seed=0)

    results = {name: measure(name, train, valid, arguments) for name in arguments.variants}
    reference = results.get("default", {}).get("negative_elbo", float("nan"))
    table = [
        {
            "variant": name,
            "-ELBO": f"{result['negative_elbo']:.2f}",
            "difference": f"{result['negative_elbo'] - reference:+.2f}",
            "epochs": str(result["n_epochs"]),
            "seconds": f"{result['seconds']:.0f}",
        }
        for name, result in results.items()
    ]
    report(arguments, table, figure=plot(results, reference), results=results)


def measure(name, train, valid, arguments):
    """Median held-out loss of a variant, over the seeds."""
    params, callbacks = VARIANTS[name]

    def fit(seed, n_epochs):
        vae = ConvVAETransformer(
            arguments.components,
            max_iter=n_epochs,
            callbacks=callbacks,
            random_state=seed,
            **params,
        )
        vae.fit(train)
        return vae, float(vae.history_["duration"].sum())

    n_epochs = max(1, round(arguments.seconds / fit(arguments.seed, 1)[1]))
    fits = [fit(arguments.seed + repeat, n_epochs) for repeat in range(arguments.repeats)]
    return {
        "negative_elbo": median(-vae.score(valid) for vae, _ in fits),
        "seconds": median(seconds for _, seconds in fits),
        "n_epochs": n_epochs,
    }


def plot(results, reference):
    figure, ax = plt.subplots(figsize=(7, 0.35 * len(results) + 1), layout="constrained")
    names = list(results)[::-1]
    ax.barh(names, [results[name]["negative_elbo"] - reference for name in names])
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel("held-out -ELBO less that of the default, nats per image (right is worse)")
    return figure


if __name__ == "__main__":
    main()
