"""What an instrumented fit rests on: the strength of its instruments, and the need for them.

Everything is computed from the partialled columns of a :class:`~causalkit.rewards.instrument.TwoStageFit`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

from causalkit.exceptions import WeakInstrumentWarning
from causalkit.inference.covariance import influence_covariance
from causalkit.linear import LinearFit, linear_moments, weighted_least_squares
from causalkit.rewards.instrument import TwoStageFit
from causalkit.validation import Groups, check_choice

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EndogeneityTest", "check_covariance", "endogeneity_test", "first_stage_frame", "wald_statistic"]

Array = NDArray[np.float64]

COVARIANCES = ("homoskedastic", "HC0", "HC1", "cluster")
WEAK_F = 10.0


def check_covariance(covariance: str, groups: Groups | None) -> None:
    """Check the kind of covariance, and that clusters are there where it needs them."""
    check_choice(covariance, "covariance", COVARIANCES)
    if covariance == "cluster" and groups is None:
        raise ValueError('covariance="cluster" needs groups: expected a cluster label per row, got None. Pass groups.')


def _covariance(fit: LinearFit, kind: str, groups: Groups | None, n_partialled: int, weight: Array | None) -> Array:
    """Covariance of a regression on partialled columns, shape (r, r)."""
    n, r = fit.influence.shape
    left = n - n_partialled - r
    if kind == "homoskedastic":
        square = fit.residuals @ (fit.residuals if weight is None else fit.residuals * weight)
        return np.asarray(fit.normaliser * (square / left))
    if kind == "cluster" and groups is not None:
        return influence_covariance(fit.influence, groups=groups, factor=groups.n_groups / (groups.n_groups - 1))
    return influence_covariance(fit.influence, factor=n / left if kind == "HC1" else 1.0)


def first_stage_frame(
    fit: TwoStageFit, *, covariance: str = "HC1", groups: Groups | None = None, warn: bool = True, stacklevel: int = 2
) -> pd.DataFrame:
    r"""Strength of the instruments, a row per endogenous column.

    ``f`` is the Wald statistic of Z in the regression of C_j on (1, X, W, Z), divided by k. With several endogenous
    columns a strong ``f`` of each does not mean that each is identified, so ``conditional_f`` asks what the
    instruments say about C_j that they do not say about the others: with e_j the residual of C_j by two-stage least
    squares on the other endogenous columns and L a basis of the combinations of the instruments that go with none of
    them, it is the Wald statistic of L'Z'e_j = 0, divided by k - m + 1. With one endogenous column it equals ``f``;
    homoskedastic, it is the F of Sanderson and Windmeijer.

    Parameters
    ----------
    fit : TwoStageFit
        Fit.
    covariance : {"homoskedastic", "HC0", "HC1", "cluster"}, default="HC1"
        Of the first stage.
    groups : Groups, optional
        Clusters, for "cluster".
    warn : bool, default=True
        Whether weak instruments are warned of.
    stacklevel : int, default=2
        As in :func:`warnings.warn`.

    Returns
    -------
    DataFrame
        Index: endogenous column. Columns ``partial_r2``, ``f``, ``df_num``, ``df_den``, ``pvalue``,
        ``conditional_f``, ``conditional_df``, ``conditional_pvalue``.

    Warns
    -----
    WeakInstrumentWarning
        A conditional F below 10.

    References
    ----------
    Sanderson, Windmeijer 2016, doi 10.1016/j.jeconom.2015.06.004. Staiger, Stock 1997, doi 10.2307/2171753.
    """
    import pandas as pd

    check_covariance(covariance, groups)
    k, m = fit.n_instruments, len(fit.gamma)
    df_den = groups.n_groups - 1 if covariance == "cluster" and groups is not None else fit.nu
    records = []
    for j in range(m):
        C = fit.endogenous[:, j]
        stage = weighted_least_squares(fit.instruments, C, fit.weight)
        left, total = (float(np.average(v**2, weights=fit.weight)) for v in (stage.residuals, C))
        wald = wald_statistic(stage.coef, _covariance(stage, covariance, groups, fit.n_partialled, fit.weight))
        conditional = wald if m == 1 else _conditional_wald(fit, j, covariance, groups)
        free = k - m + 1
        tails = stats.f.sf([wald / k, conditional / free], [k, free], df_den)
        records.append((1 - left / total, wald / k, k, df_den, tails[0], conditional / free, free, tails[1]))
    names = ["partial_r2", "f", "df_num", "df_den", "pvalue", "conditional_f", "conditional_df", "conditional_pvalue"]
    frame = pd.DataFrame(records, columns=names, index=list(fit.endogenous_names))
    weak = frame.index[~(frame["conditional_f"] >= WEAK_F)]
    if warn and len(weak):
        values = ", ".join(f"{name} (F = {frame.loc[name, 'conditional_f']:.3g})" for name in weak)
        warnings.warn(
            f"weak instruments for {values}: below {WEAK_F:g} the two-stage estimate is biased towards least squares "
            "and its interval is too short. The Anderson-Rubin set, which may be unbounded, is the one to read.",
            WeakInstrumentWarning,
            stacklevel=stacklevel,
        )
    return frame


def wald_statistic(estimate: Array, covariance: Array) -> float:
    """b'V⁻¹b; infinite where an exact relation leaves no variance."""
    if not (np.diag(covariance) > 0).all():
        return np.inf
    scale = np.sqrt(np.diag(covariance))
    return float((estimate / scale) @ np.linalg.pinv(covariance / np.outer(scale, scale)) @ (estimate / scale))


