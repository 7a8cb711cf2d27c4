"""Golden values of fixed-effect regressions from pyfixest 0.60 and linearmodels 7.1.

Run ``python -m tests.golden.rewards.make_fixed_effects`` where both are installed to write ``fixed_effects.json``.
``designs`` needs numpy alone and is what the tests import. Clustered errors of pyfixest are stored without any
finite-sample factor and with its own one, G/(G - 1)·(n - 1)/(n - k), k without factors nested in the clusters.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).with_name("fixed_effects.json")
P = 3


def designs() -> dict[str, dict[str, Any]]:
    """Samples by name: X, y, codes of the factors, cluster codes, weights or None."""
    rng = np.random.default_rng(20260115)
    n = 240
    out: dict[str, dict[str, Any]] = {}
    for name, sizes, weighted in (("one", [40], False), ("two", [40, 12], False), ("weighted", [40, 12], True)):
        codes = [rng.integers(0, size, n) for size in sizes]
        effects = [rng.normal(size=size) for size in sizes]
        X = rng.normal(size=(n, P)) + sum(a[c] for a, c in zip(effects, codes, strict=True))[:, None]
        y = X @ np.array([1.0, 0.5, -0.75]) + sum(2 * a[c] for a, c in zip(effects, codes, strict=True))
        y = y + rng.normal(size=n) * (1 + 0.5 * np.abs(X[:, 0]))
        weight = rng.uniform(0.3, 2.0, n) if weighted else None
        out[name] = {"X": X, "y": y, "codes": codes, "cluster": rng.integers(0, 25, n), "weight": weight}
    return out


def _pyfixest(frame: Any, n_factors: int, weights: str | None) -> dict[str, Any]:
    import pyfixest as pf

    formula = "y ~ x0 + x1 + x2 | " + " + ".join(f"f{k}" for k in range(n_factors))
    plain = pf.ssc(k_adj=False, G_adj=False)
    out: dict[str, Any] = {}
    for name, vcov, ssc in (
        ("HC1", "HC1", pf.ssc()),
        ("homoskedastic", "iid", pf.ssc()),
        ("cluster plain", {"CRV1": "cluster"}, plain),
        ("cluster", {"CRV1": "cluster"}, pf.ssc(k_fixef="nonnested")),
        ("cluster on factor", {"CRV1": "f0"}, pf.ssc(k_fixef="nonnested")),
    ):
        fit = pf.feols(formula, frame, vcov=vcov, ssc=ssc, weights=weights, fixef_tol=1e-13)
        out["coef"] = fit.coef().to_numpy().tolist()
        out[name] = fit.se().to_numpy().tolist()
        out["n"] = int(fit._N)
    return out


def _linearmodels(frame: Any, n_factors: int, weights: str | None) -> dict[str, Any]:
    import pandas as pd
    from linearmodels.iv.absorbing import AbsorbingLS

    absorbed = pd.DataFrame({f"f{k}": pd.Categorical(frame[f"f{k}"]) for k in range(n_factors)})
    model = AbsorbingLS(
        frame["y"], frame[["x0", "x1", "x2"]], absorb=absorbed, weights=None if weights is None else frame[weights]
    )
    clustered = model.fit(cov_type="clustered", clusters=frame["cluster"], debiased=False)
    robust = model.fit(cov_type="robust", debiased=False)
    return {
        "coef": robust.params.tolist(),
        "HC0": robust.std_errors.tolist(),
        "cluster": clustered.std_errors.tolist(),
    }


def main() -> None:
    """Write the JSON."""
    import pandas as pd

    out = {}
    for name, design in designs().items():
        frame = pd.DataFrame(design["X"], columns=[f"x{j}" for j in range(P)])
        frame["y"], frame["cluster"] = design["y"], design["cluster"]
        for k, code in enumerate(design["codes"]):
            frame[f"f{k}"] = code
        weights = None
        if design["weight"] is not None:
            frame["w"], weights = design["weight"], "w"
        n_factors = len(design["codes"])
        out[name] = {
            "pyfixest": _pyfixest(frame, n_factors, weights),
            "linearmodels": _linearmodels(frame, n_factors, weights),
        }
    PATH.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
