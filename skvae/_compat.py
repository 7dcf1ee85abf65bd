"""What the lowest versions in pyproject.toml lack, in one place; they import nothing of skvae."""

import sklearn
import torch

# Before torch 2.7 an export is a kind of compiling.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)

# For steps of Adam: torch 2.11 counts them on the default device, wherever the weights are.
cpu_by_default = torch.device("cpu")

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:
        """An estimator that scikit-learn gives no callbacks."""

        def set_callbacks(self, *callbacks):
            """Refuse callbacks: scikit-learn has them from version 1.9 on.

            Parameters
            ----------
            *callbacks : callback instances
                Not used.

            Raises
            ------
            ImportError
                Always.
            """
            raise ImportError(
                "Callbacks of scikit-learn need scikit-learn 1.9 or later, and this is "
                f"{sklearn.__version__}. The parameter callbacks takes those of skorch."
            )

        def _init_callback_context(self, max_subtasks):
            return None
