"""Reference values for the projected penalty; run to write ``linear.json``.

    python -m tests.golden.augmentation.make_linear

Anchor regression (γ = 1 + 1/alpha) and k-class fits (κ = 1/(1 + alpha)) come from ivmodels 0.10, two-stage least
squares with robust errors (alpha = 0, as many instruments as features) from linearmodels 7.1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HERE = Path(__file__).resolve().parent

ALPHAS = (0.01, 0.2, 1.0, 5.0)
SIZES = {"fewer": 2, "equal": 4, "more": 6}


def data(k: int) -> dict[str, Array]:
    """X (150, 4), y (150,), Z (150, k), W (150, 2) and weights."""
    rng = np.random.RandomState(k)
    Z, W = rng.standard_normal((150, k)), rng.standard_normal((150, 2))
    hidden = rng.standard_normal((150, 4))
    X = Z @ rng.standard_normal((k, 4)) + hidden + W @ rng.standard_normal((2, 4)) + 2.0
    y = X @ np.arange(1.0, 5.0) + hidden.sum(axis=1) + W.sum(axis=1) + rng.standard_normal(150) - 1.0
    return {"X": X, "y": y, "Z": Z + 0.5, "W": W + 1.0}


def from_ivmodels(k: int) -> dict[str, Any]:
    """Coefficients of anchor regression and k-class fits for every alpha: features, then controls, then intercept."""
    from ivmodels import KClass
    from ivmodels.models import AnchorRegression

    d = data(k)
    out: dict[str, Any] = {}
    for intercept in (True, False):
        for alpha in ALPHAS:
            anchor = AnchorRegression(gamma=1 + 1 / alpha, fit_intercept=intercept).fit(d["X"], d["y"], Z=d["Z"])
            out[f"anchor_{intercept}_{alpha}"] = [*map(float, anchor.coef_), float(anchor.intercept_)]
            for controls in (True, False):
                given = {"C": d["W"]} if controls else {}
                kclass = KClass(kappa=1 / (1 + alpha), fit_intercept=intercept).fit(d["X"], d["y"], Z=d["Z"], **given)
                out[f"kclass_{intercept}_{controls}_{alpha}"] = [*map(float, kclass.coef_), float(kclass.intercept_)]
    return out


def from_linearmodels(k: int) -> dict[str, Any]:
    """Two-stage least squares: (features, constant, controls) and their robust covariance."""
    from linearmodels.iv import IV2SLS

    d = data(k)
    controls = np.column_stack([np.ones(150), d["W"]])
    fit = IV2SLS(d["y"], controls, d["X"], d["Z"]).fit(cov_type="robust")
    names = [*(f"endog.{j}" for j in range(4)), *(f"exog.{j}" for j in range(3))]
    at = [list(fit.params.index).index(name) for name in names]
    return {"coef": [float(v) for v in fit.params.iloc[at]], "cov": np.asarray(fit.cov)[np.ix_(at, at)].tolist()}


def main() -> None:
    """Write the file."""
    values: dict[str, Any] = {}
    for name, k in SIZES.items():
        values[name] = {"ivmodels": from_ivmodels(k)}
        if k >= 4:
            values[name]["linearmodels"] = from_linearmodels(k)
    (HERE / "linear.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
