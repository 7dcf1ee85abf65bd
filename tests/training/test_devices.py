"""Devices: which there are, the way to them; torch's defaults change nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import fit, weights_of
from numpy.testing import assert_array_equal

from skvae._model.devices import resolve_device, sum_dtype, to_device


@pytest.fixture
def accelerator(monkeypatch):
    """A function that makes this machine one with a certain accelerator, or with none."""

    def pretend(kind):
        device = None if kind is None else torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: device is not None)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: device)
        # Tensors of a device that is not here cannot be made.
        monkeypatch.setattr(torch, "empty", lambda *shape, device: None)

    return pretend


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu", "hpu", "mtia"])
def test_every_accelerator_that_torch_knows(accelerator, kind):
    accelerator(kind)
    assert resolve_device("auto") == kind
    for device in (kind, f"{kind}:0", torch.device(kind), torch.device(kind, 0), "cpu"):
        assert resolve_device(device) == str(device)
    with pytest.raises(ValueError, match=f"device='meta' is not available. .* {kind}, cpu"):
        resolve_device("meta")


def test_without_an_accelerator_it_is_the_cpu(accelerator):
    accelerator(None)
    assert resolve_device("auto") == "cpu"
    assert resolve_device(torch.device("cpu")) == "cpu"


@pytest.mark.parametrize(
    "device", ["nonsense", "xla", "", "meta", "cuda", "cuda:7", torch.device("meta")], ids=repr
)
def test_unknown_or_missing_devices(device, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    message = rf"device='{device}' is not available. Available here: cpu\. device='auto' takes"
    with pytest.raises(ValueError, match=message):
        resolve_device(device)


def test_no_such_gpu(accelerator, monkeypatch):
    # A machine that has CUDA, but not so many devices.
    def empty(*shape, device):
        raise RuntimeError("CUDA error: invalid device ordinal")

    accelerator("cuda")
    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(ValueError, match=r"device='cuda:7' is not available. .*cuda, cpu"):
        resolve_device("cuda:7")


def test_an_estimator_takes_a_device_object(digits):
    vae = fit(digits[0], device=torch.device("cpu"))
    assert vae.device_ == "cpu"
    assert_array_equal(weights_of(vae), weights_of(fit(digits[0], device="cpu")))


class Copies:
    """Stands in for a tensor of the CPU, and notes how it is copied."""

    def __init__(self, *done):
        self.done = done

    def pin_memory(self):
        return Copies(*self.done, "pinned")

    def to(self, device, non_blocking=False):
        return (*self.done, device, "non-blocking" if non_blocking else "blocking")


def test_copies_to_cuda_are_pinned_and_waited_for_by_nobody():
    for device in ("cuda", "cuda:1", torch.device("cuda")):
        assert to_device(Copies(), device) == ("pinned", device, "non-blocking")
    # Unpinned memory must not be reused before its copy is over.
    assert to_device(Copies(), "mps") == ("mps", "blocking")
    assert to_device(Copies(), "cpu") == ("cpu", "blocking")


def test_long_sums_have_the_precision_that_the_device_knows():
    assert sum_dtype(torch.device("mps")) is None
    for device in ("cpu", "cuda:1", "xpu"):
        assert sum_dtype(torch.device(device)) is torch.float64


# Prints everything that an estimator does, to the bit. It writes files into `folder`.
EVERYTHING = """
import hashlib, pickle
import numpy as np
import skvae

images = np.random.default_rng(0).integers(0, 17, (60, 8, 8)).astype(np.uint8)
for params in [
    {},
    {"likelihood": "gaussian", "early_stopping": True},
    {"likelihood": "continuous_bernoulli", "beta_warmup": 0.5},
    {"binarize": True},
]:
    vae = skvae.ConvVAETransformer(
        2, hidden_channels=(4,), hidden_units=8, batch_size=16, max_iter=2, random_state=0,
        pixel_range=(0, 16), device="cpu", checkpoint=folder + "/fit", **params,
    )
    vae.fit(images).partial_fit(images[:40])
    vae.save(folder + "/model")
    loaded, unpickled = skvae.load(folder + "/model"), pickle.loads(pickle.dumps(vae))
    new = skvae.ConvVAETransformer(**vae.get_params()).partial_fit(images)
    new.set_params(warm_start=True, checkpoint=None).fit(images)
    z = vae.transform(images)
    for model in (vae, loaded, unpickled, new):
        for result in (
            model.transform(images), *model.posterior(images), model.inverse_transform(z),
            model.score_samples(images), model.log_likelihood(images[:5], 3),
            model.sample(3, random_state=0), model.kl_per_component_,
            np.array(model.loss_curve_), np.array(model.n_active_components_),
            np.array(getattr(model, "noise_variance_", 0.0)),
            *(weight.detach().numpy() for weight in model.module_.parameters()),
        ):
            print(result.dtype, hashlib.sha256(result.tobytes()).hexdigest())
"""


# Without a dtype, a tensor is of another precision; without a device, it has no numbers at all.
DEFAULTS = """
import sys, torch

torch.set_num_threads(1)  # as in conftest.py
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
folder = sys.argv[1]
"""


def test_the_defaults_of_torch_change_no_bit(whole_start, tmp_path, capsys):
    exec(EVERYTHING, {"folder": str(tmp_path)})
    expected = capsys.readouterr().out.splitlines()
    assert len(expected) > 4 * 4 * 11
    # In a process of its own, because they must be set before skvae is imported.
    ignored = "-W", "ignore:Only", "-W", "ignore:The training"
    done = subprocess.run(
        [sys.executable, "-W", "error", *ignored, "-c", DEFAULTS + EVERYTHING, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected


def test_a_device_context_changes_no_bit(digits):
    expected = fit(digits[0])
    with torch.device("meta"):
        vae = fit(digits[0])
        z = vae.transform(digits[0])
    assert_array_equal(weights_of(vae), weights_of(expected))
    assert_array_equal(z, expected.transform(digits[0]))
    assert np.isfinite(z).all()
