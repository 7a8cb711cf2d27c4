"""From rows to a solution: what the linear estimators of the room do inside ``fit``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import MultiOutputMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from causalkit.augmentation.arguments import Variation, check_same_rows, resolve_variation
from causalkit.augmentation.augmenters.base import Augmenter, FunctionAugmenter
from causalkit.augmentation.draws import augment, known_covariance, orbit_draws
from causalkit.augmentation.immutable_augmenter import ImmutableAugmenterMixin
from causalkit.augmentation.linear_inputs import (
    FitInput,
    check_feature_map,
)
from causalkit.augmentation.moments import Moments
from causalkit.augmentation.pairs import PairSource, Rows
from causalkit.augmentation.parameter_warnings import warn_of_parameters
from causalkit.augmentation.solution import (
    LinearProblem,
    exogenous_coef,
    intercept_of,
    parameter_rank,
    reduce_parameters,
    refuse_all_moved,
    solve,
)
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import (
    MethodNotApplicableError,
    UnderIdentifiedError,
)
from causalkit.seeds import root_seed
from causalkit.validation import (
    as_array,
    check_fit_table,
    check_groups,
    check_integer,
    check_matrix,
    check_numeric_columns,
    check_sample_weight,
)

__all__ = ["IVLikeFitting"]

Array = NDArray[np.float64]


class IVLikeFitting(ImmutableAugmenterMixin, MultiOutputMixin, RegressorMixin, DocumentedEstimator):
    """Reads rows, makes pairs, and solves: the part of the linear estimators before the results."""

    # Rows of the fit, kept for a second pass: files hold moments, coefficients and parameters.
    _not_saved = ("_held",)

    # ------------------------------------------------------------------ input

    def _check_parameters(self) -> None:
        if not (isinstance(self.n_draws, str) and self.n_draws == "orbit"):
            check_integer(self.n_draws, "n_draws", low=1)
        for name in ("ridge", "rank_tol"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < np.inf:
                raise ValueError(f"{name} must be a finite number of at least 0; got {value!r}.")
        if self.rank_tol >= 1:
            raise ValueError(
                f"rank_tol must be a share below 1, such as 1e-8; got {self.rank_tol!r}: no direction would be left."
            )

    def _read(
        self,
        X: Any,
        y: Any,
        *,
        instruments: Any,
        exogenous: Any,
        augmented: Any,
        augmentation_parameters: Any,
        groups: Any,
        sample_weight: Any,
        first_row: int = 0,
        reset: bool = True,
    ) -> FitInput:
        check_numeric_columns(X, "X")
        variation = resolve_variation(
            _as_table(X),
            augmentation=self.augmentation,
            penalty=self.penalty,
            instruments=instruments,
            augmented=augmented,
            augmentation_parameters=augmentation_parameters,
        )
        check_same_rows(X, y=y, exogenous=exogenous, sample_weight=sample_weight, groups=groups)
        features, outcome = check_fit_table(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=True,
            dtype=[np.float64, np.float32],
            reset=reset,
            magnitude=True,
        )
        n = features.shape[0]
        weight = check_sample_weight(sample_weight, n, like="X")
        controls, names = (None, []) if exogenous is None else check_matrix(exogenous, "exogenous", n_rows=n, like="X")
        table = np.asarray(outcome, dtype=np.float64)
        if reset:
            self._single_output = table.ndim == 1
        rows = Rows(features, table.reshape(n, -1), variation, controls, weight, first_row)
        return FitInput(rows, check_groups(groups, n, like="X"), names)

    def _make_source(self, rows: Rows, *, fit_map: bool) -> PairSource:
        """How pairs are made; fits the feature map on X and its augmented rows where asked to."""
        variation = rows.variation
        augmenting = variation.kind == "augmentation" and variation.augmented is None
        draws_pairs = not (augmenting and self._is_known(variation.penalty))
        if augmenting and variation.penalty == "analytic" and self.feature_map is not None:
            raise MethodNotApplicableError(
                'penalty="analytic" needs the covariance of the mapped moves, which feature_map hides: use '
                'penalty="pointwise".'
            )
        source = PairSource(self.augmentation, self.n_draws, self._seed, None, draws_pairs)
        if self.feature_map is None:
            return source
        check_feature_map(self.feature_map)
        if not fit_map:
            check_is_fitted(self.feature_map)
            return replace(source, feature_map=self.feature_map)
        fitted = clone(self.feature_map).fit(self._stacked(rows, augmenting))
        return replace(source, feature_map=fitted)

    def _is_known(self, penalty: str) -> bool:
        """Whether the moves' covariance is known in closed form and no draw is needed."""
        if penalty == "analytic":
            return True
        if penalty != "constrained" or self.feature_map is not None or not isinstance(self.augmentation, Augmenter):
            return False
        return self.augmentation.covariance(self.n_features_in_) is not None

    def _stacked(self, rows: Rows, augmenting: bool) -> Any:
        """Augmented rows (the first draw, or the whole orbit) above the rows themselves."""
        X, variation = rows.X, rows.variation
        if augmenting and self.n_draws == "orbit":
            moved = [drawn.features for _, drawn in orbit_draws(self.augmentation, X)]
        elif augmenting:
            moved = [augment(self.augmentation, X, seed=self._seed).features]
        elif variation.augmented is not None:
            given = variation.augmented
            moved = [given] if sparse.issparse(given) else [given[:, 0]]
        else:
            return X
        if any(sparse.issparse(part) for part in moved):
            return sparse.vstack([*moved, sparse.csr_array(X)], format="csr")
        return np.vstack([*moved, X.toarray() if sparse.issparse(X) else X])

    def _start_seed(self) -> None:
        self._seed = root_seed(self.random_state)

    # ------------------------------------------------------------------ solution

    def _known_covariance(self, penalty: str) -> Array | None:
        if penalty == "analytic" or (penalty == "constrained" and not self._source.draws_pairs):
            return known_covariance(self.augmentation, self.n_features_in_)
        return None

    def _problem_of(self, moments: Moments, variation: Variation, n_draws: int, *, warn: bool = True) -> LinearProblem:
        """Normal equations of these moments under the estimator's parameters."""
        penalty, reduction = variation.penalty, None
        if penalty in ("projected", "paired"):
            reduction = reduce_parameters(
                moments,
                centred=self.fit_intercept,
                rank_tol=self.rank_tol,
                names=self._parameter_names(moments, variation),
                warn=warn,
                n_points=moments.n_rows * n_draws,
            )
        return solve(
            moments,
            penalty=penalty,
            ridge=float(self.ridge),
            rank_tol=float(self.rank_tol),
            fit_intercept=self.fit_intercept,
            feature_names=self._coef_names(moments.layout.features),
            known=self._known_covariance(penalty),
            reduction=reduction,
        )

    def _draws_per_row(self, variation: Variation) -> int:
        if variation.augmented is not None:
            return 1 if sparse.issparse(variation.augmented) else int(variation.augmented.shape[1])
        if variation.kind != "augmentation" or not self._source.draws_pairs:
            return 1
        if self.n_draws == "orbit":
            return len(self.augmentation.orbit(self.n_features_in_)[1])
        return int(self.n_draws)

    def _coef_names(self, n_coef: int) -> list[str]:
        names = getattr(self, "feature_names_in_", None)
        inputs = [f"x{j}" for j in range(self.n_features_in_)] if names is None else [str(name) for name in names]
        feature_map = self._source.feature_map
        if feature_map is None:
            return inputs
        if hasattr(feature_map, "get_feature_names_out"):
            return [str(name) for name in feature_map.get_feature_names_out()]
        return [f"map{j}" for j in range(n_coef)]

    def _parameter_names(self, moments: Moments, variation: Variation) -> list[str]:
        k = moments.layout.parameters
        if len(variation.instrument_names) == k:
            return list(variation.instrument_names)
        if self._is_object():
            return [str(name) for name in self.augmentation.parameter_names(self.n_features_in_)]
        return [f"g{j}" for j in range(k)]

    def _finish(
        self,
        moments: Moments,
        problem: LinearProblem,
        alpha: float,
        variation: Variation,
        exogenous_names: list[str],
        n_draws: int,
    ) -> None:
        """Set every fitted attribute."""
        _refuse_under_identified(problem, alpha, variation)
        refuse_all_moved(problem, alpha)
        coef = problem.coef(alpha)
        if moments.layout.controls:
            controls = exogenous_coef(problem, moments, coef)
            self.exogenous_coef_ = controls[:, 0] if self._single_output else controls.T
        elif hasattr(self, "exogenous_coef_"):
            del self.exogenous_coef_
        intercept = intercept_of(problem, moments, coef)
        self.coef_ = coef[:, 0] if self._single_output else coef.T
        self.intercept_ = float(intercept[0]) if self._single_output else intercept
        self.alpha_, self.penalty_, self.variation_ = alpha, problem.penalty, variation.kind
        self.eigenvalues_ = problem.spectrum.values
        self.moments_, self._problem = moments, problem
        self.n_samples_, self.n_draws_ = moments.n_rows, n_draws
        self.n_parameters_ = 0 if problem.reduction is None else problem.reduction.shape[1]
        if problem.reduction is None and moments.layout.parameters:
            self.n_parameters_ = parameter_rank(moments)
        self._exogenous_names = exogenous_names
        self._names = self._coef_names(moments.layout.features)
        # What later merging needs to know of the variation, without its rows.
        self._variation = replace(variation, augmented=None, parameters=None, instruments=None)

    def _warn_of_parameters(self, moments: Moments, variation: Variation) -> None:
        """Leaks of parameters that the user made, and parameters that do not move the mean of the features."""
        if variation.kind == "augmentation" and moments.layout.parameters:
            warn_of_parameters(moments, penalty=variation.penalty, augmentation=self.augmentation, stacklevel=4)

    def _is_object(self) -> bool:
        """Whether the augmentation has a law of its own, rather than being a function or absent."""
        return isinstance(self.augmentation, Augmenter) and not isinstance(self.augmentation, FunctionAugmenter)

    # ------------------------------------------------------------------ state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        for name in self._not_saved:
            state.pop(name, None)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Without draws, as where the covariance of the moves is known, nothing is filled.
        fills = self._is_object() and not self.augmentation.preserves_sparsity
        tags.input_tags.sparse = not fills or self.penalty in ("analytic", "constrained")
        return tags


def _as_table(X: Any) -> Any:
    return X if hasattr(X, "shape") else as_array(X, "X")


def _refuse_under_identified(problem: LinearProblem, alpha: float, variation: Variation) -> None:
    if variation.kind == "instruments" and alpha == 0 and problem.reduction is not None:
        k, p = problem.reduction.shape[1], len(problem.A)
        if k < p:
            raise UnderIdentifiedError(
                f"alpha=0 (two-stage least squares) needs at least as many instruments as features: rank {k} for "
                f"p = {p}. Use alpha > 0, or fewer columns of X."
            )
