"""The same model in PyTorch and, exported, in onnxruntime: equal results, and time per image.

A `ConvVAEClassifier` is fitted; its parts are exported by `to_onnx`. Both runtimes use one thread
and get 128 images at a time, then one at a time. Times are medians over rounds.
"""

from functools import partial
from time import perf_counter

import numpy as np
import onnxruntime
import torch
from _common import argument_parser, interleave, load_images, report, spread

from skvae import ConvVAEClassifier, to_onnx


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--train", type=int, default=10_000, help="images to fit")
    parser.add_argument("--max-iter", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(train=500, max_iter=1, rounds=2)
    torch.set_num_threads(1)
    images = load_images(arguments.data, arguments.train)
    clf = ConvVAEClassifier(
        max_iter=arguments.max_iter, device="cpu", random_state=arguments.seed
    ).fit(images.train, images.train_labels)
    results = [
        measure(clf, part, images.test, arguments.rounds)
        for part in ("transform", "inverse_transform", "predict")
    ]
    table = [
        {
            "part": r["part"],
            "images": f"{len(images.test):,}",
            "largest difference": f"{r['difference']:.1e}",
            "equal labels": f"{r['equal_labels']:,}" if "equal_labels" in r else "",
            **{
                f"{name}, {n} at a time": f"{spread(r['times'][n][name])} µs"
                for n in (128, 1)
                for name in ("skvae", "onnxruntime")
            },
            "export": f"{r['export']:.1f} s",
            "file": f"{r['bytes'] / 1e6:.1f} MB",
        }
        for r in results
    ]
    report(arguments, table, results=results)


def measure(clf, part, images, n_rounds):
    """Differences, and µs per image of both runtimes, for a part of a classifier."""
    X = clf.transform(images) if part == "inverse_transform" else images
    start = perf_counter()
    content = to_onnx(clf, part=part).SerializeToString()
    result = {"part": part, "export": perf_counter() - start, "bytes": len(content)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    method = getattr(clf, part)
    contenders = {"skvae": method, "onnxruntime": lambda X: session.run(None, {"X": X})}
    outputs = [session.run(None, {"X": X[some]}) for some in slices(len(X), 128)]
    *labels, values = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    if labels:
        result["equal_labels"] = int(np.sum(labels[0] == clf.predict(X)))
    expected = clf.predict_proba(X) if labels else method(X)
    result["difference"] = float(np.abs(values - expected).max() / np.abs(expected).max())
    result["times"] = {n: time_per_image(contenders, X[: 16 * n], n, n_rounds) for n in (128, 1)}
    return result


def time_per_image(contenders, X, n_together, n_rounds):
    """µs per image of each contender in each round."""

    def run_all(function):
        for some in slices(len(X), n_together):
            function(X[some])

    runs = {name: partial(run_all, function) for name, function in contenders.items()}
    seconds = interleave(runs, n_rounds + 1)  # the first round warms up
    return {name: [1e6 * s / len(X) for s in each[1:]] for name, each in seconds.items()}


def slices(n, size):
    """Slices of `size` positions that cover all n."""
    return [slice(start, start + size) for start in range(0, n, size)]


if __name__ == "__main__":
    main()
