"""What a fitted GraphRLearner says beside averages: intervals of nodes, overlap, balance, diagnostics."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.exceptions import MethodNotApplicableError, NetworkDependenceWarning
from causalkit.graph.alignment import require_rows
from causalkit.graph.diagnostics import (
    balance_table,
    correlation_table,
    degree_groups,
    overlap_table,
)
from causalkit.graph.effect_intervals import (
    EffectInterval,
    SandwichMoments,
    half_sample_errors,
    interval_method,
    is_linear,
    model_limits,
    normal_limits,
    sandwich_covariance,
    sandwich_errors,
)
from causalkit.graph.features import check_features
from causalkit.graph.final_models import Residuals
from causalkit.graph.neighbourhoods import NodeFeatures
from causalkit.graph.pool import FeatureSets
from causalkit.graph.rlearner_predictions import RLearnerPredictions
from causalkit.graph.summaries import summarise_rlearner
from causalkit.inference import FitSummary
from causalkit.inference.result import check_confidence_level

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RLearnerResults"]

Array = NDArray[np.float64]


class RLearnerResults(RLearnerPredictions):
    """Results of :class:`GraphRLearner`; everything here reads what ``fit`` stored."""

    if TYPE_CHECKING:
        device: Any
        n_jobs: int | None
        verbose: int
        selection_: Any
        fold_report_: Any
        clipped_share_: float
        _not_saved: ClassVar[tuple[str, ...]]
        _sandwich: SandwichMoments | None
        _seed: int
        _n_bags: int
        _unclipped: Array
        _clipped: NDArray[np.bool_]
        _ate_by_repeat: Array

    # ------------------------------------------------------------------ intervals of nodes

    def effect_interval(
        self,
        X: Any = None,
        *,
        graph: Any = None,
        nodes: Any = None,
        exposure: Any = None,
        alpha: float = 0.05,
        T0: Any = 0,
        T1: Any = 1,
        method: str = "auto",
    ) -> EffectInterval:
        """Limits for the effect of single nodes; read ``method`` and ``heuristic`` of the result.

        A constant or linear final stage has an interval for the projection that it estimates. A final model with
        intervals of its own, such as a causal forest of econml, keeps them. Anything else is refitted on 100 random
        halves of clusters, which shows how much the effects move, without a promise to cover; that needs the rows of
        the fit, which a saved file does not hold.

        Parameters
        ----------
        X, graph, nodes, exposure, T0, T1
            As in :meth:`effect`.
        alpha : float, default=0.05
            One minus the level.
        method : {"auto", "sandwich", "model", "half_sample"}, default="auto"
            See above.

        Returns
        -------
        EffectInterval
            Unpacks as lower, upper, shape (m,) each.
        """
        check_is_fitted(self)
        require_rows(X, graph=graph, nodes=nodes, exposure=exposure)
        check_confidence_level(1 - alpha if isinstance(alpha, int | float) else alpha)
        contrast = self._treatment.contrast(T0, T1)
        chosen = interval_method(self._final, method, contrast)
        saved = self._sandwich if chosen == "sandwich" else None  # of a loaded learner, which has no rows
        if saved is not None and X is None:
            return EffectInterval(*normal_limits(self.effect(T0=T0, T1=T1), saved.row_errors(contrast), alpha), chosen)
        data = self._rows_of_fit("effect_interval") if X is None else self._new_rows(X, graph, nodes, exposure)
        columns = data.sets
        if chosen == "model":
            return EffectInterval(*model_limits(self._final, columns, contrast, alpha), chosen)
        center = self.effect(X, graph=graph, nodes=nodes, exposure=exposure, T0=T0, T1=T1)
        if chosen == "half_sample":
            error = self._half_sample_errors(columns, contrast)
        else:
            covariance = self._sandwich_covariance() if saved is None else saved.covariance
            error = sandwich_errors(self._final, columns, contrast, covariance)
        return EffectInterval(*normal_limits(center, error, alpha), chosen)

    def _sandwich_covariance(self) -> Array:
        training = self._rows_of_fit("effect_interval").sets
        return sandwich_covariance(
            self._final,
            training,
            self._residuals(),
            lambda values: self._network_covariance(values, "auto", "auto").cov,
        )

    def _half_sample_errors(self, columns: FeatureSets, contrast: Array) -> Array:
        training, residuals = self._rows_of_fit("effect_interval").sets, self._residuals()
        clusters = self._clusters()
        return half_sample_errors(
            self._final,
            training,
            residuals,
            np.arange(len(residuals.outcome)) if clusters is None else clusters,
            columns,
            contrast,
            seed=self._seed,
            device=self.device,
            n_bags=self._n_bags,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )

    # ------------------------------------------------------------------ diagnostics

    def overlap(self) -> pd.DataFrame:
        """Extreme propensities, clipped share and effective sample size per arm, for all nodes and by degree decile.

        Returns
        -------
        DataFrame
            ``n``, ``outside_05``, ``outside_01``, ``clipped``, and ``n_<level>``, ``ess_<level>`` per arm.
        """
        check_is_fitted(self)
        self._require_levels("overlap")
        groups, names = degree_groups(self.graph_.degree[self.positions_])
        codes = self._treatment.values.astype(np.intp)
        return overlap_table(
            self._probabilities,
            codes,
            self._clipped,
            groups,
            names,
            self.treatment_levels_,
            self._unclipped,
            self._weight,
        )

    def balance(self, X: Any = None) -> pd.DataFrame:
        """Differences between arms in own and neighbours' covariates, before and after weighting by 1/ê.

        Parameters
        ----------
        X : array-like or frame, shape (n, q), optional
            Other covariates of the same rows; those of ``fit`` without.

        Returns
        -------
        DataFrame
            Standardised mean differences; correlations with T and T̃ for a continuous treatment.
        """
        check_is_fitted(self)
        data = self._rows_of_fit("balance") if X is None else None
        values = data.values if data is not None else check_features(X)[0]
        self._same_rows(X=X)
        if len(values) != len(self.positions_):
            raise ValueError(
                f"X has {len(values)} rows, but fit had {len(self.positions_)}: pass other covariates of the same rows."
            )
        names = (
            list(self.hop_features_.get_feature_names_out())[: values.shape[1]] if X is None else check_features(X)[1]
        )
        full = np.zeros((self.graph_.n_nodes, values.shape[1]))
        if data is not None and data.graph.features is not None:  # neighbours that are not among the rows
            there = slice(None) if data.graph.feature_rows is None else data.graph.feature_rows
            full[there] = data.graph.features[there] - values.mean(axis=0)
        full[self.positions_] = values - values.mean(axis=0)
        neighbours = (self.graph_.adjacency("mean") @ full)[self.positions_]
        columns = np.hstack([values, neighbours])
        labels = [*map(str, names), *(f"neighbours' {name}" for name in names)]
        if self._treatment.levels is None:
            return correlation_table(columns, labels, self._treatment.values, self.treatment_residual_)
        codes = self._treatment.values.astype(np.intp)
        return balance_table(columns, labels, codes, self._probabilities, self.treatment_levels_, self._weight)

    def residual_dependence(self) -> pd.DataFrame:
        """What residuals still have to do with neighbours: Moran's I, and correlations with hop columns.

        Returns
        -------
        DataFrame
            Rows ``outcome`` and ``treatment`` (per level). The second test is the one that finds confounders of the
            neighbourhood that the nuisances have missed; Moran's I hardly moves with them.
        """
        check_is_fitted(self)
        data = self._rows_of_fit("residual_dependence")
        residual = self.treatment_residual_.reshape(len(self.positions_), -1)
        named = {"outcome": self.outcome_residual_}
        for number, column in enumerate(residual.T, start=1):
            named[_residual_name(self.treatment_levels_, number)] = column
        names = [str(name) for name in self.hop_features_.get_feature_names_out()]
        return self._residual_table(named, data.sets.columns[:, : len(names)], names)

    def diagnostics(self) -> pd.DataFrame:
        """The numbers to look at before believing the others, one per row, with what is good.

        Returns
        -------
        DataFrame
            Columns ``value`` and ``reading``.
        """
        import pandas as pd

        check_is_fitted(self)
        spread = self._ate_by_repeat.std(axis=0, ddof=1).max() if len(self._ate_by_repeat) > 1 else np.nan
        best = self.selection_["r_score"].max()
        rows = {
            "clipped share": (self.clipped_share_, "above .05 overlap is thin"),
            "smallest training share": (float(self.fold_report_["train_share"].min()), "1 without a buffer"),
            "best held-out R-score": (float(best), "0 is a constant effect"),
            "weight of the constant": (self._constant_weight(), "1 if no heterogeneity was found"),
            "ATE spread over repeats": (float(spread), "large against the standard error: raise n_repeats"),
        }
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "reading"])

    def summary(self) -> FitSummary:
        """Average effects, how they were made, and the assumptions that they rest on."""
        check_is_fitted(self)
        return summarise_rlearner(self)

    # ------------------------------------------------------------------ steps

    def _constant_weight(self) -> float:
        constant = self.selection_["candidate"] == "constant"
        return float(self.selection_.loc[constant, "weight"].sum())

    def _require_levels(self, what: str) -> None:
        if self._treatment.levels is None:
            raise MethodNotApplicableError(
                f"{what}() compares arms, but the treatment is continuous: look at treatment_residual_ instead."
            )

    def _residuals(self) -> Residuals:
        treatment = self.treatment_residual_.reshape(len(self.positions_), -1)
        unit = 1.0 if self._treatment.levels is not None else float(np.sqrt(np.mean(treatment**2)))
        return Residuals(self.outcome_residual_, treatment, self._weight, self._groups, unit)

    def _rows_of_fit(self, what: str) -> NodeFeatures:
        data: NodeFeatures | None = getattr(self, "_features", None)
        if data is None:
            raise MethodNotApplicableError(
                f"{what}() needs the covariates of fit, which a saved file does not hold: fit again, or call it "
                "before saving."
            )
        return data

    def _saved_state(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in self._not_saved}
        data = getattr(self, "_features", None)
        if data is not None and is_linear(self._final):
            # A file has no rows; what an interval needs of them is a matrix, and a variance per row.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NetworkDependenceWarning)  # said by effect_interval() before
                covariance = self._sandwich_covariance()
            n_effects = self._residuals().treatment.shape[1]
            state["_sandwich"] = SandwichMoments.of(self._final, data.sets, covariance, n_effects)
        return state


def _residual_name(levels: NDArray[Any] | None, number: int) -> str:
    return "treatment" if levels is None or len(levels) == 2 else f"treatment {levels[number]}"
