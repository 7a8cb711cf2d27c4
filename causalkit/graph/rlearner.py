"""GraphRLearner: effects of a treatment on the nodes of a network, with confounders in the neighbourhood."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from causalkit.atomic_fit import atomic_fit
from causalkit.documented import DocumentedEstimator
from causalkit.graph.effect_scores import EffectScores, effect_scores
from causalkit.graph.inputs import NodeRows, check_rows
from causalkit.graph.neighbourhoods import NodeFeatures, fit_features
from causalkit.graph.rlearner_exposure import exposed_rows, is_mapping, refuse_models_without_exposure
from causalkit.graph.rlearner_fit import (
    FitPlan,
    Residualised,
    effect_candidates,
    fit_effects,
    fit_nuisances,
    overall_constant,
)
from causalkit.graph.rlearner_predictions import squeezed
from causalkit.graph.rlearner_results import RLearnerResults
from causalkit.graph.row_labels import row_labels
from causalkit.seeds import root_seed
from causalkit.validation import check_integer

__all__ = ["GraphRLearner"]

Array = NDArray[np.float64]


class GraphRLearner(RLearnerResults, DocumentedEstimator):
    r"""Effects of a treatment on the nodes of a network, for each node and on average.

    The estimand is :math:`\tau(x, G)_i = E[Y_i(1) - Y_i(0) \mid X, G]`. Outcome and treatment models on own and
    neighbours' covariates are cross-fitted, and the effect minimises the R-loss

    .. math:: L(\tau) = n^{-1}\sum_i (\tilde Y_i - \tilde T_i\,\tau(x_i, G))^2, \qquad
              \tilde Y = Y - \hat m^{(-k)}(X, G),\quad \tilde T = T - \hat e^{(-k)}(X, G)

    as a constant plus a deviation. Candidates for the nuisances and for the deviation are compared by their loss on
    held-out nodes; where none beats the constant by a standard error, the effect is the constant, and otherwise they
    are mixed by weights that minimise the held-out R-loss. Averages come from doubly robust scores, with standard
    errors for dependence along the network.

    Assumptions: own treatment only (or the exposure given, at its observed value); treatment as good as random given
    own and neighbours' covariates and the graph; every level has a chance everywhere; covariates and graph precede
    treatment. Inference is conditional on the graph.

    Parameters
    ----------
    outcome_model, treatment_model : estimator, optional
        Models of E[Y|X,G] and of the treatment (a classifier for levels, which gets codes 0..L-1). None is the pool:
        ridge or logistic, boosted trees and perceptrons on own, one-hop and two-hop covariates. A model whose ``fit``
        takes ``graph`` gets covariates and graph, and cannot be combined with exposures; any other one columns of
        :class:`HopFeatures`, and exposures. The outcome model is fitted within each level as well, for the scores.
    final_model : {"auto", "constant", "linear", "forest", "boosting", "neural"} or estimator, default="auto"
        "auto" compares and mixes all of them. An estimator is fitted on (Z, T̃, Ỹ) if its ``fit`` is (X, T, y), as
        that of ``econml.grf.CausalForest``, or on pseudo-outcomes if it takes ``sample_weight``.
    encoder : {"sign", "sage", "gcn", "gat", "gin"} or torch.nn.Module, default="sign"
        Another one than "sign" adds such a network, see :class:`GNNRegressor`, to the pool of nuisances.
    hop_features : HopFeatures, optional
        Which aggregates of neighbours are columns; two hops by default.
    nuisance_features, final_features : {"auto", "graph", "own"}, default="auto"
        Columns of nuisances and of the effect: all sets in competition, all columns, or own covariates only, which is
        blind to the graph.
    treatment_type : {"auto", "binary", "multi", "continuous"}, default="auto"
        "auto" takes two values as binary, up to ten integers or labels as levels, and else a continuous treatment,
        whose effect is that of one unit in a partially linear model.
    clip : float, default=0.02
        Propensities are kept in [clip, 1 - clip].
    score_clip : float, default=0.05
        The same in the scores of averages.
    n_bags : int, default=5
        Networks in a neural final stage.
    buffer : int or "auto", default="auto"
        Rows within that distance of a fold do not train its models; "auto" is 0, and with ``exposure`` how far
        treatments act. A number also says how far they act where the exposures do not say it (see ``fit``). For an
        integer ``cv``: any other makes its own folds, as ``GraphKFold(buffer=1)`` does.
    cv : int, GraphKFold, splitter or iterable of (train, test), default=5
        An integer means folds that follow the network, or whole groups.
    n_repeats : int, default=1
        Number of independent splits that effects and scores are averaged over.
    n_jobs : int, optional
        Workers, as in joblib; results do not depend on it.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where networks train.
    random_state : int, RandomState, Generator or None
        Seed.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    effect_ : ndarray, shape (n,) or (n, L - 1)
        Effects of the rows of ``fit``, from models that have not seen them (``predict`` on the same rows has).
    honest_effect_ : ndarray, shape (n,) or (n, L - 1)
        ``effect_`` with a mixture of models for each fold that was chosen on the other folds: what ``calibration``,
        ``toc`` and ``rate`` test.
    effect_constant_ : float or ndarray, shape (L - 1,)
        The constant that fits residuals best: an average with weights Var(T|x), not the average effect.
    outcome_prediction_ : ndarray, shape (n,)
        Out-of-fold m̂.
    treatment_prediction_ : ndarray, shape (n,) or (n, L)
        Out-of-fold ê, clipped: the chance of the second of two levels, of every one of more, or the mean.
    outcome_by_level_ : ndarray, shape (n, L), or None
        Out-of-fold regressions of the outcome within each level, which the scores use: by the outcome model, or linear
        models and boosted trees of the pool. None for known probabilities of treatment or a frozen outcome model, where
        scores use :math:`\hat m - \hat e\tau` and its kin, and for a continuous treatment, where they take the outcome
        less :math:`g + \beta_0\hat e`, g being a regression of :math:`Y - \beta_0 T` with the constant effect β₀.
    outcome_residual_, treatment_residual_ : ndarray, shape (n,) and (n,) or (n, L - 1)
        Ỹ and T̃.
    scores_ : ndarray, shape (n,) or (n, L - 1)
        Doubly robust scores Γ.
    folds_ : ndarray of int, shape (n_repeats, n)
        Fold of each row.
    fold_report_, nuisance_selection_, selection_ : DataFrame
        Sizes and survivors of folds; losses of the nuisance candidates; R-losses and weights of the effect candidates.
    treatment_levels_ : ndarray, shape (L,), or None
        Levels, the first being the reference.
    clipped_share_ : float
        Share of rows whose propensity was clipped.
    graph_ : Graph
        Graph of ``fit``.
    positions_ : ndarray of int, shape (n,)
        Node of each row.
    exposure_ : ndarray, shape (n,) or (n, q), or None
        Exposures of the rows.
    exposure_radius_ : int
        How many steps away a treatment may act, for buffers and standard errors: 0 without ``exposure``; 2 for
        "two_hop_share" and for a matrix that links nodes without an edge; else 1, or ``buffer`` (of ``cv`` too) if that
        is larger and the exposures are numbers or a function.
    graph_fingerprint_ : str
        Digest of the graph.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    TypeError, AlignmentError, GraphError, FoldError, IdentificationError, ValueError
        Input that does not fit, each naming the argument, what was expected, what was got and what to do.

    Warns
    -----
    OverlapWarning, LeakageWarning, GraphCoverageWarning
        Propensities near 0 or 1; exposures among the covariates; covariates of neighbours missing.

    References
    ----------
    Nie and Wager (2021), doi:10.1093/biomet/asaa076 (R-loss); Robinson (1988), doi:10.2307/1912705; Sairam, Girdhar
    and Soni (2025), arXiv:2511.13018 (R-learning with graph-aware nuisances and final stage); Chernozhukov et al.
    (2018), doi:10.1111/ectj.12097 (scores); Kojevnikov, Marmer and Song (2021), J. Econometrics 222:882-908 (errors).

    Examples
    --------
    >>> from causalkit.datasets import make_graph_heterogeneity
    >>> from causalkit.graph import Graph, GraphRLearner
    >>> data = make_graph_heterogeneity(300, random_state=0)
    >>> graph = Graph.from_scipy(data.adjacency)
    >>> learner = GraphRLearner(final_model="linear", random_state=0)
    >>> learner.fit(data.X, data.y, treatment=data.treatment, graph=graph,
    ...             outcome_predictions=data.outcome_mean, treatment_predictions=data.propensity)
    GraphRLearner(final_model='linear', random_state=0)
    >>> bool(abs(float(learner.ate()) - 2) < 0.3), learner.effect_.shape
    (True, (300,))
    """

    _not_saved = ("_features", "_nuisances")

    def __init__(
        self,
        *,
        outcome_model: Any = None,
        treatment_model: Any = None,
        final_model: Any = "auto",
        encoder: Any = "sign",
        hop_features: Any = None,
        nuisance_features: str = "auto",
        final_features: str = "auto",
        treatment_type: str = "auto",
        clip: float = 0.02,
        score_clip: float = 0.05,
        n_bags: int = 5,
        buffer: Any = "auto",
        cv: Any = 5,
        n_repeats: int = 1,
        n_jobs: int | None = None,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.outcome_model = outcome_model
        self.treatment_model = treatment_model
        self.final_model = final_model
        self.encoder = encoder
        self.hop_features = hop_features
        self.nuisance_features = nuisance_features
        self.final_features = final_features
        self.treatment_type = treatment_type
        self.clip = clip
        self.score_clip = score_clip
        self.n_bags = n_bags
        self.buffer = buffer
        self.cv = cv
        self.n_repeats = n_repeats
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # ------------------------------------------------------------------ fit

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        treatment: Any = None,
        graph: Any = None,
        nodes: Any = None,
        exposure: Any = None,
        sample_weight: Any = None,
        groups: Any = None,
        outcome_predictions: Any = None,
        treatment_predictions: Any = None,
    ) -> GraphRLearner:
        """Fit nuisances, residuals, the effect and its scores.

        Parameters
        ----------
        X : array-like or frame, shape (n, p)
            Covariates, settled before treatment. Those of other nodes come from ``graph.with_features``.
        y : array-like, shape (n,)
            Outcomes.
        treatment : array-like, shape (n,)
            Treatments: two or more levels, or numbers.
        graph : Graph
            The network.
        nodes : array-like, shape (n,), optional
            Node of each row; may be left out only where row i can be nothing but node i.
        exposure : array-like, shape (n,) or (n, q), str, pair, sparse matrix, callable or list, optional
            Exposures to the treatments of others, covariates that are not passed along edges: numbers, such as
            ``exposure_mapping(graph, treatment)``, or a mapping as in :class:`SpilloverRLearner`, such as "share", from
            which they are computed. The effect is then the direct effect at the observed exposure. How far treatments
            act, see ``exposure_radius_``, is known of a named mapping or a matrix; of numbers and functions it is not,
            and it is taken to be one step, or ``buffer`` if that is larger. Models that take the graph themselves
            would not see exposures, and are refused.
        sample_weight : array-like, shape (n,), optional
            Weights.
        groups : array-like, shape (n,), optional
            Clusters: they drive the folds and the standard errors.
        outcome_predictions, treatment_predictions : array-like, shape (n,) or (n, L), optional
            Known E[Y|X,G] and treatment probabilities (of the second level, or of all), as in an experiment.
        """
        with atomic_fit(self):
            seed = root_seed(self.random_state)
            rows = check_rows(
                X,
                y,
                treatment=treatment,
                treatment_type=self.treatment_type,
                graph=graph,
                nodes=nodes,
                exposure=None if is_mapping(exposure) else exposure,
                sample_weight=sample_weight,
                groups=groups,
            )
            rows, radius = exposed_rows(rows, exposure, self)
            check_integer(self.n_bags, "n_bags", low=1)
            validate_data(self, X, reset=True, skip_check_array=True)
            data, hop, scale = fit_features(X, rows.values, rows.graph, rows.nodes, self.hop_features, rows.exposure)
            plan = FitPlan.checked(self, data, seed).with_reach(radius)
            if radius:
                refuse_models_without_exposure(self, outcome_predictions is not None, treatment_predictions is not None)
            effect_candidates(rows, plan)  # refuses what it cannot mean before any model is fitted
            names = hop.get_feature_names_out().tolist()
            nuisance = fit_nuisances(rows, data, names, plan, outcome_predictions, treatment_predictions)
            stage = fit_effects(rows, data, plan, nuisance, radius)
            scores = effect_scores(rows, data, plan, nuisance, stage.effect)
            self.hop_features_, self._exposure_scale, self.exposure_radius_ = hop, scale, radius
            self._store(rows, data, nuisance, scores)
            self._final, self._seed, self._sandwich = stage, seed, None
            # Not the parameters, which may be changed after the fit.
            self._clip, self._score_clip, self._n_bags = plan.clip, plan.score_clip, plan.n_bags
            self.effect_, self.honest_effect_ = squeezed(stage.effect), squeezed(stage.honest_effect)
            self._store_tables(nuisance)
        return self

    def _store(self, rows: NodeRows, data: NodeFeatures, nuisance: Residualised, scores: EffectScores) -> None:
        self.graph_, self.positions_, self.graph_fingerprint_ = rows.graph, rows.positions, rows.graph.fingerprint
        self._row_labels = row_labels(rows.X)
        whole = np.array_equal(rows.positions, np.arange(rows.graph.n_nodes))
        self._positions = None if whole else rows.positions
        self._outcome, self._treatment, self._weight = rows.outcome, rows.treatment, rows.weight
        self._groups = None if rows.groups is None else rows.groups.codes
        self.exposure_ = None if rows.exposure is None else squeezed(rows.exposure)
        self.treatment_levels_ = rows.treatment.levels
        self._probabilities, self._unclipped = nuisance.treatment.mean(axis=0), nuisance.unclipped
        self._clipped = nuisance.clipped
        self._variance = None if scores.variance is None else scores.variance.mean(axis=0)
        residual = scores.outcome_residual
        self._score_residual = None if residual is None else residual.mean(axis=0)
        self.outcome_by_level_ = None if scores.by_level is None else scores.by_level.mean(axis=0)
        self.outcome_prediction_ = nuisance.outcome.mean(axis=0)
        binary = rows.treatment.n_levels == 2
        self.treatment_prediction_ = self._probabilities[:, 1] if binary else squeezed(self._probabilities)
        self.outcome_residual_ = nuisance.outcome_residual.mean(axis=0)
        self.treatment_residual_ = squeezed(nuisance.treatment_residual.mean(axis=0))
        self.scores_ = squeezed(scores.values.mean(axis=0))
        weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
        self._ate_by_repeat = np.einsum("rnk,n->rk", scores.values, weight) / rows.n_rows
        constant = overall_constant(nuisance, rows)
        self.effect_constant_ = float(constant[0]) if len(constant) == 1 else constant
        self.clipped_share_ = float(nuisance.clipped.mean())
        self.folds_ = nuisance.splits.folds
        self._features, self._nuisances = data, nuisance.fits.models

    def _store_tables(self, nuisance: Residualised) -> None:
        import pandas as pd

        self.fold_report_ = nuisance.splits.report
        columns = ["target", "repeat", "fold", "learner", "features", "setting", "loss", "std_error", "selected"]
        self.nuisance_selection_ = pd.DataFrame(nuisance.fits.selection, columns=columns)
        self.selection_ = pd.DataFrame(self._final.table)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "effect_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
