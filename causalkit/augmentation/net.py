"""IVLikeNetRegressor and IVLikeNetClassifier: networks that trade fit against change under an augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets

from causalkit.augmentation.net_fit import IVLikeNetMixin, Targets
from causalkit.augmentation.net_pairs import fit_scaling

__all__ = ["IVLikeNetClassifier", "IVLikeNetRegressor"]

Array = NDArray[np.float64]


class IVLikeNetRegressor(RegressorMixin, IVLikeNetMixin, BaseEstimator):
    r"""Network whose predictions change little under an augmentation, or are uncorrelated with instruments.
    """

    _is_regressor = True

    def predict(self, X: Any) -> Array:
        """Predicted outcome of features as given, not augmented.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features.

        Returns
        -------
        ndarray, shape (n,) or (n, t)
        """
        outputs = self._outputs(X)
        single = np.ndim(self.target_centre_) == 0
        return np.asarray((outputs[:, 0] if single else outputs) * self.target_scale_ + self.target_centre_)

    def _make_targets(self, y: NDArray[Any], weight: Array) -> Targets:
        values = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        scaling = fit_scaling(values, weight)
        single = np.ndim(y) == 1
        self.target_centre_ = float(scaling.centre[0]) if single else scaling.centre
        self.target_scale_ = float(scaling.scale[0]) if single else scaling.scale
        return Targets(values, values.shape[1], scaling)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class IVLikeNetClassifier(ClassifierMixin, IVLikeNetMixin, BaseEstimator):
    r"""Classifier.
    """

    _is_regressor = False

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes for features as given, not augmented.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features.

        Returns
        -------
        ndarray, shape (n, n_classes)
            Columns in the order of ``classes_``.
        """
        return np.asarray(softmax(self._outputs(X), axis=1))

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features.

        Returns
        -------
        ndarray, shape (n,)
        """
        return np.asarray(self.classes_[np.argmax(self._outputs(X), axis=1)])

    def _make_targets(self, y: NDArray[Any], weight: Array) -> Targets:
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class, {self.classes_[0]!r}: expected at least two classes among the rows of positive "
                "weight. Pass rows of every class."
            )
        return Targets(np.asarray(codes, dtype=np.int64), len(self.classes_), None)
