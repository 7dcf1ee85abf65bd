"""The examples run as a user runs them, and print numbers that hold."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils import Bunch

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(script, *args, cwd):
    command = [sys.executable, "-W", "error", EXAMPLES / script, *args]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def number(pattern, text):
    return float(re.search(pattern, text).group(1))


def assert_picture(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 10_000


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return run("plot_digits.py", "--data", "digits", "--max-iter", "40", cwd=folder), folder


def test_demo_draws_its_pictures(demo):
    done, folder = demo
    for name in ("tsne", "reconstructions", "samples", "loss_curve"):
        assert f"pictures/{name}.png" in done.stdout
        assert_picture(folder / "pictures" / f"{name}.png")
    assert "40/40" in done.stderr  # the progress bar
    assert 8 <= number(r"Active components: (\d+) of 10", done.stdout) <= 10


def test_demo_explains_more_than_pca(demo):
    out = demo[0].stdout
    pca, vae = (number(rf"{name} ([\d.]+)%", out) for name in ("PCA", "VAE"))
    assert vae > pca + 5
    # Probabilistic PCA scores about 161 nats; `examples/benchmarks/field.py` has the table.
    assert number(r"-ELBO of the test images: ([\d.]+) nats \(gaussian\)", out) < 150


def test_demo_accuracies(demo):
    rows = re.findall(
        r"^(pixels|PCA.*?|VAE.*?)  +([\d.]+)% +([\d.]+)% +([\d.]+)%$", demo[0].stdout, re.M
    )
    table = {name: tuple(map(float, values)) for name, *values in rows}
    assert list(table) == ["pixels", "PCA, 10 components", "VAE, 10 components"]
    for logistic, neighbours, plane in table.values():
        assert logistic > 85
        assert neighbours > 90
        assert plane > 85
    better = table["VAE, 10 components"][2] > table["pixels"][2]
    assert f"separate the digits {'better' if better else 'no better'} than" in demo[0].stdout


def test_pipelines_and_searches(tmp_path):
    out = run("plot_pipeline.py", cwd=tmp_path).stdout
    accuracies = [float(a) for a in re.findall(r"cross-validated accuracy ([\d.]+)%", out)]
    assert len(accuracies) == 3
    assert accuracies[2] > accuracies[0] + 10
    assert number(r"accuracy on the test images ([\d.]+)%", out) > 85
    elbos = [float(a) for a in re.findall(r"held-out ELBO (-[\d.]+)", out)]
    assert elbos == sorted(elbos)
    assert_picture(tmp_path / "pictures" / "components.png")


def test_the_number_of_components(tmp_path):
    out = run("plot_n_components.py", "--max-iter", "12", cwd=tmp_path).stdout
    rows = [line.split() for line in out.splitlines() if re.match(r" *\d+ +-\d", line)]
    table = {int(row[0]): [float(cell) for cell in row[1:]] for row in rows}
    assert list(table) == [1, 2, 4, 8, 16, 32]
    elbo, log_p, active = ({K: row[i] for K, row in table.items()} for i in (0, 2, 4))
    assert f"Best: {max(elbo, key=elbo.get)} components" in out
    assert all(log_p[K] > elbo[K] for K in table)
    assert all(active[K] <= K for K in table)
    assert elbo[4] > elbo[1]
    assert_picture(tmp_path / "pictures" / "n_components.png")


def table_of(out, names):
    """The numbers of the rows of a printed table that begin with the names."""
    rows = {}
    for name in names:
        cells = re.search(rf"^{re.escape(name)} (.*)$", out, re.M).group(1).split()
        rows[name] = [float(cell.rstrip("%")) for cell in cells]
    return rows


def test_few_labels(tmp_path):
    args = ("--data", "digits", "--labels", "50", "200", "--max-iter", "20")
    out = run("plot_few_labels.py", *args, cwd=tmp_path).stdout
    names = ["logistic regression on PCA", "LabelSpreading", "ConvVAEClassifier"]
    errors = table_of(out, names)
    for few, many in errors.values():
        assert 0 < many < few < 50
    assert errors["ConvVAEClassifier"][1] < errors["logistic regression on PCA"][1]
    assert_picture(tmp_path / "pictures" / "few_labels.png")


def test_wrong_labels(tmp_path):
    out = run("plot_wrong_labels.py", "--max-iter", "8", cwd=tmp_path).stdout
    share = number(r"least probable labels, ([\d.]+)% are", out)
    assert share > 60  # 5 % by chance
    assert number(r"ROC AUC of the probability of the label: ([\d.]+)", out) > 0.9
    assert_picture(tmp_path / "pictures" / "wrong_labels.png")


def test_holes(tmp_path):
    args = ("--data", "digits", "--max-iter", "30", "--n-test", "200")
    out = run("plot_holes.py", *args, cwd=tmp_path).stdout
    table = table_of(out, ["SimpleImputer", "KNNImputer", "ConvVAETransformer"])
    errors = {name: row[0] for name, row in table.items()}
    # On a thousand small digits KNNImputer is as good; examples/benchmarks/holes.py has MNIST.
    assert errors["ConvVAETransformer"] < 0.8 * errors["SimpleImputer"]
    for name in ("holes", "halves"):
        assert_picture(tmp_path / "pictures" / f"{name}.png")


@pytest.fixture
def datasets(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import _datasets

    return _datasets


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files(datasets, tmp_path, packed):
    rng = np.random.default_rng(0)
    expected = {}
    for part, n in (("train", 30), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        labels = rng.integers(0, 10, n).astype(np.uint8)
        expected[part] = images, labels
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx(array)
            path = tmp_path / f"{part}-{name}-ubyte"
            if packed:
                path = path.with_name(path.name + ".gz")
                data = gzip.compress(data)
            path.write_bytes(data)
    digits = datasets.load(str(tmp_path))
    np.testing.assert_array_equal(digits.train_images, expected["train"][0])
    np.testing.assert_array_equal(digits.test_labels, expected["t10k"][1])


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\x08", b"PK\3\4" + bytes(50), idx(np.zeros((3, 3), np.uint8))[:-1]]
)
def test_files_that_are_no_idx_files(datasets, tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match="is not a whole IDX file"):
        datasets.read_idx(tmp_path / "x")


def test_bundled_part_of_mnist(datasets):
    digits = datasets.load("mnist")
    assert digits.train_images.shape == (10_000, 28, 28)
    assert digits.test_images.shape == (2_000, 28, 28)
    assert list(digits.train_labels[:5]) == [5, 0, 4, 1, 9]  # as everywhere
    assert set(digits.test_labels) == set(range(10))


def test_bundled_digits(datasets):
    digits = datasets.load("digits")
    assert digits.train_images.shape == (1198, 8, 8)
    assert digits.test_images.shape == (599, 8, 8)
    assert digits.train_images.dtype == np.uint8
    assert set(digits.test_labels) == set(range(10))


def test_openml_gives_the_published_split(datasets, monkeypatch):
    # What fetch_openml returns for mnist_784: float pixels, labels as text.
    def fetch(name, *, version, as_frame, return_X_y):
        assert (name, version, as_frame, return_X_y) == ("mnist_784", 1, False, True)
        rows = np.zeros((70_000, 784), np.float32)
        rows[:, 0] = np.arange(70_000) % 251
        return Bunch(data=rows).data, (np.arange(70_000) % 10).astype(str)

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    digits = datasets.load("openml")
    assert digits.train_images.shape == (60_000, 28, 28)
    assert digits.test_images.shape == (10_000, 28, 28)
    assert digits.test_images[0, 0, 0] == 60_000 % 251
    assert digits.train_labels.dtype == np.int64
    assert digits.test_labels[3] == 3
