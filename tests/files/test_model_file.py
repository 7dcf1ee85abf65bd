"""Files of models: what they give back, and that what no fitted estimator has is refused."""

import contextlib
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import fit, fit_classifier
from mutate import mutants, resealed, set_value
from nets import archive, fields
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import skvae
from skvae import ConvVAETransformer, InvalidFileError
from skvae._files import model
from skvae._files.model import MODEL

DATA = Path(__file__).parents[1] / "data"


# A file from before this test: a classifier of digits with holes, with names of pixels and classes


def test_a_file_of_earlier_gives_what_it_gave():
    images = load_digits().images[:4]
    images[:, 2:4, 2:4] = np.nan
    rows = pd.DataFrame(images.reshape(4, 64)).add_prefix("pixel")
    clf = skvae.load(DATA / "classifier.skvae")
    expected = [
        [0.20932151, -1.1809951, 0.20804131],
        [-0.22928008, 1.0489702, -0.03597572],
        [-0.56146306, 0.37516606, 0.484164],
        [0.7022622, -1.0637794, -0.29009214],
    ]
    np.testing.assert_allclose(clf.transform(rows), expected, rtol=0, atol=1e-6)
    even = [0.5998385173093572, 0.44030732384959065, 0.7048599130528591, 0.3452073351795336]
    np.testing.assert_allclose(clf.predict_proba(rows)[:, 0], even, rtol=0, atol=1e-6)
    assert clf.classes_.tolist() == ["even", "odd"]
    assert clf.noise_variance_ == pytest.approx(10.477971076965332, rel=1e-6)
    assert clf.loss_curve_[-1] == 190.7232919017474
    assert list(clf.feature_names_in_) == list(rows.columns)


def test_a_file_of_earlier_is_written_again_as_it_was(tmp_path):
    before = (DATA / "classifier.skvae").read_bytes()
    header, arrays = archive.read(DATA / "classifier.skvae", MODEL.specs)
    MODEL.write(tmp_path / "again", MODEL.decode(header, arrays))
    assert (tmp_path / "again").read_bytes() == before


# Files that lie: rightly summed, with a header that no fitted estimator has


LIES = {
    "kind": "checkpoint",
    "skvae_version": 3,
    "params": [],
    "params.n_components": 0,
    "params.likelihood": "poisson",
    "params.no_such": 1,
    "params.device": None,
    "image_shape": [8, 9],
    "channel_axis": 2,
    "pixel_range": [0.0, float("nan")],
    "as_rows": "yes",
    "saw_uint8": 1,
    "likelihood": "gamma",
    "binarize": 1,
    "annealed": 0,
    "n_averaged": 0,
    "estimator": "PCA",
    "robust": None,
    "missing_values": "nan",
    "saw_holes": 1,
    "architecture.holes": True,
    "seed": -1,
    "architecture": {},
    "architecture.n_components": 4,
    "architecture.hidden_units": 2**40,
    "architecture.hidden_channels": [2**20] * 64,
    "architecture.image_shape": [1, 8, 2**20],
    "feature_names": ["a"],
    "n_epochs": 10**9,
    "history": ["train_loss"] * 3,
}
MORE_LIES = [
    ("pixel_range", [-1e308, 1e308]),
    ("pixel_range", [0, 1]),
    ("pixel_range", [1.0, 0.0]),
    ("architecture.hidden_channels", [8] * 65),
    ("architecture.hidden_channels", []),
    ("n_epochs", True),
    ("seed", KeyError),
    ("saw_holes", KeyError),
    ("saw_uint8", KeyError),
    ("missing_values", KeyError),
    ("missing_values", True),
    ("missing_values", [-1]),
    ("missing_values", -1),  # the network has no mask
    ("architecture.holes", KeyError),
    ("architecture.holes", 0),
    ("weights", KeyError),
    ("likelihood", "gaussian"),  # whose noise is not among the weights
    ("binarize under gaussian", True),
    ("estimator", ["ConvVAETransformer"]),
    ("moments", (2, 3)),
    ("moments", (3, 4)),
    ("pixel_range", [[0.0, 1.0], [0.0, 1.0]]),
    ("pixel_range", [[0.0, 1.0, 2.0]]),
    ("pixel_range", []),
    ("channel_axis", -1.0),
    ("params.checkpoint", "evil.txt"),
    ("params.callbacks", []),
    ("unseen epochs", 10**12),
]


