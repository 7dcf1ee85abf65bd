"""What goes on beside the training of one fit: processes, checkpoint, tasks, warnings."""

from contextlib import contextmanager

import numpy as np

from .._history import n_epochs_of
from .._model import MIN_NOISE_VARIANCE, passes
from .._warnings import warn
from .checkpoint import CheckpointFile, training_plan
from .processes import training_processes
from .sklearn_callbacks import FitTasks
from .train import as_if_ended, train

# A training that explains less than this share of what its linear start left unexplained has hardly
# improved on it.
LEAST_GAIN = 0.01


@contextmanager
def fit_run(data_parallel, new_context):
    """A `FitRun`; `new_context` makes scikit-learn's context, which the first process
    has; it gives None where scikit-learn has no callbacks.

    When the fit has succeeded, it warns of what is due.
    """
    with training_processes(data_parallel) as processes:
        run = FitRun(processes, new_context() if processes.is_first else None)
        with advice_on_memory():
            yield run
    for message in run.messages:
        warn(message)


class FitRun:
    """The processes of one fit, its checkpoint, and the tasks of scikit-learn.

    An estimator calls `agree`, `start`, `train` and `end`, in this order. None of them
    changes it.
    """

    def __init__(self, processes, context):
        self.processes, self.context = processes, context
        self.checkpoint = self.progress = self.tasks = None
        self.interrupted, self.messages = False, []

    def agree(self, estimator, images, n_valid, continuing):
        """The seed that all processes train with: of the first one, or of a checkpoint.

        A ValueError if the processes are about to train different things, or if the checkpoint
        belongs to another fit.
        """
        seed = self.processes.of_first(estimator._seed)
        has_checkpoint = estimator.checkpoint is not None
        if not has_checkpoint and self.processes.size == 1:
            return seed  # to compare nothing, all images need not be read
        plan = training_plan(estimator, images, n_valid, seed)
        own = {
            "params": None,
            "device": None,  # each process may have another one
            "checkpoint": has_checkpoint,
            "warm_start": continuing,
            "epochs before": n_epochs_of(estimator._history),
        }
        self.processes.require_same({**plan["params"], **plan, **own})
        if not has_checkpoint:
            return seed
        if continuing:
            raise ValueError(
                "A checkpoint holds a whole fit, so a second fit with warm_start=True cannot use "
                "one. Set checkpoint=None or warm_start=False."
            )
        if self.processes.is_first:
            self.checkpoint = CheckpointFile(estimator.checkpoint, plan)
            # With random_state=None any seed is right, also that of the file.
            self.progress = self.checkpoint.read(any_seed=estimator.random_state is None)
            seed = self.checkpoint.plan["seed"]
        seed, self.progress = self.processes.of_first((seed, self.progress))
        return seed

    def start(self, module, watched):
        """Give all processes the weights of the first; note how well they rebuild images."""
        self.processes.copy_first(module.state_dict().values())
        self.watched = watched
        self.start_error = self._linear_error(module)

    def train(self, module, images, valid, settings, *, arguments, fitted):
        """The net, trained to the end, unless Ctrl-C or a callback of scikit-learn ends it.

        Those get `arguments`, and if they ask, the attributes `fitted` of a copy of the net.
        """
        self.settings = settings
        if self.context is not None:
            n_done = len(self.progress["history"]) if self.progress else 0
            self.context.max_subtasks = settings.n_epochs - n_done
            self.tasks = FitTasks(self.context, arguments, lambda net: fitted(as_if_ended(net)))
        net, self.interrupted = train(
            module,
            images,
            settings,
            processes=self.processes,
            valid=valid,
            progress=self.progress,
            save_progress=None if self.checkpoint is None else self.checkpoint.write,
            tasks=self.tasks,
        )
        return net

    def end(self, estimator, n_images):
        """Finish the checkpoint, and collect what to warn of, after a training on `n_images`."""
        if self.interrupted:
            self.messages = ["Training interrupted by user; what is trained so far is kept."]
            return
        if self.checkpoint is not None:
            self.checkpoint.finish()
        stopped = self.tasks is not None and self.tasks.stopped_
        if self.processes.is_first and not stopped:
            self.messages = list(self._convergence_warnings(estimator, n_images))

    def _linear_error(self, module):
        """`reconstruction_error` of a network with a linear path; None without, or elsewhere."""
        if module.linear is None or not self.processes.is_first:
            return None
        return passes.reconstruction_error(module, self.watched)

    def _convergence_warnings(self, estimator, n_images):
        """Messages about a training that ended by itself."""
        n_epochs, settings = len(estimator.net_.finished_epochs), self.settings
        error = self._linear_error(estimator.module_)
        like_pca = (
            error is not None and error > (1 - LEAST_GAIN) * self.start_error > MIN_NOISE_VARIANCE
        )
        images_differ = n_images > 1 and np.diff(estimator.pixel_range_).max() > 0
        n_active, n_components = estimator.n_active_components_, estimator.n_components_
        n_pca = min(n_components, estimator.n_features_in_)
        if like_pca and images_differ and n_images > n_components:
            yield (
                "The training hardly improved on the principal components at which it started: PCA "
                f"with {n_pca} components would do as well or better. It may help to train "
                "longer (max_iter), to send more images, or to take another number of components."
            )
        if n_epochs < settings.beta_warmup * settings.n_epochs:
            yield (
                f"Training ended after {n_epochs} of {settings.n_epochs} epochs, within the "
                f"warm-up of the KL term (beta_warmup={settings.beta_warmup}). Lower "
                "beta_warmup, or raise n_iter_no_change."
            )
        if images_differ and 2 * n_active < n_components:
            yield (
                f"Only {n_active} of {n_components} components are active. The others tell nothing "
                "about an image. Try fewer components, a smaller beta, a warm-up such as "
                "beta_warmup=0.3, or a longer training."
            )


@contextmanager
def advice_on_memory():
    """Turn torch's errors of memory into a MemoryError that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        # torch.OutOfMemoryError on a GPU; on the CPU, a plain RuntimeError of the allocator.
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        raise MemoryError(
            "Memory ran out. Lower batch_size, hidden_channels or hidden_units. "
            f"({str(error).splitlines()[0]:.200})"
        ) from error
