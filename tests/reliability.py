"""What the reliability tests and the soak run do, with the number of times as a parameter.

Each function raises AssertionError where a promise is broken, and returns what it counted.
"""

import gc
import itertools
import os
import random
import signal
import threading
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from conftest import SMALL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutate import mutants, resealed
from nets import LIKELIHOODS
from parallel import CONTEXT
from sklearn.datasets import load_digits
from sklearn.exceptions import InconsistentVersionWarning

import skvae
from skvae import ConvVAEClassifier, ConvVAETransformer, InvalidFileError

# What reading a small file may allocate, in bytes: the longest text that it may announce,
# parsed by Python, is the most of it.
PEAK, PEAK_KEY = 16 * 2**20, "bytes at the peak of memory"


def ignore_small_trainings():
    """Ignore what small nets and short trainings are warned of, as pyproject.toml does."""
    for message in ("Only .* components are active", "The training hardly improved"):
        warnings.filterwarnings("ignore", message, UserWarning)


# For soak.py, and for the processes that are started here.
ignore_small_trainings()


def images(n=300):
    return load_digits().images[:n]


def weights(vae):
    return {name: w.detach().numpy() for name, w in vae.module_.state_dict().items()}


def assert_same_weights(vae, other):
    for name, weight in weights(vae).items():
        np.testing.assert_array_equal(weights(other)[name], weight, err_msg=name)


# Kill and resume


def long_fit(checkpoint):
    params = {**SMALL, "early_stopping": True, "n_iter_no_change": 100, "max_iter": 60}
    return ConvVAETransformer(**params, checkpoint=checkpoint).fit(images())


def train_and_save(checkpoint, path):
    torch.set_num_threads(1)
    long_fit(checkpoint).save(path)


def kill_and_resume(n_kills, folder, seed=0):
    """Kill -9 a training process at random moments until it is done, again and again."""
    expected = long_fit(None)
    # A child has all imports from its start, so that kills fall into the training.
    rng = random.Random(seed)
    n_killed, n_finished, epochs = 0, 0, []
    checkpoint, path = str(folder / "checkpoint"), str(folder / "model")
    while n_killed < n_kills or not n_finished or os.path.exists(checkpoint):
        child = CONTEXT.Process(target=train_and_save, args=(checkpoint, path))
        child.start()
        if n_killed < n_kills:
            child.join(rng.uniform(0, 1.5))
            if child.is_alive():
                os.kill(child.pid, signal.SIGKILL)
                n_killed += 1
        child.join()
        if child.exitcode == 0:
            model = skvae.load(path)
            assert_same_weights(expected, model)
            assert model.loss_curve_ == expected.loss_curve_
            n_finished += 1
            os.remove(checkpoint)
        else:
            assert child.exitcode == -signal.SIGKILL, child.exitcode
            epochs.append(os.path.exists(checkpoint))
        leftovers = [name for name in os.listdir(folder) if name.endswith(".tmp")]
        for name in leftovers:  # what a killed process could not remove
            os.remove(folder / name)
    return {"kills": n_killed, "with a checkpoint": sum(epochs), "finished": n_finished}


# Hostile files


