"""Test-only subclasses that supply what scikit-learn's common checks do not know about.

The checks call ``fit(X, y)`` with generic data: a few dozen rows, often rounded, of several columns. An
adapter turns each row into the calibration rows that the estimator needs. It works row by row, so that
weights, subsets and orders of rows keep their meaning, and it touches finite real numbers of agreeing
lengths only: every other input (missing values, sparse or complex data, lengths, types) meets the
estimator itself, and so do state, cloning, pickling and the methods after fitting.
"""

from __future__ import annotations

from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression

from causalkit.augmentation.augmenters import Augmenter
from causalkit.composition.box_cox import BoxCoxCLR
from causalkit.composition.partial_correlation_estimator import CompositionalPartialCorrelation
from causalkit.composition.transforms import ALR, CLR, ILR, Closure
from causalkit.composition.zero_replacement import ZeroReplacement
from causalkit.debiasing import HierarchicalCalibration, LinearCalibration, SplineCalibration, TweedieCorrection
from causalkit.extrapolation import LinearInvarianceEncoder, Rep4Ex
from causalkit.extrapolation.encoder_inputs import check_features
from causalkit.graph import GNNClassifier, GNNRegressor, Graph, GraphRLearner, HopFeatures, SpilloverRLearner
from causalkit.rewards import RewardDeconfounder


def _as_table(X: Any) -> Any:
    """Lists and array-likes as arrays; frames, arrays and sparse matrices as they are."""
    return X if hasattr(X, "shape") and not hasattr(X, "__array_function__") else np.asarray(X)


def _is_wide(X: Any) -> bool:
    return len(X.shape) == 2 and X.shape[1] > 1 and not hasattr(X, "nnz")


def _first_column(X: Any) -> Any:
    if not _is_wide(X):
        return X
    return X.iloc[:, :1] if hasattr(X, "iloc") else X[:, :1]


def _finite_numbers(values: Any) -> np.ndarray | None:
    array = np.asarray(values)
    if array.size == 0 or np.iscomplexobj(array) or (array.shape != (len(array),) and array.shape != (len(array), 1)):
        return None
    try:
        array = array.astype(float).ravel()
    except (TypeError, ValueError):
        return None
    return array if np.isfinite(array).all() else None


