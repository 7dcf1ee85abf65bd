"""What goes wrong while a model trains or is written: a crash, Ctrl-C, a full disk."""

import errno
import os

from skorch.callbacks import Callback


class Crash(Callback):
    """Raise an exception in the third batch of an epoch.

    Parameters
    ----------
    epoch : int

    error : Exception
    """

    def __init__(self, epoch, error=None):
        self.epoch = epoch
        self.error = error

    def on_epoch_begin(self, net, **kwargs):
        self.n_batches_ = 0

    def on_batch_begin(self, net, **kwargs):
        self.n_batches_ += 1
        if len(net.history) == self.epoch and self.n_batches_ == 3:
            raise self.error or RuntimeError("crash")


class CrashAtTheEnd(Callback):
    """Raise an exception when all epochs are done."""

    def on_train_end(self, net, **kwargs):
        raise RuntimeError("crash")


def interrupt(epoch):
    """Ctrl-C in the third batch of an epoch."""
    return Crash(epoch, KeyboardInterrupt())


def full_disk(monkeypatch):
    """Let every file of skvae find the disk full."""

    def fsync(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
