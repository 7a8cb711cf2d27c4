"""ZeroReplacement: amounts for cells that hold zero, learned from training rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.parts import PartsMixin, closed
from causalkit.composition.zero_counts import (
    COUNT_METHODS,
    PRIOR_METHODS,
    CountFill,
    JamesSteinFill,
    check_counts,
    leave_one_out_totals,
)
from causalkit.composition.zero_limits import MinimumFill, MultiplicativeFill, fit_lognormal
from causalkit.composition.zero_log_ratio_em import fit_log_ratio_normal
from causalkit.composition.zero_log_ratio_svd import fit_low_rank
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import ZeroReplacementError, ZeroReplacementWarning
from causalkit.validation import check_choice, check_integer

__all__ = ["ZERO_METHODS", "ZeroReplacement"]

Array = NDArray[np.float64]

ZERO_METHODS = ("multiplicative", "minimum", "lognormal", *COUNT_METHODS, "lrem", "lrsvd")
_LIMIT_METHODS = ("multiplicative", "lognormal", "lrem", "lrsvd")
_LARGE_SHARE = 0.3


class ZeroReplacement(PartsMixin, DocumentedEstimator):
    r"""Replace zeros by small amounts, so that log-ratios exist.

    ``fit`` learns limits, totals and models from training rows; ``transform`` applies them to any rows.
    ``fit_transform`` gives the training rows what the methods ask for them: totals that leave out the row
    itself ("gbm", "sq", "bl") and the joint fit ("lrsvd"). There it differs from ``fit`` then ``transform``.

    =================  ==========================================================================
    method             amount r of a zero cell
    =================  ==========================================================================
    "multiplicative"   ``fraction`` · dl; observed cells of the row times 1 - Σr/c, c their sum
    "lognormal"        exp E[log x | x < dl] for a censored normal log x; then as above
    "minimum"          the smallest positive value of the training matrix; nothing is rescaled
    "gbm", "sq", "bl"  counts: t·s/(N + s), t the share of the part in the other rows, N the row
                       total; prior strength s = 1/gm(t), √N, D
    "czm"              counts: ``fraction`` · ``threshold``/N
    "james_stein"      counts: every row shrunk towards equal proportions, zeros or not
    "lrem"             additive log-ratios of a normal law, censored at their limits (n > D, one
                       part without zeros)
    "lrsvd"            low-rank fit of the centred log-ratios, cut at the limits (any shape)
    =================  ==========================================================================

    A replacement of "gbm", "sq", "bl" or "czm" above the smallest observed proportion of its part
    becomes ``fraction`` times that minimum.

    Parameters
    ----------
    method : str, default="multiplicative"
        One of the table.
    detection_limit : float or array-like of shape (D,) or (n, D), optional
        Amounts below which zeros lie, in the units of X: one, per part, or per cell of the training rows.
        Default: the smallest positive value of each column. Not used by "minimum" and the count methods.
    fraction, threshold : float, default=0.65, 0.5
        As in the table.
    output : {"proportions", "counts"}, default="proportions"
        Rows that sum to 1, or observed cells as they are and imputed ones in proportion ("james_stein":
        the row totals as they are).
    initial : {"auto", "complete", "multiplicative"}, default="auto"
        Start of "lrem": complete rows, or multiplicative replacement; "auto" is the first when more than D
        rows are complete.
    n_components, mixing : int, float, default=2, 0.5
        Rank of "lrsvd", and weight of an observed cell against its fit.
    max_zero_fraction : float, default=0.8
        Largest share of zeros in a part; more are refused in ``fit``.
    max_iter : int, optional
        Most iterations: 50 for "lrem", 1000 for "lrsvd" if None.
    tol : float, default=1e-4
        Change at which "lrem" and "lrsvd" stop.

    Attributes
    ----------
    detection_limit_ : ndarray, shape (D,) or (n, D)
        Limits.
    column_totals_, column_minimum_ : ndarray, shape (D,)
        Sum and smallest observed proportion of each part.
    n_iter_ : int
        Iterations of "lrem" and "lrsvd"; 1 for the other methods.
    model_ : object
        What ``transform`` applies.
    n_features_in_, feature_names_in_
        Number and names of the parts.

    Raises
    ------
    ZeroReplacementError
        Data that the method cannot take, limits that are not positive, too many zeros, replaced mass that
        is not below the total of its row.
    NonFiniteError, NonPositiveError
        NaN or infinity; a negative amount, a row or a column of zeros.

    References
    ----------
    Martín-Fernández et al. 2003, Mathematical Geology 35:253-278 (multiplicative); 2015, Statistical
    Modelling 15:134-158 (gbm, sq, bl, czm). Palarea-Albaladejo & Martín-Fernández 2008, Computers &
    Geosciences 34:902-917 (lrem); 2015, Chemometrics and Intelligent Laboratory Systems 143:85-96
    (lognormal). Palarea-Albaladejo et al. 2022, Journal of Chemometrics 36:e3459 (lrsvd). Hausser &
    Strimmer 2009, Journal of Machine Learning Research 10:1469-1484 (james_stein).

    Examples
    --------
    >>> from causalkit.composition import ZeroReplacement
    >>> counts = [[10, 0, 5, 1], [3, 2, 0, 0], [0, 4, 6, 9], [8, 1, 2, 3]]
    >>> ZeroReplacement(method="gbm").fit_transform(counts)[0].round(4)
    array([0.6015, 0.0376, 0.3008, 0.0602])
    """

    _zeros = "allow"
    _min_parts = 1

    def __init__(
        self,
        *,
        method: str = "multiplicative",
        detection_limit: Any = None,
        fraction: float = 0.65,
        threshold: float = 0.5,
        output: str = "proportions",
        initial: str = "auto",
        n_components: int = 2,
        mixing: float = 0.5,
        max_zero_fraction: float = 0.8,
        max_iter: int | None = None,
        tol: float = 1e-4,
    ) -> None:
        self.method = method
        self.detection_limit = detection_limit
        self.fraction = fraction
        self.threshold = threshold
        self.output = output
        self.initial = initial
        self.n_components = n_components
        self.mixing = mixing
        self.max_zero_fraction = max_zero_fraction
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, y: Any = None) -> ZeroReplacement:
        """Learn from the training rows X, shape (n, D); y is ignored."""
        self._fit(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Array:
        """Fit, and replace the zeros of the training rows X, shape (n, D); y is ignored."""
        return self._output(*self._fit(X))

    def transform(self, X: Any) -> Array:
        """Replace the zeros of X, shape (n, D), with what ``fit`` learned."""
        amounts = self._check_new(X)
        if self.method in COUNT_METHODS:
            check_counts(amounts, list(self._part_names()), self.method)
        return self._output(amounts, self.model_.fill(amounts, self._limits_for(amounts)))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Part names."""
        return self._part_names(input_features)

    # ------------------------------------------------------------------ fitting

    def _check_options(self) -> None:
        check_choice(self.method, "method", ZERO_METHODS)
        check_choice(self.output, "output", ("proportions", "counts"))
        check_choice(self.initial, "initial", ("auto", "complete", "multiplicative"))
        check_integer(self.n_components, "n_components", low=1)
        if self.max_iter is not None:
            check_integer(self.max_iter, "max_iter", low=1)
        for name in ("fraction", "threshold", "mixing", "max_zero_fraction"):
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or not 0 < value <= 1:
                raise ValueError(f"{name} must be a number above 0 and at most 1; got {value!r}.")
        if not isinstance(self.tol, int | float | np.number) or not 0 < self.tol < np.inf:
            raise ValueError(f"tol must be a positive number; got {self.tol!r}.")

    def _fit(self, X: Any) -> tuple[Array, Array]:
        """Amounts and filled amounts of the training rows; attributes are set last, all at once."""
        self._check_options()
        amounts, names = self._check_training(X)
        if self.method in COUNT_METHODS:
            check_counts(amounts, names, self.method)
        self._refuse_mostly_zero(amounts, names)
        limits = _detection_limits(self.detection_limit, amounts)
        shares = closed(amounts)
        minimum = np.where(shares > 0, shares, np.inf).min(axis=0)
        model, filled = self._fit_method(amounts, limits, minimum, names)
        self.model_ = model
        self.detection_limit_ = limits
        self.column_totals_ = amounts.sum(axis=0)
        self.column_minimum_ = minimum
        self.n_iter_ = int(getattr(model, "n_iter", 1))
        self._remember(X)
        return amounts, filled

    def _fit_method(self, amounts: Array, limits: Array, minimum: Array, names: list[str]) -> tuple[Any, Array]:
        common: dict[str, Any] = {"fraction": self.fraction, "max_iter": self.max_iter, "tol": self.tol}
        if self.method == "lrem":
            return fit_log_ratio_normal(amounts, limits, names, initial=self.initial, **common)
        if self.method == "lrsvd":
            return fit_low_rank(amounts, limits, n_components=self.n_components, mixing=self.mixing, **common)
        if self.method in PRIOR_METHODS:
            counts = CountFill(self.method, amounts.sum(axis=0), minimum, self.fraction, self.threshold)
            return counts, counts.fill_with_prior(amounts, leave_one_out_totals(amounts, names))
        model: Any
        if self.method == "czm":
            model = CountFill(self.method, amounts.sum(axis=0), minimum, self.fraction, self.threshold)
        elif self.method == "james_stein":
            model = JamesSteinFill()
        elif self.method == "lognormal":
            model = fit_lognormal(amounts, limits, names)
        elif self.method == "minimum":
            model = MinimumFill(float(amounts[amounts > 0].min()))
        else:
            model = MultiplicativeFill(self.fraction)
        return model, model.fill(amounts, limits)

    def _refuse_mostly_zero(self, amounts: Array, names: list[str]) -> None:
        share = (amounts == 0).mean(axis=0)
        many = np.flatnonzero(share > self.max_zero_fraction)
        if len(many):
            listed = ", ".join(f"{names[j]!r} ({share[j]:.3g})" for j in many[:8])
            raise ZeroReplacementError(
                f"X has {len(many)} parts with more than max_zero_fraction={self.max_zero_fraction:g} zeros: {listed}"
                f"{', ...' if len(many) > 8 else ''}. Drop these parts, or raise the limit."
            )

    # ------------------------------------------------------------------ replacing

    def _limits_for(self, amounts: Array) -> Array:
        limits = self.detection_limit_
        if limits.ndim == 2 and limits.shape != amounts.shape and self.method in _LIMIT_METHODS:
            raise ZeroReplacementError(
                f"detection_limit was given per cell, for {limits.shape[0]} training rows; X has {len(amounts)} rows. "
                f"For new rows pass a limit per part, shape ({limits.shape[1]},)."
            )
        return limits

    def _output(self, amounts: Array, filled: Array) -> Array:
        shares = closed(filled)
        zero = amounts == 0
        self._warn(amounts, zero, np.where(zero, shares, 0.0).sum(axis=1))
        return shares if self.output == "proportions" else filled

    def _warn(self, amounts: Array, zero: NDArray[np.bool_], mass: Array) -> None:
        large = np.flatnonzero(mass > _LARGE_SHARE)
        if len(large):
            row = int(mass.argmax())
            warnings.warn(
                f"{len(large)} rows get more than {_LARGE_SHARE:.0%} of their mass from replaced zeros (most: row "
                f"{row}, {mass[row]:.0%}): their log-ratios say more about the rule than about the data.",
                ZeroReplacementWarning,
                stacklevel=4,
            )
        if self.detection_limit is None or self.method not in _LIMIT_METHODS:
            return
        below = ~zero & (amounts < self._limits_for(amounts))
        if below.any():
            i, j = (int(k) for k in np.argwhere(below)[0])
            warnings.warn(
                f"{int(below.sum())} observed values lie below their detection limit (first: row {i}, part "
                f"{self._part_names()[j]!r}, {amounts[i, j]:.6g}): they are kept as observed.",
                ZeroReplacementWarning,
                stacklevel=4,
            )


def _detection_limits(given: Any, amounts: Array) -> Array:
    """Limits per part or per cell; without any, the smallest positive value of each column."""
    n, n_parts = amounts.shape
    if given is None:
        smallest: Array = np.where(amounts > 0, amounts, np.inf).min(axis=0)
        return smallest
    shapes = f"a number, shape ({n_parts},) per part, or shape {(n, n_parts)} per cell"
    try:
        limits = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ZeroReplacementError(f"detection_limit must be positive numbers: {shapes}; got {given!r}.") from None
    if limits.shape not in ((), (n_parts,), (n, n_parts)):
        raise ZeroReplacementError(f"detection_limit must be {shapes}; got shape {limits.shape}.")
    if not (np.all(limits > 0) and np.all(np.isfinite(limits))):
        raise ZeroReplacementError(
            f"detection_limit must be positive and finite: {shapes}; got {int((~(limits > 0)).sum())} values that are "
            "not positive. Leave it out to use the smallest positive value of each column."
        )
    return np.array(np.broadcast_to(limits, (n_parts,)) if limits.ndim < 2 else limits)
