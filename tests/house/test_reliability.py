"""Quick runs of what `make soak` does at length, and the state of the process."""

import numpy as np
import pytest
import reliability
from conftest import SMALL
from reliability import global_state, images

import skvae
from skvae import ConvVAETransformer


def test_kill_and_resume(tmp_path):
    counts = reliability.kill_and_resume(3, tmp_path)
    assert counts["kills"] == 3
    assert counts["finished"] >= 1


def test_mutated_files(tmp_path):
    counts = reliability.mutated_files(300, tmp_path)
    assert counts["refused"] > 200
    assert counts["refused"] + counts["read"] == 300


def test_any_array():
    counts = reliability.any_arrays(100)
    assert counts["fitted"] > 20
    assert counts["refused"] > 20


def test_a_few_fits_of_many_kinds_of_pictures():
    counts = reliability.fits_of_pictures(8, sizes=(20, 200))
    assert counts == {"fits": 8, "losses that are not finite": 0}


@pytest.mark.parametrize(
    "kind", ["digits", "colour noise", "signals", "hot pixels", "constant but one"]
)
def test_small_fits_are_finite(kind):
    # Three families, 2, 10 and 64 components, 20 and 60 pictures.
    network = {"hidden_channels": (4,), "hidden_units": 16, "batch_size": 16, "max_iter": 2}
    counts = reliability.fits_of_pictures(18, kinds=[kind], sizes=(20, 60), **network)
    assert counts == {"fits": 18, "losses that are not finite": 0}


def test_a_loss_that_is_not_finite_would_be_found():
    with pytest.raises(AssertionError, match=r"'digits', 'gaussian', \d+, 20"):
        reliability.fits_of_pictures(9, kinds=["digits"], sizes=(20,), learning_rate=1e30)


def test_holes_and_markers():
    assert reliability.holes_and_markers(4) == {"fits": 12}


def test_groups_of_processes(tmp_path):
    assert reliability.groups_of_processes(1, tmp_path) == {"groups": 1, "killed": 0}


def test_transform_while_fitting():
    assert reliability.transform_while_fitting(200)["calls"] == 200


@pytest.mark.parametrize(
    "method",
    [
        "fit",
        "fit_transform",
        "partial_fit",
        "transform",
        "reconstruct",
        "posterior",
        "score_samples",
        "score",
        "log_likelihood",
        "inverse_transform",
        "sample",
        "save",
        "load",
    ],
)
def test_global_state_stays(small, tmp_path, method):
    X = images(50)
    z = small.transform(X)
    small.save(tmp_path / "before")
    early = ConvVAETransformer(**{**SMALL, "max_iter": 2, "early_stopping": True})
    call = {
        "fit": lambda: early.set_params(checkpoint=tmp_path / "checkpoint").fit(X),
        "fit_transform": lambda: early.fit_transform(X),
        "partial_fit": lambda: early.partial_fit(X),
        "transform": lambda: small.transform(X),
        "reconstruct": lambda: small.reconstruct(X),
        "log_likelihood": lambda: small.log_likelihood(X[:3], 5),
        "posterior": lambda: small.posterior(X),
        "score_samples": lambda: small.score_samples(X),
        "score": lambda: small.score(X),
        "inverse_transform": lambda: small.inverse_transform(z),
        "sample": lambda: small.sample(3, random_state=0),
        "save": lambda: small.save(tmp_path / "model"),
        "load": lambda: skvae.load(tmp_path / "before"),
    }[method]
    before = global_state()
    call()
    assert global_state() == before


def test_the_state_of_the_process_would_show_a_change():
    before = global_state()
    np.random.rand()  # noqa: NPY002 - draws from the global generator
    assert global_state() != before
