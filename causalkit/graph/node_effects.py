"""Averages, groups, rankings and policies from doubly robust scores of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.exceptions import MethodNotApplicableError
from causalkit.graph.network_inference import NetworkInference
from causalkit.graph.partition import partition
from causalkit.graph.scores import Averages, average_effects, clip_probabilities, doubly_robust_scores, of_levels, ratio
from causalkit.inference import InferenceResult
from causalkit.linear import weighted_least_squares
from causalkit.selection import TOCCurve, policy_value, targeting_policy, toc
from causalkit.selection.targeting_curve import ranks_within
from causalkit.validation import check_choice, check_integer, check_matrix, check_vector

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.graph.inputs import CodedTreatment

__all__ = ["NodeEffects"]

Array = NDArray[np.float64]

_LEAST_CLUSTERS, _MOST_CLUSTERS, _CLUSTER_ROWS = 50, 1000, 20
_TINY = 1e-9  # a probability of 0 has no inverse


class NodeEffects(NetworkInference):
    """Methods of a learner that has ``effect_``, ``scores_`` and residuals of its rows."""

    effect_: Array
    scores_: Array
    outcome_by_level_: Array | None
    outcome_prediction_: Array
    treatment_residual_: Array
    treatment_levels_: NDArray[Any] | None
    _clip: float
    _score_clip: float
    _outcome: Array
    _score_residual: Array | None
    _probabilities: Array
    _treatment: CodedTreatment

    # ------------------------------------------------------------------ averages

    def ate(self, *, target: str = "all", dependence: str = "auto", bandwidth: Any = "auto") -> InferenceResult:
        r"""Average effect, :math:`n^{-1}\sum_i \Gamma_i`, with an interval that respects the network.

        Parameters
        ----------
        target : {"all", "treated", "control", "overlap"}, default="all"
            Whom to average over. "overlap" weights by e(1 - e), by Var(T|x) with a continuous treatment: the effect
            that residuals identify best, and the answer where propensities come close to 0 or 1.
        dependence : {"auto", "iid", "network", "cluster", "degree"}, default="auto"
            How rows depend on one another, as in :func:`causalkit.inference.network_covariance`. "auto" is "cluster"
            with ``groups`` in ``fit``, else "network"; "cluster" without groups finds clusters in the network.
        bandwidth : int or "auto", default="auto"
            Distance up to which nodes count as dependent.

        Returns
        -------
        InferenceResult
            One estimate per level but the first; ``float(est.ate())`` where there is one.

        Notes
        -----
        The interval is for a wider population of such nodes on this network; for the average over exactly these nodes
        it is a little wide.
        """
        check_is_fitted(self)
        return self._averaged(self._averages(target), self._effect_names("ATE", target), dependence, bandwidth)

    def gate(
        self, by: Any, *, target: str = "all", dependence: str = "auto", bandwidth: Any = "auto"
    ) -> InferenceResult:
        r"""Average effects of groups, :math:`\sum_{i\in g}\Gamma_i/n_g`.

        Parameters
        ----------
        by : array-like, shape (n,), or int
            Group of each row, settled without looking at outcomes; or a number of groups of equal size by rank of
            ``effect_`` within the fold, the lowest first.
        target, dependence, bandwidth
            As in :meth:`ate`; only ``target="all"`` or "overlap".

        Returns
        -------
        InferenceResult
            One estimate per group (and level).
        """
        check_is_fitted(self)
        check_choice(target, "target", ("all", "overlap"))
        codes, labels = self._group_codes(by)
        everyone = self._averages(target)
        numerator, denominator = np.asarray(everyone.numerator), np.asarray(everyone.denominator)
        found, names = [], []
        for group, label in enumerate(labels):
            inside = (codes == group).astype(np.float64)[:, None]
            if not self._row_weights() @ (np.abs(denominator) * inside).max(axis=1) > 0:
                raise ValueError(
                    f"by: the rows of group {str(label)!r} have no weight, so that they have no average. Drop the "
                    "group, or give its rows weight."
                )
            part = ratio(numerator * inside, denominator * inside, self._weight)
            found.append(part)
            names += self._effect_names(str(label), "all")
        joined = Averages(
            np.concatenate([part.estimate for part in found]), np.hstack([part.influence for part in found])
        )
        return self._averaged(joined, names, dependence, bandwidth)

    def projection(self, features: Any, *, dependence: str = "auto", bandwidth: Any = "auto") -> InferenceResult:
        r"""Best linear projection of the effect, the least squares of Γ on (1, features).

        Parameters
        ----------
        features : array-like or frame, shape (n, q)
            Covariates of the rows, settled before treatment.
        dependence, bandwidth
            As in :meth:`ate`.

        Returns
        -------
        InferenceResult
            "intercept" and one slope per column.

        Raises
        ------
        ValueError
            More than one treatment effect, or columns that are linearly dependent.
        """
        check_is_fitted(self)
        scores = self._single(self.scores_, "projection")
        self._same_rows(features=features)
        Z, names = check_matrix(features, "features", n_rows=len(scores), like="X")
        design = np.column_stack([np.ones(len(Z)), Z])
        fit = weighted_least_squares(design, scores, self._weight)
        if fit.rank < design.shape[1]:
            raise ValueError(
                f"features has {Z.shape[1]} columns that are linearly dependent, with the constant: leave some out."
            )
        return self._averaged(Averages(fit.coef, fit.influence), ["intercept", *names], dependence, bandwidth)

    # ------------------------------------------------------------------ policies and rankings

    def policy_value(
        self,
        policy: Any,
        *,
        cost: Any = 0.0,
        baseline: Any = 0,
        dependence: str = "auto",
        bandwidth: Any = "auto",
    ) -> InferenceResult:
        r"""Gain per node of a policy over a baseline, :math:`n^{-1}\sum_i(\pi_i - \pi^0_i)(\Gamma_i - \text{cost})`.

        The value of treating some nodes while the others' treatments stay as they are: where treatments act on
        neighbours, use exposures and :class:`SpilloverRLearner` instead.

        Parameters
        ----------
        policy : array-like, shape (n,) or (n, L - 1)
            Probability of treatment of each row, in [0, 1].
        cost : float or array-like, default=0.0
            Cost of a treatment in units of the outcome.
        baseline : float or array-like, default=0
            Policy to compare with.
        dependence, bandwidth
            As in :meth:`ate`.

        Returns
        -------
        InferenceResult
        """
        check_is_fitted(self)
        self._same_rows(policy=policy, cost=cost, baseline=baseline)
        for name, value in (("policy", policy), ("cost", cost), ("baseline", baseline)):
            _check_numbers(value, name)
        plain = policy_value(policy, self.scores_, cost=cost, baseline=baseline, sample_weight=self._weight)
        influence = np.asarray(plain.influence_values)
        return self._averaged(Averages(plain.estimate, influence), list(plain.names), dependence, bandwidth)

    def targeting(self, budget: float, *, cost: Any = 0.0) -> pd.DataFrame:
        """Whom to treat with a limited budget, by out-of-fold effect net of cost, and what that is worth.

        Parameters
        ----------
        budget : float
            Largest share of nodes that may be treated, in (0, 1].
        cost : float, default=0.0
            Cost of a treatment in units of the outcome.

        Returns
        -------
        DataFrame
            Rows "targeted" and "at random" (the same share of all, drawn by lot), with ``share`` treated, ``value``
            per node, ``std_error``, ``lower``, ``upper`` (95 %). ``attrs["policy"]`` holds the probabilities, (n,).
        """
        import pandas as pd

        check_is_fitted(self)
        effect = self._single(self.effect_, "targeting")
        self._same_rows(cost=cost)
        _check_numbers(cost, "cost")
        chosen = targeting_policy(effect, budget, cost=cost, sample_weight=self._weight)
        share = float(np.average(chosen, weights=self._weight))
        rows = {}
        for name, policy in (("targeted", chosen), ("at random", np.full(len(chosen), share))):
            value = self.policy_value(policy, cost=cost)
            interval = value.conf_int().to_numpy()[0]
            rows[name] = {
                "share": share,
                "value": float(value.estimate[0]),
                "std_error": float(value.std_error[0]),
                "lower": float(interval[0]),
                "upper": float(interval[1]),
            }
        frame = pd.DataFrame.from_dict(rows, orient="index")
        frame.attrs["policy"] = chosen
        return frame

    def calibration(self) -> pd.DataFrame:
        """Whether the mean effect and the differences of effects are right, see :func:`calibration_test`.

        Returns
        -------
        DataFrame
            Rows ``mean_effect`` and ``heterogeneity``: slopes near 1 are right; the one-sided p-value of the second
            tests whether there is heterogeneity that the estimates have found.
        """
        check_is_fitted(self)
        return self._calibration(self.treatment_residual_)

    def toc(self, priorities: Any = None) -> TOCCurve:
        """Targeting curve: mean score of the nodes of highest priority, less that of all.

        Parameters
        ----------
        priorities : array-like, shape (n,), optional
            Not learned from the rows' outcomes; ``honest_effect_``, ranked within folds, without.

        Returns
        -------
        TOCCurve
            Standard errors from half-samples of clusters: ``groups`` of ``fit``, else parts of the network.
        """
        check_is_fitted(self)
        scores = self._single(self.scores_, "toc")
        own = priorities is None
        self._same_rows(priorities=priorities)
        values = (
            self._single(self.honest_effect_, "toc")
            if own
            else check_vector(priorities, "priorities", n_rows=len(scores))
        )
        return toc(
            scores,
            values,
            folds=self.folds_[0] if own else None,
            groups=self._clusters(),
            sample_weight=self._weight,
            random_state=0,
        )

    def rate(self, priorities: Any = None, *, metric: str = "autoc") -> InferenceResult:
        """Rank-weighted average effect: area under the targeting curve, 0 for a ranking by nothing that matters.

        Parameters
        ----------
        priorities : array-like, shape (n,), optional
            As in :meth:`toc`.
        metric : {"autoc", "qini"}, default="autoc"
            Area weighted equally, or by the share treated.

        Returns
        -------
        InferenceResult
        """
        check_choice(metric, "metric", ("autoc", "qini"))
        return self.toc(priorities).rate(metric)

    # ------------------------------------------------------------------ steps

    def _averages(self, target: str) -> Averages:
        coded = self._treatment
        check_choice(target, "target", ("all", "treated", "control", "overlap"))
        scores = self.scores_.reshape(len(self.folds_[0]), -1)
        if coded.levels is None:
            if target in ("treated", "control"):
                raise MethodNotApplicableError(
                    f'target="{target}" needs treatment levels, but the treatment is continuous: use "all" or '
                    '"overlap".'
                )
            if target == "overlap":
                treatment, outcome = self.treatment_residual_.reshape(-1, 1), np.asarray(self._score_residual)
                return ratio(treatment * outcome[:, None], treatment**2, self._weight)
            return ratio(scores, np.ones_like(scores), self._weight)
        codes = coded.values.astype(np.intp)
        overlap = target == "overlap"
        e = clip_probabilities(self._probabilities, max(self._clip, _TINY) if overlap else self._score_clip)[0]
        outcome, effect = self.outcome_prediction_, self.effect_.reshape(scores.shape)
        if self.outcome_by_level_ is not None:
            outcome, effect = of_levels(self.outcome_by_level_, e)
        if overlap:  # weights e(1 - e) cancel the 1/e of scores: both are of one e, and no wider clip is needed
            scores = doubly_robust_scores(self._outcome, codes, outcome, e, effect)
        return average_effects(target, self._outcome, codes, outcome, e, effect, scores, self._weight)

    def _averaged(self, found: Averages, names: list[str], dependence: str, bandwidth: Any) -> InferenceResult:
        covariance = self._network_covariance(found.influence, dependence, bandwidth)
        return covariance.to_result(found.estimate, names, n_obs=len(found.influence))

    def _effect_names(self, name: str, target: str) -> list[str]:
        words = name if target == "all" else f"{name} ({target})"
        levels = self.treatment_levels_
        if levels is None or len(levels) == 2:
            return [words]
        return [f"{words}, {level}" for level in levels[1:]]

    def _group_codes(self, by: Any) -> tuple[NDArray[np.intp], list[Any]]:
        import pandas as pd

        n = len(self.folds_[0])
        if isinstance(by, int | np.integer) and not isinstance(by, bool):
            number = check_integer(by, "by", low=2, high=n)
            ranks = ranks_within(self._single(self.effect_, "gate"), self.folds_[0], self._row_weights())
            codes = np.minimum((ranks * number).astype(np.intp), number - 1)
            if len(np.unique(codes)) < number:
                raise ValueError(
                    f"by={number}: effect_ has too few different values within a fold for {number} groups by rank"
                    f"{', the effect being constant' if len(np.unique(codes)) == 1 else ''}. Pass labels instead."
                )
            return codes, [f"group {g + 1} of {number}" for g in range(number)]
        self._same_rows(by=by)
        values = np.asarray(by.to_numpy() if hasattr(by, "to_numpy") else by)
        if values.shape != (n,):
            raise ValueError(
                f"by must hold one label per row, shape ({n},), or be a number of groups; got {values.shape}."
            )
        codes, labels = pd.factorize(values, sort=True)
        if (codes < 0).any():
            raise ValueError(f"by has {int((codes < 0).sum())} missing labels: give every row a group.")
        return codes.astype(np.intp), list(labels)

    def _row_weights(self) -> Array:
        return np.ones(len(self.positions_)) if self._weight is None else self._weight

    def _single(self, values: Array, what: str) -> Array:
        if values.ndim == 2:
            raise MethodNotApplicableError(
                f"{what}() is about one effect, but the treatment has {values.shape[1]} levels beside the reference: "
                "keep the rows of two levels."
            )
        return values

    def _clusters(self) -> NDArray[np.intp] | None:
        """Clusters that half-samples draw together."""
        if self._groups is not None:
            return self._groups
        n = len(self.positions_)
        parts = min(max(_LEAST_CLUSTERS, n // _CLUSTER_ROWS), _MOST_CLUSTERS)
        if n < 2 * parts:
            return None
        labels = partition(self.graph_.skeleton(), parts, "auto", max(1, n // parts), 0)
        return np.asarray(labels[self.positions_], dtype=np.intp)


def _check_numbers(values: Any, name: str) -> None:
    """Refuse what is neither a number nor a table of numbers, by its name."""
    if np.ndim(values) != 0:
        check_matrix(values, name)
        return
    if not isinstance(values, int | float | np.integer | np.floating | np.bool_) or not np.isfinite(values):
        raise ValueError(f"{name} must be a finite number, or hold one for each row; got {values!r}. Pass a number.")