class CalibrationAdapter:
    """Generic (X, y) to calibration rows: predictions from the first column of X, truth from both.

    Row i becomes the rows j = 1..copies with prediction x_i + δ_j and truth x_i + δ_j + tanh(y_i)/5 + ε_j,
    where δ and ε are the same two balanced sets of numbers for every row.
    """

    copies: ClassVar[int] = 12

    def _extra(self, n_rows: int) -> dict[str, Any]:
        return {}

    def _calibration_rows(self, X: Any, y: Any, weight: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
        prediction = None if hasattr(X, "nnz") else _finite_numbers(X)
        target = _finite_numbers(y)
        if prediction is None or target is None or len(prediction) != len(target):
            return X, y, weight, {}
        if weight is not None:
            weight = np.asarray(weight)
            if weight.shape != target.shape:
                return X, y, weight, {}
            weight = np.repeat(weight, self.copies)
        levels = norm.ppf((np.arange(self.copies) + 0.5) / self.copies)
        noise = np.random.default_rng(0).permutation(levels) / 2
        rows = prediction[:, None] + levels
        truth = rows + np.tanh(target)[:, None] / 5 + noise
        values = rows.reshape(-1, 1) if X.ndim == 2 else rows.ravel()
        if hasattr(X, "columns"):
            values = type(X)(values, columns=X.columns)
        return values, truth.ravel(), weight, self._extra(len(prediction))

    def _fit_with(self, method: Any, X: Any, y: Any, sample_weight: Any) -> Any:
        X = _as_table(X)
        predictions, truth, weight, extra = self._calibration_rows(_first_column(X), y, sample_weight)
        method(predictions, truth, sample_weight=weight, **extra)
        if _is_wide(X):
            self.n_features_in_ = X.shape[1]
            if hasattr(X, "columns"):
                self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Calibrate on rows made from the first column of X and y."""
        return self._fit_with(super().fit, X, y, sample_weight)

    def transform(self, X: Any) -> Any:
        """Correct the first column of X."""
        X = _as_table(X)
        self._check_width(X)
        return super().transform(_first_column(X))

    def _check_width(self, X: Any) -> None:
        width = getattr(self, "n_features_in_", 1)
        if width > 1 and len(X.shape) == 2 and X.shape[1] != width:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {width} features as input"
            )


class LinearCalibrationAdapter(CalibrationAdapter, LinearCalibration):
    """Linear calibration of the first column."""

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Add rows made from the first column of X and y."""
        self._check_width(_as_table(X))
        return self._fit_with(super().partial_fit, X, y, sample_weight)


class TweedieCorrectionAdapter(CalibrationAdapter, TweedieCorrection):
    """Tweedie's correction of the first column; enough copies that no value has 1 % of the rows."""

    copies: ClassVar[int] = 120


class SplineCalibrationAdapter(CalibrationAdapter, SplineCalibration):
    """Spline calibration of the first column."""


class HierarchicalCalibrationAdapter(CalibrationAdapter, HierarchicalCalibration):
    """Calibration by site; the copies of a row are spread over six sites."""

    copies: ClassVar[int] = 60

    def _extra(self, n_rows: int) -> dict[str, Any]:
        return {"sites": np.tile(np.arange(self.copies) % 6, n_rows)}

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit and correct; the sites are made in ``fit``, and new rows are of no known site."""
        return self.fit(X, y, sample_weight=sample_weight).transform(X)


class PositivePartsAdapter:
    """Generic non-negative X to positive amounts: the checks shift their data to a minimum of 0.

    Zero becomes 1/100, cell by cell; negative, missing and other values meet the estimator itself.
    """

    def _parts(self, X: Any) -> Any:
        X = _as_table(X)
        if hasattr(X, "nnz") or len(X.shape) != 2 or X.shape[1] == 0:
            return X
        values = _finite_numbers(np.asarray(X).reshape(-1))
        if values is None or values.min() < 0:
            return X
        values = self._amounts(values.reshape(X.shape))
        return type(X)(values, columns=X.columns, index=X.index) if hasattr(X, "columns") else values

    def _amounts(self, values: np.ndarray) -> np.ndarray:
        return np.where(values == 0, 0.01, values)

    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit to positive amounts."""
        return super().fit(self._parts(X), y)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit and transform positive amounts."""
        return super().fit_transform(self._parts(X), y)

    def transform(self, X: Any) -> Any:
        """Transform positive amounts."""
        return super().transform(self._parts(X))


class ClosureAdapter(PositivePartsAdapter, Closure):
    """Closure of positive amounts."""


class CLRAdapter(PositivePartsAdapter, CLR):
    """Centred log-ratios of positive amounts."""


class ALRAdapter(PositivePartsAdapter, ALR):
    """Additive log-ratios of positive amounts."""


class ILRAdapter(PositivePartsAdapter, ILR):
    """Isometric log-ratios of positive amounts."""


class BoxCoxCLRAdapter(PositivePartsAdapter, BoxCoxCLR):
    """Centred powers of positive amounts."""


class ZeroReplacementAdapter(PositivePartsAdapter, ZeroReplacement):
    """Zero replacement of counts with zeros: whole numbers that leave no row without an amount."""

    def _amounts(self, values: np.ndarray) -> np.ndarray:
        counts = np.maximum(np.rint(20 * values) - 3, 0)
        counts[:, 0] += 200  # no row is mostly replaced
        return counts


class CompositionalPartialCorrelationAdapter(CompositionalPartialCorrelation):
    """Networks of positive amounts, in memory and as a stream; two columns get a third part."""

    _amounts = PositivePartsAdapter._amounts

    def _parts(self, X: Any) -> Any:
        parts = PositivePartsAdapter._parts(self, X)
        values = np.asarray(parts) if getattr(parts, "shape", ())[1:] == (2,) and not hasattr(parts, "nnz") else None
        if values is None or values.dtype != float or not (values > 0).all():
            return parts
        third = 1 + values[:, 0] ** 2 + 3 * values[:, 1]
        return parts.assign(third=third) if hasattr(parts, "assign") else np.column_stack([values, third])

    def fit(
        self, X: Any, y: Any = None, *, confounders: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> Any:
        """Fit to positive amounts."""
        rows = {"confounders": confounders, "sample_weight": sample_weight, "groups": groups}
        parts = self._parts(X)
        super().fit(parts, y, **rows)
        if getattr(X, "shape", parts.shape)[1] != parts.shape[1]:
            self.n_features_in_ = 2
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Any:
        """Add rows of positive amounts."""
        return super().partial_fit(self._parts(X), y)

    def score(self, X: Any, y: Any = None) -> float:
        """Log-density of positive amounts."""
        return super().score(self._parts(X), y)


class FirstColumnNoise(Augmenter):
    """Noise of size .1 on the first column, for features of any number, which the checks vary."""

    is_sequential = True

    def parameter_names(self, n_features: int) -> list[str]:
        """One parameter."""
        return ["noise"]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> np.ndarray:
        """Normal noise."""
        return 0.1 * rng.standard_normal((n_rows, 1))

    def apply(self, X: Any, G: Any) -> np.ndarray:
        """Add it to the first column."""
        return X + G * np.eye(1, X.shape[1])

    def covariance(self, n_features: int) -> np.ndarray:
        """Its variance in the first place."""
        return 0.01 * np.diag(np.eye(1, n_features)[0])


class RewardDeconfounderAdapter(RewardDeconfounder):
    """A reward of which the levels of the confounder are made from the first feature, row by row.

    ``transform`` gets outcomes of zero where the checks have none: what it returns is the confounder effect.
    """

    def _levels(self, X: Any) -> Any:
        if self.method == "none":
            return None
        table = X if hasattr(X, "nnz") else np.asarray(X)
        first = None if hasattr(X, "nnz") or table.ndim != 2 or table.size == 0 else _finite_numbers(table[:, 0])
        codes = np.arange(table.shape[0]) if first is None else np.floor(3 * first)
        return np.where(codes % 2 == 0, "even", "odd")

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        confounders: Any = None,
        instruments: Any = None,
        target_confounders: Any = None,
        prompts: Any = None,
        sample_weight: Any = None,
        groups: Any = None,
    ) -> Any:
        """Fit with the levels that are made."""
        return super().fit(X, y, confounders=self._levels(X), sample_weight=sample_weight)

    def transform(self, X: Any, y: Any = None, *, confounders: Any = None) -> Any:
        """Adjusted rewards with the levels that are made."""
        rows = X.shape[0] if hasattr(X, "nnz") else len(np.asarray(X))
        return super().transform(X, np.zeros(rows) if y is None else y, confounders=self._levels(X))

    def score(self, X: Any, y: Any = None, *, confounders: Any = None, sample_weight: Any = None) -> float:
        """Score with the levels that are made."""
        return super().score(X, y, confounders=self._levels(X), sample_weight=sample_weight)


class HopFeaturesAdapter(HopFeatures):
    """Hop features of a network that is made from the rows: every row has one neighbour of its own.

    The neighbour's covariates are those of the row in another order, squared, so that a row's columns depend on that
    row alone.
    """

    def _network(self, X: Any) -> dict[str, Any]:
        rows = X.shape[0] if hasattr(X, "shape") else len(X)
        graph = Graph.from_edges([(i, rows + i) for i in range(rows)], n_nodes=max(2 * rows, 1))
        values = None if hasattr(X, "nnz") or len(np.shape(X)) != 2 else _finite_numbers(np.asarray(X).reshape(-1))
        if values is not None:
            own = values.reshape(np.shape(X))
            graph = graph.with_features(np.concatenate([own, own[:, ::-1] ** 2]))
        return {"graph": graph, "nodes": np.arange(rows)}

    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit on the network that is made."""
        X = _as_table(X)
        return super().fit(X, y, **self._network(X))

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit on the network that is made, and transform."""
        X = _as_table(X)
        return super().fit_transform(X, y, **self._network(X))

    def transform(self, X: Any) -> Any:
        """Columns of rows in a network of their own."""
        X = _as_table(X)
        return super().transform(X, **self._network(X))


class GNNRegressorAdapter(GNNRegressor):
    """A regressor on the network that is made for hop features."""

    _network = HopFeaturesAdapter._network

    def fit(self, X: Any, y: Any, *, graph: Any = None, nodes: Any = None, sample_weight: Any = None) -> Any:
        """Fit on the network that is made."""
        X = _as_table(X)
        return super().fit(X, y, **self._network(X), sample_weight=sample_weight)

    def predict(self, X: Any, *, graph: Any = None, nodes: Any = None) -> Any:
        """Predict for rows in a network of their own."""
        X = _as_table(X)
        return super().predict(X, **self._network(X))


class GNNClassifierAdapter(GNNClassifier):
    """A classifier on the network that is made for hop features."""

    _network = HopFeaturesAdapter._network

    def fit(self, X: Any, y: Any, *, graph: Any = None, nodes: Any = None, sample_weight: Any = None) -> Any:
        """Fit on the network that is made."""
        X = _as_table(X)
        return super().fit(X, y, **self._network(X), sample_weight=sample_weight)

    def predict_proba(self, X: Any, *, graph: Any = None, nodes: Any = None) -> Any:
        """Predict for rows in a network of their own."""
        X = _as_table(X)
        return super().predict_proba(X, **self._network(X))


class GraphRLearnerAdapter(GraphRLearner):
    """A learner on the network that is made for hop features; treatments alternate, nuisances are known."""

    _network = HopFeaturesAdapter._network

    def fit(self, X: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit with what is made of the rows."""
        X = _as_table(X)
        order = np.arange(X.shape[0] if len(X.shape) else 1)
        return super().fit(
            X,
            y,
            treatment=order % 2,
            **self._network(X),
            outcome_predictions=0.0 * order,
            treatment_predictions=0.0 * order + 0.5,
            sample_weight=sample_weight,
            groups=groups,
        )

    def predict(self, X: Any, *, graph: Any = None, nodes: Any = None) -> Any:
        """Effects of rows in a network of their own."""
        X = _as_table(X)
        return super().predict(X, **self._network(X))

    def score(self, X: Any, y: Any) -> float:
        """Correlation of effects and outcomes: the R-score needs models that are not known here."""
        return float(np.corrcoef(self.predict(X), np.asarray(y, dtype=float))[0, 1])


class SpilloverRLearnerAdapter(SpilloverRLearner):
    """A learner on the network that is made for hop features; treatments and exposures alternate over rows."""

    _network = HopFeaturesAdapter._network

    def fit(self, X: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit with what is made of the rows."""
        X = _as_table(X)
        order = np.arange(X.shape[0] if len(X.shape) else 1)
        return super().fit(
            X,
            y,
            treatment=order % 2,
            **self._network(X),
            exposure_values=(order // 2) % 3 - 1.0,
            exposure_mean=0.0 * order,
            exposure_variance=0.0 * order + 2 / 3,
            treatment_predictions=0.0 * order + 0.5,
            sample_weight=sample_weight,
            groups=groups,
        )

    def predict(self, X: Any, *, graph: Any = None, nodes: Any = None) -> Any:
        """Effects of rows in a network of their own."""
        X = _as_table(X)
        return super().predict(X, **self._network(X))


def _spread(X: Any, copies: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Every row several times, and one balanced set of numbers in another order for every column, row by row the same.

    None for what is not a table of finite numbers with rows and columns.
    """
    if hasattr(X, "nnz") or len(getattr(X, "shape", ())) != 2 or 0 in X.shape:
        return None
    values = _finite_numbers(np.asarray(X).reshape(-1))
    if values is None:
        return None
    levels = norm.ppf((np.arange(copies) + 0.5) / copies)
    rng = np.random.default_rng(0)
    shifts = np.column_stack([rng.permutation(levels) for _ in range(X.shape[1])])
    return np.repeat(values.reshape(X.shape), copies, axis=0), np.tile(shifts, (X.shape[0], 1))


def _repeated(weight: Any, n_rows: int, copies: int) -> Any:
    values = None if weight is None else np.asarray(weight)
    return weight if values is None or values.shape != (n_rows,) else np.repeat(values, copies)


class LinearInvarianceEncoderAdapter(LinearInvarianceEncoder):
    """An encoder of copies of the rows, each moved along its first column by an action of its own."""

    copies: ClassVar[int] = 60

    def fit(self, X: Any, y: Any = None, *, actions: Any = None, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit with the actions that are made."""
        X = _as_table(X)
        made = _spread(X, self.copies)
        if made is None:
            check_features(X)
            return super().fit(X, actions=np.zeros((X.shape[0], 1)))
        rows, shifts = made
        actions, rows[:, 0] = shifts[:, :1], rows[:, 0] + 3 * shifts[:, 0]
        table = type(X)(rows, columns=X.columns) if hasattr(X, "columns") else rows
        return super().fit(table, actions=actions, sample_weight=_repeated(sample_weight, X.shape[0], self.copies))

    def fit_transform(self, X: Any, y: Any = None, **rows: Any) -> Any:
        """Fit with the actions that are made, and transform."""
        return self.fit(X, y, **rows).transform(X)


class LinearStage(BaseEstimator):
    """A second stage of two lines, ν on the representation and ψ on the residual, for any number of columns."""

    def fit(self, phi: Any, residual: Any, y: Any, *, sample_weight: Any = None) -> Any:
        """Least squares with a small ridge."""
        w = np.ones(len(y)) if sample_weight is None else sample_weight / sample_weight.mean()
        design = np.hstack([phi - w @ phi / len(y), residual])
        weighted = design * w[:, None]
        gram = weighted.T @ design
        self.coef_ = np.linalg.solve(
            gram + 1e-9 * np.trace(gram) * np.eye(len(gram)), weighted.T @ (y - w @ y / len(y))
        )
        self.center_, self.level_ = w @ phi / len(y), w @ y / len(y)
        return self

    def structural(self, phi: Any) -> Any:
        """ν."""
        return (phi - self.center_) @ self.coef_[: phi.shape[1]] + self.level_

    def predict(self, phi: Any, residual: Any) -> Any:
        """ν and ψ."""
        return self.structural(phi) + residual @ self.coef_[phi.shape[1] :]


class Rep4ExAdapter(Rep4Ex):
    """A curve whose features are the actions of the rows with a noise of their own, an oracle of linear effects."""

    copies: ClassVar[int] = 24

    def fit(
        self, actions: Any, y: Any = None, *, features: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> Any:
        """Fit with the features that are made; a line takes the place of the networks and trees of the comparison."""
        actions = _as_table(actions)
        made, target = _spread(actions, self.copies), None if y is None else _finite_numbers(y)
        if made is None or target is None or len(target) != actions.shape[0]:
            return super().fit(actions, y, features=np.zeros((actions.shape[0], 1)))
        rows, shifts = made
        # Moved a little, so that few rows of many columns do not come out collinear.
        moved = rows + 0.1 * np.roll(shifts, 7, axis=0)
        table = type(actions)(moved, columns=actions.columns) if hasattr(actions, "columns") else moved
        outcome = np.repeat(target, self.copies) + shifts[:, 0] / 10
        weight = _repeated(sample_weight, actions.shape[0], self.copies)
        with patch("causalkit.extrapolation.rep4ex_fit.make_baseline", lambda name, k, seed: LinearRegression()):
            return super().fit(table, outcome, features=moved + shifts, sample_weight=weight)
