"""EffectAccumulator: a difference in means of a corrected outcome from a stream, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.debiasing.basis import chunks
from causalkit.debiasing.downstream import contrast_names
from causalkit.debiasing.effect_assembly import assemble_from_moments
from causalkit.debiasing.effects import DebiasedEffect
from causalkit.validation import as_array, check_sample_weight, check_vector

__all__ = ["EffectAccumulator"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _ArmMoments:
    """Moments of the columns h in one arm; v is w² for survey weights and w for repeated rows.

    rows, weight, squares : n, Σw, Σv. mean : Σwh/Σw, shape (J,). first : Σv(h - mean), shape (J,), not zero
    where v and w differ. scatter : Σv(h - mean)(h - mean)', shape (J, J).
    """

    rows: float
    weight: float
    squares: float
    mean: Array
    first: Array
    scatter: Array

    @staticmethod
    def of_rows(columns: Array, w: Array, v: Array) -> _ArmMoments:
        total = float(w.sum())
        mean = w @ columns / total
        centred = columns - mean
        scatter = centred.T @ (centred * v[:, None])
        return _ArmMoments(float(len(columns)), total, float(v.sum()), mean, v @ centred, scatter)

    def merged(self, other: _ArmMoments) -> _ArmMoments:
        total = self.weight + other.weight
        mean = (self.weight * self.mean + other.weight * other.mean) / total
        first, scatter = np.zeros_like(mean), np.zeros_like(self.scatter)
        for part in (self, other):
            step = part.mean - mean
            first += part.first + part.squares * step
            scatter += part.scatter + np.outer(part.first, step) + np.outer(step, part.first)
            scatter += part.squares * np.outer(step, step)
        return _ArmMoments(self.rows + other.rows, total, self.squares + other.squares, mean, first, scatter)


class EffectAccumulator:
    r"""Effect by difference in means over chunks of a trial, with memory that does not grow with n.

    Per treatment level it keeps the weight, the weighted means of the correction's columns h(ŷ) and their
    centred cross-products, merged by the pairwise update

    .. math:: M_{AB} = M_A + M_B + \frac{n_A n_B}{n_A + n_B}\, dd',\qquad d = \bar h_B - \bar h_A .

    The result equals ``correction.effect(..., estimator="difference")`` on all rows, without influence
    values.

    Parameters
    ----------
    correction : fitted correction
        A :class:`LinearCalibration`, :class:`TweedieCorrection` with splines or a normal score, or
        :class:`SplineCalibration`. A kernel score needs the rows (its noise depends on them all).

    Raises
    ------
    ValueError
        For a correction that needs the rows, sites or treatment of each prediction.

    References
    ----------
    Chan, Golub & LeVeque 1983, The American Statistician 37:242-247 (merging of moments).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import EffectAccumulator, LinearCalibration
    >>> accumulator = EffectAccumulator(LinearCalibration.from_coefficients(0.5))
    >>> accumulator.update([1.0, 2.0], [0, 1]).update([1.5, 3.0], [0, 1]).result().estimate
    array([2.5])
    """

    def __init__(self, correction: Any) -> None:
        check_is_fitted(correction)
        fitted = correction._fitted
        if fitted.kernel is not None or type(fitted.basis).__name__ in ("CellBasis", "CustomScoreBasis"):
            raise ValueError(
                f"EffectAccumulator cannot stream {type(correction).__name__} with a kernel or custom score, sites or "
                "differential error: its noise or its map depends on the rows. Use effect on all rows."
            )
        self.correction = correction
        self._fitted = fitted
        self._frequency = correction.weight_type == "frequency"
        # The line's columns are the first two of every basis, so naive and linear estimates come for free.
        self._moments: dict[Any, _ArmMoments] = {}
        self._outside = np.zeros(2)

    def update(self, predictions: Any, treatment: Any, sample_weight: Any = None) -> EffectAccumulator:
        """Add the rows of a chunk.

        Parameters
        ----------
        predictions : array-like, shape (n,)
            Raw predictions.
        treatment : array-like, shape (n,)
            Treatment levels; a chunk may lack some of them.
        sample_weight : array-like, shape (n,), optional
            Weights of the correction's ``weight_type``.

        Returns
        -------
        EffectAccumulator
        """
        import pandas as pd

        x = check_vector(predictions, "predictions")
        weight = check_sample_weight(sample_weight, len(x), like="predictions")
        values = as_array(treatment, "treatment").reshape(-1)
        if len(values) != len(x):
            raise ValueError(f"treatment has {len(values)} rows, but predictions has {len(x)}.")
        codes, levels = pd.factorize(values)
        if (codes < 0).any():
            raise ValueError(f"treatment has {int((codes < 0).sum())} missing values: drop these rows first.")
        for part in chunks(len(x), 65_536):
            columns = self._fitted.basis.design(x[part])
            for code, level in enumerate(levels.tolist() if hasattr(levels, "tolist") else levels):
                rows = codes[part] == code
                if rows.any():
                    self._add(level, columns[rows], None if weight is None else weight[part][rows])
        low, high = self._fitted.support
        self._outside += np.array([len(x), np.count_nonzero((x < low) | (x > high))])
        return self

    def _add(self, level: Any, columns: Array, weight: Array | None) -> None:
        w = np.ones(len(columns)) if weight is None else weight
        if w.sum() > 0:
            # Survey weights enter the variance squared, repeated rows once.
            self._add_moments(level, _ArmMoments.of_rows(columns, w, w if self._frequency else w * w))

    def _add_moments(self, level: Any, moments: _ArmMoments) -> None:
        held = self._moments.get(level)
        self._moments[level] = moments if held is None else held.merged(moments)

    def merge(self, other: EffectAccumulator) -> EffectAccumulator:
        """Add the rows that another accumulator of the same correction has seen; returns self.

        Parameters
        ----------
        other : EffectAccumulator
        """
        if not isinstance(other, EffectAccumulator):
            raise TypeError(f"other must be an EffectAccumulator; got {type(other).__name__}.")
        same = self._fitted.basis.n_columns == other._fitted.basis.n_columns
        if not same or not np.array_equal(self._fitted.coef, other._fitted.coef):
            raise ValueError("merge needs accumulators of the same fitted correction.")
        for level, moments in other._moments.items():
            self._add_moments(level, moments)
        self._outside = self._outside + other._outside
        return self

    def result(self) -> DebiasedEffect:
        """Effects of each level against the smallest, with their intervals, parts and band.

        Returns
        -------
        DebiasedEffect
        """
        levels = sorted(self._moments)
        if len(levels) < 2:
            raise ValueError(
                f"treatment has a single level so far, got {levels}: a contrast needs at least two levels."
            )
        arms = [self._moments[level] for level in levels]
        for level, arm in zip(levels, arms, strict=True):
            if (arm.weight if self._frequency else arm.rows) < 2:
                raise ValueError(
                    f"treatment level {level!r} has one row so far: expected at least two in every arm, because one "
                    "row has no variance."
                )
        means = np.array([arm.mean for arm in arms])
        covariances = []
        for arm in arms:
            size = arm.weight if self._frequency else arm.rows
            factor = size / (size - 1) if size > 1 else 1.0
            covariances.append(factor * arm.scatter / arm.weight**2)
        return assemble_from_moments(
            self._fitted,
            contrast_names(np.asarray(levels)),
            (means[1:] - means[0]).T,
            np.array(covariances),
            int(sum(arm.rows for arm in arms)),
            correction=type(self.correction).__name__,
            off_support_share=float(self._outside[1] / self._outside[0]),
        )
