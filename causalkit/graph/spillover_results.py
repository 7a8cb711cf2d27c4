"""What a fitted learner of spillovers says: averages with intervals, overlap, tests, diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.exceptions import IdentificationError, MethodNotApplicableError
from causalkit.graph.diagnostics import overlap_table
from causalkit.graph.network_inference import NetworkInference
from causalkit.graph.spillover_fit import SpilloverRepeat, constant_fit
from causalkit.graph.spillover_inputs import ExposureSource, mapped_source
from causalkit.graph.spillover_moments import average_scores, require_variation
from causalkit.graph.spillover_reports import exposure_cells, levels_by_effect, summarise_spillover
from causalkit.graph.spillover_training import TrainingState, repeats_of
from causalkit.inference import FitSummary, InferenceResult
from causalkit.validation import check_choice, check_matrix, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SpilloverResults"]

Array = NDArray[np.float64]

_TARGETS = ("all", "treated", "control", "overlap")


class SpilloverResults(NetworkInference):
    """Results of :class:`SpilloverRLearner`; everything here reads what ``fit`` stored."""

    if TYPE_CHECKING:
        _interaction: bool
        _constant: bool
        effect_: Array
        effect_names_: tuple[str, ...]
        exposure_names_: tuple[str, ...]
        coef_: Array
        covariance_: Array
        scores_: Array
        exposure_: Array
        exposure_mean_: Array
        exposure_variance_: Array
        exposure_residual_: Array
        treatment_prediction_: Array
        treatment_residual_: Array
        clipped_share_: float
        fold_report_: Any
        selection_: Any
        treatment_levels_: Any
        _training: Any
        report_: Any
        _source: ExposureSource
        _influence: Array
        _residuals: Array
        _repeat_sd: Array
        _clipped: NDArray[np.bool_]
        _unclipped: Array
        _treatment: Array
        _columns: Any

        def _weights_of(self, effect: str, at: Any, source: Any, n: int, *, of_fit: bool) -> Array: ...

    # ------------------------------------------------------------------ averages

    def ate(
        self,
        effect: Any = "direct",
        *,
        at: Any = None,
        target: str = "all",
        dependence: str = "auto",
        bandwidth: Any = "auto",
    ) -> InferenceResult:
        r"""Average effects with standard errors that allow for dependence along the network.

        Averages are means of a'Γ, a being the vector with effect = a'β. With ``final_model="constant"`` effects are
        taken to be constant, and the average is that of :math:`a'\hat\beta`, which is more precise. Nodes that no
        treatment can reach count for the direct and the total effect, not for a spillover.

        Parameters
        ----------
        effect : {"direct", "spillover", "spillover_<exposure>", "total"} or a list of these, default="direct"
            Several give one result with their joint covariance.
        at : float, array-like or dict of these by effect, optional
            With interaction: exposure for "direct" (number, or one per node), own treatment for a spillover. By
            default their expectation given covariates. Both kinds together need a dict, such as
            ``{"direct": 0.5, "spillover": 1}``.
        target : {"all", "treated", "control", "overlap"}, default="all"
            Whom to average over; "overlap" weights by e(1 - e).
        dependence, bandwidth
            As in :func:`causalkit.inference.network_covariance`.

        Returns
        -------
        InferenceResult
        """
        check_is_fitted(self)
        check_choice(target, "target", _TARGETS)
        effects = list(effect) if isinstance(effect, list | tuple) else [effect]
        if not effects:
            raise ValueError('effect is empty: expected at least one effect, such as "direct".')
        levels = levels_by_effect({name: self._effect_kind(name) for name in effects}, at, self._interaction)
        self._same_rows(**{"at" if name == "at" else f"at[{name!r}]": level for name, level in levels.items()})
        found = [self._average(name, levels.get(name, levels.get("at")), target) for name in effects]
        covariance = self._network_covariance(np.column_stack([psi for _, psi in found]), dependence, bandwidth)
        return covariance.to_result(
            np.array([value for value, _ in found]),
            effects,
            n_obs=len(self.effect_),
            sample=getattr(self, "_sample", None),
        )

    def _average(self, effect: str, at: Any, target: str) -> tuple[float, Array]:
        kind = self._effect_kind(effect)
        n = len(self.effect_)
        a = self._weights_of(kind, at, self._source, n, of_fit=True)
        include = None
        if kind.startswith("spillover"):
            include = self._reached()[:, int(kind.removeprefix("spillover"))]
        options: dict[str, Any] = {"target": target, "sample_weight": self._weight, "include": include}
        if not self._constant:
            found = average_scores(
                self.scores_, self.effect_, a, self._treatment, self.treatment_prediction_, **options
            )
            return found.estimate, found.influence
        # The mean of a over the target: with a known β the scores are a'β themselves.
        mean = [
            average_scores(column, column, np.ones((n, 1)), self._treatment, self.treatment_prediction_, **options)
            for column in (a[:, [j]] for j in range(a.shape[1]))
        ]
        weights = np.array([one.estimate for one in mean])
        return float(weights @ self.coef_), self._influence @ weights

    def _effect_kind(self, effect: Any) -> str:
        names = ["direct", "total", "spillover"]
        if len(self.exposure_names_) > 1:
            names = ["direct", "total", *(f"spillover_{name}" for name in self.exposure_names_)]
        check_choice(effect, "effect", tuple(names))
        if effect in ("direct", "total"):
            return str(effect)
        return "spillover0" if effect == "spillover" else f"spillover{names.index(effect) - 2}"

    def _exposure_number(self, exposure: Any) -> int:
        check_choice(exposure, "exposure", (*range(len(self.exposure_names_)), *self.exposure_names_))
        return int(exposure) if not isinstance(exposure, str) else self.exposure_names_.index(exposure)

    def _level(self, effect: str, at: Any, n: int, *, of_fit: bool) -> Array:
        """Exposure g of a direct effect, shape (n, J), or treatment t of a spillover, shape (n,)."""
        direct = effect == "direct"
        count = len(self.exposure_names_)
        if at is None:
            if not of_fit:
                raise ValueError(
                    f"at is missing: with interaction the {'direct effect' if direct else 'spillover'} depends on "
                    f"{'the exposure' if direct else 'own treatment'}, whose expectation is known at the rows of the "
                    "fit only. Pass at=."
                )
            return self.exposure_mean_.reshape(n, count) if direct else self.treatment_prediction_
        if np.ndim(at) == 0:
            value = check_vector([at], "at")[0]
            return np.full((n, count) if direct else n, value)
        if not direct:
            return check_vector(at, "at", n_rows=n, like="X")
        levels, _ = check_matrix(at, "at", n_rows=n, like="X")
        if levels.shape[1] != count:
            raise ValueError(f"at has {levels.shape[1]} columns, expected one for each of the {count} exposures.")
        return levels

    def _reached(self) -> NDArray[np.bool_]:
        """Whether any treatment can reach a node, per exposure, shape (n, J)."""
        return self.exposure_variance_.reshape(len(self.effect_), -1) > 0

    # ------------------------------------------------------------------ checks

    def overlap(self) -> pd.DataFrame:
        """Propensities and exposures where they leave something to compare: all nodes, and by exposure cell.

        Returns
        -------
        DataFrame
            One row per cell of the first exposure: ``n``, ``outside_05``, ``outside_01``, ``clipped``, ``n_<level>``
            and ``ess_<level>`` per arm, and ``exposure_variance``, the variance of the exposure given covariates over
            its variance among all nodes.
        """
        check_is_fitted(self)
        n = len(self.effect_)
        exposure, variance = self.exposure_.reshape(n, -1)[:, 0], self.exposure_variance_.reshape(n, -1)[:, 0]
        cells, labels = exposure_cells(exposure, self._reached()[:, 0])
        e = self.treatment_prediction_
        table = overlap_table(
            np.column_stack([1 - e, e]),
            self._treatment.astype(np.intp),
            self._clipped,
            cells,
            labels,
            self.treatment_levels_,
            self._unclipped,
            self._weight,
        )
        inside = [np.ones(n, dtype=bool), *(cells == k for k in range(len(labels)))]
        table["exposure_variance"] = [float(variance[rows].mean() / exposure.var()) for rows in inside]
        return table

    def two_hop_test(self, *, dependence: str = "auto", bandwidth: Any = "auto") -> pd.DataFrame:
        """Whether treatments two steps away matter beside the exposure.

        The share of treated nodes at exactly two steps joins the constant-effect fit as a further exposure; its
        coefficient is 0 if the mapping is right.

        Returns
        -------
        DataFrame
            One row per coefficient, ``two_hop_share`` last: estimate, std_error, statistic, pvalue, lower, upper.

        Raises
        ------
        ValueError
            The rows do not cover the nodes at two steps, or the share is an exposure already.
        IdentificationError
            No node has others at exactly two steps.
        """
        check_is_fitted(self)
        if "two_hop_share" in self.exposure_names_:
            raise ValueError("two_hop_share is an exposure of this fit already: read its coefficient in coef_.")
        source = mapped_source(self.graph_, self.positions_, "two_hop_share")
        found = source.moments(self._treatment, self.treatment_prediction_, 0)
        columns = np.hstack([self._residuals, found.values - found.mean])
        names = (*self.effect_names_, "two_hop_share")
        moment = columns.T @ columns / len(columns)
        raw = np.append(np.diag(moment)[:-1], found.values.var())
        if not found.unit.any():
            raise IdentificationError("no node has others at exactly two steps: there is nothing to test.")
        require_variation(moment, names, raw)
        repeat = SpilloverRepeat(self.outcome_residual_, self.treatment_prediction_, columns, found)
        fit = constant_fit([repeat], self._weight)
        covariance = self._network_covariance(fit.influence, dependence, bandwidth, reach=2)
        table = covariance.to_result(fit.coef, names, n_obs=len(columns)).summary()
        table.attrs["dependence"] = covariance.dependence
        return table

    def negative_control(self, y_placebo: Any, *, dependence: str = "auto", bandwidth: Any = "auto") -> InferenceResult:
        """Constant effects on an outcome that the treatments cannot have moved, such as one measured before them.

        The outcome model is fitted anew, with the same folds and propensities. Effects that differ from 0 point to
        confounding, such as friends who resemble one another.

        Parameters
        ----------
        y_placebo : array-like, shape (n,)
            The outcome, one value per row of the fit.
        dependence, bandwidth
            As in :meth:`ate`.

        Returns
        -------
        InferenceResult
            One estimate per column of ``effect_``.

        Raises
        ------
        MethodNotApplicableError
            The learner was loaded from a file, which does not hold the rows of the fit.
        """
        check_is_fitted(self)
        self._same_rows(y_placebo=y_placebo)
        outcome = check_vector(y_placebo, "y_placebo", n_rows=len(self.effect_), like="the fit")
        state = self._state("negative_control")
        repeats = repeats_of(state, outcome, interaction=self._interaction)
        fit = constant_fit(repeats, self._weight)
        covariance = self._network_covariance(fit.influence, dependence, bandwidth)
        return covariance.to_result(fit.coef, self.effect_names_, n_obs=len(outcome))

    def calibration(self, *, bandwidth: Any = "auto") -> pd.DataFrame:
        """Whether the effects are right on average, and whether their differences are real.

        See :func:`causalkit.selection.calibration_test`; the effects of all columns are added up.
        """
        check_is_fitted(self)
        return self._calibration(self._residuals, bandwidth)

    def residual_dependence(self) -> pd.DataFrame:
        r"""What residuals still have to do with neighbours: Moran's I, and correlations with hop columns.

        The outcome's residual is taken less the constant effects, :math:`\tilde Y - R'\hat\beta`: a spillover makes
        outcomes of neighbours alike, and is no sign of confounding.

        Returns
        -------
        DataFrame
            Rows ``outcome`` and ``treatment``; ``moran_i``, ``moran_pvalue``, ``largest``, ``column``, ``pvalue``.
        """
        check_is_fitted(self)
        state = self._state("residual_dependence")
        named = {
            "outcome": self.outcome_residual_ - self._residuals @ self.coef_,
            "treatment": self.treatment_residual_,
        }
        return self._residual_table(named, state.data.sets.columns, self._columns.names)

    def diagnostics(self) -> pd.DataFrame:
        """The numbers to look at before believing the others, one per row, with what is good.

        Returns
        -------
        DataFrame
            Columns ``value`` and ``reading``.
        """
        import pandas as pd

        check_is_fitted(self)
        rows: dict[str, tuple[float, str]] = {
            "clipped share": (self.clipped_share_, "above .05 overlap is thin"),
            "smallest training share": (float(self.fold_report_["train_share"].min()), "1 without a buffer"),
            "best held-out R-score": (float(self.selection_["r_score"].max()), "0 is a constant effect"),
            "isolates": (float(self.report_["isolates"].iloc[0]), "they count for the direct effect only"),
        }
        for found in self.report_.itertuples():
            rows[f"residual variance, {found.exposure}"] = (float(found.residual_variance), "near 0: nothing to learn")
        for name, spread in zip(self.effect_names_, self._repeat_sd, strict=True):
            shown = spread if len(self.folds_) > 1 else np.nan
            rows[f"spread over repeats, {name}"] = (float(shown), "large against the standard error: raise n_repeats")
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "reading"])

    def summary(self) -> FitSummary:
        """Average effects, how they were made, and the assumptions that they rest on."""
        check_is_fitted(self)
        return summarise_spillover(self)

    def _state(self, what: str) -> TrainingState:
        state: TrainingState | None = getattr(self, "_training", None)
        if state is None:
            raise MethodNotApplicableError(
                f"{what}() needs the rows of fit, which a saved file does not hold: fit again, or call it before "
                "saving."
            )
        return state
