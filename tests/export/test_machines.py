"""Recipes for many machines: the same bits as in one call; a search on a cluster of dask."""

import re
import threading
from pathlib import Path

import joblib
import numpy as np
from conftest import SMALL
from dask.distributed import Client
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

from skvae import ConvVAETransformer

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "machines.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def test_parts_give_the_bits_of_one_call(digits, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.save("model.skvae")
    images = digits[0]
    namespace = {"images": images, "np": np}
    results = []
    for block, name in zip(BLOCKS, ("components", "components", "scores"), strict=False):
        exec(block.replace("1000", "70"), namespace)  # six chunks, the last of which is short
        results.append(namespace[name])
    with_joblib, with_dask, scores = results
    assert namespace["X"].numblocks == (6, 1, 1)
    for latents in (with_joblib, with_dask):
        assert latents.dtype == np.float32
        assert_array_equal(latents, small.transform(images))
    assert_array_equal(scores, small.score_samples(images))


def on_a_worker(estimator, X):
    """Whether a worker of dask calls this: a score."""
    return float("Dask" in threading.current_thread().name)


def test_a_search_on_a_cluster_is_the_same(digits):
    scoring = {"elbo": ConvVAETransformer.score, "on_a_worker": on_a_worker}
    params = {**SMALL, "max_iter": 1}
    rows = digits[0][:60].reshape(60, 64)

    def search():
        grid = {"n_components": [1, 2]}
        vae = ConvVAETransformer(**params)
        return GridSearchCV(vae, grid, cv=2, scoring=scoring, refit="elbo").fit(rows)

    local, before = search(), set(threading.enumerate())
    with (
        Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None),
        joblib.parallel_config("dask"),
    ):
        remote = search()
    assert_array_equal(remote.cv_results_["mean_test_elbo"], local.cv_results_["mean_test_elbo"])
    assert_array_equal(remote.cv_results_["mean_test_on_a_worker"], [1, 1])
    assert_array_equal(local.cv_results_["mean_test_on_a_worker"], [0, 0])
    assert_array_equal(remote.transform(rows), local.transform(rows))
    # What stays is a pool that all clusters of this process share; it does not keep Python alive.
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