@pytest.mark.parametrize(
    ("path", "value"), [*LIES.items(), *MORE_LIES], ids=lambda value: f"{value!s:.40}"
)
def test_lies_are_refused(small, tmp_path, path, value):
    small.save(tmp_path / "model")
    header, arrays = archive.read(tmp_path / "model", MODEL.specs)
    if path == "weights":
        del arrays["weights.mu_head.bias"]
    elif path == "moments":
        arrays["component_moments"] = np.zeros(value)
    elif path == "binarize under gaussian":
        header |= {"likelihood": "gaussian", "binarize": value}
        arrays["weights.likelihood.noise_logvar"] = np.zeros((), np.float32)
    elif path == "unseen epochs":
        header |= {"history": [], "n_epochs": value}
        arrays = {k: a for k, a in arrays.items() if not k.startswith("history")}
    else:
        set_value(header, path, value)
    archive.write(tmp_path / "lie", header, arrays)
    with pytest.raises(InvalidFileError, match="lie"):
        skvae.load(tmp_path / "lie")


# Lies that only the check of one entry finds, and the entry that the message names.
NAMED_LIES = [
    ("skvae_version", None, "skvae_version"),
    ("params.callbacks", None, "params"),
    ("seed", 2**31, "seed"),
    ("seed", False, "seed"),
    ("n_epochs", fields.MAX_FILE_EPOCHS + 1, "n_epochs"),
    ("history", ["duration"] * 2, "history"),
    ("history", ["train_loss", "test_loss"], "history"),
    ("history", ["duration"], "history"),
    ("history", ["train_loss", "train_accuracy", "duration"], "history"),  # without classes
    ("architecture.more", 1, r"keys \(more\)"),
    ("architecture.image_shape", [8, 8], "image_shape"),
    ("architecture.n_components", 2**24 + 1, "n_components"),
    ("architecture.n_components", 3.0, "n_components"),
    ("architecture.n_components", True, "n_components"),
    ("architecture.n_classes", 2**24 + 1, "n_classes"),
    ("architecture.n_classes", -1, "n_classes"),
    ("architecture.n_classes", False, "n_classes"),
    ("architecture.n_classes", 0.0, "n_classes"),
    ("architecture.n_classes", None, "n_classes"),
    ("architecture.holes", 1, "holes"),
    ("architecture.holes", None, "holes"),
]


@pytest.mark.parametrize(("path", "value", "name"), NAMED_LIES, ids=lambda value: f"{value!s:.40}")
def test_the_message_names_what_is_false(small, tmp_path, path, value, name):
    small.save(tmp_path / "model")
    header, arrays = archive.read(tmp_path / "model", MODEL.specs)
    set_value(header, path, value)
    archive.write(tmp_path / "lie", header, arrays)
    with pytest.raises(InvalidFileError, match=f"invalid {name} in the file"):
        skvae.load(tmp_path / "lie")


def test_what_a_file_cannot_hold_is_not_written(small, tmp_path, monkeypatch):
    monkeypatch.setattr(fields, "MAX_FILE_EPOCHS", 3)
    with pytest.raises(ValueError, match="invalid n_epochs in the file"):
        small.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def encoded(estimator):
    """Header and arrays of a fitted estimator."""
    return MODEL.encode(model._attributes_of(estimator))


