"""BoxCoxCLR: powers instead of logarithms, for compositions with zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.parts import PartsMixin, check_total, closed
from causalkit.documented import DocumentedEstimator
from causalkit.validation import check_vector

__all__ = ["BoxCoxCLR", "box_cox_inverse", "box_cox_log_ratios"]

Array = NDArray[np.float64]

_MAX_STEPS = 200
_SLACK = 1e-9


class BoxCoxCLR(PartsMixin, DocumentedEstimator):
    r"""Centred Box-Cox transform of proportions; it takes zeros and tends to CLR as α → 0.

    .. math:: y_{ij} = \frac1\alpha \Big( x_{ij}^\alpha - \frac1D \textstyle\sum_k x_{ik}^\alpha \Big),
              \qquad \textstyle\sum_j x_{ij} = 1

    Its results are not log-ratios: they change when parts are left out, and the more so the larger α is.

    Parameters
    ----------
    alpha : float, default=0.5
        Power, positive.
    total : float, default=1.0
        Sum of the rows that ``inverse_transform`` returns.

    Attributes
    ----------
    n_features_in_ : int
        Number of parts, D.
    feature_names_in_ : ndarray of str, shape (D,)
        Part names, where ``fit`` saw a frame.

    Raises
    ------
    NonFiniteError, NonPositiveError
        NaN or infinity; a negative amount, a row or a column of zeros.
    TooFewPartsError
        One column.
    ValueError
        A power that is not positive; rows given to ``inverse_transform`` that no composition maps to.

    References
    ----------
    Greenacre 2009, Power transformations in correspondence analysis, Computational Statistics & Data
    Analysis 53:3107-3116, for the limit; the centring over parts is that of CLR.

    Examples
    --------
    >>> from causalkit.composition import BoxCoxCLR
    >>> power = BoxCoxCLR(alpha=0.5).fit([[0, 1, 3], [1, 1, 2]])
    >>> y = power.transform([[0, 1, 3]])
    >>> y.round(3)
    array([[-0.911,  0.089,  0.821]])
    >>> power.inverse_transform(y).round(3)
    array([[0.  , 0.25, 0.75]])
    """

    _zeros = "allow"

    def __init__(self, *, alpha: float = 0.5, total: float = 1.0) -> None:
        self.alpha = alpha
        self.total = total

    def _power(self) -> float:
        alpha = check_vector([self.alpha], "alpha")[0]
        if not alpha > 0:
            raise ValueError(f"alpha must be a positive power; got {self.alpha!r}. For alpha = 0 use CLR.")
        return float(alpha)

    def fit(self, X: Any, y: Any = None) -> BoxCoxCLR:
        """Check the amounts X, shape (n, D); y is ignored."""
        check_total(self.total)
        self._power()
        self._check_training(X)
        self._remember(X)
        return self

    def transform(self, X: Any) -> Array:
        """Centred powers of the proportions of X, shape (n, D)."""
        return box_cox_log_ratios(self._check_new(X), self._power())

    def inverse_transform(self, X: Any) -> Array:
        """Compositions with the centred powers X, shape (n, D)."""
        coordinates = self._check_coordinates(X, self._n_parts)
        return box_cox_inverse(coordinates, self._power()) * check_total(self.total)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``boxcox(part)`` for every part."""
        return np.array([f"boxcox({part})" for part in self._part_names(input_features)], dtype=object)


def box_cox_log_ratios(amounts: Array, alpha: float) -> Array:
    """(x^α - row mean of x^α)/α for proportions x, shape (n, D)."""
    with np.errstate(divide="ignore"):
        logs = np.log(closed(amounts))
    # expm1 keeps the digits that x^α - 1 loses for small α; a zero gives its limit -1/α.
    powers = np.expm1(alpha * logs) / alpha
    return powers - powers.mean(axis=1, keepdims=True)


def box_cox_inverse(values: Array, alpha: float) -> Array:
    """Proportions x_i = (1 + α(y_i + b))^{1/α} with b the root of Σx_i = 1, shape (n, D).

    The sum increases in b. It is at least 1 where the largest part is 1, and at most 1 where the largest
    part is 1/D or the smallest part is 0, whichever comes later; the root lies between.

    Raises
    ------
    ValueError
        The sum exceeds 1 already where the smallest part is 0: no composition maps to this row.
    """
    largest, smallest = values.max(axis=1), values.min(axis=1)
    edge = -1.0 / alpha - smallest
    low = np.maximum(edge, np.expm1(-alpha * np.log(values.shape[1])) / alpha - largest)
    high = -largest
    excess = _parts_at(values, low, alpha).sum(axis=1) - 1.0
    if (excess > _SLACK).any():
        row = int(excess.argmax())
        raise ValueError(
            f"X has {int((excess > _SLACK).sum())} rows that no composition maps to with alpha={alpha:g} (worst: row "
            f"{row}): their values are too far apart. Pass what transform returns, or use CLR, whose inverse takes "
            "any values."
        )
    for _ in range(_MAX_STEPS):  # bisection: the sum is steep or flat near a zero, where Newton steps stall
        middle = (low + high) / 2
        below = _parts_at(values, middle, alpha).sum(axis=1) < 1.0
        if np.all((middle <= low) | (middle >= high)):
            break
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return closed(_parts_at(values, low, alpha))


def _parts_at(values: Array, shift: Array, alpha: float) -> Array:
    inside = np.maximum(alpha * (values + shift[:, None]), -1.0)
    with np.errstate(divide="ignore"):
        parts: Array = np.exp(np.log1p(inside) / alpha)
    return parts
