"""Training on many processes: throughput, what is expected of more, and the order of many images.

Groups of processes on this machine take turns: one process with two threads, two with one thread
each, and one with one. From the measured time of a step, by the number of images in it, follows
what more machines can be expected to bring over a network of a given speed. The last table trains
on images that are sorted by class, in whole random order and block by block.
"""

import json
import subprocess
import sys
import tempfile
from statistics import median
from time import perf_counter
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from _common import argument_parser, interleave, load_images, ratios, report, spread
from _common import split_off_validation as split_off
from tabulate import tabulate

from skvae import ConvVAETransformer
from skvae._training import batches

GROUPS = {"1 process, 2 threads": (1, 2), "2 processes, 1 thread": (2, 1), "1, 1": (1, 1)}
N_PROCESSES, BATCH_SIZES = (8, 64, 512), (128, 1_024, 8_192)
NETWORKS = {"default": {}, "wide": {"hidden_channels": (128,), "hidden_units": 512}}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--train", type=int, default=20_000, help="images to fit on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gbit", type=float, default=10.0, help="of the network, per second")
    parser.add_argument("--latency", type=float, default=50e-6, help="of the network, seconds")
    parser.add_argument("--order-epochs", type=int, default=4)
    parser.add_argument("--worker", nargs=4, help="rank, size, threads and store; used by itself")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(train=1_500, epochs=2, rounds=2, order_epochs=1)
    images = load_images(arguments.data, arguments.train if not arguments.worker else None)
    if arguments.worker:
        return work(arguments, images.train[: arguments.train])
    table, seconds = measure_groups(arguments, len(images.train))
    torch.set_num_threads(1)
    steps = {name: measure_steps(images.train, **params) for name, params in NETWORKS.items()}
    others = {"expected": expected(steps, arguments), "order": measure_order(arguments)}
    report(arguments, table, seconds=seconds, steps=steps, **others)
    for other in others.values():
        print()
        print(tabulate(other, headers="keys", tablefmt="github", disable_numparse=True))


def work(arguments, X):
    """One process of a group; the first prints the seconds of each epoch but the first."""
    rank, size, n_threads = map(int, arguments.worker[:3])
    torch.set_num_threads(n_threads)
    if size > 1:
        store = f"file://{arguments.worker[3]}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    vae = ConvVAETransformer(
        max_iter=arguments.epochs, device="cpu", random_state=0, data_parallel=size > 1
    ).fit(X)
    if rank == 0:
        print(json.dumps(list(vae.history_["duration"][1:])))
    if size > 1:
        dist.destroy_process_group()


def run_group(arguments, size, n_threads):
    """Median seconds of an epoch of a group of processes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--train", str(arguments.train)]
        command += ["--epochs", str(arguments.epochs)]
        command += ["--data", arguments.data] if arguments.data else []
        running = [
            subprocess.Popen(
                [*command, "--worker", str(rank), str(size), str(n_threads), f"{folder}/store"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(size)
        ]
        printed = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError("A process failed.")
    return median(json.loads(printed[0]))


def measure_groups(arguments, n_images):
    """A row for each group: images per second, and that beside one process with two threads."""
    seconds = {name: [] for name in GROUPS}

    def contender(name):
        return lambda: seconds[name].append(run_group(arguments, *GROUPS[name]))

    interleave({name: contender(name) for name in GROUPS}, arguments.rounds)
    first = seconds[next(iter(GROUPS))]
    table = [
        {
            "group": name,
            "images per second": spread([n_images / s for s in some]),
            "throughput beside the first": spread(ratios(first, some), ".3f"),
        }
        for name, some in seconds.items()
    ]
    return table, seconds


def measure_steps(X, n_rounds=15, **params):
    """Seconds of a step in one thread by the number of its images, and bytes of its gradient."""
    vae = ConvVAETransformer(max_iter=1, device="cpu", random_state=0, **params).fit(X[:256])
    n_bytes = sum(4 * p.numel() for p in vae.module_.parameters() if p.requires_grad)
    seconds = {}
    for n in (1, 16, 128):
        vae.set_params(batch_size=n)
        some = []
        for _ in range(n_rounds):
            start = perf_counter()
            vae.partial_fit(X[:n])
            some.append(perf_counter() - start)
        seconds[n] = median(some)
    per_image = (seconds[128] - seconds[16]) / 112
    return {"fixed": seconds[16] - 16 * per_image, "per_image": per_image, "bytes": n_bytes}


def expected(steps, arguments):
    """Efficiency by the size of the network, of the batch and of the group, on paper.

    A ring of P processes sends 2 (P - 1) / P of the gradient, in 2 (P - 1) messages.
    """
    table = []
    for network, step in steps.items():
        for batch_size in BATCH_SIZES:
            alone = step["fixed"] + batch_size * step["per_image"]
            row = {
                "network": network,
                "gradient, MB": f"{step['bytes'] / 1e6:.1f}",
                "batch_size": batch_size,
                "step alone, s": f"{alone:.3g}",
            }
            for size in N_PROCESSES:
                sending = 2 * (size - 1) / size * step["bytes"] * 8 / (arguments.gbit * 1e9)
                sending += 2 * (size - 1) * arguments.latency
                own = step["fixed"] + -(-batch_size // size) * step["per_image"]
                row[f"{size} processes"] = f"{alone / (size * (own + sending)):.2f}"
            table.append(row)
    return table


def measure_order(arguments):
    """Held-out -ELBO after training in whole order and block by block, on sorted images."""
    images = load_images(arguments.data)
    X = images.train[np.argsort(images.train_labels, kind="stable")]
    train, valid = split_off(X, len(X) // 12, arguments.seed)
    # As many blocks of a window beside the whole as in an epoch of 1.3 million images.
    block = max(1, len(train) * batches.BLOCK // 1_300_000)
    orders = {"whole": {}, "block by block": {"MAX_SHUFFLED": 0, "BLOCK": block}}
    table = []
    for name, constants in orders.items():
        with mock.patch.multiple(batches, **constants) if constants else mock.MagicMock():
            vae = ConvVAETransformer(max_iter=arguments.order_epochs, random_state=arguments.seed)
            vae.fit(train)
        table.append(
            {
                "order": name,
                "blocks of": constants.get("BLOCK"),
                "-ELBO": f"{-vae.score(valid):.2f}",
            }
        )
    return table


if __name__ == "__main__":
    main()