def test_header_and_arrays_tell_each_other(small):
    header, arrays = encoded(small)
    expected = {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
    assert MODEL.specs(header) == expected
    assert header["estimator"] == "ConvVAETransformer"
    assert header["annealed"] is True
    state = MODEL.decode(header, arrays)
    params = state["params"]
    assert params == {k: v for k, v in small.get_params().items() if k in params}
    assert small.get_params().keys() - params.keys() == {"callbacks", "checkpoint", "data_parallel"}
    for name, value in small.__getstate__().items():
        # The machine that loads has its own device and scikit-learn.
        if "_" in (name[0], name[-1]) and name not in ("device_", "_sklearn_version"):
            np.testing.assert_equal(state[name], value)


def test_keys_are_those_of_the_table(small, tmp_path):
    header, arrays = encoded(small)
    assert list(header) == ["kind", *(field.key for field in MODEL.fields)]
    assert_refused({**header, "more": 1}, arrays, tmp_path / "lie")
    architecture = {**header["architecture"], "more": 1}
    assert_refused({**header, "architecture": architecture}, arrays, tmp_path / "lie")


# Classes


@pytest.fixture(scope="module")
def three(digits):
    """Classifiers of three classes with labels of several types, and their names."""
    images, labels = digits[0][:60], digits[1][:60] % 3
    names = {
        "<i8": np.array([0, 1, 2]),
        "|i1": np.array([-5, 0, 7], np.int8),
        "<f8": np.array([0.0, 1.0, 2.0]),
        "<f2": np.array([0, 1, 2], np.float16),
        "longdouble": np.array([0, 1, 2], np.longdouble),
        "U": np.array(["a", "b", "long"]),
        "O": np.array(["a", "b", "long"], object),
        "|b1": np.array([False, True]),
    }
    return {k: fit_classifier(images, v[labels % len(v)], max_iter=1) for k, v in names.items()}


@pytest.mark.parametrize("dtype", ["<i8", "|i1", "<f8", "<f2", "longdouble", "U", "O", "|b1"])
def test_classes_come_back(three, dtype):
    clf = three[dtype]
    header, arrays = encoded(clf)
    assert header["classes"]["dtype"] == dtype.replace("longdouble", "<f8")
    assert header["architecture"]["n_classes"] == len(clf.classes_)
    state = MODEL.decode(header, arrays)
    for name in ("classes_", "class_counts_", "priors_"):
        np.testing.assert_equal(state[name], getattr(clf, name))
        if dtype not in ("U", "longdouble"):
            assert state[name].dtype == getattr(clf, name).dtype
    if dtype != "longdouble":
        assert {type(value) for value in state["classes_"].tolist()} == {
            type(value) for value in clf.classes_.tolist()
        }


NAN, INF = float("nan"), float("inf")
FALSE_CLASSES = [
    ("<i8", {"dtype": "<i4 "}),
    ("<i8", {"dtype": ">i8"}),
    ("<i8", {"dtype": "M8[s]"}),
    ("<i8", {"dtype": "V8"}),
    ("<i8", {"dtype": "<f8"}),
    ("<i8", {"dtype": "|b1"}),
    ("<i8", {"dtype": "U"}),
    ("<i8", {"dtype": None}),
    ("<i8", {"dtype": ["<i8"]}),
    ("<i8", {"dtype": "S"}),
    ("<i8", {"values": [0, 2, 1]}),
    ("<i8", {"values": [0, 1, 1]}),
    ("<i8", {"values": [0, 1]}),
    ("<i8", {"values": [0, 1, 2, 3]}),
    ("<i8", {"values": []}),
    ("<i8", {"values": {"0": 1}}),
    ("<i8", {"values": "abc"}),
    ("<i8", {"values": [0, 1, 2**63]}),
    ("<i8", {"values": [0, 1, 10**400]}),
    ("<i8", {"values": [0, 1, 2.0]}),
    ("<i8", {"values": [False, 1, 2]}),
    ("<i8", {"values": [0, 1, None]}),
    ("<i8", {"values": [0, 1, [2]]}),
    ("<i8", {"values": [[0], [1], [2]]}),
    ("|i1", {"values": [-5, 0, 128]}),
    ("|i1", {"values": [-129, 0, 7]}),
    ("<f8", {"values": [0.0, 1.0, NAN]}),
    ("<f8", {"values": [NAN, 1.0, 2.0]}),
    ("<f8", {"values": [0.0, 1.0, INF]}),
    ("<f8", {"values": [0, 1, 2]}),
    ("<f8", {"values": [0.0, 0.0, 1.0]}),
    ("<f2", {"values": [0.0, 1.0, 1e6]}),
    ("<f2", {"values": [0.0, 0.1, 1.0]}),
    ("U", {"values": ["a", "c", "b"]}),
    ("U", {"values": ["a", "a", "b"]}),
    ("U", {"values": ["a", "b", "b\0"]}),
    ("U", {"values": ["a", "b", 3]}),
    ("U", {"dtype": "U4"}),
    ("O", {"values": ["a", "b", 3]}),
    ("O", {"values": [None, None, None]}),
    ("O", {"values": [1.0, 2.0, NAN]}),
    ("O", {"values": [["a"], ["b"], ["c"]]}),
    ("|b1", {"values": [True, False]}),
    ("|b1", {"values": [False, False]}),
    ("|b1", {"values": [0, 1]}),
    ("<i8", {"counts": [1, 2]}),
    ("<i8", {"counts": [1, 2, 3, 4]}),
    ("<i8", {"counts": [1, 2, -1]}),
    ("<i8", {"counts": [1, 2, 3.0]}),
    ("<i8", {"counts": [1, 2, True]}),
    ("<i8", {"counts": [1, 2, 2**53]}),
    ("<i8", {"counts": [1, 2, 10**400]}),
    ("<i8", {"counts": None}),
    ("<i8", {"priors": [0.5, 0.5]}),
    ("<i8", {"priors": [0.5, 0.5, 0.0]}),
    ("<i8", {"priors": [0.5, 0.5, -0.5]}),
    ("<i8", {"priors": [0.5, 0.5, NAN]}),
    ("<i8", {"priors": [0.5, 0.5, INF]}),
    ("<i8", {"priors": [0.5, 0.5, 1]}),
    ("<i8", {"priors": [0.5, 0.5, 1.5]}),
    ("<i8", {"priors": [0.5, 0.5, "0.5"]}),
    ("<i8", {"priors": {}}),
    ("<i8", {"priors": KeyError}),
    ("<i8", {"values": KeyError}),
    ("<i8", {"counts": KeyError}),
    ("<i8", {"dtype": KeyError}),
]


def assert_refused(header, arrays, path):
    archive.write(path, header, arrays)
    with pytest.raises(InvalidFileError, match=path.name):
        skvae.load(path)


@pytest.mark.parametrize(("dtype", "change"), FALSE_CLASSES, ids=lambda value: f"{value!s:.40}")
def test_false_classes_are_refused(three, tmp_path, dtype, change):
    three[dtype].save(tmp_path / "model")
    header, arrays = archive.read(tmp_path / "model", MODEL.specs)
    for name, value in change.items():
        set_value(header, f"classes.{name}", value)
    assert_refused(header, arrays, tmp_path / "lie")


@pytest.mark.parametrize("one", [NAN, INF, -INF])
@pytest.mark.parametrize("dtype", ["<f8", "<f2", "O"])
def test_a_single_class_is_a_number_too(digits, tmp_path, dtype, one):
    clf = fit_classifier(digits[0][:30], np.zeros(30), max_iter=1)
    clf.save(tmp_path / "model")
    header, arrays = archive.read(tmp_path / "model", MODEL.specs)
    header["classes"] |= {"values": [one], "dtype": dtype}
    assert_refused(header, arrays, tmp_path / "lie")


FALSE_HEADERS = {
    "no classes": ("classes", None),
    "classes missing": ("classes", KeyError),
    "classes of another type": ("classes", []),
    "more classes": ("architecture.n_classes", 4),
    "classes without a number": ("architecture.n_classes", 0),
    "weight": ("params.label_weight", -1.0),
    "weight of another type": ("params.label_weight", "50"),
    "maps that are too strong": ("params.consistency", 2.0),
    "priors of another type": ("params.priors", 3),
    "another estimator": ("estimator", "ConvVAETransformer"),
}


@pytest.mark.parametrize(("path", "value"), FALSE_HEADERS.values(), ids=FALSE_HEADERS)
def test_false_headers_of_a_classifier(three, tmp_path, path, value):
    three["<i8"].save(tmp_path / "model")
    header, arrays = archive.read(tmp_path / "model", MODEL.specs)
    set_value(header, path, value)
    assert_refused(header, arrays, tmp_path / "lie")


def test_an_estimator_has_classes_if_it_is_a_classifier(three, small, tmp_path):
    more = ("label_weight", "consistency", "unlabeled", "priors")
    # A transformer with classes.
    three["<i8"].save(tmp_path / "model")
    header, arrays = archive.read(tmp_path / "model", MODEL.specs)
    header["estimator"] = "ConvVAETransformer"
    header["params"] = {k: v for k, v in header["params"].items() if k not in more}
    assert_refused(header, arrays, tmp_path / "lie")
    # A classifier without.
    small.save(tmp_path / "model")
    header, arrays = archive.read(tmp_path / "model", MODEL.specs)
    header["estimator"] = "ConvVAEClassifier"
    header["params"] |= {"label_weight": 50.0, "unlabeled": None, "priors": None}
    assert_refused(header, arrays, tmp_path / "lie")


@pytest.mark.parametrize("make", [mutants, resealed])
@pytest.mark.parametrize("dtype", ["<f8", "U"])
def test_mutants_of_a_classifier_are_refused_or_work(three, digits, tmp_path, make, dtype):
    three[dtype].save(tmp_path / "model")
    data, path = (tmp_path / "model").read_bytes(), tmp_path / "mutant"
    n_refused = 0
    for mutant in make(data, 150, seed=1):
        path.write_bytes(mutant)
        try:
            clf = skvae.load(path)
        except InvalidFileError:
            n_refused += 1
            continue
        assert clf.predict(digits[0][:2]).shape == (2,)
        assert clf.sample(1, y=clf.classes_[-1], random_state=0).shape == (1, 8, 8)
    assert n_refused > 75


# Devices and paths


def test_load_to_a_device(small, tmp_path):
    small.save(tmp_path / "model")
    vae = skvae.load(tmp_path / "model", device="cpu")
    assert vae.device == vae.device_ == "cpu"
    with pytest.raises(ValueError, match="device='nonsense' is not available"):
        skvae.load(tmp_path / "model", device="nonsense")


def test_a_model_of_a_missing_device_opens_on_the_cpu(small, tmp_path, digits):
    other = pickle.loads(pickle.dumps(small)).set_params(device="cuda:63")
    other.save(tmp_path / "model")
    vae = skvae.load(tmp_path / "model")
    assert (vae.device, vae.device_) == ("cuda:63", "cpu")
    assert_array_equal(vae.transform(digits[0]), small.transform(digits[0]))


def test_a_device_of_this_machine_is_asked_for_before_it_is_set(small, tmp_path):
    small.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"Available here: .*cpu"):
        skvae.load(tmp_path / "model", device=torch.device("cuda:63"))


