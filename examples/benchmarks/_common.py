"""What the benchmarks share: arguments, images, timing, worker processes, tables and files."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import namedtuple
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[1]))
from _datasets import load

PEERS = Path(__file__).parent / "peers"
PATHS = ["data", "out", "peer_python"]  # options that are no part of the results
PACKAGES = ["skvae", "torch", "scikit-learn", "skorch", "numpy"]

Images = namedtuple("Images", ["train", "train_labels", "test", "test_labels"])


def argument_parser(doc):
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--data", help="openml, or a folder with the four IDX files of MNIST; none: small digits"
    )
    parser.add_argument("--out", default="benchmarks", help="folder for the results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a trial whose numbers mean nothing")
    return parser


def load_images(source, n_train=None):
    """28 x 28 images of digits and their labels, uint8: MNIST, or scikit-learn's without it."""
    images = _enlarged_digits() if source is None else Images(*load(source)[1:])
    return images._replace(train=images.train[:n_train], train_labels=images.train_labels[:n_train])


def _enlarged_digits():
    _, *parts = load("digits")
    large = [np.kron(X, np.ones((3, 3), np.uint8)) * 15 for X in parts[::2]]  # (n, 24, 24)
    train, test = (np.pad(X, ((0, 0), (2, 2), (2, 2))) for X in large)
    return Images(train, parts[1], test, parts[3])


def split_off_validation(images, n_valid, seed):
    """``(train, valid)``: `n_valid` of the training images, drawn at random, set aside."""
    order = np.random.default_rng(seed).permutation(len(images))
    return images[np.sort(order[n_valid:])], images[np.sort(order[:n_valid])]


def machine_info():
    """Where and when the numbers were measured, for the JSON."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def interleave(contenders, n_rounds):
    """Seconds of each contender in each round; the order turns from round to round.

    Parameters
    ----------
    contenders : dict of str to callable

    n_rounds : int

    Returns
    -------
    seconds : dict of str to list of float
    """
    names = list(contenders)
    seconds = {name: [] for name in names}
    for i in range(n_rounds):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            start = perf_counter()
            contenders[name]()
            seconds[name].append(perf_counter() - start)
    return seconds


def ratios(values, references):
    """Ratio of each pair."""
    return [value / reference for value, reference in zip(values, references, strict=True)]


def spread(values, form=".3g"):
    """The median, and the least and the greatest value when there are several."""
    text = f"{median(values):{form}}"
    return text if len(values) == 1 else f"{text} ({min(values):{form}} to {max(values):{form}})"


def run_worker(python, script, *arguments):
    """Run a worker in a process of its own; the JSON objects that it printed, one a line.

    None of them, and a word to the user, when its library is not installed.
    """
    command = [python, str(script), *map(str, arguments)]
    # All peers on the CPU.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        error = done.stderr.strip().splitlines()[-1]
        if not error.startswith("ModuleNotFoundError"):
            raise RuntimeError(f"{Path(script).name} failed:\n{done.stderr}")
        print(f"{Path(script).name} skipped, not installed: {error}", file=sys.stderr)
        return []
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def save_pictures(folder, **pictures):
    """Write each set of images to `folder` as ``name.npy``, where the workers look."""
    for name, X in pictures.items():
        np.save(Path(folder) / f"{name}.npy", X)


def report(arguments, table, figure=None, **results):
    """Print the table; write it, the results and the figure to the folder of ``--out``.

    Parameters
    ----------
    arguments : argparse.Namespace

    table : list of dict

    figure : matplotlib Figure, default=None

    **results : dict
        All that was measured, for the JSON.
    """
    name, out = Path(sys.argv[0]).stem, Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    text = tabulate(table, headers="keys", tablefmt="github", disable_numparse=True)
    print(text)
    content = {
        "machine": machine_info(),
        "arguments": {k: v for k, v in vars(arguments).items() if k not in PATHS},
        "data": "digits" if arguments.data is None else "MNIST",
        "table": table,
        **results,
    }
    (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / f"{name}.md").write_text(text + "\n")
    if figure is not None:
        figure.savefig(out / f"{name}.png", dpi=120)
