"""What the linear estimators of the room share: rows in, moments, solution, prediction, path and inference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from causalkit.augmentation.arguments import Variation, check_same_rows, resolve_variation
from causalkit.augmentation.augmenters.base import Augmenter, FunctionAugmenter
from causalkit.augmentation.bounds import Breakdown, IdentifiedBounds, breakdown, identified_bounds
from causalkit.augmentation.diagnostics import AugmentationDiagnostics, diagnose
from causalkit.augmentation.draws import augment, known_covariance, orbit_draws
from causalkit.augmentation.immutable_augmenter import ImmutableAugmenterMixin
from causalkit.augmentation.inference import bootstrap_result, influence_result
from causalkit.augmentation.influence import influence_values
from causalkit.augmentation.linear_inputs import (
    FitInput,
    check_alphas,
    check_feature_map,
    read_chunks,
    refuse_one_cluster,
    refuse_other_names,
)
from causalkit.augmentation.moments import Moments
from causalkit.augmentation.pairs import PairSource, Rows, mapped_rows
from causalkit.augmentation.parameter_warnings import warn_of_parameters
from causalkit.augmentation.path import AlphaPath
from causalkit.augmentation.solution import (
    LinearProblem,
    exogenous_coef,
    intercept_of,
    parameter_rank,
    reduce_parameters,
    refuse_all_moved,
    solve,
)
from causalkit.exceptions import (
    InferenceUnavailableError,
    MethodNotApplicableError,
    UnderIdentifiedError,
)
from causalkit.inference.covariance import influence_covariance
from causalkit.validation import (
    check_choice,
    check_groups,
    check_integer,
    check_matrix,
    check_sample_weight,
)

if TYPE_CHECKING:
    from causalkit.inference import InferenceResult
    from causalkit.validation import Groups

__all__ = ["DEFAULT_ALPHAS", "BaseIVLikeRegressor"]

Array = NDArray[np.float64]

DEFAULT_ALPHAS = np.logspace(-4, 2, 61)


# Squared correlations are at most 1, and so known to about 1e-16: below this the limit is not told from rounding.
_LIMIT_ALPHA = 1e-10


class BaseIVLikeRegressor(ImmutableAugmenterMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Shared parts of :class:`IVLikeRegressor` and :class:`IVLikeRegressorCV`."""

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
        variation = resolve_variation(
            _as_table(X),
            augmentation=self.augmentation,
            penalty=self.penalty,
            instruments=instruments,
            augmented=augmented,
            augmentation_parameters=augmentation_parameters,
        )
        check_same_rows(X, y=y, exogenous=exogenous, sample_weight=sample_weight, groups=groups)
        features, outcome = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=True,
            dtype=[np.float64, np.float32],
            reset=reset,
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
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))

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

    # ------------------------------------------------------------------ prediction

    def predict(self, X: Any, *, exogenous: Any = None) -> Array:
        """Prediction X h + W δ + intercept for features as they are; no augmentation takes part.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, p)
            Features.
        exogenous : array-like, shape (n, e), optional
            Controls, needed if the fit had any.

        Returns
        -------
        ndarray, shape (n,) or (n, t)
        """
        check_is_fitted(self)
        # One order in memory, so that frames and arrays give the same last digit.
        table = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", reset=False)
        if self._source.feature_map is not None:
            table = mapped_rows(self._source.feature_map, table)
        fitted = table @ np.atleast_2d(self.coef_).T + self.intercept_
        has_controls = hasattr(self, "exogenous_coef_")
        if has_controls and exogenous is None:
            raise ValueError(
                f"exogenous is missing: the fit used the controls {self._exogenous_names}; pass these columns."
            )
        if exogenous is not None:
            if not has_controls:
                raise ValueError("exogenous was given, but the fit had no controls: leave it out.")
            controls, names = check_matrix(exogenous, "exogenous", n_rows=table.shape[0], like="X")
            check_same_rows(X, exogenous=exogenous)
            if controls.shape[1] != len(self._exogenous_names):
                raise ValueError(
                    f"exogenous has {controls.shape[1]} columns, expected {len(self._exogenous_names)}: "
                    f"{self._exogenous_names}."
                )
            refuse_other_names("exogenous", self._exogenous_names, names)
            fitted = fitted + controls @ np.atleast_2d(self.exogenous_coef_).T
        return np.asarray(fitted[:, 0] if self._single_output else fitted)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, exogenous: Any = None) -> float:
        """R² of the prediction on the rows as given.

        It measures prediction in the distribution of these rows, not causal risk: a fit that is closer to the
        effect of X usually has a lower score.

        Parameters
        ----------
        X, y : array-like
            Features and outcome.
        sample_weight : array-like, shape (n,), optional
            Weights.
        exogenous : array-like, shape (n, e), optional
            Controls, needed if the fit had any.

        Returns
        -------
        float
        """
        from sklearn.metrics import r2_score

        check_same_rows(X, y=y, sample_weight=sample_weight)
        return float(r2_score(y, self.predict(X, exogenous=exogenous), sample_weight=sample_weight))

    # ------------------------------------------------------------------ results

    def path(self, alphas: Any = None) -> AlphaPath:
        """Coefficients, risk and penalty over alphas, from the factorisation of the fit.

        Parameters
        ----------
        alphas : array-like, shape (m,), optional
            Values in [0, inf]; default 61 from 1e-4 to 100 on the log scale.

        Returns
        -------
        AlphaPath
        """
        check_is_fitted(self)
        grid = DEFAULT_ALPHAS if alphas is None else check_alphas(alphas)
        if (grid == 0).any():
            refuse_all_moved(self._problem, 0.0)
        return self._problem.path(grid, self.moments_, self._names, self._single_output)

    def inference(self, *, method: str = "influence", n_bootstrap: int = 999, chunks: Any = None) -> InferenceResult:
        r"""Estimates with standard errors: of the pseudo-true coefficients at the fit's alpha.

        The target is h_α of the population, which differs from the effect f by the bias that is left at this
        alpha; no interval here covers f as such. The covariance is :math:`n^{-2}\sum_u \psi_u\psi_u'` over units
        u: rows, or ``groups`` of the fit. The draws of a row are averaged first.

        Parameters
        ----------
        method : {"influence", "refit"}, default="influence"
            "influence" uses influence values. "refit" resamples units and draws the augmentation anew in every
            replicate.
        n_bootstrap : int, default=999
            Replicates of "refit".
        chunks : iterable, optional
            The rows again, needed after ``partial_fit``, ``merge`` or loading, which do not keep them: an iterable of
            tuples (X, y) or of dictionaries with the arguments of ``partial_fit``. An iterator that can be read
            once is enough.

        Returns
        -------
        InferenceResult
            Named intercept, features, controls.

        Raises
        ------
        InferenceUnavailableError
            The rows are not at hand, or other rows were passed; ``penalty="projected"`` at alpha = 0 with fewer
            parameters than features.
        """
        check_is_fitted(self)
        check_choice(method, "method", ("influence", "refit"))
        fewer = self.n_parameters_ < len(self._problem.A)
        if self.penalty_ == "projected" and fewer and self.alpha_ <= _LIMIT_ALPHA:
            raise InferenceUnavailableError(
                f"at alpha={self.alpha_:.3g} the {self.n_parameters_} parameters leave the {len(self._problem.A)} "
                f"coefficients to the limit of a path, which has no standard error: use alpha > 0, above "
                f"{_LIMIT_ALPHA:g}."
            )
        rows, groups = self._rows_for_inference(chunks)
        names = self._result_names()
        if method == "influence":
            result = influence_result(
                self._problem, self.moments_, self._source, rows, self.alpha_, groups, names, self._single_output
            )
        else:
            check_integer(n_bootstrap, "n_bootstrap", low=2)
            result = bootstrap_result(self, rows, groups, names, n_bootstrap)
        note = f"{result.dependence}; target: coefficients at alpha={self.alpha_:.4g}, not the causal effect itself"
        return replace(result, dependence=note + self._selection_note())

    def _selection_note(self) -> str:
        return ""

    def _result_names(self) -> list[str]:
        names = [*(["intercept"] if self.fit_intercept else []), *self._names]
        if hasattr(self, "exogenous_coef_"):
            names += self._exogenous_names
        return names

    def _rows_for_inference(self, chunks: Any) -> tuple[list[Rows], Groups | None]:
        if chunks is None:
            held = getattr(self, "_held", None)
            if held is None:
                raise InferenceUnavailableError(
                    "the rows are not at hand: an estimator that was streamed, merged or loaded keeps moments only. "
                    "Pass them again: inference(chunks=[(X, y), ...])."
                )
            self._check_rows([held.rows], "X or y was changed after fit")
            return [held.rows], held.groups
        rows: list[Rows] = []
        labels: list[Any] = []
        for arguments in read_chunks(chunks):
            first_row = arguments.pop("first_row", sum(r.n for r in rows))
            given = self._read(**arguments, first_row=first_row, reset=False)
            self._refuse_other_columns(given)
            rows.append(given.rows)
            labels.append(None if given.groups is None else given.groups.labels[given.groups.codes])
        self._check_rows(rows, "chunks are other rows than those of the fit")
        without = [number for number, label in enumerate(labels) if label is None]
        if len(without) == len(labels):
            return rows, None
        if without:
            raise ValueError(f"chunks[{without[0]}] has no groups, but others have: pass groups with all of them.")
        groups = check_groups(np.concatenate(labels), sum(r.n for r in rows))
        refuse_one_cluster(groups)
        return rows, groups

    def _refuse_other_columns(self, given: FitInput) -> None:
        """Refuse controls, instruments or parameters in another order of columns than in the fit."""
        if len(given.exogenous_names) == len(self._exogenous_names):
            refuse_other_names("exogenous", self._exogenous_names, given.exogenous_names)
        before, now = self._variation.instrument_names, given.rows.variation.instrument_names
        if len(before) == len(now):
            name = "instruments" if self.variation_ == "instruments" else "parameter"
            refuse_other_names(name, before, now)

    def _check_rows(self, rows: list[Rows], problem: str) -> None:
        """Compare count and means with the moments of the fit."""
        n = sum(r.n for r in rows)
        weights = [np.ones(r.n) if r.weight is None else r.weight for r in rows]
        total = sum(float(w.sum()) for w in weights)
        if n != self.moments_.n_rows or not total > 0:
            raise self._other_rows(problem, f"{self.moments_.n_rows} rows", f"{n} rows")
        # The means of mapped features would need the map of every row again.
        names = {"y": "outcome"} if self._source.feature_map is not None else {"y": "outcome", "X": "features"}
        for name, what in names.items():
            tables = [r.y if name == "y" else r.X for r in rows]
            mean = np.ravel(sum(w @ table for w, table in zip(weights, tables, strict=True)) / total)
            expected = self.moments_.average(name)
            spread = np.sqrt(np.clip(np.diag(self.moments_.second(name, name, partial=False)), 0.0, None))
            if (np.abs(mean - expected) > 1e-8 * (spread + np.abs(mean) + spread.max())).any():
                raise self._other_rows(problem, f"{what} of mean {expected}", str(mean))

    def _other_rows(self, problem: str, expected: str, got: str) -> InferenceUnavailableError:
        return InferenceUnavailableError(
            f"{problem}: expected {expected}, got {got}. Pass exactly the rows, weights and order of the fit."
        )

    def _breakdown(self, moments: Moments, penalty: str | None = None) -> Breakdown:
        """Least squares with and without the invariance, from moments."""
        p = moments.layout.features
        known = self._known_covariance(self.penalty_ if penalty is None else penalty)
        if known is not None:
            B = known
        elif moments.layout.moves:
            B = moments.second("d", "d", centred=False, partial=False)
        else:
            B = np.zeros((p, p))
        return breakdown(
            moments,
            B,
            ridge=float(self.ridge),
            rank_tol=float(self.rank_tol),
            centred=self.fit_intercept,
            names=self._coef_names(p),
        )

    def _ols_covariance(self, parts: Breakdown, outcome: int) -> tuple[Array, bool]:
        """Covariance of least squares on the features as they are; False where the rows are not at hand."""
        held = getattr(self, "_held", None)
        if held is None:
            return parts.inverse * parts.noise[outcome] / self.moments_.n_rows, False
        unmoved = np.zeros((len(self._names), len(self._names)))
        options = {"ridge": float(self.ridge), "rank_tol": 0.0, "fit_intercept": self.fit_intercept}
        # Within null(0), which is everything, the constrained fit is least squares.
        plain = solve(self.moments_, penalty="constrained", feature_names=self._names, known=unmoved, **options)
        influence = influence_values(plain, self.moments_, self._source, [held.rows], 1.0, outcome)
        first = int(self.fit_intercept)
        values = influence[:, first : first + len(self._names)]
        return influence_covariance(values, groups=held.groups), True

    def diagnostics(self) -> AugmentationDiagnostics:
        """Relevance, moved directions, leak and spuriousness tests, breakdown value; see the class for each.

        Returns
        -------
        AugmentationDiagnostics
        """
        check_is_fitted(self)
        return diagnose(self)

    def bounds(self, r2_max: float, *, contrast: Any = None, n_bootstrap: int = 0) -> IdentifiedBounds:
        r"""Bounds on the effect if confounding explains at most a share ``r2_max`` of the outcome's noise.

        Parameters
        ----------
        r2_max : float in [0, 1)
            Largest share of Var(ξ), ξ = y - f(X), that X explains.
        contrast : array-like, shape (r, p) or (p,), optional
            Linear combinations of the effect; default each coefficient.
        n_bootstrap : int, default=0
            Refits of resampled units, with new draws, for standard errors of both ends; 0 leaves them out.

        Returns
        -------
        IdentifiedBounds

        Notes
        -----
        c'f lies in :math:`c'h_0 \pm \sqrt{(\rho^2 - q)\,c'N(N'AN)^{-1}N'c}` with ρ² = σ²·r2_max/(1 - r2_max), h_0
        least squares within the null space N of the moves, and q and σ² as in :meth:`diagnostics`. The derivation is
        this library's; bounds of this kind, from symmetries and partial R², are in related work of the method's
        authors.
        """
        check_is_fitted(self)
        return identified_bounds(self, r2_max, contrast, n_bootstrap)

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
    return X if hasattr(X, "shape") else np.asarray(X)


def _refuse_under_identified(problem: LinearProblem, alpha: float, variation: Variation) -> None:
    if variation.kind == "instruments" and alpha == 0 and problem.reduction is not None:
        k, p = problem.reduction.shape[1], len(problem.A)
        if k < p:
            raise UnderIdentifiedError(
                f"alpha=0 (two-stage least squares) needs at least as many instruments as features: rank {k} for "
                f"p = {p}. Use alpha > 0, or fewer columns of X."
            )
