"""What a fit rests on: what the augmentation moves, whether its parameters leak, how much confounding it implies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import null_space

from causalkit.augmentation.moments import Moments
from causalkit.augmentation.solution import LinearProblem

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AugmentationDiagnostics", "diagnose", "leak_tests", "relevance_pvalue"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AugmentationDiagnostics:
    """Frames that explain a fit; nothing is printed.

    Outcome invariance itself is in none of them: with synthetic parameters it cannot be tested, because G is
    independent of y whatever the effect is.

    Attributes
    ----------
    relevance : DataFrame or None
        Per feature: partial R² of GX on G, its expectation k/n without any relevance (``floor``), and F. Here and
        in the tests n counts augmented rows, by their effective number (Σw)²/Σw² where weights are unequal.
    canonical : DataFrame or None
        Squared canonical correlations of G and GX and, for each rank r, Bartlett's test of at most r non-zero ones.
    moved : DataFrame
        Generalised eigenvalues of (E_n[dd'], Σ_X), Σ_X the covariance of the features before augmentation, and
        whether the direction counts as moved. ``shrinkage`` are the factors of the fit itself, in rising order; for
        "pointwise" they belong to the eigenvalues relative to the augmented features, which are smaller.
    untouched : ndarray, shape (p, p - r)
        Basis of the directions that nothing moves: they are as confounded as in least squares.
    leak : DataFrame or None
        Tests that G is independent of y and of X; each at p < .001/3 is a leak.
    spuriousness : DataFrame
        Wald test per outcome that least squares has no weight in the moved directions. Not rejected: the
        augmentation brings nothing here. Rejected: confounding along it or a false invariance; the data cannot tell.
    breakdown : DataFrame
        Per outcome: q = ‖h_ols - h_invariant‖²_A, σ², and ``confounding_needed`` = q/(σ² + q), the smallest share of
        the outcome's noise that the features must explain if the invariance holds.
    notes : tuple of str
        The same in words.
    """

    relevance: pd.DataFrame | None
    canonical: pd.DataFrame | None
    moved: pd.DataFrame
    untouched: Array
    leak: pd.DataFrame | None
    spuriousness: pd.DataFrame
    breakdown: pd.DataFrame
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return "AugmentationDiagnostics\n" + "\n".join(f"- {note}" for note in self.notes)

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{note}</li>" for note in self.notes)
        parts = [f"<p>AugmentationDiagnostics</p><ul>{notes}</ul>"]
        for name in ("relevance", "canonical", "moved", "leak", "spuriousness", "breakdown"):
            frame = getattr(self, name)
            if frame is not None:
                table = frame.to_html(float_format=lambda v: f"{v:.4g}", border=0, max_rows=12)
                parts.append(f"<details><summary>{name}</summary>{table}</details>")
        return f"<div>{''.join(parts)}</div>"


# ---------------------------------------------------------------------- tests from moments


def _whitened(matrix: Array) -> Array:
    """W with W'MW = I on the range of M."""
    size = np.sqrt(np.clip(np.diag(matrix), 0.0, None))
    unit = np.where(size > 0, 1.0 / np.where(size > 0, size, 1.0), 0.0)
    values, vectors = np.linalg.eigh(matrix * np.outer(unit, unit))
    kept = values > 1e-10 * values.max(initial=0.0)
    return np.asarray(unit[:, None] * vectors[:, kept] / np.sqrt(values[kept]))


def canonical_correlations(moments: Moments, left: str, right: str) -> Array:
    """Squared canonical correlations of two groups of columns, in falling order."""
    first, second = (_whitened(moments.second(name, name)) for name in (left, right))
    cross = first.T @ moments.second(left, right) @ second
    return np.asarray(np.clip(np.linalg.svd(cross, compute_uv=False) ** 2, 0.0, 1.0 - 1e-15))


def bartlett(correlations: Array, n: float, p: int, k: int, rank: int = 0) -> tuple[float, int, float]:
    """Test that at most ``rank`` canonical correlations are not zero: statistic, degrees of freedom, p-value."""
    factor = n - 1 - (p + k + 1) / 2
    statistic = -factor * float(np.log1p(-correlations[rank:]).sum())
    freedom = (p - rank) * (k - rank)
    return statistic, freedom, float(stats.chi2.sf(statistic, freedom))


def _f_test(explained: float, residual: float, k: int, freedom: float) -> tuple[float, float]:
    if freedom <= 0 or explained <= 0:
        return np.nan, np.nan
    if residual <= 1e-14 * explained:  # an exact function of what is tested
        return np.inf, 0.0
    statistic = (explained / k) / (residual / freedom)
    return statistic, float(stats.f.sf(statistic, k, freedom))


def _points(moments: Moments) -> float:
    """Augmented rows, less what the controls that were partialled out took.

    Unequal weights leave fewer: a weighted mean of n independent products varies like a plain one of (Σw)²/Σw²
    (test_unequal_weights_are_no_leak).
    """
    return moments.n_effective - moments.layout.controls


def leak_tests(moments: Moments) -> dict[str, float]:
    """P-values of three consequences of G being drawn without a look at X and y.

    "y on G" (F with k and n - k - 1), "y on G given X" (F with k and n - k - p - 1; a leak through the residual
    shows here first) and "X with G" (Bartlett). With several outcomes the smallest p-value times their number.
    """
    n = _points(moments)
    W = _whitened(moments.second("g", "g"))
    k = W.shape[1]
    if k == 0:
        return {}
    outcomes = moments.layout.outcomes
    alone, given = [], []
    gy, gx = W.T @ moments.second("g", "y"), W.T @ moments.second("g", "X")
    V = _whitened(moments.second("X", "X"))
    xy, gv = V.T @ moments.second("X", "y"), gx @ V
    square = np.diag(moments.second("y", "y"))
    rest = np.eye(k) - gv @ gv.T  # second moments of the whitened G given X
    for t in range(outcomes):
        explained = float(gy[:, t] @ gy[:, t])
        alone.append(_f_test(explained, square[t] - explained, k, n - k - 1)[1])
        residual = float(square[t] - xy[:, t] @ xy[:, t])
        if residual <= 1e-12 * square[t]:
            continue  # X explains the outcome, and leaves nothing for G
        left = gy[:, t] - gv @ xy[:, t]
        more = float(left @ np.linalg.pinv(rest, hermitian=True) @ left)
        given.append(_f_test(more, residual - more, k, n - k - V.shape[1] - 1)[1])
    joint = bartlett(canonical_correlations(moments, "g", "X"), n, V.shape[1], k)[2]
    return {
        "y on G": min(1.0, outcomes * float(np.nanmin([1.0, *alone]))),
        "y on G given X": min(1.0, outcomes * float(np.nanmin([1.0, *given]))),
        "X with G": joint,
    }


def relevance_pvalue(moments: Moments) -> float:
    """P-value of the joint test that G does not move the mean of GX."""
    k, p = (_whitened(moments.second(name, name)).shape[1] for name in "gx")
    correlations = canonical_correlations(moments, "g", "x")
    return bartlett(correlations, _points(moments), p, k)[2]


# ---------------------------------------------------------------------- assembling


def _relevance(moments: Moments, n: float, names: list[str]) -> pd.DataFrame:
    import pandas as pd

    W = _whitened(moments.second("g", "g"))
    k = W.shape[1]
    explained = ((W.T @ moments.second("g", "x")) ** 2).sum(axis=0)
    total = np.diag(moments.second("x", "x"))
    with np.errstate(divide="ignore", invalid="ignore"):
        F = (explained / k) / ((total - explained) / (n - k - 1))
        share = explained / total
    return pd.DataFrame({"partial_r2": share, "floor": k / n, "F": F}, index=names)


def _canonical(moments: Moments, n: float) -> pd.DataFrame:
    import pandas as pd

    k, p = (_whitened(moments.second(name, name)).shape[1] for name in "gx")
    correlations = canonical_correlations(moments, "g", "x")
    rows = [bartlett(correlations, n, p, k, rank) for rank in range(len(correlations))]
    frame = pd.DataFrame(rows, columns=["statistic", "df", "pvalue"])
    frame.insert(0, "squared_correlation", correlations)
    frame.index = pd.Index([f"rank <= {r}" for r in range(len(correlations))], name="hypothesis")
    return frame


def _moved(estimator: Any, parts: Any) -> pd.DataFrame:
    import pandas as pd

    problem: LinearProblem = estimator._problem
    factor = np.full(len(parts.eigenvalues), np.nan)
    if problem.penalty in ("pointwise", "analytic", "constrained"):
        factor = problem.spectrum.factors(np.array([estimator.alpha_]))[0]
    order = np.argsort(parts.eigenvalues)[::-1]
    return pd.DataFrame(
        {
            "eigenvalue": parts.eigenvalues[order],
            "is_moved": parts.moved[order],
            "shrinkage": np.sort(factor),
        }
    )


def _spuriousness(estimator: Any, parts: Any) -> tuple[pd.DataFrame, bool]:
    """Wald test of U'h_ols = 0, U a basis of range(B); True where the rows gave the robust covariance."""
    import pandas as pd

    outside = null_space(parts.free.T) if parts.free.shape[1] else np.eye(len(parts.inverse))
    r = outside.shape[1]
    robust, rows = True, []
    for t in range(parts.h_ols.shape[1]):
        if r == 0:
            rows.append((0.0, 0, 1.0))
            continue
        covariance, robust = estimator._ols_covariance(parts, t)
        value = outside.T @ parts.h_ols[:, t]
        statistic = float(value @ np.linalg.pinv(outside.T @ covariance @ outside, hermitian=True) @ value)
        rows.append((statistic, r, float(stats.chi2.sf(statistic, r))))
    return pd.DataFrame(rows, columns=["statistic", "df", "pvalue"]), robust


def diagnose(estimator: Any) -> AugmentationDiagnostics:
    """All diagnostics of a fitted linear estimator."""
    import pandas as pd

    moments: Moments = estimator.moments_
    n = _points(moments)
    with_parameters = moments.layout.parameters > 0
    synthetic = estimator.variation_ == "augmentation"
    parts = estimator._breakdown(moments)
    relevance = _relevance(moments, n, estimator._names) if with_parameters else None
    canonical = _canonical(moments, n) if with_parameters else None
    leak = None
    if with_parameters and synthetic:
        leak = pd.DataFrame({"pvalue": leak_tests(moments)})
        leak["leak"] = leak["pvalue"] < 1e-3 / 3
    spuriousness, robust = _spuriousness(estimator, parts)
    table = pd.DataFrame(
        {"distance": parts.distance, "noise": parts.noise, "confounding_needed": parts.confounding_needed}
    )
    moved = _moved(estimator, parts)
    notes = _notes(estimator, parts, canonical, leak, spuriousness, table, robust)
    return AugmentationDiagnostics(relevance, canonical, moved, parts.free, leak, spuriousness, table, notes)


def _notes(
    estimator: Any, parts: Any, canonical: Any, leak: Any, spuriousness: Any, table: Any, robust: bool
) -> tuple[str, ...]:
    p, r = len(parts.moved), int(parts.moved.sum())
    notes = []
    if estimator.variation_ == "instruments":
        notes.append("real instruments: see instrument_diagnostics and anderson_rubin for their strength")
    if estimator.variation_ == "none":
        notes.append(
            "nothing was augmented and there are no instruments: this is least squares, whatever alpha. Pass "
            "augmentation=, augmented= or instruments="
        )
    if estimator.variation_ == "augmentation":
        left = "no direction is left" if p == r else f"what is left ({p - r}) is as confounded as in least squares"
        notes.append(f"the augmentation moves {r} of {p} directions; {left}")
        if canonical is not None and estimator.penalty_ in ("projected", "paired"):
            pvalue = float(canonical["pvalue"].iloc[0])
            told = "moves" if pvalue <= 0.05 else "does not detectably move"
            notes.append(f"G {told} the mean of GX (joint test p = {pvalue:.2g})")
        if leak is not None and bool(leak["leak"].any()):
            notes.append(f"G is not independent of the data: {', '.join(leak.index[leak['leak']])}")
        kind = "robust" if robust else "classical, because the rows are not at hand"
        pvalue = float(spuriousness["pvalue"].min())
        if pvalue > 0.05:
            notes.append(
                f"least squares has no detectable weight in the moved directions (p = {pvalue:.2g}, {kind}): the "
                "augmentation brings nothing here"
            )
        else:
            notes.append(
                f"least squares has weight in the moved directions (p = {pvalue:.2g}, {kind}): confounding along "
                "them, or a false invariance; the data cannot tell"
            )
        needed = float(table["confounding_needed"].max())
        notes.append(
            f"if the invariance holds, the features explain at least {needed:.3g} of the outcome's noise through "
            "confounding"
        )
        notes.append("outcome invariance itself cannot be tested with synthetic parameters")
    return tuple(notes)
