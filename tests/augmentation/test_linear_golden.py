"""The projected penalty beside other implementations: anchor regression, k-class, two-stage least squares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causalkit.augmentation import IVLikeRegressor
from tests.golden.augmentation.make_linear import ALPHAS, SIZES, data

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "augmentation" / "linear.json").read_text())

# Real instruments depend on y and X, so as parameters of an augmentation they are a leak; the algebra is the same.
pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.LeakageWarning")


def flat(model: IVLikeRegressor) -> np.ndarray:
    return np.r_[model.coef_, getattr(model, "exogenous_coef_", []), model.intercept_]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("intercept", [True, False])
def test_anchor_regression(name: str, intercept: bool) -> None:
    d = data(SIZES[name])
    for alpha in ALPHAS:
        expected = GOLDEN[name]["ivmodels"][f"anchor_{intercept}_{alpha}"]
        model = IVLikeRegressor(alpha=alpha, fit_intercept=intercept).fit(d["X"], d["y"], instruments=d["Z"])
        np.testing.assert_allclose(flat(model), expected, rtol=1e-10, atol=1e-10)
        # The same numbers as parameters of an augmentation.
        model = IVLikeRegressor(alpha=alpha, fit_intercept=intercept, penalty="projected")
        model.fit(d["X"] - 1.0, d["y"], augmented=d["X"], augmentation_parameters=d["Z"])
        np.testing.assert_allclose(flat(model), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("controls", [True, False])
def test_k_class(name: str, intercept: bool, controls: bool) -> None:
    d = data(SIZES[name])
    for alpha in ALPHAS:
        expected = GOLDEN[name]["ivmodels"][f"kclass_{intercept}_{controls}_{alpha}"]
        model = IVLikeRegressor(alpha=alpha, fit_intercept=intercept)
        model.fit(d["X"], d["y"], instruments=d["Z"], exogenous=d["W"] if controls else None)
        np.testing.assert_allclose(flat(model), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["equal", "more"])
def test_two_stage_least_squares(name: str) -> None:
    d, expected = data(SIZES[name]), GOLDEN[name]["linearmodels"]
    result = IVLikeRegressor(alpha=0.0).fit(d["X"], d["y"], instruments=d["Z"], exogenous=d["W"]).inference()
    order = [1, 2, 3, 4, 0, 5, 6]
    np.testing.assert_allclose(result.estimate[order], expected["coef"], rtol=1e-10)
    cov = result.cov[np.ix_(order, order)]
    if name == "equal":
        np.testing.assert_allclose(cov, expected["cov"], rtol=1e-8)
    else:
        # With more instruments than features the errors here also hold where the moments do not fit exactly.
        ratio = np.sqrt(np.diag(cov) / np.diag(expected["cov"]))
        assert (np.abs(ratio - 1) > 1e-6).all()
        assert (np.abs(ratio - 1) < 0.2).all()
