"""Augmented inverse-probability weighting of a corrected outcome, cross-fitted once for all columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.crossfit import CrossFitter, Nuisance
from causalkit.debiasing.basis import Basis
from causalkit.debiasing.downstream import TrialRows, contrast_names, sum_of_squares, weighting_functional
from causalkit.validation import Treatment

__all__ = ["DoublyRobustFunctional"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


class DoublyRobustFunctional:
    """AIPW contrasts τ_l = mean[m_l(X) - m_0(X) + 1{A=l}(Y - m_l)/e_l - 1{A=0}(Y - m_0)/e_0].

    One split serves every basis column, and the treatment model is fitted once. The outcome model is
    fitted to all columns as a multi-output regression where it can, else column by column.

    Parameters
    ----------
    treatment : Treatment
        Coded treatment.
    confounders : ndarray, shape (n, p)
        Covariates X.
    propensity : ndarray, shape (n, L), optional
        Known probabilities; otherwise ``treatment_model`` is cross-fitted.
    rows : TrialRows
        Weights and clusters.
    outcome_model, treatment_model : estimator
        Nuisance models, cloned.
    splitter : CrossFitter
        Splits and parallelism.
    clip : callable
        Applied to estimated propensities; warns about overlap.
    """

    def __init__(
        self,
        treatment: Treatment,
        confounders: Array,
        propensity: Array | None,
        rows: TrialRows,
        *,
        outcome_model: Any,
        treatment_model: Any,
        splitter: CrossFitter,
        clip: Any,
    ) -> None:
        self.treatment, self.confounders, self.rows = treatment, confounders, rows
        self.outcome_model, self.splitter = outcome_model, splitter
        self.names = contrast_names(treatment.levels)
        groups = None if rows.groups is None else rows.groups.codes
        self._labels = {"groups": groups, "stratify": treatment.codes if groups is None else None}
        if propensity is None:
            nuisance = Nuisance(
                "treatment", treatment_model, treatment.codes, method="predict_proba", sample_weight=rows.weight
            )
            fitted = splitter.predict([nuisance], confounders, **self._labels)
            propensity = clip(fitted.predictions["treatment"].mean(axis=0))
        self.propensity = propensity
        self._fitted: dict[int, tuple[Array, Array]] = {}

    @property
    def weights(self) -> Array:
        """First-order weights, those of Horvitz-Thompson, shape (n, q).

        The derivative in the outcome model vanishes in expectation at the true propensity (Neyman
        orthogonality), which leaves the weights of the residual term.
        """
        return weighting_functional(self.treatment, self.propensity, self.rows, normalised=False).weights

    def project(self, basis: Basis, x: Array, cells: Codes | None) -> Array:
        """Estimates of every basis column, Δ, shape (J, q)."""
        scores = self._scores(basis, x, cells)
        share = self._share()
        return np.einsum("i,ijq->jq", share, scores)

    def covariance(self, basis: Basis, x: Array, coef: Array, cells: Codes | None) -> Array:
        """Covariance of τ(h(x)'θ) with θ fixed, shape (q, q)."""
        return sum_of_squares(self.contributions(basis, x, coef, cells), self.rows.groups)

    def contributions(
        self, basis: Basis, x: Array, coef: Array, cells: Codes | None, out: Array | None = None
    ) -> Array:
        """Additive parts of the error of τ(h(x)'θ) with θ fixed, shape (n, q)."""
        values = np.einsum("ijq,j->iq", self._scores(basis, x, cells), coef)
        share = self._share()[:, None]
        centred = self.rows.finish(share * (values - (share * values).sum(axis=0)), self.rows.factor(1))
        if out is None:
            return centred
        out[...] = centred
        return out

    def _share(self) -> Array:
        weight = self.rows.weight
        return np.full(self.rows.n, 1.0 / self.rows.n) if weight is None else weight / weight.sum()

    def _scores(self, basis: Basis, x: Array, cells: Codes | None) -> Array:
        """Uncentred doubly robust scores of each column, shape (n, J, q)."""
        key = id(basis)
        if key not in self._fitted:
            columns = basis.design(x, cells)
            self._fitted[key] = (columns, self._outcome_scores(columns))
        return self._fitted[key][1]

    def _outcome_scores(self, columns: Array) -> Array:
        n_arms = len(self.treatment.levels)
        constant = np.ptp(columns, axis=0) == 0
        varying = columns[:, ~constant]
        nuisances = [
            Nuisance(
                f"outcome[{level}]",
                self.outcome_model,
                varying if varying.shape[1] > 1 else varying[:, 0],
                train_mask=self.treatment.codes == level,
                sample_weight=self.rows.weight,
            )
            for level in range(n_arms)
        ]
        fitted = self.splitter.predict(nuisances, self.confounders, **self._labels).predictions
        arms = []
        for level in range(n_arms):
            mean = fitted[f"outcome[{level}]"].mean(axis=0).reshape(self.rows.n, -1)
            model = np.where(constant, columns[0], 0.0) * np.ones((self.rows.n, 1))
            model[:, ~constant] = mean  # a constant column is its own best prediction
            mine = (self.treatment.codes == level) / self.propensity[:, level]
            arms.append(model + mine[:, None] * (columns - model))
        return np.stack([arm - arms[0] for arm in arms[1:]], axis=2)
