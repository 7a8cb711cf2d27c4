"""What treating those with the largest priority first gains: the TOC curve and the areas under it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.inference.result import InferenceResult, check_confidence_level
from causalkit.validation import check_choice, check_groups, check_integer, check_sample_weight, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TOCCurve", "ranks_within", "toc"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TOCCurve:
    """A targeting operator characteristic with the areas under it.

    Attributes
    ----------
    share : ndarray, shape (G,)
        Shares q of rows with the largest priorities.
    toc : ndarray, shape (G,)
        Mean score of these rows, less that of all rows.
    std_error : ndarray, shape (G,)
        Standard errors of ``toc``.
    autoc, qini : float
        Areas ∫TOC(q)dq and ∫q·TOC(q)dq.
    autoc_std_error, qini_std_error : float
        Their standard errors.
    n_obs : int
        Rows.
    n_clusters : int
        Units that were resampled together.
    bootstrap : ndarray, shape (R, G + 2)
        Deviations of every half-sample from the estimates: of the curve, of AUTOC and of QINI.
    """

    share: Array
    toc: Array
    std_error: Array
    autoc: float
    autoc_std_error: float
    qini: float
    qini_std_error: float
    n_obs: int
    n_clusters: int
    bootstrap: Array = field(repr=False)

    def rate(self, metric: str = "autoc") -> InferenceResult:
        """Area under the curve with its standard error.

        Parameters
        ----------
        metric : {"autoc", "qini"}, default="autoc"
            "autoc" puts more weight on the rows treated first; "qini" is stronger where many gain a little.

        Returns
        -------
        InferenceResult
        """
        check_choice(metric, "metric", ("autoc", "qini"))
        value, error = (self.autoc, self.autoc_std_error) if metric == "autoc" else (self.qini, self.qini_std_error)
        return InferenceResult(
            estimate=np.array([value]),
            cov=np.array([[error**2]]),
            names=(metric,),
            n_obs=self.n_obs,
            dependence=f"half-sample bootstrap over {self.n_clusters} "
            f"{'rows' if self.n_clusters == self.n_obs else 'clusters'}",
        )

    def conf_band(self, confidence_level: float = 0.95, *, joint: bool = False) -> pd.DataFrame:
        """The curve with limits, indexed by share, columns ``toc``, ``std_error``, ``lower``, ``upper``.

        Parameters
        ----------
        confidence_level : float, default=0.95
            Coverage at each share, or of the whole curve with ``joint``.
        joint : bool, default=False
            One band for all shares, from the largest studentised deviation of each half-sample.

        Returns
        -------
        DataFrame
        """
        import pandas as pd
        from scipy import stats

        level = check_confidence_level(confidence_level)
        critical = float(stats.norm.ppf(0.5 + level / 2))
        if joint:
            moving = self.std_error > 0
            largest = (np.abs(self.bootstrap[:, :-2][:, moving]) / self.std_error[moving]).max(axis=1, initial=0.0)
            critical = max(critical, float(np.quantile(largest, level)))
        half = critical * self.std_error
        columns = {"toc": self.toc, "std_error": self.std_error, "lower": self.toc - half, "upper": self.toc + half}
        return pd.DataFrame(columns, index=pd.Index(self.share, name="share"))

    def __repr__(self) -> str:
        return (
            f"TOCCurve(n_obs={self.n_obs}, autoc={self.autoc:.4g} ± {self.autoc_std_error:.2g}, "
            f"qini={self.qini:.4g} ± {self.qini_std_error:.2g})"
        )


def toc(
    scores: Any,
    priorities: Any,
    *,
    folds: Any = None,
    groups: Any = None,
    sample_weight: Any = None,
    n_points: int = 100,
    n_bootstrap: int = 200,
    random_state: Any = None,
) -> TOCCurve:
    r"""Targeting operator characteristic of a priority, and the rank-weighted average effects.

    .. math:: \mathrm{TOC}(q) = E[\Gamma \mid S \text{ in the top } q] - E[\Gamma], \qquad
              \mathrm{AUTOC} = \int_0^1 \mathrm{TOC}(q)\,dq, \qquad \mathrm{QINI} = \int_0^1 q\,\mathrm{TOC}(q)\,dq

    Γ are doubly robust scores, S any priority that was not learned from the rows' own outcomes. A priority that
    ranks by nothing that matters has both areas 0. For Γ = S uniform on (0, 1) they are 1/4 and 1/12.

    Rows of equal priority share their mean score. With ``folds``, priorities are replaced by their ranks within the
    fold, because levels of different models do not compare. Standard errors are standard deviations over half-samples
    of clusters drawn without replacement, which have the spread of the estimate itself.

    Parameters
    ----------
    scores : array-like, shape (n,)
        Γ.
    priorities : array-like, shape (n,)
        S; the largest come first.
    folds : array-like, shape (n,), optional
        Fold of each row.
    groups : array-like, shape (n,), optional
        Clusters that are drawn together; rows without it.
    sample_weight : array-like, shape (n,), optional
        Weights of the rows.
    n_points : int, default=100
        G, points of the curve: shares 1/G, 2/G, ..., 1. Areas use all rows.
    n_bootstrap : int, default=200
        R, half-samples.
    random_state : int or Generator
        Seed of the half-samples.

    Returns
    -------
    TOCCurve

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite, fewer than four clusters.

    References
    ----------
    Yadlowsky, Fleming, Shah, Brunskill and Wager (2025), arXiv:2111.07966, sections 2 and 3.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.selection import toc
    >>> score = (np.arange(1000) + 0.5) / 1000
    >>> curve = toc(score, score, random_state=0)
    >>> round(curve.autoc, 3), round(curve.qini, 4), round(float(curve.toc[49]), 3)
    (0.25, 0.0833, 0.25)
    """
    gamma = check_vector(scores, "scores")
    n = len(gamma)
    priority = check_vector(priorities, "priorities", n_rows=n, like="scores")
    points = check_integer(n_points, "n_points", low=1)
    draws = check_integer(n_bootstrap, "n_bootstrap", low=2)
    weight = check_sample_weight(sample_weight, n)
    weight = np.ones(n) if weight is None else weight
    fold = check_groups(folds, n, name="folds", like="scores")
    units = check_groups(groups, n, like="scores")
    count = n if units is None else units.n_groups
    if count < 4:
        raise ValueError(
            f"{'scores' if units is None else 'groups'} has {count} {'rows' if units is None else 'clusters'}: half-"
            "samples need at least four. Pass more rows, or finer clusters."
        )
    if fold is not None:
        priority = ranks_within(priority, fold.codes, weight)
    order = np.argsort(-priority, kind="stable")
    ties = np.concatenate([[0], np.flatnonzero(np.diff(priority[order])) + 1])
    gamma, weight = gamma[order], weight[order]
    cluster = order if units is None else units.codes[order]
    share = np.arange(1, points + 1) / points
    full = _curve(gamma, weight, ties, share)
    rng = np.random.default_rng(random_state)
    half = count // 2
    deviations = np.empty((draws, points + 2))
    for r in range(draws):
        drawn = np.zeros(count)
        drawn[rng.permutation(count)[:half]] = 1.0
        kept = weight * drawn[cluster]
        deviations[r] = (_curve(gamma, kept, ties, share) - full) if kept.any() else 0.0
    # A share f drawn without replacement has variance (1 - f)/f times that of the whole.
    deviations *= np.sqrt(half / (count - half))
    error = np.sqrt((deviations**2).mean(axis=0))
    return TOCCurve(
        share=share,
        toc=full[:-2],
        std_error=error[:-2],
        autoc=float(full[-2]),
        autoc_std_error=float(error[-2]),
        qini=float(full[-1]),
        qini_std_error=float(error[-1]),
        n_obs=n,
        n_clusters=count,
        bootstrap=deviations,
    )


def ranks_within(priority: Array, fold: Codes, weight: Array) -> Array:
    """Share of the fold's weight that a row's priority exceeds, ties counted half."""
    order = np.lexsort((priority, fold))
    f, p, w = fold[order], priority[order], weight[order]
    start = np.flatnonzero(np.concatenate([[True], (np.diff(f) != 0) | (np.diff(p) != 0)]))
    size = np.add.reduceat(w, start)
    total = np.bincount(f, weights=w)
    before = np.cumsum(size) - size - (np.cumsum(total) - total)[f[start]]
    rank = np.divide(before + size / 2, total[f[start]], out=np.zeros(len(start)), where=total[f[start]] > 0)
    out = np.empty(len(order))
    out[order] = np.repeat(rank, np.diff(np.append(start, len(order))))
    # Ranks of folds of one size are equal up to rounding; they must tie.
    return np.round(out, 12)


def _curve(gamma: Array, weight: Array, ties: Codes, share: Array) -> Array:
    """TOC at the shares, AUTOC and QINI of rows sorted by falling priority."""
    total = weight.sum()
    if len(ties) < len(gamma):
        size = np.add.reduceat(weight, ties)
        mean = np.divide(np.add.reduceat(weight * gamma, ties), size, out=np.zeros(len(ties)), where=size > 0)
        gamma = np.repeat(mean, np.diff(np.append(ties, len(gamma))))
    covered = np.cumsum(weight)
    summed = np.cumsum(weight * gamma)
    overall = summed[-1] / total
    gain = np.divide(summed, covered, out=np.full(len(gamma), overall), where=covered > 0) - overall
    step = weight / total
    at = np.interp(share, np.append(0.0, covered / total), np.append(0.0, summed)) / (share * total) - overall
    return np.concatenate([at, [step @ gain, (step * covered / total) @ gain]])
