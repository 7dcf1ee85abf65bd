"""Seconds until the held-out loss reaches what another library reaches.

Every contender trains in a process of its own, on the same images and as many threads, on the
CPU. The clock runs from building the network on, after the imports, so that compiling and tracing
count; it stands still while the held-out loss is computed: -ELBO in nats per image, grey targets,
one draw. Ours is the shortest of a list of fits whose loss is not above the target: a one-cycle
fit is at its best at its end only, so that each budget is a fit of its own.
"""

import sys
import tempfile
from functools import cache
from typing import NamedTuple

import matplotlib.pyplot as plt
import torch
from _common import (
    PEERS,
    argument_parser,
    load_images,
    report,
    run_worker,
    save_pictures,
    split_off_validation,
    spread,
)


class Peer(NamedTuple):
    title: str
    script: str
    n_components: int
    n_epochs: int  # unless --epochs says otherwise
    published: tuple = None  # (loss in nats, epochs)
    options: tuple = ()


PEER_TABLE = {
    "keras": Peer("Keras' example (TensorFlow)", "keras_example.py", 2, 6, (146.95, 30)),
    "pytorch": Peer("pytorch/examples (dense)", "pytorch_example.py", 20, 10, (105.6, 10)),
    "pythae": Peer("pythae, its nets", "pythae_mnist.py", 10, 2),
    "pythae-ours": Peer("pythae, our net", "pythae_mnist.py", 10, 6, options=("--net", "ours")),
    "skorch": Peer("skorch, Keras' net", "skorch_docs.py", 10, 6),
}
# Epochs; below one, the share of the training images that is shown once.
BUDGETS = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 1, 2, 3, 4, 6, 8, 12, 16)


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--peers", nargs="+", default=list(PEER_TABLE), choices=PEER_TABLE)
    parser.add_argument(
        "--epochs", nargs="+", default=[], metavar="PEER=N", help="such as keras=30"
    )
    parser.add_argument("--peer-python", default=sys.executable, help="where the peers live")
    parser.add_argument("--train", type=int, default=None, help="of the training images")
    parser.add_argument("--valid", type=int, default=5000, help="of these, set aside")
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS)
    parser.add_argument("--repeats", type=int, default=1, help="with other seeds")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(train=1500, valid=500, budgets=[0.5, 1])
    n_epochs = {name: 1 if arguments.quick else PEER_TABLE[name].n_epochs for name in PEER_TABLE}
    n_epochs |= {name: int(n) for name, n in (text.split("=") for text in arguments.epochs)}

    images = load_images(arguments.data, arguments.train).train
    train, valid = split_off_validation(images, arguments.valid, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        save_pictures(folder, train=train, valid=valid)
        runs = [
            run
            for repeat in range(arguments.repeats)
            for run in run_peers(arguments, n_epochs, folder, arguments.seed + repeat)
        ]
    table = [table_row(name, mark, runs) for name, mark in marks(runs)]
    report(arguments, table, figure=plot(runs) if runs else None, runs=runs)


def run_peers(arguments, n_epochs, folder, seed):
    """Each peer, then our fits until its targets are reached, as a list of dicts."""

    def train(python, script, n_components, n_epochs, options=()):
        common = ["--images", folder, "--seed", seed, "--threads", torch.get_num_threads()]
        sizes = ["--components", n_components, "--epochs", n_epochs]
        return run_worker(python, PEERS / script, *common, *sizes, *options)

    @cache
    def fit(n_components, budget):
        records = train(sys.executable, "skvae_fit.py", n_components, budget)
        return {**records[-1], "epoch": budget}

    def fits_down_to(loss, n_components):
        fits = []
        for budget in sorted(arguments.budgets):
            fits.append(fit(n_components, budget))
            if fits[-1]["negative_elbo"] <= loss:
                break
        return fits

    for name in arguments.peers:
        peer = PEER_TABLE[name]
        records = train(
            arguments.peer_python, peer.script, peer.n_components, n_epochs[name], peer.options
        )
        if not records:
            continue
        versions, *epochs = records
        targets = {"last epoch": target_of(epochs)}
        if peer.published:
            targets["published"] = published_target(epochs, *peer.published)
        ours = {
            mark: fits_down_to(target["negative_elbo"], peer.n_components)
            for mark, target in targets.items()
        }
        yield {"peer": name, **versions, "epochs": epochs, "targets": targets, "ours": ours}


def target_of(epochs):
    return {**epochs[-1], "extrapolated": False}


def published_target(epochs, loss, n_epochs):
    """The published loss, at the time of its epoch; beyond those that ran, by their mean time."""
    if len(epochs) >= n_epochs:
        seconds = epochs[n_epochs - 1]["seconds"]
    else:
        first, last = epochs[0]["seconds"], epochs[-1]["seconds"]
        per_epoch = (last - first) / (len(epochs) - 1) if len(epochs) > 1 else last
        seconds = last + (n_epochs - len(epochs)) * per_epoch
    return {
        "epoch": n_epochs,
        "seconds": seconds,
        "negative_elbo": loss,
        "extrapolated": len(epochs) < n_epochs,
    }


def marks(runs):
    """Each peer with each of its targets, in order and once."""
    return dict.fromkeys((run["peer"], mark) for run in runs for mark in run["targets"])


def table_row(name, mark, runs):
    peer = PEER_TABLE[name]
    runs = [run for run in runs if run["peer"] == name]
    targets = [run["targets"][mark] for run in runs]
    pairs = [
        (run["ours"][mark][-1]["seconds"], target["seconds"])
        for run, target in zip(runs, targets, strict=True)
        if run["ours"][mark][-1]["negative_elbo"] <= target["negative_elbo"]
    ]
    reached = len(pairs) == len(runs)
    about = "about " if targets[0]["extrapolated"] else ""
    return {
        "peer": peer.title,
        "K": str(peer.n_components),
        "peer's epochs": f"{targets[0]['epoch']}" + (" (published)" if mark == "published" else ""),
        "peer's -ELBO": spread([target["negative_elbo"] for target in targets], ".2f"),
        "peer's seconds": about + spread([target["seconds"] for target in targets], ".1f"),
        "our epochs": ", ".join(f"{run['ours'][mark][-1]['epoch']:g}" for run in runs),
        "our seconds": spread([ours for ours, _ in pairs], ".1f") if reached else "not reached",
        "peer / ours": spread([peer / ours for ours, peer in pairs], ".1f") if reached else "",
    }


def plot(runs):
    first = {}
    for run in runs:
        first.setdefault(run["peer"], run)
    figure, axes = plt.subplots(
        1, len(first), figsize=(4 * len(first), 3.5), layout="constrained", squeeze=False
    )
    for ax, (name, run) in zip(axes[0], first.items(), strict=True):
        ours = max(run["ours"].values(), key=len)
        for label, records in (("peer", run["epochs"]), ("skvae, one fit each", ours)):
            seconds = [record["seconds"] for record in records]
            ax.plot(seconds, [record["negative_elbo"] for record in records], "o-", label=label)
        peer = PEER_TABLE[name]
        ax.set(title=f"{peer.title}, K = {peer.n_components}", xlabel="seconds", xscale="log")
    axes[0, 0].set_ylabel("held-out -ELBO, nats per image")
    axes[0, 0].legend()
    return figure


if __name__ == "__main__":
    main()
