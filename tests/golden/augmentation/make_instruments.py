"""Reference values for tests and sets of real instruments; run to write ``instruments.json``.

    python -m tests.golden.augmentation.make_instruments

Anderson-Rubin statistics, p-values and sets, the rank test, κ of LIML and the J statistic come from ivmodels 0.10;
κ of LIML again, partial R², two-stage least squares with robust covariance, and its Wald statistic from
linearmodels 7.1. Sets of single coefficients are projections of the quadric that ivmodels inverts the test to.
Where a quadric is negative along the other coefficients, ivmodels means the whole line but passes its centre as a
linear term, and two rays come out; the line is written then (test_line_where_two_eigenvalues_are_negative searches).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    """A design: seed, sizes, strength of the first stage, direct effect of the first instrument."""

    seed: int
    n: int
    k: int
    p: int
    e: int
    strength: float
    violation: float = 0.0


CASES = {
    "interval": Case(0, 200, 3, 1, 2, 0.8),
    "rays": Case(3, 120, 2, 1, 0, 0.15),
    "line": Case(1, 100, 4, 1, 1, 0.0),
    "empty": Case(2, 200, 3, 1, 0, 1.0, 2.0),
    "two_features": Case(3, 250, 4, 2, 2, 0.9),
    "two_rays": Case(9, 120, 3, 2, 1, 0.25),
    "rays_and_line": Case(8, 120, 3, 2, 1, 0.25),
    "two_lines": Case(0, 120, 3, 2, 1, 0.25),
    "two_empty": Case(6, 250, 5, 2, 0, 1.0, 2.0),
    "exactly_identified": Case(7, 150, 2, 2, 1, 0.8),
    "fewer_instruments": Case(8, 150, 2, 3, 1, 0.8),
}
LEVELS = (0.8, 0.95)


def data(case: Case) -> tuple[Array, Array, Array, Array]:
    """X (n, p), y (n,), Z (n, k) and W (n, e)."""
    rng = np.random.RandomState(case.seed)
    Z, W = rng.standard_normal((case.n, case.k)), rng.standard_normal((case.n, case.e))
    hidden = rng.standard_normal((case.n, case.p))
    X = case.strength * Z @ rng.standard_normal((case.k, case.p)) + hidden + W @ rng.standard_normal((case.e, case.p))
    y = X @ np.arange(1.0, case.p + 1) + hidden.sum(axis=1) + W.sum(axis=1) + rng.standard_normal(case.n)
    return X + 3.0, y + case.violation * Z[:, 0] - 1.0, Z + 0.5, W


def beta_of(case: Case) -> Array:
    """The coefficients that are tested; they are not the true ones."""
    return np.arange(1.0, case.p + 1) + 0.1


def sets(X: Array, y: Array, Z: Array, W: Array, reference: str, level: float) -> list[list[list[float]]]:
    """Intervals of every coefficient."""
    from ivmodels.confidence_set import ConfidenceSet
    from ivmodels.tests import inverse_anderson_rubin_test

    quadric = inverse_anderson_rubin_test(Z, X, y, alpha=1 - level, C=W, critical_values=reference)
    out = []
    for j in range(X.shape[1]):
        other = [m for m in range(X.shape[1]) if m != j]
        if other and np.linalg.eigvalsh(quadric.A[np.ix_(other, other)])[0] < 0:
            out.append([[-np.inf, np.inf]])
            continue
        single = quadric.project([j]) if other else quadric
        boundaries = ConfidenceSet.from_quadric(single).boundaries
        out.append([[float(low), float(high)] for low, high in sorted(boundaries)])
    return out


def from_ivmodels(case: Case) -> dict[str, Any]:
    """Everything that ivmodels has."""
    from ivmodels import KClass
    from ivmodels.tests import anderson_rubin_test, j_test, rank_test

    X, y, Z, W = data(case)
    out: dict[str, Any] = {}
    for reference in ("f", "chi2"):
        statistic, pvalue = anderson_rubin_test(Z, X, y, beta_of(case), C=W, critical_values=reference)
        out[f"ar_{reference}"] = [float(statistic), float(pvalue)]
    if case.k < case.p:
        return out
    out["rank"] = [float(v) for v in rank_test(Z, X, C=W)]
    out["kappa_liml"] = float(KClass(kappa="liml").fit(X, y, Z=Z, C=W).kappa_)
    out["sets"] = {f"{r}_{level}": sets(X, y, Z, W, r, level) for r in ("f", "chi2") for level in LEVELS}
    if case.p > 1:  # the first coefficient is zero under the hypothesis of the invariance test
        out["j_first_zero"] = [float(v) for v in j_test(Z, X[:, 1:], y, C=W)]
    return out


def from_linearmodels(case: Case) -> dict[str, Any]:
    """Everything that linearmodels has."""
    from linearmodels.iv import IV2SLS, IVLIML

    X, y, Z, W = data(case)
    controls = np.column_stack([np.ones(case.n), W])
    fit = IV2SLS(y, controls, X, Z).fit(cov_type="robust")
    names = [f"endog.{j}" for j in range(case.p)] if case.p > 1 else ["endog"]
    at = [list(fit.params.index).index(name) for name in names]
    restriction = np.zeros((1, len(fit.params)))
    restriction[0, at[0]] = 1.0
    return {
        "kappa_liml": float(IVLIML(y, controls, X, Z).fit().kappa),
        "partial_r2": [float(v) for v in fit.first_stage.diagnostics["partial.rsquared"]],
        "coef": [float(v) for v in fit.params.iloc[at]],
        "cov": np.asarray(fit.cov)[np.ix_(at, at)].tolist(),
        "wald_first_zero": float(fit.wald_test(restriction, np.zeros(1)).stat),
    }


def main() -> None:
    """Write the file."""
    values = {}
    for name, case in CASES.items():
        values[name] = {"ivmodels": from_ivmodels(case)}
        if case.k >= case.p:
            values[name]["linearmodels"] = from_linearmodels(case)
    (HERE / "instruments.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
