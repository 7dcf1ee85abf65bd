"""Time per image and memory as the number of images and their size grow.

The images are a uint8 memory map on disk: digits, repeated with noise, or synthetic images of
other sides. Each measurement is a process of its own. Memory is the peak of the anonymous pages
(RssAnon, so without the pages of the map) above that of the idle process after importing.
"""

import json
import sys
import tempfile
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from _common import argument_parser, load_images, ratios, report, run_worker, spread
from _pictures import grey_ellipses
from skorch.callbacks import Callback

from skvae import ConvVAETransformer

STATUS = Path("/proc/self/status")


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--sides", nargs="+", type=int, default=[8, 16, 28, 32, 64, 128])
    parser.add_argument("--pictures", type=int, default=4096, help="of each side")
    parser.add_argument("--steps", type=int, default=400, help="of the optimiser in each fit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", choices=["fit", "transform"], help="worker: what to measure")
    parser.add_argument("--file", help="worker: images")
    parser.add_argument("--images", type=int, help="worker: how many of them")
    arguments = parser.parse_args()
    if arguments.task:
        print_measurement(arguments)
        return
    if arguments.quick:
        vars(arguments).update(sizes=[200, 1000], sides=[8, 16], pictures=256, steps=3, rounds=1)

    with tempfile.TemporaryDirectory() as folder:
        base = load_images(arguments.data).train
        many = Path(folder) / "many.npy"
        write_repeated(many, base, max(arguments.sizes), arguments.seed)
        cases = [(many, n, base.shape[1]) for n in arguments.sizes]
        for side in arguments.sides:
            path = Path(folder) / f"{side}.npy"
            np.save(
                path,
                grey_ellipses(
                    arguments.seed, side=side, n_train=arguments.pictures, n_test=1
                ).train,
            )
            cases.append((path, arguments.pictures, side))
        results = measure_all(cases, arguments)

    by_size, by_side = results[: 2 * len(arguments.sizes)], results[2 * len(arguments.sizes) :]
    table = [table_row(result) for result in results]
    report(arguments, table, figure=plot(by_size, by_side), by_size=by_size, by_side=by_side)
    for task in ("fit", "transform"):
        times = [r["us_per_image"] for r in by_size if r["task"] == task and r["images"] >= 10_000]
        if len(times) > 1:
            growth = spread(ratios(times[-1], times[0]))
            print(f"{task}: time per image of the most images, times that of the fewest: {growth}")


def write_repeated(path, base, n, seed):
    """A file of n images: those of `base` again and again, each time with other noise."""
    rng = np.random.default_rng(seed)
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, *base.shape[1:]))
    for start in range(0, n, 10_000):
        rows = np.arange(start, min(start + 10_000, n))
        noise = rng.integers(-16, 17, (len(rows), *base.shape[1:]), dtype=np.int16)
        images[rows[0] : rows[-1] + 1] = np.clip(base[rows % len(base)] + noise, 0, 255)
    images.flush()


def measure_all(cases, arguments):
    """For each case and task, the numbers of all rounds; cases take turns within a round."""
    measured = {(case, task): [] for case in cases for task in ("fit", "transform")}
    for _ in range(arguments.rounds):
        for ((path, n, _), task), records in measured.items():
            what = ["--task", task, "--file", path, "--images", n, "--steps", arguments.steps]
            records += run_worker(sys.executable, __file__, *what)
    return [
        {
            "task": task,
            "images": n,
            "side": side,
            "us_per_image": [record["us_per_image"] for record in records],
            "memory_mb": [record["memory_mb"] for record in records],
        }
        for ((_, n, side), task), records in measured.items()
    ]


def table_row(result):
    memory = result["memory_mb"]
    return {
        "task": result["task"],
        "images": f"{result['images']:,}",
        "side": str(result["side"]),
        "µs per image": spread(result["us_per_image"]),
        "MB above import": "unknown" if None in memory else spread(memory, ".0f"),
    }


def plot(by_size, by_side):
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    panels = [
        ("images", "us_per_image", "µs per image", by_size),
        ("images", "memory_mb", "MB above idle import", by_size),
        ("side", "us_per_image", "µs per image", by_side),
    ]
    for ax, (x, y, label, results) in zip(axes, panels, strict=True):
        for task, colour in (("fit", "C0"), ("transform", "C1")):
            chosen = [r for r in results if r["task"] == task]
            points = [(r[x], value) for r in chosen for value in r[y] if value is not None]
            ax.plot(*np.transpose(points), "o", color=colour, alpha=0.6, label=task)
        ticks = sorted({r[x] for r in results})
        ax.set(xlabel=x, ylabel=label, xscale="log", ylim=(0, None))
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.minorticks_off()
    axes[0].legend()
    return figure


class StopAfter(Callback):
    """Stop the training after so many steps, as Ctrl-C would."""

    def __init__(self, n_steps):
        self.n_steps = n_steps

    def on_batch_end(self, net, training=False, **kwargs):
        self.n_steps -= training
        if self.n_steps == 0:
            raise KeyboardInterrupt


def print_measurement(arguments):
    """The worker: time one task, and watch the memory from the imports on."""
    X = np.load(arguments.file, mmap_mode="r")[: arguments.images]
    with peak_anonymous_memory() as memory:
        vae = ConvVAETransformer(
            max_iter=1, batch_size=128, device="cpu", random_state=arguments.seed
        )
        vae.fit(X[:128])  # the first fit of a process also loads modules and chooses kernels
        start = perf_counter()
        if arguments.task == "fit":
            n_shown = fit_steps(vae, X, arguments.steps)
        else:
            n_shown = len(vae.transform(X))
        seconds = perf_counter() - start
    print(json.dumps({"us_per_image": 1e6 * seconds / n_shown, **memory}))


def fit_steps(vae, X, n_steps):
    """Fit for so many steps, in as many epochs as that takes; the number of images shown."""
    n_batches = -(-len(X) // vae.batch_size)
    vae.set_params(callbacks=[StopAfter(n_steps)], max_iter=-(-n_steps // n_batches))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training interrupted")
        vae.fit(X)
    n_epochs, n_left = divmod(n_steps, n_batches)
    return n_epochs * len(X) + n_left * vae.batch_size


def anonymous_memory():
    """RssAnon in MB; None where the system does not tell."""
    if not STATUS.exists():
        return None
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1e3


@contextmanager
def peak_anonymous_memory():
    """A dict whose ``memory_mb`` will be the peak above the present; None if it is unknown."""
    start, memory, done = anonymous_memory(), {"memory_mb": None}, threading.Event()

    def watch():
        peak = start
        while not done.wait(0.005):
            peak = max(peak, anonymous_memory())
        memory["memory_mb"] = max(peak, anonymous_memory()) - start

    thread = threading.Thread(target=watch)
    if start is not None:
        thread.start()
    yield memory
    done.set()
    if start is not None:
        thread.join()


if __name__ == "__main__":
    main()
