"""Reference values for instrumented rewards; run to write ``instrument.json``.

    python -m tests.golden.rewards.make_instrument

Coefficients, robust and clustered covariances, first-stage statistics and Wooldridge's regression test come from
linearmodels 7.1; Anderson-Rubin sets and p-values and the Cragg-Donald statistic from ivmodels 0.10.
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
LEVELS = (0.8, 0.95)


@dataclass(frozen=True)
class Case:
    """A design: seed, rows, instruments, endogenous columns, other confounders, strength, weights."""

    seed: int
    n: int
    k: int
    m: int
    q: int
    strength: float
    weighted: bool = False


CASES = {
    "one": Case(0, 200, 1, 1, 2, 0.8),
    "over_identified": Case(1, 250, 3, 1, 1, 0.7),
    "weak": Case(3, 120, 2, 1, 0, 0.05),
    "two_columns": Case(2, 300, 3, 2, 1, 0.8),
    "weighted": Case(4, 220, 2, 1, 2, 0.8, True),
}


@dataclass(frozen=True)
class Data:
    """X (n, 3), W (n, q), C (n, m), Z (n, k), y, weight of mean 1 or None, cluster of each row."""

    X: Array
    W: Array
    C: Array
    Z: Array
    y: Array
    weight: Array | None
    clusters: NDArray[np.intp]


def data(case: Case) -> Data:
    """Rows of a case; noise is heteroscedastic and shared within clusters of five rows."""
    rng = np.random.RandomState(case.seed)
    Z, W = rng.standard_normal((case.n, case.k)) + 0.5, rng.standard_normal((case.n, case.q))
    hidden = rng.standard_normal((case.n, case.m))
    C = case.strength * Z @ rng.standard_normal((case.k, case.m)) + hidden + W.sum(axis=1, keepdims=True)
    X = rng.standard_normal((case.n, 3)) + C[:, :1] * [0.8, -0.6, 0.0] + 1.0
    clusters = np.arange(case.n) // 5
    noise = rng.standard_normal(case.n) * (0.5 + np.abs(Z[:, 0])) + rng.standard_normal(case.n)[clusters]
    y = X @ [1.0, 0.5, -0.75] + 2 * C.sum(axis=1) + W.sum(axis=1) + hidden.sum(axis=1) + noise - 1.0
    weight = rng.uniform(0.2, 2.0, case.n) if case.weighted else None
    return Data(X, W, C, Z, y, None if weight is None else weight / weight.mean(), clusters)


def from_linearmodels(case: Case) -> dict[str, Any]:
    """Coefficients in the order (X, W, C), their covariances, and tests."""
    from linearmodels.iv import IV2SLS

    d = data(case)
    exogenous = np.column_stack([np.ones(case.n), d.X, d.W])
    model = IV2SLS(d.y, exogenous, d.C, d.Z, weights=d.weight)
    robust = model.fit(cov_type="robust")
    names = [f"exog.{j}" for j in range(1, exogenous.shape[1])]
    names += [f"endog.{j}" for j in range(case.m)] if case.m > 1 else ["endog"]
    out: dict[str, Any] = {
        "coef": [float(v) for v in robust.params[names]],
        "intercept": float(robust.params["exog.0"]),
    }
    fits = {
        "HC0": robust,
        "HC1": model.fit(cov_type="robust", debiased=True),
        "homoskedastic": model.fit(cov_type="unadjusted", debiased=True),
        "cluster": model.fit(cov_type="clustered", clusters=d.clusters),
    }
    out["cov"] = {kind: fit.cov.loc[names, names].to_numpy().tolist() for kind, fit in fits.items()}
    stages = robust.first_stage.diagnostics
    out["partial_r2"] = [float(v) for v in stages["partial.rsquared"]]
    out["wald"] = [float(v) for v in stages["f.stat"]]
    test = robust.wooldridge_regression
    out["wooldridge"] = [float(test.stat), float(test.pval)]
    return out


def from_ivmodels(case: Case) -> dict[str, Any]:
    """Anderson-Rubin tests of (2.1, ..., 2.1), sets, and the Cragg-Donald statistic over ν/k."""
    from ivmodels.confidence_set import ConfidenceSet
    from ivmodels.tests import anderson_rubin_test, inverse_anderson_rubin_test

    d = data(case)
    exogenous = np.column_stack([d.X, d.W])
    _, pvalue = anderson_rubin_test(d.Z, d.C, d.y, np.full(case.m, 2.1), C=exogenous, critical_values="f")
    out: dict[str, Any] = {"pvalue": float(pvalue)}
    if case.m == 1:
        out["sets"] = {}
        for level in LEVELS:
            quadric = inverse_anderson_rubin_test(d.Z, d.C, d.y, 1 - level, C=exogenous, critical_values="f")
            ends = ConfidenceSet.from_quadric(quadric).boundaries
            out["sets"][str(level)] = [[float(low), float(high)] for low, high in sorted(ends)]
    return out


def main() -> None:
    """Write the file."""
    values: dict[str, Any] = {}
    for name, case in CASES.items():
        values[name] = {"linearmodels": from_linearmodels(case)}
        if not case.weighted:
            values[name]["ivmodels"] = from_ivmodels(case)
    (HERE / "instrument.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