def mutated_files(n, folder, seed=0):
    """Files with random defects: refused by InvalidFileError, or as good as one that was saved."""
    X, codes = images(40), load_digits().target[:40]
    holed = np.where(np.random.default_rng(seed).random(X.shape) < 0.2, np.nan, X)
    labelled = {"missing_values": np.nan, "unlabeled": -1, "priors": np.full(10, 0.1)}
    models = [
        ConvVAETransformer(**SMALL, max_iter=2).fit(X),
        ConvVAEClassifier(**SMALL, **labelled, max_iter=2).fit(holed, codes),
    ]
    counts = {"refused": 0, "read": 0, PEAK_KEY: 0}
    tracemalloc.start()
    try:
        for model in models:
            _mutate(model, n // len(models), folder, seed, counts)
    finally:
        tracemalloc.stop()
    assert counts[PEAK_KEY] < PEAK
    return counts


def _mutate(vae, n, folder, seed, counts):
    """Read n variants of the file of an estimator of digits, and count what came of it."""
    path, bad = folder / "model.skvae", folder / "bad.skvae"
    vae.save(path)
    data, rows = path.read_bytes(), images(40).reshape(40, -1)
    before = set(os.listdir(folder)) | {"bad.skvae"}
    for i, mutant in enumerate([*mutants(data, n // 2, seed), *resealed(data, n - n // 2, seed)]):
        bad.write_bytes(mutant)
        tracemalloc.reset_peak()
        start = tracemalloc.get_traced_memory()[0]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InconsistentVersionWarning)
                model = skvae.load(bad)
        except InvalidFileError as error:
            assert str(bad) in str(error)
            counts["refused"] += 1
        else:
            # The sums are right, so the weights are those that were saved; what the text
            # says of pixels and parameters may differ, and must work.
            assert_same_weights(vae, model)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                assert model.transform(rows).shape == (40, 3)
                assert np.isfinite(model.score_samples(rows)).all()
                if isinstance(model, ConvVAEClassifier):
                    assert np.isfinite(model.predict_proba(rows)).all()
            counts["read"] += 1
        peak = tracemalloc.get_traced_memory()[1] - start
        counts[PEAK_KEY] = max(counts[PEAK_KEY], peak)
        assert set(os.listdir(folder)) == before, i


# Any array

DTYPES = ["u1", "i1", "i8", "u2", "?", "f2", "f4", "f8", ">f4", "c8", "M8[s]", "U3", "O"]


@st.composite
def any_array(draw):
    """Arrays of any shape, dtype, strides and values; mostly right ones."""
    dtype = np.dtype(draw(st.sampled_from([*DTYPES[:9] * 3, *DTYPES])))
    side = st.sampled_from([0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16])
    shape = draw(
        st.tuples(side, side) | st.tuples(side, side, side) | st.lists(side, max_size=5).map(tuple)
    )
    scale = draw(st.sampled_from([1, 1, 1e-3, 255, 1e6, 1e30]))
    X = np.asarray(np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape) * scale)
    if dtype.kind in "iu":
        X = np.asarray(np.abs(X) % np.iinfo(dtype).max)
    with np.errstate(all="ignore"):
        X = np.asarray(X.astype(dtype))
    if X.size and X.dtype.kind == "f":
        special = [0.0, np.nan, np.inf, -0.0, np.finfo(X.dtype).max, np.finfo(X.dtype).tiny]
        if draw(st.integers(0, 3)) == 0:
            X[np.unravel_index(draw(st.integers(0, X.size - 1)), X.shape)] = draw(
                st.sampled_from(special)
            )
    if X.ndim:
        X = X[:: draw(st.sampled_from([1, 1, 2, -1]))]
    X = draw(st.sampled_from([X, np.asfortranarray(X), X.copy()]))
    containers = ["array", "array", "read-only", "list"] + ["frame"] * (X.ndim == 2)
    container = draw(st.sampled_from(containers))
    if container == "read-only":
        X.flags.writeable = False
    return {"list": X.tolist, "frame": lambda: pd.DataFrame(X)}.get(container, lambda: X)()


def check_any_array(vae, X, other):
    """A right result or a documented error, from every public method."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)  # values outside, names of features
        # scikit-learn's look for NaN sums inf and -inf before it refuses them.
        warnings.filterwarnings("ignore", "invalid value encountered in reduce", RuntimeWarning)
        try:
            vae.fit(X)
        except (ValueError, TypeError) as error:
            assert len(str(error)) > 10
            return "refused"
        n = len(X)
        z = vae.transform(X)
        assert z.shape == (n, 3)
        assert z.dtype == np.float32
        assert np.isfinite(z).all()
        np.testing.assert_array_equal(vae.transform(X[:1]), z[:1])
        assert np.isfinite(vae.score_samples(X)).all()
        assert np.isfinite(vae.posterior(X).std).all()
        assert np.isfinite(vae.log_likelihood(X[:3], 2)).all()
        # Of all channels together, where each has a range.
        low, high = np.float32(np.min(vae.pixel_range_)), np.float32(np.max(vae.pixel_range_))
        for X_back in (vae.inverse_transform(z), vae.sample(n, random_state=0)):
            assert X_back.size == n * vae.n_features_in_
            if vae.likelihood == "gaussian":  # whose mean may be anywhere
                continue
            slack = np.float32(1e-6) * max(abs(low), abs(high))
            assert (low - slack <= X_back).all()
            assert (X_back <= high + slack).all()
        vae.partial_fit(X)
        try:
            vae.transform(other)
        except (ValueError, TypeError) as error:
            assert len(str(error)) > 10
    return "fitted"


def any_arrays(n):
    """Random arrays through every public method."""
    counts = {"refused": 0, "fitted": 0}

    @settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(any_array(), any_array(), st.sampled_from(sorted(LIKELIHOODS)))
    def check(X, other, likelihood):
        params = {**SMALL, "hidden_channels": (2,), "max_iter": 1, "likelihood": likelihood}
        vae = ConvVAETransformer(**params)
        counts[check_any_array(vae, X, other)] += 1

    check()
    return counts


# Any pictures


def _bumps(rng, n, width, n_bumps):
    """Curves of shape (n, width): sums of narrow bumps at places of their own."""
    places, widths = rng.uniform(0, width, (2, n, n_bumps, 1))
    heights = rng.uniform(-0.3, 1, (n, n_bumps, 1))
    return np.sum(
        heights * np.exp(-0.5 * np.square((np.arange(width) - places) / (1 + widths / 30))), axis=1
    )


def _discs(rng, n, side):
    """Pictures of shape (n, side, side): a soft disc of random place and size, from 0 to 1."""
    row, column, radius = rng.uniform(0.2, 0.8, (3, n, 1, 1)) * side
    grid = np.arange(side)
    distance = np.hypot(grid[:, None] - row, grid - column)
    return 1 / (1 + np.exp(np.clip(distance - radius / 2, -50, 50)))


def _digits(rng, n):
    return images(None)[rng.integers(0, 1_797, n)]


def _colour_noise(rng, n):
    return rng.uniform(size=(n, 6, 6, 3))


def _signals(rng, n):
    return _bumps(rng, n, 256, 5)[:, None] + 0.01 * rng.standard_normal((n, 1, 256))


def _hot_pixels(rng, n):
    X = rng.normal(1_000 * (1 + _discs(rng, n, 12)), 30).astype(np.uint16)
    X[rng.integers(0, n, 5), rng.integers(0, 12, 5), rng.integers(0, 12, 5)] = 65_535
    return X


def _constant_but_one(rng, n):
    X = np.full((n, 8, 8), 0.5)
    X[n // 2] = 1.0
    return X


def _strokes(rng, n):
    return np.abs(_discs(rng, n, 28) - 0.5) < 0.2


def _colour_discs(rng, n):
    return np.uint8(255 * _discs(rng, n, 16)[..., None] * rng.uniform(size=(n, 1, 1, 3)))


def _channels_of_many_units(rng, n):
    X = _discs(rng, n, 16)[..., None] * rng.uniform(0.5, 1, (n, 1, 1, 5))
    return rng.normal(X, 0.02) * [1, 100, 1e-3, 10, 1e5] + [0, -3, 0, 1e4, 0]


def _nearly_exact(rng, n):
    return _discs(rng, n, 16).round(3) * np.linspace(0, 1, 16)


def _tall(rng, n):
    return _bumps(rng, n, 64, 3)[:, :, None] * rng.uniform(size=(n, 1, 7))


# Every kind is a function of a generator and of the number of pictures.
PICTURES = {
    "digits": _digits,
    "colour noise": _colour_noise,
    "signals": _signals,
    "hot pixels": _hot_pixels,
    "constant but one": _constant_but_one,
    "strokes": _strokes,
    "colour discs": _colour_discs,
    "channels of many units": _channels_of_many_units,
    "nearly exact": _nearly_exact,
    "tall": _tall,
}
N_COMPONENTS, N_PICTURES = (2, 10, 64), (20, 200, 2_000)


def fits_of_pictures(n, kinds=tuple(PICTURES), sizes=N_PICTURES, seed=0, **params):
    """At most n fits out of: kinds of pictures x families x numbers of components and pictures.

    With the default learning rate, and epochs enough to pass its peak. All numbers are finite.
    """
    grid = list(itertools.product(kinds, sorted(LIKELIHOODS), N_COMPONENTS, sizes))
    not_finite = []
    for cell in random.Random(seed).sample(grid, min(n, len(grid))):
        kind, likelihood, n_components, n_pictures = cell
        X = PICTURES[kind](np.random.default_rng(seed), n_pictures)
        vae = ConvVAETransformer(
            n_components, likelihood=likelihood, random_state=seed, **{"max_iter": 10, **params}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ignore_small_trainings()
            # True of pictures without a hot pixel, beside a range that ends at one.
            warnings.filterwarnings("ignore", ".* a small part of the pixel range", UserWarning)
            try:
                z = vae.fit(X).transform(X[:40])
            except ValueError as error:
                assert "NaN or infinite" in str(error) or "loss of the" in str(error), cell
                not_finite.append(cell)
                continue
            numbers = [z, vae.score_samples(X[:40]), vae.inverse_transform(z)]
            numbers += [vae.sample(3, random_state=0), vae.history_.to_numpy()]
            if not all(np.isfinite(part).all() for part in numbers):
                not_finite.append(cell)
    assert not_finite == [], not_finite
    return {"fits": min(n, len(grid)), "losses that are not finite": len(not_finite)}


# Holes, masks and markers of labels


def _ways_of_holes(X, holes):
    """Images with holes in many containers: name -> (X, missing_values)."""
    holey = np.where(holes, np.float32(np.nan), X)
    masked = np.ma.MaskedArray(np.where(holes, np.float32(777), X), mask=holes)
    objects = np.empty(len(X), object)
    objects[:] = list(holey)
    return {
        "NaN": (holey, np.nan),
        "number": (np.where(holes, np.float32(-999.9), X), -999.9),
        "masked": (masked, np.nan),
        "masked, with a number": (masked, -1),
        "list of masked": (list(masked), np.nan),
        "objects": (objects, np.nan),
        "lists": (holey.tolist(), np.nan),
        "frame": (pd.DataFrame(holey.reshape(len(X), -1)), np.nan),
        "one channel": (holey[..., None], np.nan),
    }


def _ways_of_labels(codes, known):
    """Labels of which some are missing, of many types: name -> (y, unlabeled, sorted classes)."""
    names = np.array(["ant", "bee", "cat"])

    def marked(values, marker):
        return [v if is_known else marker for v, is_known in zip(values, known, strict=True)]

    text, numbers = names[codes].tolist(), codes.tolist()
    return {
        "-1": (np.array(marked(numbers, -1)), -1, [0, 1, 2]),
        "NaN": (np.array(marked(numbers, np.nan)), np.nan, [0, 1, 2]),
        "text among numbers": (marked(numbers, "?"), "?", [0, 1, 2]),
        "empty text": (np.array(marked(text, "")), "", names.tolist()),
        "NaN among text": (marked(text, np.nan), np.nan, names.tolist()),
        "-1 among text": (marked(text, -1), -1, names.tolist()),
        "None": (np.array(marked(text, None), object), np.nan, names.tolist()),
        "NA": (pd.Series(marked(numbers, None), dtype="Int64"), np.nan, [0, 1, 2]),
    }


def holes_and_markers(n, seed=0):
    """Fits of classifiers: the container of holes and the type of labels change no bit."""
    rng, n_images = np.random.default_rng(seed), 60
    params = {**SMALL, "max_iter": 1, "pixel_range": (0, 16), "likelihood": "gaussian"}
    for _ in range(n):
        X = images()[rng.integers(0, 300, n_images)].astype(np.float32)
        holes = rng.random(X.shape) < rng.uniform(0.05, 0.8)
        codes = np.append([0, 1, 2], rng.integers(0, 3, n_images - 3))
        known = rng.random(n_images) < rng.uniform(0.1, 0.9)
        known[:3], known[3] = True, False
        expected = None
        containers, labels = _ways_of_holes(X, holes), _ways_of_labels(codes, known)
        some = rng.choice(list(containers), 3, replace=False)
        for container, kind in zip(some, rng.choice(list(labels), 3, replace=False), strict=True):
            (held, marker), (y, unlabeled, classes) = containers[container], labels[kind]
            clf = ConvVAEClassifier(**params, missing_values=marker, unlabeled=unlabeled)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".* are missing in all images", UserWarning)
                clf.fit(held, y)
            filled = np.ma.filled(np.ma.asarray(clf.impute(held))).reshape(X.shape)
            results = [clf.transform(held), clf.predict_proba(held), filled[holes]]
            results += [clf.score_samples(held), np.float64(clf.score(held, y))]
            assert clf.classes_.tolist() == classes, kind
            assert all(np.isfinite(part).all() for part in results), (container, kind)
            np.testing.assert_array_equal(filled[~holes], X[~holes])
            expected = expected or results
            for ours, theirs in zip(results, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=f"{container}, {kind}")
    return {"fits": 3 * n}


# Several processes

# Seconds after which a process hangs: far more than a fit takes on the busiest machine, but less
# than the 30 minutes of torch, after which a process that waits for another one ends.
FOR_EVER = 1_500


def _group_fit(rank, size, store, path, seed):
    """One process of a group: a fit of all, and what it made in a file."""
    torch.set_num_threads(1)
    group = torch.distributed.FileStore(str(store), size)
    torch.distributed.init_process_group("gloo", store=group, rank=rank, world_size=size)
    Path(f"{path}-{rank}-ready").touch()  # killed earlier, the others would wait for it
    try:
        _shared_fit(seed, data_parallel=True).save(f"{path}-{rank}")
    finally:
        torch.distributed.destroy_process_group()


def _shared_fit(seed, data_parallel):
    X, codes = images(), load_digits().target[:300]
    holes = np.random.default_rng(seed).random(X.shape) < 0.2
    y = np.where(np.arange(300) % (1 + seed % 4), -1, codes)
    params = {**SMALL, "max_iter": 2, "random_state": seed, "data_parallel": data_parallel}
    X = np.where(holes, np.nan, X)
    return ConvVAEClassifier(**params, missing_values=np.nan, unlabeled=-1).fit(X, y)


def groups_of_processes(n, folder, seed=0):
    """Fits of two or three processes; in each third group one is killed, and the others end."""
    rng, n_killed = random.Random(seed), 0
    for i in range(n):
        size, store, path = rng.choice([2, 3]), folder / f"store-{i}", folder / f"group-{i}"
        group = [
            CONTEXT.Process(target=_group_fit, args=(rank, size, store, path, i))
            for rank in range(size)
        ]
        for process in group:
            process.start()
        try:
            killed = i % 3 == 2
            if killed:
                while not Path(f"{path}-{size - 1}-ready").exists():
                    assert group[-1].is_alive(), "a process ends before its fit"
                    time.sleep(0.01)
                group[-1].join(rng.uniform(0, 1))
                killed = group[-1].is_alive()
                group[-1].kill()
            for process in group:
                process.join(FOR_EVER)
                assert process.exitcode is not None, "a process hangs"
        finally:
            for process in group:
                process.kill()
        n_killed += killed
        if not killed:
            assert [process.exitcode for process in group] == [0] * size
            models = [skvae.load(f"{path}-{rank}") for rank in range(size)]
            for model in models[1:]:
                assert_same_weights(models[0], model)
            alone = _shared_fit(i, data_parallel=False)
            for name, weight in weights(alone).items():
                np.testing.assert_allclose(weights(models[0])[name], weight, atol=1e-2)
    return {"groups": n, "killed": n_killed}


# Memory, threads and globals


def resident_megabytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_of_fits(n):
    """Resident memory after the 20th and after the last of n fits, in MB."""
    X, marks = images(), []
    for i in range(n):
        ConvVAETransformer(**{**SMALL, "random_state": i}, max_iter=3).fit(X).transform(X)
        if i + 1 in (20, n):
            gc.collect()
            marks.append(resident_megabytes())
    return marks


def transform_while_fitting(n_calls, n_threads=8):
    """Threads transform with one estimator while another thread fits another."""
    X = images(60)
    vae = ConvVAETransformer(**SMALL, max_iter=3).fit(X)
    reference = ConvVAETransformer(**{**SMALL, "random_state": 1}, max_iter=3)
    expected, fitted = vae.transform(X), reference.fit(X).transform(X)
    done, faults, n_fits = threading.Event(), [], 0

    def transform():
        for i in range(n_calls // n_threads):
            part = slice(i % 40, i % 40 + 20)
            if not np.array_equal(vae.transform(X[part]), expected[part]):
                faults.append(i)

    def fit():
        nonlocal n_fits
        while not done.is_set():
            other = ConvVAETransformer(**{**SMALL, "random_state": 1}, max_iter=3).fit(X)
            if not np.array_equal(other.transform(X), fitted):
                faults.append("fit")
            n_fits += 1

    threads = [threading.Thread(target=transform) for _ in range(n_threads)]
    fitting = threading.Thread(target=fit)
    for thread in [fitting, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    fitting.join()
    assert faults == []
    assert n_fits > 0
    return {"calls": n_calls // n_threads * n_threads, "fits beside them": n_fits}


def global_state():
    """All of the process that a library could change behind its user's back."""
    numpy_state = np.random.get_state()  # noqa: NPY002 - it is what must not change
    return (
        numpy_state[1].tobytes(),
        numpy_state[2:],
        torch.random.get_rng_state().numpy().tobytes(),
        random.getstate(),
        dict(os.environ),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        np.geterr(),
        os.getcwd(),
    )


def seconds(function, *args):
    """Result of a function, and how long it took."""
    start = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - start
