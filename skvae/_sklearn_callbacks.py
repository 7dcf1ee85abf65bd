"""scikit-learn's callbacks: each epoch is a task of the fit (skorch)."""

from skorch.callbacks import Callback


class EpochTasks(Callback):
    """Tell the callbacks of scikit-learn where each epoch begins and ends.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        Of the fit, whose sub-tasks are the epochs.

    arguments : dict
        What all hooks get: ``estimator``, ``X`` and ``y``.

    fitted_attributes : callable
        Called with the net, if a hook asks for a fitted estimator. Returns the attributes that the
        estimator would have if the training ended now.

    Attributes
    ----------
    stopped_ : bool
        Whether a hook asked to end the training.
    """

    def __init__(self, context, arguments, fitted_attributes):
        self.context = context
        self.arguments = arguments
        self.fitted_attributes = fitted_attributes

    def initialize(self):
        self.stopped_ = False
        return self

    def on_epoch_begin(self, net, **kwargs):
        self.task_ = self.context.subcontext(task_name="epoch")
        self.task_.call_on_fit_task_begin(**self.arguments)

    def on_epoch_end(self, net, **kwargs):
        stop = self.task_.call_on_fit_task_end(
            **self.arguments, reconstruction_attributes=lambda: self.fitted_attributes(net)
        )
        self.stopped_ = self.stopped_ or stop
