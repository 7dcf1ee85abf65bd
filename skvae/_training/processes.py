"""The processes that train one model together, by torch.distributed (torch)."""

import warnings
from contextlib import contextmanager

import torch
import torch.distributed as dist


class Processes:
    """The processes of a training: those of a group, or this one alone.

    All of them call the same methods in the same order. Each trains on a share of every batch.
    """

    def __init__(self, group=None):
        self.group = group
        self.rank = 0 if group is None else dist.get_rank(group)
        self.size = 1 if group is None else dist.get_world_size(group)

    @property
    def is_first(self):
        """Whether this process makes the first weights, writes files, warns and shows the bar."""
        return self.rank == 0

    @property
    def share(self):
        """The slice of the rows of a batch on which this process trains."""
        return slice(self.rank, None, self.size)

    def sum(self, tensors):
        """Sums of tensors over the processes, in one message; equal to the last bit in all of them.

        The tensors have one dtype and device, and no gaps in memory. The sums share one buffer, in
        which each lies in the order in memory of its tensor, so that numbers are copied once.
        """
        if self.group is None:
            return tensors
        flat = torch.cat([tensor.as_strided((tensor.numel(),), (1,)) for tensor in tensors])
        with _said_plainly():
            dist.all_reduce(flat, group=self.group)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [
            part.as_strided(tensor.shape, tensor.stride())
            for part, tensor in zip(parts, tensors, strict=True)
        ]

    def wait(self):
        """Wait until all processes have come here."""
        self._of_all(None)

    def any(self, flag):
        """Whether a flag is set in any process."""
        return any(self._of_all(flag))

    def _of_all(self, value):
        """The values that the processes give, in their order."""
        return [value] if self.group is None else _gather(value, self.group)

    def of_first(self, value):
        """The value, made of plain values and arrays, that the first process gives."""
        if self.group is None:
            return value
        box = [value]
        with _said_plainly():
            dist.broadcast_object_list(box, group=self.group, group_src=0)
        return box[0]

    def copy_first(self, tensors):
        """Overwrite tensors by those of the first process."""
        for tensor in tensors if self.group is not None else ():
            with _said_plainly():
                dist.broadcast(tensor, group=self.group, group_src=0)

    def require_same(self, plan):
        """A ValueError in all processes, if the dicts of what each is about to train differ.

        It names process and keys.
        """
        plans = self._of_all(plan)
        for rank, other in enumerate(plans):
            names = [name for name in plan if repr(plans[0].get(name)) != repr(other.get(name))]
            if names:
                raise ValueError(
                    "With data_parallel=True, all processes must get the same data and "
                    f"parameters. Process {rank} differs from process 0 in: {', '.join(names)}."
                )


@contextmanager
def training_processes(data_parallel):
    """The `Processes` that train together, for the time of a training.

    After an exception, the group is destroyed, which ends the training in the other processes. All
    but the first are silent. A ValueError if there is no process group. A RuntimeError if another
    process ended early, or did not answer in torch's time limit.
    """
    if not data_parallel:
        yield Processes()
        return
    if not (dist.is_available() and dist.is_initialized()):
        raise ValueError(
            "data_parallel=True needs a process group. Call torch.distributed.init_process_group() "
            "first, in a script that torchrun or another launcher starts in each process. In a "
            "single process, leave data_parallel=False."
        )
    _gather(None)  # an error if a process has ended, for which `new_group` would wait
    with _said_plainly():
        group = dist.new_group()
    try:
        processes = Processes(group)
        with warnings.catch_warnings():
            if not processes.is_first:
                warnings.simplefilter("ignore")
            yield processes
    finally:
        dist.destroy_process_group(group)


def _gather(value, group=None):
    """The values that all processes of a group give, in their order; None: of the default group.

    Used for waiting, too: with nccl, `torch.distributed.barrier` warns about the choice of a GPU.
    """
    values = [None] * dist.get_world_size(group)
    with _said_plainly():
        dist.all_gather_object(values, value, group=group)
    return values


@contextmanager
def _said_plainly():
    """Say what it means that torch cannot reach the other processes."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            "The training was ended, because another process of the group ended or did not answer. "
            "If it ended, its own message says why."
        ) from error
