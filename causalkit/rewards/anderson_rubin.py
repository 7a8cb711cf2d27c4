"""The Anderson-Rubin test of the endogenous confounders, and the set that it inverts to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from causalkit.exceptions import MethodNotApplicableError
from causalkit.inference.confidence_sets import ConfidenceSet, quadratic_set
from causalkit.inference.covariance import cluster_sums
from causalkit.inference.result import check_confidence_level
from causalkit.rewards.instrument import TwoStageFit
from causalkit.rewards.instrument_diagnostics import check_covariance, wald_statistic
from causalkit.validation import Groups, check_vector

__all__ = ["AndersonRubinSet", "anderson_rubin_set"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class AndersonRubinSet:
    """The Anderson-Rubin test of γ, which is valid however weak the instruments are.

    Attributes
    ----------
    kind : {"classical", "robust", "clustered"}
        Which errors it allows for.
    names : tuple of str, length m
        Endogenous columns.
    df : tuple of int
        (k, ν).
    total, projected : ndarray, shape (1 + m, 1 + m)
        Products of (Y, C), and of its projection on Z.
    moments : ndarray, shape (k, 1 + m)
        Z'(Y, C).
    meat : ndarray, shape (k, 1 + m, k, 1 + m), or None
        Products of the rows' (or clusters') contributions to the moments.
    """

    kind: str
    names: tuple[str, ...]
    df: tuple[int, int]
    total: Array
    projected: Array
    moments: Array
    meat: Array | None

    def pvalue(self, gamma: ArrayLike) -> float:
        """p-value of all of γ at once.

        Parameters
        ----------
        gamma : float or array-like, shape (m,)
            Hypothetical coefficients.
        """
        values = check_vector(np.atleast_1d(np.asarray(gamma)), "gamma")
        if len(values) != len(self.names):
            raise ValueError(
                f"gamma has {len(values)} entries: expected one per endogenous column ({', '.join(self.names)})."
            )
        r = np.concatenate([[1.0], -values])
        k, nu = self.df
        if self.meat is not None:
            scores = self.moments @ r
            return float(stats.chi2.sf(wald_statistic(scores, np.einsum("iajb,a,b->ij", self.meat, r, r)), k))
        inside, outside = float(r @ self.projected @ r), float(r @ (self.total - self.projected) @ r)
        return float(stats.f.sf(inside / outside * nu / k, k, nu)) if outside > 0 else 0.0

    def confidence_set(self, confidence_level: float = 0.95) -> ConfidenceSet:
        """All γ that are not rejected: an interval, rays, the line, or empty.

        Raises
        ------
        MethodNotApplicableError
            Several endogenous columns.
        """
        level = check_confidence_level(confidence_level)
        if len(self.names) > 1:
            raise MethodNotApplicableError(
                f"the Anderson-Rubin set is for one endogenous column, got {len(self.names)} "
                f"({', '.join(self.names)}): use pvalue(gamma) with a value for each of them."
            )
        k, nu = self.df
        if self.meat is None:
            bound = k * float(stats.f.ppf(level, k, nu)) / nu
            form = self.projected - bound * (self.total - self.projected)
        else:
            form = np.outer(self.moments[0], self.moments[0]) - float(stats.chi2.ppf(level, 1)) * self.meat[0, :, 0, :]
        return ConfidenceSet(quadratic_set(form, np.ones(1)), level, self.names[0])


def anderson_rubin_set(fit: TwoStageFit, *, covariance: str = "HC1", groups: Groups | None = None) -> AndersonRubinSet:
    r"""Invert the test that the instruments do not go with Y - Cγ, after X and W were partialled out.

    Classical, with c = k·F(k, ν; 1 - α)/ν: all γ with
    :math:`(Y - C\gamma)'(P_Z - cM_Z)(Y - C\gamma) \le 0`. Robust or clustered, with one instrument and
    e = Y - Cγ: all γ with :math:`(\sum_i z_ie_i)^2 \le \chi^2_{1;1-\alpha}\sum_i (z_ie_i)^2`, sums within clusters
    first. Both are quadratic in γ. With several instruments and one endogenous column the robust set is not quadratic,
    so the classical one is given, whatever ``covariance`` is; ``kind`` says so.

    Parameters
    ----------
    fit : TwoStageFit
        Fit.
    covariance : {"homoskedastic", "HC0", "HC1", "cluster"}, default="HC1"
        "homoskedastic" is classical, "cluster" is clustered, the others are robust.
    groups : Groups, optional
        Clusters, for "cluster".

    Returns
    -------
    AndersonRubinSet

    References
    ----------
    Anderson, Rubin 1949, doi 10.1214/aoms/1177730090.
    """
    check_covariance(covariance, groups)
    k, m = fit.n_instruments, len(fit.gamma)
    root = 1.0 if fit.weight is None else np.sqrt(fit.weight)[:, None]
    both, Z = np.column_stack([fit.outcome, fit.endogenous]) * root, fit.instruments * root
    inside = np.linalg.qr(Z / np.linalg.norm(Z, axis=0))[0].T @ both
    kind, meat = "classical", None
    if covariance != "homoskedastic" and (k == 1 or m > 1):
        kind = "clustered" if covariance == "cluster" else "robust"
        rows = (Z[:, :, None] * both[:, None, :]).reshape(fit.n, -1)
        if covariance == "cluster" and groups is not None:
            rows = cluster_sums(rows, groups.codes, groups.n_groups)
        meat = (rows.T @ rows).reshape(k, 1 + m, k, 1 + m)
    return AndersonRubinSet(
        kind=kind,
        names=fit.endogenous_names,
        df=(k, fit.nu),
        total=both.T @ both,
        projected=inside.T @ inside,
        moments=Z.T @ both,
        meat=meat,
    )