def _conditional_wald(fit: TwoStageFit, j: int, kind: str, groups: Groups | None) -> float:
    """Wald statistic of what the instruments say about column j and not about the others."""
    Z, w = fit.instruments, fit.weight
    others = np.delete(fit.endogenous, j, axis=1)
    weighted = Z if w is None else Z * w[:, None]
    size = np.linalg.norm(Z, axis=0)
    # L'Z'C_others = 0, so L'Z'e_j does not depend on the coefficients of the others; only its variance does.
    silent = linalg.null_space(((weighted / size).T @ (others / np.linalg.norm(others, axis=0))).T) / size[:, None]
    slopes = linear_moments(Z, others, fit.endogenous[:, j], w).coef
    stage = weighted_least_squares(Z, fit.endogenous[:, j] - others @ slopes, w)
    rows = silent.T @ (weighted.T @ Z)
    return wald_statistic(rows @ stage.coef, rows @ _covariance(stage, kind, groups, fit.n_partialled, w) @ rows.T)


@dataclass(frozen=True, eq=False, kw_only=True)
class EndogeneityTest:
    """γ̂ by least squares beside γ̂ by two-stage least squares, and the test that they estimate the same.

    Attributes
    ----------
    names : tuple of str, length m
        Endogenous columns.
    least_squares, least_squares_std_error : ndarray, shape (m,)
        Coefficients of C in the regression of Y on (1, X, W, C), and their errors.
    two_stage, two_stage_std_error : ndarray, shape (m,)
        γ̂ and its errors.
    statistic : float
        Wald statistic of the first-stage residuals, added to the least squares regression.
    df : int
        m.
    pvalue : float
        Under χ²(m); NaN where C is an exact function of the instruments, so that there is nothing to add.
    """

    names: tuple[str, ...]
    least_squares: Array
    least_squares_std_error: Array
    two_stage: Array
    two_stage_std_error: Array
    statistic: float
    df: int
    pvalue: float

    def to_frame(self) -> pd.DataFrame:
        """One row per endogenous column; the test is a joint one and repeats."""
        import pandas as pd

        return pd.DataFrame(
            {
                "least_squares": self.least_squares,
                "least_squares_se": self.least_squares_std_error,
                "two_stage": self.two_stage,
                "two_stage_se": self.two_stage_std_error,
                "statistic": self.statistic,
                "pvalue": self.pvalue,
            },
            index=list(self.names),
        )


def endogeneity_test(fit: TwoStageFit, *, covariance: str = "HC1", groups: Groups | None = None) -> EndogeneityTest:
    """Regression-based test that the confounders are exogenous, robust or clustered like the fit.

    The residuals of the first stage are added to the regression of Y on (1, X, W, C). Their coefficients are zero
    where least squares and two-stage least squares have the same limit.

    Parameters
    ----------
    fit : TwoStageFit
        Fit.
    covariance : {"homoskedastic", "HC0", "HC1", "cluster"}, default="HC1"
        Of all three regressions.
    groups : Groups, optional
        Clusters, for "cluster".

    Returns
    -------
    EndogeneityTest

    References
    ----------
    Wooldridge 1995, *Score diagnostics for linear models estimated by two stage least squares*; Hausman 1978,
    doi 10.2307/1913827.
    """
    check_covariance(covariance, groups)
    C, w, m = fit.endogenous, fit.weight, len(fit.gamma)
    plain = weighted_least_squares(C, fit.outcome, w)
    added = np.column_stack([weighted_least_squares(fit.instruments, c, w).residuals for c in C.T])
    statistic = pvalue = np.nan
    # Rounding leaves about 1e-16 of a column that the instruments determine.
    if (np.linalg.norm(added, axis=0) > 1e-8 * np.linalg.norm(C, axis=0)).all():
        both = weighted_least_squares(np.column_stack([C, added]), fit.outcome, w)
        if both.rank == 2 * m:
            V = _covariance(both, covariance, groups, fit.n_partialled, w)
            statistic = wald_statistic(both.coef[m:], V[m:, m:])
            pvalue = float(stats.chi2.sf(statistic, m))
    plain_variance = np.diag(_covariance(plain, covariance, groups, fit.n_partialled, w))
    return EndogeneityTest(
        names=fit.endogenous_names,
        least_squares=plain.coef,
        least_squares_std_error=np.sqrt(plain_variance),
        two_stage=fit.gamma,
        two_stage_std_error=np.sqrt(np.diag(_two_stage_covariance(fit, covariance, groups))),
        statistic=statistic,
        df=m,
        pvalue=pvalue,
    )


def _two_stage_covariance(fit: TwoStageFit, kind: str, groups: Groups | None) -> Array:
    """Covariance of γ̂, shape (m, m)."""
    w = fit.weight
    fitted = np.column_stack([c - weighted_least_squares(fit.instruments, c, w).residuals for c in fit.endogenous.T])
    if kind == "homoskedastic":
        return np.asarray(
            fit.residual_variance * np.linalg.inv(fitted.T @ (fitted if w is None else fitted * w[:, None]))
        )
    if kind == "cluster" and groups is not None:
        return influence_covariance(fit.gamma_influence, groups=groups, factor=groups.n_groups / (groups.n_groups - 1))
    return influence_covariance(fit.gamma_influence, factor=fit.n / fit.degrees_of_freedom if kind == "HC1" else 1.0)
