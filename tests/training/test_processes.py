"""Training on many processes: the model of one process, and no process that hangs."""

import pickle
import shutil

import numpy as np
import parallel
import pytest
import torch
import torch.distributed as dist
from conftest import HAS_CALLBACKS
from nets import Processes

from skvae import ConvVAEClassifier, ConvVAETransformer
from skvae._training.processes import training_processes

# Seconds after which a process hangs: far more than all fits take on the busiest machine, but less
# than the 30 minutes of torch, after which a process that waits for another one ends.
TIMEOUT = 1_500


def run(task, size, folder):
    """Run a task in a group; return code and stderr of each process, and its results or None."""
    store = folder / f"{task}-store"
    running = [
        parallel.CONTEXT.Process(target=parallel.process, args=(task, rank, size, store, folder))
        for rank in range(size)
    ]
    for process in running:
        process.start()
    try:
        for process in running:
            process.join(TIMEOUT)
        codes = [process.exitcode for process in running]
        assert None not in codes, "a process hangs"
    finally:
        for process in running:
            process.kill()
    store.unlink(missing_ok=True)
    errors = [(folder / f"{task}-{rank}.stderr").read_text() for rank in range(size)]
    results = []
    for rank in range(size):
        path = folder / f"{task}-{rank}.pickle"
        results.append(pickle.loads(path.read_bytes()) if path.exists() else None)
    return codes, errors, results


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.fixture(scope="module")
def alone():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: parallel.results(fitted) for name, fitted in parallel.fits(False).items()}
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=[1, 2, 3])
def group(request, tmp_path_factory):
    codes, errors, results = run("fits", request.param, tmp_path_factory.mktemp("fits"))
    assert codes == [0] * request.param, errors
    return results


def test_fits_are_those_of_one_process(group, alone):
    results = group
    for name, expected in alone.items():
        for result in results[1:]:
            assert_equal(result[name], results[0][name])
        for key, array in expected.items():
            # Sums of float32 in another order, and what a few steps make of it.
            np.testing.assert_allclose(
                results[0][name][key], array, rtol=1e-4, atol=1e-4, err_msg=f"{name}: {key}"
            )


def test_fits_in_parts_are_those_of_whole_batches(alone):
    for name in parallel.IN_PARTS:
        for key, array in alone[name].items():
            np.testing.assert_allclose(
                alone[f"{name} in parts"][key], array, rtol=1e-4, atol=1e-4, err_msg=name
            )


def test_the_first_process_gives_the_seed_and_speaks(tmp_path):
    codes, errors, results = run("no seed", 2, tmp_path)
    assert codes == [0, 0], errors
    assert_equal(*results)
    assert "best of 3 100%" in errors[0]  # the bar
    assert "UserWarning" in errors[0]
    assert errors[1] == ""


@pytest.mark.parametrize(
    ("task", "message"),
    [("fail", "a fault of this process"), ("interrupt", "KeyboardInterrupt")],
)
def test_a_process_that_ends_ends_all(task, message, tmp_path):
    codes, errors, results = run(task, 2, tmp_path)
    assert 0 not in codes
    assert results == [None] * 2
    assert message in errors[1]
    assert "RuntimeError: The training was ended, because another process" in errors[0]


def test_a_process_that_ended_before_is_not_waited_for(tmp_path):
    codes, errors, results = run("absent", 2, tmp_path)
    assert codes[0] != 0
    assert codes[1] == -9
    assert results == [None] * 2
    assert "RuntimeError: The training was ended, because another process" in errors[0]


def test_callbacks_of_scikit_learn_hear_of_the_first_process(tmp_path):
    codes, errors, results = run("stop", 2, tmp_path)
    if not HAS_CALLBACKS:
        assert all("need scikit-learn 1.9 or later" in error for error in errors)
        return
    assert codes == [0, 0], errors
    assert_equal(*results)
    assert len(results[0]["history"]) == 1
    assert "stop after 1" in errors[0]  # callbacks of scikit-learn hear of the first process
    assert errors[1] == ""


def test_a_killed_training_goes_on(group, tmp_path):
    size = len(group)
    codes, _, _ = run("kill", size, tmp_path)
    assert codes[-1] == -9
    copy = shutil.copy(tmp_path / "training.skvae", tmp_path / "copy.skvae")
    codes, errors, resumed = run("resume", size, tmp_path)
    assert codes == [0] * size, errors
    assert "continues after epoch" in errors[0]  # it did not begin anew
    assert "epoch 1/3" not in errors[0]
    for ours, whole in zip(resumed, group, strict=True):
        assert_equal(ours, whole["early stopping"])
    # In another number of processes, here one, up to rounding.
    alone = ConvVAETransformer(**parallel.SMALL, checkpoint=copy).fit(parallel.images()[0])
    assert alone.n_iter_ == 3
    latents = parallel.results(alone)["latents"]
    np.testing.assert_allclose(latents, resumed[0]["latents"], rtol=1e-4, atol=1e-4)


def test_a_callback_of_one_process_ends_the_training_of_all(tmp_path):
    codes, errors, results = run("stop early", 2, tmp_path)
    assert codes == [0, 0], errors
    assert_equal(*results)
    assert len(results[0]["history"]) == 2


def test_processes_must_train_the_same(tmp_path):
    codes, errors, _ = run("differ", 2, tmp_path)
    assert 0 not in codes
    for error in errors:
        assert "ValueError: With data_parallel=True, all processes" in error
        assert "Process 1 differs from process 0 in: beta, data, checkpoint." in error


@pytest.mark.parametrize("cls", [ConvVAETransformer, ConvVAEClassifier])
def test_without_a_group(cls):
    X, labels = parallel.images()
    with pytest.raises(ValueError, match=r"needs a process group\. Call torch.distributed"):
        cls(**parallel.SMALL, data_parallel=True).fit(X, labels)
    with pytest.raises(ValueError, match="partial_fit trains in one process"):
        cls(**parallel.SMALL, data_parallel=True).partial_fit(X, labels)


def test_a_process_alone():
    alone = Processes()
    tensors = [torch.ones(2), torch.zeros(3)]
    assert alone.sum(tensors) is tensors
    assert alone.of_first("value") == "value"
    assert (alone.any(True), alone.any(False)) == (True, False)
    assert list(range(5))[alone.share] == list(range(5))
    assert alone.is_first
    alone.require_same({"beta": 1.0})
    alone.copy_first(tensors)


@pytest.fixture
def group_of_one(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_sums_have_the_shapes_and_the_order_in_memory_of_their_tensors(group_of_one):
    rng = torch.Generator().manual_seed(0)
    shapes = [(4, 3, 2, 5), (4, 3, 2, 5), (2, 3), (), (0,)]
    tensors = [torch.randn(shape, generator=rng) for shape in shapes]
    tensors[1] = tensors[1].to(memory_format=torch.channels_last)
    with training_processes(True) as processes:
        sums = processes.sum(tensors)
    for total, tensor in zip(sums, tensors, strict=True):
        assert torch.equal(total, tensor)
        assert total.stride() == tensor.stride()
    # One buffer: nothing is copied back.
    assert len({total.untyped_storage().data_ptr() for total in sums}) == 1


def test_a_file_does_not_know_of_processes(small, tmp_path):
    from skvae import load

    small.set_params(data_parallel=True)
    try:
        small.save(tmp_path / "model.skvae")
    finally:
        small.set_params(data_parallel=False)
    assert load(tmp_path / "model.skvae").data_parallel is False
