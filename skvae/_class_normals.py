"""What the normal prior of each class gives an estimator, of labels or of clusters."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._model import passes


class ClassNormalsMixin:
    """Part of estimators with p(z) = sum_y pi_y p(z|y), whatever the classes y are."""

    def _draw(self, codes, rng):
        """Mean images of p(x|z), for a draw z ~ p(z|y) of the class of each code."""
        noise = rng.standard_normal((len(codes), self.n_components_))
        return self._decode(self.means_[codes] + np.sqrt(self.variances_) * noise)

    def _log_joint(self, X):
        check_is_fitted(self)
        return passes.label_log_joint(self.module_, self._dataset(X)).astype(np.float64)

    @property
    def means_(self):
        """Mean of the components of each class."""
        return self.module_.prior.means.detach().cpu().double().numpy()

    @property
    def variances_(self):
        """Variance of the components within each class."""
        return np.exp(self.module_.prior.logvar.detach().cpu().double().numpy())

    @property
    def _consistency(self):
        return float(self.consistency)
