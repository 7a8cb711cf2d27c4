"""Every estimator that keeps the common contract: a new one joins by one line in ``CASES``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from causalkit.debiasing import HierarchicalCalibration, LinearCalibration, SplineCalibration, TweedieCorrection
from tests.contract.adapters import (
    HierarchicalCalibrationAdapter,
    LinearCalibrationAdapter,
    SplineCalibrationAdapter,
    TweedieCorrectionAdapter,
)


@dataclass(frozen=True)
class ContractData:
    """Data that an estimator is fitted on and applied to.

    Attributes
    ----------
    X, y : DataFrame, Series
        First two arguments of ``fit``.
    X_new : DataFrame
        First argument of the main method.
    fit_params : dict
        Row-wise keyword arguments of ``fit``: those that it cannot do without.
    optional_params : dict
        Row-wise keyword arguments of ``fit`` that routing must be able to pass.
    """

    X: pd.DataFrame
    y: pd.Series
    X_new: pd.DataFrame
    fit_params: dict[str, Any] = field(default_factory=dict)
    optional_params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ContractCase:
    """One estimator under the contract.

    Attributes
    ----------
    estimator : estimator
        Unfitted, as a user would build it.
    adapter : estimator
        Test-only subclass for scikit-learn's own checks.
    make_data : callable
        Returns :class:`ContractData`.
    grid : dict
        Two or more values of one parameter, for searches.
    method : str
        Main method of the fitted estimator.
    result : callable, optional
        (fitted, data, n_jobs) to an InferenceResult; it takes what parallel paths there are.
    expected_failures : dict of str to str
        scikit-learn checks, or tests of ``test_contract``, that do not pass, with the reason. One that
        passes after all fails the suite.
    """

    name: str
    estimator: Any
    adapter: Any
    make_data: Callable[[], ContractData]
    grid: dict[str, list[Any]]
    method: str = "transform"
    result: Callable[[Any, ContractData, int | None], Any] | None = None
    expected_failures: dict[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------------- debiasing

N_CALIBRATION, N_TRIAL, N_SITES = 400, 300, 8


def calibration_data(with_sites: bool = False) -> ContractData:
    """A calibration sample in eight sites, and predictions of a trial."""
    rng = np.random.default_rng(20250803)
    y = rng.normal(size=N_CALIBRATION)
    predictions = 0.5 + 0.6 * y + 0.3 * np.sin(y) + 0.4 * rng.normal(size=N_CALIBRATION)
    trial = 0.5 + 0.6 * rng.normal(size=N_TRIAL) + 0.4 * rng.normal(size=N_TRIAL)
    sites = rng.integers(0, N_SITES, N_CALIBRATION)
    return ContractData(
        X=pd.DataFrame({"wealth_map": predictions}, index=[f"c{i}" for i in range(N_CALIBRATION)]),
        y=pd.Series(y, name="wealth", index=[f"c{i}" for i in range(N_CALIBRATION)]),
        X_new=pd.DataFrame({"wealth_map": trial}, index=[f"t{i}" for i in range(N_TRIAL)]),
        fit_params={"sites": sites} if with_sites else {},
        optional_params={
            "sample_weight": rng.integers(1, 4, N_CALIBRATION).astype(float),
            "groups": sites * 10 + rng.integers(0, 6, N_CALIBRATION),
        },
    )


def doubly_robust_effect(fitted: Any, data: ContractData, n_jobs: int | None) -> Any:
    """Cross-fitted effect: the parallel path that every correction has."""
    rng = np.random.default_rng(5)
    n = len(data.X_new)
    confounders = rng.normal(size=(n, 2))
    treatment = (rng.random(n) < 1 / (1 + np.exp(-confounders[:, 0]))).astype(int)
    return fitted.effect(
        data.X_new,
        treatment=treatment,
        estimator="aipw",
        confounders=confounders,
        cv=3,
        n_jobs=n_jobs,
        random_state=0,
    )


ONE_DIMENSION = "predictions may be a vector of shape (n,): one number per row is the natural form here"
CORRECTION_FAILURES = {
    "check_fit1d": ONE_DIMENSION,
    "check_fit2d_predict1d": ONE_DIMENSION,
    "check_estimators_empty_data_messages": "a table without columns is refused for not being one column",
}
SCORE_PARAMETER = "the parameter `score` (the derivative of a log density) has the name of scikit-learn's method"
TWEEDIE_FAILURES = {
    **CORRECTION_FAILURES,
    "check_fit_score_takes_y": SCORE_PARAMETER,
    "check_n_features_in_after_fitting": SCORE_PARAMETER,
    "check_pipeline_consistency": SCORE_PARAMETER,
}
def _correction(name: str, estimator: Any, adapter: Any, grid: dict[str, list[Any]], failures: dict[str, str]) -> Any:
    with_sites = isinstance(estimator, HierarchicalCalibration)
    return ContractCase(
        name=name,
        estimator=estimator,
        # Frequency weights mean repeated rows, which is what the check of weights asks for.
        adapter=adapter.set_params(weight_type="frequency"),
        make_data=lambda: calibration_data(with_sites),
        grid=grid,
        result=doubly_robust_effect,
        expected_failures=failures,
    )


_COV = {"cov_type": ["HC0", "HC1"]}
_KDE = {"score": "kde"}
_MIXED = {"noise": "heteroscedastic", "n_knots": 4}

CASES: list[ContractCase] = [
    _correction("linear", LinearCalibration(), LinearCalibrationAdapter(), _COV, CORRECTION_FAILURES),
    _correction(
        "tweedie",
        TweedieCorrection(random_state=0),
        TweedieCorrectionAdapter(n_knots=5),
        {"n_knots": [2, 5]},
        TWEEDIE_FAILURES,
    ),
    _correction(
        "tweedie_kde",
        TweedieCorrection(**_KDE),
        TweedieCorrectionAdapter(**_KDE),
        {"bandwidth": [0.2, 0.4]},
        TWEEDIE_FAILURES,
    ),
    _correction(
        "tweedie_heteroscedastic",
        TweedieCorrection(**_MIXED),
        TweedieCorrectionAdapter(**_MIXED),
        {"n_knots": [3, 4]},
        TWEEDIE_FAILURES,
    ),
    _correction("spline", SplineCalibration(), SplineCalibrationAdapter(), {"n_knots": [2, 4]}, CORRECTION_FAILURES),
    _correction(
        "hierarchical", HierarchicalCalibration(), HierarchicalCalibrationAdapter(), _COV, CORRECTION_FAILURES
    ),
]