def test_the_class_is_named_in_the_file(small, tmp_path):
    small.save(tmp_path / "model")
    header, arrays = archive.read(tmp_path / "model", MODEL.specs)
    assert header["estimator"] == "ConvVAETransformer"
    assert type(skvae.load(tmp_path / "model")) is ConvVAETransformer
    for name in ("PCA", "BaseConvVAE", "", "__init__"):
        archive.write(tmp_path / "other", {**header, "estimator": name}, arrays)
        with pytest.raises(InvalidFileError, match="other' cannot be loaded: its header"):
            skvae.load(tmp_path / "other")


def test_an_object_of_any_path_type(small, tmp_path):
    path = tmp_path / "modèle"
    small.save(path)
    for same in (path, str(path)):
        assert skvae.load(same).n_components_ == 3


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        skvae.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        skvae.load(tmp_path)


# Classes of one's own


class Mine(ConvVAETransformer):
    """A subclass of a user."""


def test_a_subclass_is_refused_when_it_is_saved(small, tmp_path):
    theirs = type("ConvVAETransformer", (ConvVAETransformer,), {})
    for cls in (Mine, theirs):
        vae = cls(**small.get_params())
        vae.__setstate__(small.__getstate__())
        match = (
            f"^{cls.__name__} cannot be saved: a file holds no code, so `skvae.load` knows only "
            "ConvVAEClassifier, ConvVAECluster and ConvVAETransformer. Keep .* with joblib or skops"
        )
        with pytest.raises(TypeError, match=match):
            vae.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# Memory


class TensorBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that torch makes, but for those without memory."""

    def __init__(self):
        super().__init__()
        self.storages = {}  # kept alive, so that no address comes twice

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                storage = tensor.untyped_storage()
                self.storages[storage.data_ptr()] = storage
        return result

    @property
    def total(self):
        return sum(storage.nbytes() for storage in self.storages.values())


@contextlib.contextmanager
def at_most(n_bytes):
    """Fails if loading allocates more than that, in Python and NumPy at a time, in torch in all."""
    tracemalloc.start()
    try:
        with TensorBytes() as tensors:
            yield
        assert tensors.total <= n_bytes
        assert tracemalloc.get_traced_memory()[1] <= n_bytes
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def wide(digits):
    """A model that is small but for its number of components."""
    params = {"n_components": 40_000, "hidden_channels": (1,), "hidden_units": 1}
    # Not by `fit`, whose linear path would have a matrix of 64 x 40,000.
    vae = ConvVAETransformer(**params, likelihood="bernoulli", random_state=0)
    return vae.partial_fit(digits[0][:64])


def test_memory_is_in_proportion_to_the_file(wide, digits, tmp_path):
    wide.save(tmp_path / "model")
    skvae.load(tmp_path / "model")  # what the first call imports is not the file's
    size = (tmp_path / "model").stat().st_size
    assert size < 2e6
    with at_most(3 * size):
        vae = skvae.load(tmp_path / "model")
    with TensorBytes() as tensors:  # 16,384 draws for each component would be 2.6 GB
        scores = vae.score_samples(digits[0][:3])
    assert tensors.total < 6e8
    assert_array_equal(scores, wide.score_samples(digits[0][:3]))


def test_mutants_with_many_components_take_little_memory(wide, tmp_path):
    wide.save(tmp_path / "model")
    data, path = (tmp_path / "model").read_bytes(), tmp_path / "mutant"
    n_refused = 0
    for mutant in resealed(data, 30, seed=2):
        path.write_bytes(mutant)
        with at_most(3 * len(data) + archive.MAX_JSON_BYTES):
            try:
                skvae.load(path)
            except InvalidFileError:
                n_refused += 1
    assert n_refused > 15


# Processes

FORK = """
import os, signal, sys
import numpy as np, torch, skvae

torch.set_num_threads(2)
vae = skvae.load("model")
images = np.load("X.npy")
child = os.fork()
if child == 0:
    signal.alarm(1_200)  # ends a child that waits for ever
    np.save("z.npy", vae.transform(images))
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_loaded_model_can_be_forked(tmp_path):
    # Weights and images large enough for torch to use several threads.
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28), np.uint8).astype(np.float32)
    vae = ConvVAETransformer(missing_values=0, max_iter=1, random_state=0).fit(images[:40])
    vae.save(tmp_path / "model")
    np.save(tmp_path / "X.npy", images)
    subprocess.run([sys.executable, "-c", FORK], cwd=tmp_path, check=True, timeout=1_500)
    z = np.load(tmp_path / "z.npy")
    np.testing.assert_allclose(z, vae.transform(images), rtol=0, atol=1e-4)


def test_a_checkpoint_is_no_model(digits, tmp_path):
    fit(digits[0][:40], checkpoint=tmp_path / "a")
    with pytest.raises(InvalidFileError, match="`checkpoint` what `fit` wrote"):
        skvae.load(tmp_path / "a")
