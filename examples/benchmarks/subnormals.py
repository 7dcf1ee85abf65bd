"""Seconds of fits beside those of the same fits where subnormal numbers are flushed to zero.

Processors are up to a hundred times slower on subnormal numbers. Here each fit runs twice, in
processes of their own and in turn: as it is, and with `torch.set_flush_denormal(True)` from the
start. A ratio near 1 says that there are hardly any such numbers. Processor seconds of one thread.
"""

import argparse
import subprocess
import sys
from time import process_time

import numpy as np
import torch
from _common import argument_parser, ratios, report, spread
from field import picture_sets

from skvae import ConvVAETransformer

SETS = ["digits", "heartbeats", "strokes", "grey ellipses", "colour patches", "MNIST", "emoji"]


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--clothes", help="a folder with the four IDX files of Fashion-MNIST")
    parser.add_argument("--emoji", help="a .npz file of images, with arrays train and test")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--images", type=int, default=20_000, help="images that a fit sees")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.rounds = 300, 1
    if arguments.worker:
        name, flush = arguments.worker
        print(seconds_of_fit(name, flush == "1", arguments))
        return
    table = []
    for name in arguments.sets:
        if not (name == "MNIST" and arguments.data is None) and not (
            name == "emoji" and arguments.emoji is None
        ):
            table.append(row_of(name, arguments.rounds))
            print(" | ".join(table[-1].values()), flush=True)
    report(arguments, table)


def row_of(name, n_rounds):
    seconds = {"0": [], "1": []}
    for i in range(n_rounds):
        for flush in ("01", "10")[i % 2]:
            command = [sys.executable, *sys.argv, "--worker", name, flush]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds[flush].append(float(done.stdout.split()[-1]))
    return {
        "images": name,
        "seconds": spread(seconds["0"]),
        "flushed": spread(seconds["1"]),
        "ratio": spread(ratios(seconds["0"], seconds["1"])),
    }


def seconds_of_fit(name, flush, arguments):
    torch.set_num_threads(1)
    torch.set_flush_denormal(flush)
    arguments.sets = [name]
    (pictures,) = picture_sets(arguments).values()
    n_images = len(pictures.train)
    max_iter = max(1, round(arguments.images / n_images))
    vae = ConvVAETransformer(early_stopping=False, max_iter=max_iter, random_state=arguments.seed)
    start = process_time()
    vae.fit(pictures.train[: max(arguments.images, 1)])
    seconds = process_time() - start
    assert np.isfinite(vae.loss_curve_).all()
    return seconds


if __name__ == "__main__":
    main()
