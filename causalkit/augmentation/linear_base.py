"""What the fitted linear estimators of the room answer: predictions, path, intervals, diagnostics and bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.augmentation.arguments import check_same_rows
from causalkit.augmentation.bounds import Breakdown, IdentifiedBounds, breakdown, identified_bounds
from causalkit.augmentation.diagnostics import AugmentationDiagnostics, diagnose
from causalkit.augmentation.inference import bootstrap_result, influence_result
from causalkit.augmentation.influence import influence_values
from causalkit.augmentation.linear_fitting import IVLikeFitting
from causalkit.augmentation.linear_inputs import (
    FitInput,
    check_alphas,
    read_chunks,
    refuse_one_cluster,
    refuse_other_names,
)
from causalkit.augmentation.moments import Moments
from causalkit.augmentation.pairs import Rows, mapped_rows
from causalkit.augmentation.path import AlphaPath
from causalkit.augmentation.solution import (
    refuse_all_moved,
    solve,
)
from causalkit.exceptions import (
    InferenceUnavailableError,
)
from causalkit.inference.covariance import influence_covariance
from causalkit.validation import (
    check_choice,
    check_fit_table,
    check_groups,
    check_integer,
    check_matrix,
)

if TYPE_CHECKING:
    from causalkit.inference import InferenceResult
    from causalkit.validation import Groups

__all__ = ["DEFAULT_ALPHAS", "BaseIVLikeRegressor"]

Array = NDArray[np.float64]

DEFAULT_ALPHAS = np.logspace(-4, 2, 61)


# Squared correlations are at most 1, and so known to about 1e-16: below this the limit is not told from rounding.
_LIMIT_ALPHA = 1e-10


class BaseIVLikeRegressor(IVLikeFitting):
    """Shared parts of :class:`IVLikeRegressor` and :class:`IVLikeRegressorCV`."""

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
        table = check_fit_table(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", reset=False)
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
        at = f"coefficients at alpha={self.alpha_:.4g}" if self.variation_ != "none" else "least squares"
        note = f"{result.dependence}; target: {at}, not the causal effect itself"
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
