"""Every estimator that keeps the common contract: a new one joins by one line in ``CASES``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer

from causalkit.augmentation import (
    IVLikeBoostingRegressor,
    IVLikeNetClassifier,
    IVLikeNetRegressor,
    IVLikeRegressor,
    IVLikeRegressorCV,
)
from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.composition.box_cox import BoxCoxCLR
from causalkit.composition.partial_correlation_estimator import CompositionalPartialCorrelation
from causalkit.composition.transforms import ALR, CLR, ILR, Closure
from causalkit.composition.zero_replacement import ZeroReplacement
from causalkit.debiasing import HierarchicalCalibration, LinearCalibration, SplineCalibration, TweedieCorrection
from causalkit.extrapolation import LinearInvarianceEncoder, Rep4Ex
from causalkit.graph import Graph, GraphKFold
from causalkit.rewards import PairwiseRewardModel, RewardDeconfounder
from tests.contract.adapters import (
    ALRAdapter,
    BoxCoxCLRAdapter,
    ClosureAdapter,
    CLRAdapter,
    CompositionalPartialCorrelationAdapter,
    FirstColumnNoise,
    GNNClassifierAdapter,
    GNNRegressorAdapter,
    GraphRLearnerAdapter,
    HierarchicalCalibrationAdapter,
    HopFeaturesAdapter,
    ILRAdapter,
    LinearCalibrationAdapter,
    LinearInvarianceEncoderAdapter,
    LinearStage,
    Rep4ExAdapter,
    RewardDeconfounderAdapter,
    SpilloverRLearnerAdapter,
    SplineCalibrationAdapter,
    TweedieCorrectionAdapter,
    ZeroReplacementAdapter,
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


# ---------------------------------------------------------------------- composition

N_SAMPLES, PARTS = 90, ["Si", "Al", "Fe", "Mg", "Ca"]


def composition_data(with_zeros: bool = False) -> ContractData:
    """Amounts of five parts in 90 samples and 25 new ones, as counts with zeros if asked for."""
    rng = np.random.default_rng(20250811)
    n = N_SAMPLES + 25
    amounts = rng.gamma([8.0, 5.0, 3.0, 2.0, 2.0], size=(n, 5)) * rng.lognormal(1.0, 0.3, size=(n, 1))
    if with_zeros:
        amounts = rng.poisson(amounts * [1.0, 0.8, 0.7, 0.6, 0.6]) + np.array([3.0, 0.0, 0.0, 0.0, 0.0])
    rows = [f"s{i}" for i in range(n)]
    table = pd.DataFrame(amounts, columns=PARTS, index=rows)
    y = pd.Series(np.log(amounts[:, 0]) + 0.1 * rng.normal(size=n), name="age", index=rows)
    return ContractData(X=table[:N_SAMPLES], y=y[:N_SAMPLES], X_new=table[N_SAMPLES:])


NOT_ROUTED = "fit takes no row-wise arguments, so there is nothing to route; pipelines are in tests/composition"
TRANSFORMER_FAILURES = {
    "test_a_failed_fit_leaves_the_old_one": "y is ignored and fewer rows are a composition too: these fits succeed",
    "test_pipeline": NOT_ROUTED,
    "test_routing_through_a_pipeline": NOT_ROUTED,
    "test_unrequested_metadata_is_refused": NOT_ROUTED,
    "test_grid_search": NOT_ROUTED,
    "test_cross_validation_slices_what_belongs_to_rows": NOT_ROUTED,
}


def _transformer(name: str, estimator: Any, adapter: Any, grid: dict[str, list[Any]]) -> ContractCase:
    with_zeros = isinstance(estimator, ZeroReplacement)
    return ContractCase(
        name=name,
        estimator=estimator,
        adapter=adapter,
        make_data=lambda: composition_data(with_zeros),
        grid=grid,
        expected_failures=TRANSFORMER_FAILURES,
    )


NO_TRANSFORM = "a network does not transform its rows; searches and routing are in tests/composition"
NETWORK_FAILURES = {
    "test_a_failed_fit_leaves_the_old_one": "y is ignored and fewer rows are a composition too: these fits succeed",
    "test_pipeline": NO_TRANSFORM,
    "test_routing_through_a_pipeline": NO_TRANSFORM,
    "test_unrequested_metadata_is_refused": NO_TRANSFORM,
    "test_grid_search": NO_TRANSFORM,
    "test_cross_validation_slices_what_belongs_to_rows": NO_TRANSFORM,
}


FEW_ROWS = "the weights leave 27 effective rows for 30 parts, which an unshrunk fit refuses"


def pairs_of_parts(fitted: Any, data: ContractData, n_jobs: int | None) -> Any:
    """Influence values of two pairs."""
    return fitted.inference([("Si", "Al"), ("Fe", "Ca")])


def _network(name: str, options: dict[str, Any], grid: dict[str, list[Any]]) -> ContractCase:
    unshrunk = "shrinkage" in options and options["shrinkage"] is None
    more = {"check_sample_weight_equivalence_on_dense_data": FEW_ROWS} if unshrunk else {}
    return ContractCase(
        name=name,
        estimator=CompositionalPartialCorrelation(**options),
        adapter=CompositionalPartialCorrelationAdapter(**options),
        make_data=composition_data,
        grid=grid,
        method="score",
        result=None if options.get("shrinkage") == "basis" else pairs_of_parts,
        expected_failures=NETWORK_FAILURES | more,
    )


COMPOSITION_CASES = [
    _network("network", {}, {"shrinkage": [0.1, 0.5]}),
    _network("network_unshrunk", {"shrinkage": None}, {"test": ["t", "fisher"]}),
    _network("network_basis", {"shrinkage": "basis"}, {"shrinkage": ["basis", "invariant"]}),
    _transformer("closure", Closure(), ClosureAdapter(), {"total": [1.0, 100.0]}),
    _transformer("clr", CLR(), CLRAdapter(), {"total": [1.0, 100.0]}),
    _transformer("alr", ALR(), ALRAdapter(), {"reference": [0, -1]}),
    _transformer("ilr", ILR(), ILRAdapter(), {"basis": ["pivot", "helmert"]}),
    _transformer(
        "ilr_hierarchical", ILR(basis="hierarchical"), ILRAdapter(basis="hierarchical"), {"basis": ["hierarchical"]}
    ),
    _transformer("box_cox_clr", BoxCoxCLR(), BoxCoxCLRAdapter(), {"alpha": [0.2, 0.5]}),
    _transformer("zero_multiplicative", ZeroReplacement(), ZeroReplacementAdapter(), {"fraction": [0.5, 0.65]}),
    # fit_transform leaves the row itself out of the totals, which transform cannot for new rows; the difference
    # is below the 1e-2 that scikit-learn's check allows, and tests/composition/test_zero_replacement.py shows it.
    _transformer(
        "zero_gbm",
        ZeroReplacement(method="gbm"),
        ZeroReplacementAdapter(method="gbm"),
        {"fraction": [0.5, 0.65]},
    ),
]


# ---------------------------------------------------------------------- augmentation

N_ROWS, FEATURES = 240, ["size", "weight", "colour", "angle"]
SHIFT = NullSpaceShift([[0.0, 0.0, 1.0, 0.0]], scale=0.5)


def confounded_data(classes: bool = False) -> ContractData:
    """Four features of which the third carries a hidden confounder and has no effect."""
    rng = np.random.default_rng(20250830)
    n = N_ROWS + 40
    hidden = rng.normal(size=n)
    X = rng.normal(size=(n, 4)) + hidden[:, None] * [0.5, 0.0, 1.0, 0.0]
    y = X @ [1.0, -0.5, 0.0, 0.2] + hidden + 0.3 * rng.normal(size=n)
    rows = [f"u{i}" for i in range(n)]
    table = pd.DataFrame(X, columns=FEATURES, index=rows)
    outcome = pd.Series((y > 0).astype(int) if classes else y, name="outcome", index=rows)
    return ContractData(
        X=table[:N_ROWS],
        y=outcome[:N_ROWS],
        X_new=table[N_ROWS:],
        optional_params={
            "sample_weight": rng.integers(1, 4, N_ROWS).astype(float),
            "groups": rng.integers(0, 30, N_ROWS),
        },
    )


def errors_of_coefficients(fitted: Any, data: ContractData, n_jobs: int | None) -> Any:
    """Influence values; the rows are passed again, because files and pickles hold none."""
    return fitted.inference(chunks=[(data.X, data.y)])


PREDICTOR = "it predicts and does not transform; searches and routing are in tests/augmentation"
PREDICTOR_FAILURES = {
    "test_a_failed_fit_leaves_the_old_one": "a constant outcome is fitted; tests/augmentation breaks fits otherwise",
    "test_pipeline": PREDICTOR,
    "test_routing_through_a_pipeline": PREDICTOR,
    "test_grid_search": PREDICTOR,
    "test_cross_validation_slices_what_belongs_to_rows": PREDICTOR,
}
NO_ROWS = {"test_saved_estimator_has_the_same_state": "a file holds no rows, so the reference to them is gone"}
OWN_DRAWS = {
    "check_sample_weight_equivalence_on_dense_data": "repeated rows get draws of their own, a weighted row has one"
}
SINGLE_PRECISION = {
    "check_sample_weight_equivalence_on_dense_data": "training in single precision differs beyond seven digits"
}


def _predictor(
    name: str, estimator: Any, adapter: Any, grid: dict[str, list[Any]], failures: dict[str, str], result: Any = None
) -> ContractCase:
    classes = isinstance(estimator, IVLikeNetClassifier)
    return ContractCase(
        name=name,
        estimator=estimator,
        adapter=adapter,
        make_data=lambda: confounded_data(classes),
        grid=grid,
        method="predict",
        result=result,
        expected_failures=PREDICTOR_FAILURES | failures,
    )


_ALPHA = {"alpha": [0.01, 1.0]}
# Some checks have more columns than rows, where least squares needs a ridge.
_RIDGE = {"ridge": 0.1}
_NOISE = {"augmentation": FirstColumnNoise(), "random_state": 0}
_NET = {"hidden_layer_sizes": (8,), "max_epochs": 3, "early_stopping": False, "random_state": 0, "device": "cpu"}

AUGMENTATION_CASES = [
    _predictor("iv_like_plain", IVLikeRegressor(), IVLikeRegressor(**_RIDGE), _ALPHA, NO_ROWS, errors_of_coefficients),
    _predictor(
        "iv_like_augmented",
        IVLikeRegressor(augmentation=SHIFT, n_draws=2, random_state=0),
        IVLikeRegressor(**_RIDGE, **_NOISE),
        _ALPHA,
        NO_ROWS | OWN_DRAWS,
        errors_of_coefficients,
    ),
    _predictor(
        "iv_like_analytic",
        IVLikeRegressor(augmentation=SHIFT, penalty="analytic"),
        IVLikeRegressor(**_RIDGE, augmentation=FirstColumnNoise(), penalty="analytic"),
        _ALPHA,
        NO_ROWS,
        errors_of_coefficients,
    ),
    _predictor(
        "iv_like_chosen",
        IVLikeRegressorCV(selection="tolerance", tolerance=0.001, augmentation=SHIFT, random_state=0),
        IVLikeRegressorCV(**_RIDGE),
        {"tolerance": [0.001, 0.01]},
        NO_ROWS,
        errors_of_coefficients,
    ),
    _predictor(
        "iv_like_boosting",
        IVLikeBoostingRegressor(augmentation=SHIFT, max_iter=10, random_state=0),
        IVLikeBoostingRegressor(max_iter=10),
        _ALPHA,
        {},
    ),
    _predictor(
        "iv_like_boosting_augmented",
        IVLikeBoostingRegressor(augmentation=SHIFT, penalty="paired", max_iter=10, random_state=0),
        IVLikeBoostingRegressor(**_NOISE, max_iter=30),
        _ALPHA,
        OWN_DRAWS,
    ),
    _predictor(
        "iv_like_net",
        IVLikeNetRegressor(augmentation=SHIFT, **_NET),
        IVLikeNetRegressor(**_NET | {"max_epochs": 100}),
        _ALPHA,
        SINGLE_PRECISION,
    ),
    _predictor(
        "iv_like_net_classifier",
        IVLikeNetClassifier(augmentation=SHIFT, **_NET),
        IVLikeNetClassifier(**_NET | {"max_epochs": 100}),
        _ALPHA,
        SINGLE_PRECISION,
    ),
]


# ---------------------------------------------------------------------- rewards

N_LOGGED, TEXT_FEATURES = 240, ["words", "links", "caps", "digits"]


def logged_data(name: str | None, confounder: str | None = None) -> ContractData:
    """Four features of texts that go along with the age of a post and with its author."""
    rng = np.random.default_rng(20250901)
    n = N_LOGGED + 40
    age, author = rng.normal(size=n), rng.integers(0, 4, n)
    X = rng.normal(size=(n, 4)) + age[:, None] * [0.8, -0.6, 0.0, 0.0] + 0.3 * author[:, None]
    y = X @ [1.0, 0.5, -0.75, 0.0] + 2 * age + author + rng.normal(size=n)
    rows = [f"t{i}" for i in range(n)]
    table = pd.DataFrame(X, columns=TEXT_FEATURES, index=rows)
    outcome = pd.Series(y, name="shares", index=rows)
    given = {"age": age, "author": np.array(list("abcd"), dtype=object)[author], "prompt": np.arange(n) // 4}
    return ContractData(
        X=table[:N_LOGGED],
        y=outcome[:N_LOGGED],
        X_new=table[N_LOGGED:],
        fit_params={} if name is None or confounder is None else {name: given[confounder][:N_LOGGED]},
        optional_params={
            "sample_weight": rng.integers(1, 4, N_LOGGED).astype(float),
            "groups": rng.integers(0, 60, N_LOGGED),
        },
    )


def coefficients(fitted: Any, data: ContractData, n_jobs: int | None) -> Any:
    """Influence values of the coefficients."""
    return fitted.inference()


ADJUSTS = "transform takes the outcomes and confounders of the rows; searches and routing are in tests/rewards"
REWARD_FAILURES = {
    "test_a_failed_fit_leaves_the_old_one": "a constant outcome is fitted; tests/rewards/test_failures.py breaks fits",
    "test_pipeline": ADJUSTS,
    "test_routing_through_a_pipeline": ADJUSTS,
    "test_grid_search": ADJUSTS,
    "test_cross_validation_slices_what_belongs_to_rows": ADJUSTS,
}


def _reward(name: str, options: dict[str, Any], confounder: str | None, failures: dict[str, str]) -> ContractCase:
    return ContractCase(
        name=name,
        estimator=RewardDeconfounder(timing="before", random_state=0, **options),
        adapter=RewardDeconfounderAdapter(timing="before", random_state=0, **{"penalty": 0.1, "cv": 2, **options}),
        make_data=lambda: logged_data("confounders", confounder),
        grid={"penalty": [0.1, 10.0]},
        method="predict",
        result=coefficients,
        expected_failures=REWARD_FAILURES | failures,
    )


RIDGE_OF_MEAN_WEIGHT = "weights have mean 1, so a ridge is lighter beside repeated rows; exact without ridge"
SPLIT_COPIES = "copies of a row are spread over the folds, a weighted row is in one"
OUTCOMES_BELONG = "transform returns outcomes less the confounder effect, and the check calls it without outcomes"
OUT_OF_FOLD = "fit_transform is out-of-fold and fit().transform() is not, by design, as in scikit-learn's TargetEncoder"
PAIRS_OF_COPIES = "repeated rows form more pairs among themselves than a weighted row does"
COLUMN_ORDER = "rows of a frame lie column by column, where Newton steps round differently beyond ten digits"


def _checks(weights: str, transform: str) -> dict[str, str]:
    return {
        "check_sample_weight_equivalence_on_dense_data": weights,
        "check_transformer_general": transform,
        "check_transformer_data_not_an_array": transform,
    }


REWARD_CASES = [
    _reward("reward_partially_linear", {}, "age", _checks(SPLIT_COPIES, OUT_OF_FOLD)),
    _reward(
        "reward_fixed_effects",
        {"method": "fixed_effects"},
        "author",
        _checks(RIDGE_OF_MEAN_WEIGHT, OUTCOMES_BELONG),
    ),
    _reward("reward_none", {"method": "none"}, None, _checks(RIDGE_OF_MEAN_WEIGHT, OUTCOMES_BELONG)),
    ContractCase(
        name="reward_pairwise",
        estimator=PairwiseRewardModel(random_state=0),
        adapter=PairwiseRewardModel(random_state=0),
        make_data=lambda: logged_data("prompts", "prompt"),
        grid={"penalty": [0.1, 10.0]},
        method="predict",
        result=coefficients,
        expected_failures=PREDICTOR_FAILURES
        | {
            "check_sample_weight_equivalence_on_dense_data": PAIRS_OF_COPIES,
            "test_pandas_polars_and_numpy_agree": COLUMN_ORDER,
        },
    ),
]


# ---------------------------------------------------------------------- graph

N_NODES, COVARIATES = 90, ["age", "income", "visits"]


def node_data() -> ContractData:
    """Three covariates of nodes; the adapter gives every row a neighbour."""
    rng = np.random.default_rng(20250915)
    n = N_NODES + 25
    rows = [f"n{i}" for i in range(n)]
    table = pd.DataFrame(rng.normal(size=(n, 3)), columns=COVARIATES, index=rows)
    y = pd.Series(table["age"] + 0.1 * rng.normal(size=n), name="score", index=rows)
    return ContractData(X=table[:N_NODES], y=y[:N_NODES], X_new=table[N_NODES:])


OWN_SAVE = (
    "the adapter lives outside the package, so no file names it; tests/graph/test_persistence.py saves HopFeatures"
)
NO_ROW_ARGUMENTS = "fit takes no weights or groups; graph and nodes are routed in tests/graph/test_hops.py"
HOP_FAILURES = {
    "test_a_failed_fit_leaves_the_old_one": "y is ignored and fewer rows have hop features too: these fits succeed",
    "test_saved_estimator_computes_the_same_in_a_fresh_process": OWN_SAVE,
    "test_saved_estimator_has_the_same_state": OWN_SAVE,
    "test_pipeline": "columns are in single precision, so that a line through them is equal to six digits, not nine",
    "test_unrequested_metadata_is_refused": NO_ROW_ARGUMENTS,
    "test_cross_validation_slices_what_belongs_to_rows": NO_ROW_ARGUMENTS,
}


def _hops(name: str, **options: Any) -> ContractCase:
    return ContractCase(
        name=name,
        estimator=HopFeaturesAdapter(**options),
        adapter=HopFeaturesAdapter(**options),
        make_data=node_data,
        grid={"hops": [1, 2]},
        expected_failures=HOP_FAILURES,
    )


GRAPH_CASES = [_hops("hop_features"), _hops("hop_features_raw", operators=("max", "std"), standardize=False)]


OWN_GRAPH = "the graph is made in a subclass of the tests, which files do not hold; tests/graph saves the estimators"
ON_GRAPHS = "it predicts and does not transform; routing and searches are in tests/graph/test_encoders.py"
ENCODER_FAILURES = {
    "test_saved_estimator_computes_the_same_in_a_fresh_process": OWN_GRAPH,
    "test_saved_estimator_has_the_same_state": OWN_GRAPH,
    "test_pipeline": ON_GRAPHS,
    "test_routing_through_a_pipeline": ON_GRAPHS,
    "test_grid_search": ON_GRAPHS,
    "test_cross_validation_slices_what_belongs_to_rows": ON_GRAPHS,
    "check_sample_weight_equivalence_on_dense_data": "validation rows are drawn among rows, and copies are rows",
}
_GNN = {"hidden": 8, "n_bags": 1, "learning_rate": 0.03, "random_state": 0, "device": "cpu"}


def _encoder(name: str, adapter: type, encoder: str) -> ContractCase:
    classes = adapter is GNNClassifierAdapter
    constant = "a constant outcome is fitted; tests/graph/test_encoders.py breaks fits otherwise"
    return ContractCase(
        name=name,
        # Both make the graph of their rows: what the contract passes along with X is cut by rows, and a graph is not.
        estimator=adapter(encoder=encoder, max_iter=3, **_GNN),
        adapter=adapter(encoder=encoder, max_iter=100, **_GNN),
        make_data=lambda: confounded_data(classes),
        grid={"hidden": [4, 8]},
        method="predict",
        expected_failures=ENCODER_FAILURES | ({} if classes else {"test_a_failed_fit_leaves_the_old_one": constant}),
    )


ENCODER_CASES = [
    _encoder("gnn_regressor", GNNRegressorAdapter, "sign"),
    _encoder("gnn_regressor_sage", GNNRegressorAdapter, "sage"),
    _encoder("gnn_classifier", GNNClassifierAdapter, "sign"),
    _encoder("gnn_classifier_gin", GNNClassifierAdapter, "gin"),
]


def weighted_nodes() -> ContractData:
    """Nodes with weights and clusters."""
    data, rng = node_data(), np.random.default_rng(7)
    extra = {"sample_weight": rng.integers(1, 4, N_NODES).astype(float), "groups": np.arange(N_NODES) // 5}
    return replace(data, optional_params=extra)


_SPILLOVER = {"outcome_model": LinearRegression(), "buffer": 0, "cv": 2, "random_state": 0}
ON_NODES = (
    "it predicts effects and does not transform; tests/graph/test_spillover.py covers weights, clusters and nodes"
)
SPILLOVER_FAILURES = {
    "test_clone_and_parameters_round_trip": "parameters of the outcome model are parameters of the learner too",
    "test_a_failed_fit_leaves_the_old_one": "a constant outcome is fitted; tests/graph/test_spillover.py breaks fits",
    "test_saved_estimator_computes_the_same_in_a_fresh_process": OWN_GRAPH,
    "test_saved_estimator_has_the_same_state": OWN_GRAPH,
    "test_pipeline": ON_NODES,
    "test_routing_through_a_pipeline": ON_NODES,
    "test_grid_search": ON_NODES,
    "test_cross_validation_slices_what_belongs_to_rows": ON_NODES,
    "check_sample_weight_equivalence_on_dense_data": "copies of a row are nodes with treatments of their own",
    "check_fit2d_1sample": "one row has one level of the treatment, and that is what the message says",
}
SPILLOVER_CASES = [
    ContractCase(
        name="spillover",
        estimator=SpilloverRLearnerAdapter(final_model="linear", **_SPILLOVER),
        adapter=SpilloverRLearnerAdapter(final_model="linear", **_SPILLOVER),
        make_data=weighted_nodes,
        grid={"final_model": ["constant", "linear"]},
        method="predict",
        expected_failures=SPILLOVER_FAILURES,
    )
]


def average_effect(fitted: Any, data: ContractData, n_jobs: int | None) -> Any:
    """The average effect with its influence values."""
    return fitted.ate()


ON_EFFECTS = "it predicts effects and does not transform; tests/graph/test_rlearner.py covers routing and searches"
RLEARNER_FAILURES = {
    "test_a_failed_fit_leaves_the_old_one": "a constant outcome is fitted; tests/graph/test_rlearner.py breaks fits",
    "test_saved_estimator_computes_the_same_in_a_fresh_process": OWN_GRAPH,
    "test_saved_estimator_has_the_same_state": OWN_GRAPH,
    "test_pipeline": ON_EFFECTS,
    "test_routing_through_a_pipeline": ON_EFFECTS,
    "test_grid_search": ON_EFFECTS,
    "test_cross_validation_slices_what_belongs_to_rows": ON_EFFECTS,
    "check_sample_weight_equivalence_on_dense_data": "copies of a row are nodes with treatments of their own",
    "check_fit2d_1sample": "one row has one level of the treatment, and that is what the message says",
}


def _learner(kind: str, **options: Any) -> ContractCase:
    learner = GraphRLearnerAdapter(final_model=kind, cv=2, random_state=0, **options)
    return ContractCase(
        name=f"graph_rlearner_{kind}",
        estimator=learner,
        adapter=learner,
        make_data=weighted_nodes,
        grid={"final_model": ["constant", "linear"]},
        method="predict",
        result=average_effect,
        expected_failures=RLEARNER_FAILURES,
    )


RLEARNER_CASES = [_learner("linear"), _learner("constant", n_repeats=2)]


# ---------------------------------------------------------------------- extrapolation

N_SETTINGS = 240


def intervention_data(of_features: bool) -> ContractData:
    """One action that moves one hidden variable, and three sensors that show it."""
    rng = np.random.default_rng(20251101)
    n = N_SETTINGS + 30
    dose = rng.uniform(-1, 1, n)
    hidden = 2 * dose + rng.normal(size=n)
    rows = [f"s{i}" for i in range(n)]
    sensors = pd.DataFrame({"heat": hidden, "light": np.tanh(hidden), "sound": np.sin(hidden)}, index=rows)
    y = pd.Series(hidden + rng.normal(size=n), name="yield", index=rows)
    X = sensors if of_features else pd.DataFrame({"dose": dose}, index=rows)
    given = {"actions": dose[:, None]} if of_features else {"features": hidden[:, None]}
    return ContractData(
        X=X[:N_SETTINGS],
        y=y[:N_SETTINGS],
        X_new=X[N_SETTINGS:],
        fit_params={name: value[:N_SETTINGS] for name, value in given.items()},
        optional_params={
            "sample_weight": rng.integers(1, 4, N_SETTINGS).astype(float),
            "groups": rng.integers(0, 60, N_SETTINGS),
        },
    )


def curve_at_doses(fitted: Any, data: ContractData, n_jobs: int | None) -> Any:
    """The curve with its influence values."""
    return fitted.inference(data.X_new[:4])


TABLES_OF_ROWS = "actions and features are tables, and a Series is not; tests/extrapolation matches frames by name"
ENCODER_OF_ACTIONS = {
    **NO_ROWS,
    "test_a_failed_fit_leaves_the_old_one": "the outcome is not looked at; tests/extrapolation/test_failures.py",
    "test_pandas_polars_and_numpy_agree": TABLES_OF_ROWS,
    "check_sample_weight_equivalence_on_dense_data": "spreads of features count rows, and the check has few rows",
}
CURVE_OF_ACTIONS = PREDICTOR_FAILURES | {
    "test_a_failed_fit_leaves_the_old_one": "a constant outcome is fitted; tests/extrapolation breaks fits otherwise",
    **NO_ROWS,
    "test_clone_and_parameters_round_trip": "parameters of the encoder are parameters of the curve too",
    "test_pandas_polars_and_numpy_agree": TABLES_OF_ROWS,
    "check_sample_weight_equivalence_on_dense_data": "the check splits its own rows, and the curve has copies of them",
    "check_n_features_in_after_fitting": "the message names actions and not X",
    "check_estimators_empty_data_messages": "twelve rows are too few before columns are counted",
    "check_fit2d_1sample": "one row is too few, and that is what the message says",
    "check_supervised_y_2d": "outcomes in one column are taken without a warning",
}
EXTRAPOLATION_CASES = [
    ContractCase(
        name="linear_invariance_encoder",
        estimator=LinearInvarianceEncoder(n_components=1, n_basis=10, ridge=1e-2, random_state=0),
        adapter=LinearInvarianceEncoderAdapter(
            n_components=1, basis="identity", ridge=1e-2, bandwidth=1.0, random_state=0
        ),
        make_data=lambda: intervention_data(True),
        grid={"ridge": [1e-2, 1e-1]},
        expected_failures=ENCODER_OF_ACTIONS,
    ),
    ContractCase(
        name="rep4ex",
        estimator=Rep4Ex(encoder=FunctionTransformer(), calibration=0.0, random_state=0),
        adapter=Rep4ExAdapter(
            encoder=FunctionTransformer(), outcome_model=LinearStage(), calibration=0.0, random_state=0
        ),
        make_data=lambda: intervention_data(False),
        grid={"calibration": [0.0, 30.0]},
        method="predict",
        result=curve_at_doses,
        expected_failures=CURVE_OF_ACTIONS,
    ),
]


CASES: list[ContractCase] = [
    *GRAPH_CASES,
    *COMPOSITION_CASES,
    *AUGMENTATION_CASES,
    *REWARD_CASES,
    *ENCODER_CASES,
    *SPILLOVER_CASES,
    *RLEARNER_CASES,
    *EXTRAPOLATION_CASES,
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
    _correction("hierarchical", HierarchicalCalibration(), HierarchicalCalibrationAdapter(), _COV, CORRECTION_FAILURES),
]


# ---------------------------------------------------------------------- splitters


@dataclass(frozen=True)
class SplitterCase:
    """One splitter under the contract of splitters.

    Attributes
    ----------
    splitter : cross-validator
        With an integer seed.
    make_params : callable
        Keyword arguments of ``split`` for a number of rows.
    covers_training : bool
        Whether every row that is not held out is trained on.
    """

    name: str
    splitter: Any
    make_params: Callable[[int], dict[str, Any]]
    covers_training: bool = True


def ring(n: int) -> dict[str, Any]:
    """Every row is linked to the next one; rows are listed backwards."""
    return {"graph": Graph.from_edges([(i, (i + 1) % n) for i in range(n)], n_nodes=n), "nodes": np.arange(n)[::-1]}


_SPREAD = {"parts_per_fold": 3, "partitioner": "label_propagation", "random_state": 1}

SPLITTER_CASES = [
    SplitterCase("graph_folds", GraphKFold(4, **_SPREAD), ring),
    SplitterCase("graph_folds_random", GraphKFold(3, method="random", random_state=2), ring),
    SplitterCase("graph_folds_buffered", GraphKFold(4, buffer=2, **_SPREAD), ring, covers_training=False),
]
