"""Golden values of sensitivity bounds and confounder benchmarks from DoubleML 0.11.4.

Run ``python tests/golden/rewards/make_sensitivity.py`` where ``doubleml`` is installed to write ``sensitivity.json``
beside this file. ``residual_data`` and ``benchmark_data`` need numpy alone and are what the tests import.

The peer's partially linear model gets the nuisance predictions from outside in the first case, so that only its
sensitivity analysis is compared; in the second it fits least squares on the folds given.

Two differences are known. The peer divides its score by the mean derivative, which is negative, and so adds the
influence of S to minus the influence of θ: the standard errors of the two ends θ ∓ kS come out exchanged. Its
robustness value with confidence is defined by the bound's interval and not by a t statistic, and is not compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).with_name("sensitivity.json")
STRENGTHS = ((0.03, 0.03, 1.0), (0.2, 0.1, 1.0), (0.1, 0.3, -0.5))
LEVEL = 0.9


def residual_data() -> dict[str, Any]:
    """Outcome y, one feature d, and predictions of both that are off by a little."""
    rng = np.random.default_rng(20260101)
    n = 400
    c = rng.normal(size=n)
    d = np.sin(c) + rng.normal(size=n)
    y = 0.4 * d + c**2 + rng.normal(size=n) * (0.5 + 0.5 * np.abs(d))
    return {"c": c, "d": d, "y": y, "outcome": 0.4 * np.sin(c) + c**2 + 0.1 * c, "feature": np.sin(c) - 0.05 * c}


def benchmark_data() -> dict[str, Any]:
    """Outcome, one feature, three confounders, and five folds."""
    rng = np.random.default_rng(20260102)
    n = 500
    C = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.3, 0.0], [0.0, 1.0, 0.2], [0.0, 0.0, 1.0]])
    d = C @ [0.5, 0.1, 0.0] + rng.normal(size=n)
    y = 0.7 * d + C @ [0.8, 0.0, 0.3] + rng.normal(size=n)
    fold = np.arange(n) % 5
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(5)]
    return {"C": C, "d": d, "y": y, "splits": splits}


def _bounds() -> list[dict[str, float]]:
    import doubleml as dml
    from doubleml.utils import DMLDummyRegressor

    data = residual_data()
    model = dml.DoubleMLPLR(
        dml.DoubleMLData.from_arrays(data["c"][:, None], data["y"], data["d"]),
        DMLDummyRegressor(),
        DMLDummyRegressor(),
    )
    given = {"d": {"ml_l": data["outcome"][:, None], "ml_m": data["feature"][:, None]}}
    model.fit(external_predictions=given)
    found = []
    for cf_y, cf_d, rho in STRENGTHS:
        model.sensitivity_analysis(cf_y=cf_y, cf_d=cf_d, rho=rho, level=LEVEL)
        out = model.sensitivity_params
        found.append(
            {
                "estimate": float(model.coef[0]),
                "se": float(model.se[0]),
                "lower": float(out["theta"]["lower"][0]),
                "upper": float(out["theta"]["upper"][0]),
                "ci_lower": float(out["ci"]["lower"][0]),
                "ci_upper": float(out["ci"]["upper"][0]),
                "rv": float(out["rv"][0]),
            }
        )
    return found


def _benchmarks() -> dict[str, dict[str, float]]:
    import doubleml as dml
    from sklearn.linear_model import LinearRegression

    data = benchmark_data()
    model = dml.DoubleMLPLR(
        dml.DoubleMLData.from_arrays(data["C"], data["y"], data["d"]), LinearRegression(), LinearRegression()
    )
    model.set_sample_splitting([[(train.tolist(), test.tolist()) for train, test in data["splits"]]])
    model.fit()
    found = {}
    for k in range(3):
        row = model.sensitivity_benchmark([f"X{k + 1}"])
        found[f"c{k}"] = {
            "cf_y": float(row["cf_y"].iloc[0]),
            "cf_d": float(row["cf_d"].iloc[0]),
            "change": float(row["delta_theta"].iloc[0]),
            "estimate": float(model.coef[0]),
        }
    return found


if __name__ == "__main__":
    PATH.write_text(json.dumps({"bounds": _bounds(), "benchmarks": _benchmarks()}, indent=1) + "\n")
