"""The Anderson-Rubin test and the confidence sets that it inverts to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from causalkit.augmentation.instrument_inputs import resolve_moments
from causalkit.augmentation.instrument_moments import (
    InstrumentMoments,
    odds,
    projected_products,
    smallest_canonical_correlation,
    total_products,
)
from causalkit.exceptions import UnderIdentifiedError
from causalkit.inference.confidence_sets import ConfidenceSet, quadratic_set, split_by_contrast
from causalkit.inference.result import check_confidence_level
from causalkit.validation import check_choice, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AndersonRubinResult", "anderson_rubin"]

Array = NDArray[np.float64]

DISTRIBUTIONS = ("f", "chi2")


@dataclass(frozen=True, eq=False, kw_only=True)
class AndersonRubinResult:
    """The Anderson-Rubin test of one vector of coefficients, and the sets that follow from it.

    Attributes
    ----------
    statistic : float
        AR(β) = (ν/k)·r'Pr / r'(I - P)r.
    pvalue : float
        Under F(k, ν), or k·AR under χ²(k).
    df : tuple of int
        (k, ν).
    beta : ndarray, shape (p,)
        Coefficients that were tested.
    distribution : {"f", "chi2"}
        Reference.
    confidence_level : float
        Level of the sets.
    contrast : ndarray, shape (p,), or None
        Combination of coefficients that :meth:`confidence_set` is about by default.
    moments : InstrumentMoments
        The products behind it.
    """

    statistic: float
    pvalue: float
    df: tuple[int, int]
    beta: Array
    distribution: str
    confidence_level: float
    contrast: Array | None
    moments: InstrumentMoments = field(repr=False)

    def confidence_set(
        self, contrast: ArrayLike | str | None = None, *, confidence_level: float | None = None
    ) -> ConfidenceSet:
        """Values v = c'β for which some β with c'β = v is not rejected.

        Parameters
        ----------
        contrast : str or array-like, shape (p,), optional
            Name of a column of X, or c itself. Default: the contrast of the call, or the only column.
        confidence_level : float, optional
            Default: that of the call.

        Returns
        -------
        ConfidenceSet
            An interval, two rays, the whole line, or empty. It covers c'β with at least its level, however weak the
            instruments are, and it is conservative for one coefficient of several.

        Raises
        ------
        UnderIdentifiedError
            The rank of the instruments is below the number of columns of X: no combination is identified.
        """
        level = check_confidence_level(self.confidence_level if confidence_level is None else confidence_level)
        c, name = self._direction(contrast)
        bound = _odds_bound(self.df, self.distribution, level)
        total, projected, c = _unit_features(self.moments, c)
        form = projected - bound * (total - projected)
        return ConfidenceSet(quadratic_set(form, c), level, name)

    def pvalue_at(self, value: float, contrast: ArrayLike | str | None = None) -> float:
        """Largest p-value over all β with c'β = ``value``; it is one minus the level where the set ends.

        Parameters
        ----------
        value : float
            Hypothetical value of c'β.
        contrast : str or array-like, shape (p,), optional
            As in :meth:`confidence_set`.

        Returns
        -------
        float
        """
        c, _ = self._direction(contrast)
        total, projected, c = _unit_features(self.moments, c)
        basis = _basis_of_null(c, float(value))
        share = smallest_canonical_correlation(basis.T @ total @ basis, basis.T @ projected @ basis)
        return _pvalue(odds(share), self.df, self.distribution)

    def to_frame(self) -> pd.DataFrame:
        """One row per column of X: its p-value at zero and its confidence set.

        Returns
        -------
        DataFrame
            Columns ``pvalue`` (of zero, the others free), ``kind`` and ``confidence_set``.
        """
        import pandas as pd

        names = self.moments.x_names
        units = np.eye(len(names))
        sets = [self.confidence_set(unit) for unit in units]
        return pd.DataFrame(
            {
                "pvalue": [self.pvalue_at(0.0, unit) for unit in units],
                "kind": [s.kind for s in sets],
                "confidence_set": [str(s) for s in sets],
            },
            index=list(names),
        )

    def __str__(self) -> str:
        reference = f"F{self.df}" if self.distribution == "f" else f"χ²({self.df[0]})"
        text = f"Anderson-Rubin test: AR = {self.statistic:.6g}, p = {self.pvalue:.4g} under {reference}"
        if self.contrast is None or self.moments.n_instruments < self.moments.n_features:
            return text
        found = self.confidence_set()
        return f"{text}\n{found.confidence_level:.0%} set of {found.name}: {found}"

    def _direction(self, contrast: ArrayLike | str | None) -> tuple[Array, str]:
        k, p = self.moments.n_instruments, self.moments.n_features
        if k < p:
            raise UnderIdentifiedError(
                f"instruments have rank k = {k}, X has p = {p} columns: a confidence set of one coefficient needs "
                "k ≥ p. Pass more instruments or fewer columns of X; a fit with alpha > 0 exists, a set does not."
            )
        c = self.contrast if contrast is None else _check_contrast(contrast, self.moments.x_names)
        if c is None:
            raise ValueError(
                f"contrast is missing: X has {p} columns, expected the name of one ({', '.join(self.moments.x_names)}) "
                "or a vector of weights. to_frame() shows all."
            )
        terms = [f"{w:+g}*{name}" for w, name in zip(c, self.moments.x_names, strict=True) if w]
        single = np.count_nonzero(c) == 1 and c.max() == 1.0
        return c, self.moments.x_names[int(c.argmax())] if single else " ".join(terms)


def anderson_rubin(
    X: Any,
    y: Any = None,
    *,
    instruments: Any = None,
    exogenous: Any = None,
    beta: Any = None,
    contrast: ArrayLike | str | None = None,
    confidence_level: float = 0.95,
    distribution: str = "f",
) -> AndersonRubinResult:
    r"""Anderson-Rubin test of coefficients, with confidence sets that weak instruments cannot break.

    For a hypothetical :math:`\beta`, residuals :math:`r = y - X\beta`, the projection P on the instruments and
    :math:`\nu = n - k - \mathrm{rank}[1, W]`, all after [1, W] was partialled out,

    .. math:: AR(\beta) = \frac{\nu}{k}\,\frac{r'Pr}{r'(I - P)r},

    which is F(k, ν) for normal homoscedastic errors and k·AR is asymptotically χ²(k) for others, whatever the first
    stage is. The set of :math:`c'\beta` is the projection of the β that are not rejected: with t the critical value
    times k/ν, and Q, q, c₀ the blocks of :math:`[y\ X]'(P - t(I - P))[y\ X]`, it is all v with
    :math:`\min_{c'\beta = v} \beta'Q\beta - 2q'\beta + c_0 \le 0`. It is an interval, the two rays outside one, the
    whole line, or empty.

    Assumptions: the instruments are exogenous and excluded, the outcome is linear in X and W, errors are
    homoscedastic and rows independent. Nothing is assumed about the strength of the instruments.

    Parameters
    ----------
    X : array-like, shape (n, p), or fitted IVLikeRegressor
        Features, or an estimator that was fitted with instruments; then y, instruments and exogenous stay None.
    y : array-like, shape (n,)
        Outcome.
    instruments : array-like, shape (n, k)
        Real instruments Z.
    exogenous : array-like, shape (n, e), optional
        Controls W.
    beta : float or array-like, shape (p,), optional
        Coefficients to test; default zero.
    contrast : str or array-like, shape (p,), optional
        Combination c'β whose set is wanted: a column of X by name, or c. Not needed with one column.
    confidence_level : float, default=0.95
        Level of the sets.
    distribution : {"f", "chi2"}, default="f"
        Reference distribution.

    Returns
    -------
    AndersonRubinResult

    Raises
    ------
    MethodNotApplicableError
        The estimator was fitted by augmentation, without instruments or to several outcomes.
    UnderIdentifiedError
        ν < 1, or ``contrast`` is given and the rank of the instruments is below p.
    AugmentationError
        No instrument varies.
    RankError
        Collinear features, or an outcome that is an exact linear function of them.
    ValueError
        Bad data or options.

    Warns
    -----
    WeakInstrumentWarning
        Constant or collinear instruments, by name. Weak ones need no warning here.

    Notes
    -----
    Conditional likelihood-ratio and Lagrange-multiplier tests, which are more powerful when there are many
    instruments, are in the package ivmodels.

    References
    ----------
    Anderson, Rubin 1949, doi 10.1214/aoms/1177730090. Dufour, Taamouti 2005, doi 10.1111/j.1468-0262.2005.00618.x
    (projection sets in closed form).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.anderson_rubin import anderson_rubin
    >>> rng = np.random.default_rng(0)
    >>> z, hidden, noise = rng.standard_normal((3, 400))
    >>> x = z + hidden
    >>> y = 2 * x - hidden + 0.5 * noise
    >>> result = anderson_rubin(x, y, instruments=z)
    >>> 2.0 in result.confidence_set(), 0.0 in result.confidence_set()
    (True, False)
    >>> result.confidence_set().kind
    'interval'
    """
    check_choice(distribution, "distribution", DISTRIBUTIONS)
    level = check_confidence_level(confidence_level)
    moments, _ = resolve_moments(X, y, instruments, exogenous, None, caller="anderson_rubin")
    total, projected = total_products(moments), projected_products(moments)
    coefficients = _check_beta(beta, moments)
    default = np.ones(1) if contrast is None and moments.n_features == 1 else None
    ratio = _residual_odds(total, projected, coefficients)
    df = (moments.n_instruments, moments.nu)
    result = AndersonRubinResult(
        statistic=ratio * moments.nu / moments.n_instruments,
        pvalue=_pvalue(ratio, df, distribution),
        df=df,
        beta=coefficients,
        distribution=distribution,
        confidence_level=level,
        contrast=default if contrast is None else _check_contrast(contrast, moments.x_names),
        moments=moments,
    )
    if contrast is not None:
        result._direction(None)  # a set that cannot exist is refused now, not when it is looked at
    return result


def _unit_features(moments: InstrumentMoments, contrast: Array) -> tuple[Array, Array, Array]:
    """M and P_yX with columns of X at size one, and c for the coefficients of those columns."""
    total, projected = total_products(moments), projected_products(moments)
    scale = np.append(1.0, np.sqrt(np.diag(total)[1:]))
    size = np.outer(scale, scale)
    return total / size, projected / size, contrast / scale[1:]


def _basis_of_null(contrast: Array, value: float) -> Array:
    """Combinations of [y X] that are residuals for some β with c'β = value, shape (p + 1, p)."""
    point, free = split_by_contrast(contrast)
    first = np.concatenate([[1.0], -value * point])
    return np.column_stack([first, np.vstack([np.zeros(free.shape[1]), free])])


