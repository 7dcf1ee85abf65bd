"""scikit-learn's callbacks: a fit is a task, and each epoch is a task of it (skorch)."""

from skorch.callbacks import Callback


class FitTasks(Callback):
    """Tell the callbacks of scikit-learn where the training and each epoch begin and end.

    All hooks get `arguments`: ``estimator``, ``X`` and ``y``. If one asks for a fitted estimator,
    ``fitted_attributes(net)`` are those that it would have if the training ended now. `stopped_`
    says whether a hook asked to end the training.
    """

    def __init__(self, context, arguments, fitted_attributes):
        self.context = context
        self.arguments = arguments
        self.fitted_attributes = fitted_attributes

    def initialize(self):
        self.stopped_ = False
        return self

    def on_train_begin(self, net, **kwargs):
        self.context.call_on_fit_task_begin(**self.arguments)

    def on_epoch_begin(self, net, **kwargs):
        self.epoch_ = self.context.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(**self.arguments)

    def on_epoch_end(self, net, **kwargs):
        self.stopped_ = self._end(self.epoch_, net) or self.stopped_

    def on_train_end(self, net, **kwargs):
        self._end(self.context, net)

    def _end(self, task, net):
        return task.call_on_fit_task_end(
            **self.arguments, reconstruction_attributes=lambda: self.fitted_attributes(net)
        )