def _residual_odds(total: Array, projected: Array, beta: Array) -> float:
    """r'Pr / r'(I - P)r."""
    weights = np.concatenate([[1.0], -beta])
    inside, all_ = float(weights @ projected @ weights), float(weights @ total @ weights)
    return max(inside, 0.0) / (all_ - inside) if all_ > inside else np.inf


def _pvalue(ratio: float, df: tuple[int, int], distribution: str) -> float:
    k, nu = df
    if distribution == "f":
        return float(stats.f.sf(ratio * nu / k, k, nu))
    return float(stats.chi2.sf(ratio * nu, k))


def _odds_bound(df: tuple[int, int], distribution: str, level: float) -> float:
    """Largest r'Pr / r'(I - P)r that is not rejected."""
    k, nu = df
    return float(stats.f.ppf(level, k, nu) * k / nu if distribution == "f" else stats.chi2.ppf(level, k) / nu)


def _check_beta(beta: Any, moments: InstrumentMoments) -> Array:
    p = moments.n_features
    if beta is None:
        return np.zeros(p)
    values = check_vector(np.atleast_1d(beta), "beta")
    if len(values) != p:
        raise ValueError(f"beta has {len(values)} entries: expected one per column of X, {p}.")
    return values


def _check_contrast(contrast: ArrayLike | str, x_names: tuple[str, ...]) -> Array:
    if isinstance(contrast, str):
        if contrast not in x_names:
            raise ValueError(f"contrast names {contrast!r}: expected a column of X, one of {', '.join(x_names)}.")
        return np.eye(len(x_names))[x_names.index(contrast)]
    c = check_vector(np.atleast_1d(np.asarray(contrast)), "contrast")
    if len(c) != len(x_names):
        raise ValueError(f"contrast has {len(c)} entries: expected one weight per column of X, {len(x_names)}.")
    if not c.any():
        raise ValueError("contrast is zero: expected at least one weight that is not. Name the column that is meant.")
    return c
