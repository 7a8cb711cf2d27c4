"""SpilloverRLearner: direct effects of a treatment, and effects of the treatments of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from causalkit.atomic_fit import atomic_fit
from causalkit.documented import DocumentedEstimator
from causalkit.graph.alignment import check_graph, require_rows, row_positions
from causalkit.graph.features import check_features
from causalkit.graph.inputs import check_same_rows
from causalkit.graph.spillover_moments import effect_weights
from causalkit.graph.spillover_results import SpilloverResults
from causalkit.graph.spillover_training import train_spillover
from causalkit.graph.unsaved import without_functions
from causalkit.seeds import root_seed

if TYPE_CHECKING:
    from causalkit.graph.graph import Graph

__all__ = ["SpilloverRLearner"]

Array = NDArray[np.float64]


class SpilloverRLearner(SpilloverResults, DocumentedEstimator):
    r"""Effects of own treatment and of the treatments of neighbours.

    The exposure :math:`G_i = f(T_{-i}, \text{graph})` says which part of the other treatments matters. The model is

    .. math:: Y = g_0(X, \text{graph}) + \tau(X)T + \delta(X)G\;[+\;\theta(X)TG] + \varepsilon,

    with direct effect :math:`\tau + \theta g` at exposure g, spillover :math:`\delta + \theta t` per unit of exposure
    at own treatment t, and total effect :math:`\tau + (\delta + \theta)g_{\text{full}}`, everybody treated against
    nobody. With cross-fitted :math:`m = E[Y|X, \text{graph}]` and :math:`e = P(T=1|X, \text{graph})`,
    and :math:`\gamma = E[G|X, \text{graph}]`, which follows from e alone (Ee for a linear exposure ET),

    .. math:: R = (T - e,\; G - \gamma\;[,\; TG - e\gamma]), \qquad
              \hat\beta = \arg\min_\beta \sum_i \big(Y_i - \hat m_i - R_i'\beta(x_i)\big)^2 .

    Averages come from :math:`\Gamma_i = \beta_i + V_i^{-1}R_i(Y_i - \hat m_i - R_i'\beta_i)`, where
    :math:`V = E[RR'|X]` is known in closed form, so that errors of m, e and β enter in products only, with standard
    errors that allow for dependence along the
    network.

    Parameters
    ----------
    exposure : str, ("threshold", q), sparse matrix, callable or a list of these, default="share"
        As in :func:`causalkit.graph.exposure_mapping`: "share", "count", "weighted", "weighted_share",
        "two_hop_share", "any", a matrix E with an empty diagonal, or ``f(treatment, graph)`` that returns one number
        per node, leaves out own treatment, and whose mean and variance are taken over 200 draws. A list gives every
        exposure an effect of its own. Files do not hold functions, see :meth:`attach_exposure`.
    interaction : bool, default=False
        Whether the direct effect may depend on the exposure.
    outcome_model, treatment_model : estimator, optional
        Nuisance models; None is a pool chosen by held-out loss. One whose ``fit`` takes ``graph`` gets X and the graph,
        others get columns of neighbourhoods.
    final_model : {"auto", "constant", "linear", "neural"} or estimator, default="auto"
        Model of β(x). "auto" compares them by held-out loss and stacks those that beat the constant. An estimator needs
        ``fit(X, T, y)`` with several treatments. With "constant" the averages are ``coef_``, without scores.
    encoder, hop_features, nuisance_features, final_features
        As in :class:`GraphRLearner`. By default there are two hops, with the sums over neighbours and the degree
        beside the means for an exposure that counts.
    treatment_type : {"auto", "binary"}, default="auto"
        Two levels.
    clip, score_clip : float, default=0.02, 0.05
        ê is kept in [clip, 1 - clip]; in the denominators of scores in [score_clip, 1 - score_clip], and variances of
        exposures above the like.
    n_bags : int, default=5
        Networks that a neural final model averages.
    buffer : int or "auto", default="auto"
        Training rows keep that distance from the held-out ones. "auto" is 1, because the outcomes of neighbours hold
        the treatments of held-out nodes, and 0 where 1 leaves too few rows to train on (see ``fold_report_``).
    cv, n_repeats, n_jobs, device, random_state, verbose
        Cross-fitting, as in :class:`GraphRLearner`.

    Attributes
    ----------
    effect_ : ndarray, shape (n, q)
        Out-of-fold β: direct, spillover (one column per exposure), and with ``interaction`` the interactions.
    honest_effect_ : ndarray, shape (n, q)
        ``effect_`` with a mixture of models for each fold that was chosen on the other folds: what ``calibration``
        tests.
    effect_names_ : tuple of str, length q
        Names of its columns.
    coef_, covariance_ : ndarray, shape (q,), (q, q)
        Constant effects, which average varying ones with weights Var(R|X), and their covariance along the network
        (NaN, with a warning, where it is so dense that there is none).
    effect_constant_ : ndarray, shape (q,)
        The same as ``coef_``.
    scores_ : ndarray, shape (n, q)
        Γ.
    exposure_, exposure_residual_, exposure_mean_, exposure_variance_ : ndarray, shape (n,)
        G, G - γ, γ and Var(G|X); (n, J) with several exposures.
    outcome_prediction_, treatment_prediction_, outcome_residual_, treatment_residual_ : ndarray, shape (n,)
        m, ê and the residuals, averaged over repeats. Where ê is estimated, m is
        :math:`g + \beta_0'(e, \gamma, \ldots)` with constant effects β₀ of a first fit and g a regression of
        :math:`Y - \beta_0'(T, G, \ldots)` by the outcome model or the pool: effects then depend on errors of ê only
        through their product with those of g and of β₀. An outcome model that is frozen or a classifier gives m itself.
    folds_ : ndarray of int, shape (r, n)
        Fold of each row.
    fold_report_, nuisance_selection_, selection_, report_ : DataFrame
        Folds; losses of the nuisance candidates; losses and weights of the final candidates; rows, isolates, nodes
        that no treatment can reach.
    treatment_levels_ : ndarray, shape (2,)
        Levels; the first is the reference.
    clipped_share_ : float
        Share of rows whose ê was clipped.
    graph_, positions_, graph_fingerprint_, exposure_radius_
        The network, the node of each row, a digest, and how many steps away a treatment may act.
    n_features_in_, feature_names_in_
        Seen in fit.

    Raises
    ------
    IdentificationError
        A treatment or an exposure without variation of its own; an exposure that is the treatment in other words.
    ValueError
        More than two levels, neighbours without a row, options that make no sense.
    AlignmentError, FoldError, GraphError
        As for :class:`GraphRLearner`.

    Warns
    -----
    OverlapWarning
        More than 5 % of the propensities were clipped, or an arm is worth less than 5 % of its size.
    LeakageWarning
        A column of neighbourhoods is the treatment.
    NetworkDependenceWarning
        Nearly all pairs of nodes are dependent.

    Notes
    -----
    The exposure is right; given X and graph there are no unmeasured causes of treatments and outcome, and treatments
    of different nodes are independent; both levels are possible everywhere; graph and covariates come before the
    treatment. Nodes without neighbours have no exposure: they count for the direct effect only.

    References
    ----------
    Aronow & Samii 2017, Annals of Applied Statistics 11 (exposure mappings). Nie & Wager 2021, Biometrika, and
    Robinson 1988, Econometrica 56 (residuals). Khatami et al. 2025, arXiv:2403.11332 (constant direct and peer
    effects). The scores for several residuals are ours.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.graph import Graph, SpilloverRLearner, exposure_mapping
    >>> rng = np.random.default_rng(0)
    >>> n = 1500
    >>> graph = Graph.from_edges([(i, (i + k) % n) for i in range(n) for k in (1, 2)], n_nodes=n)
    >>> X = rng.normal(size=(n, 2))
    >>> t = (rng.random(n) < 1 / (1 + np.exp(-X[:, 0]))).astype(int)
    >>> y = X[:, 0] + 2.0 * t + 1.0 * exposure_mapping(graph, t, "share") + 0.5 * rng.normal(size=n)
    >>> known = 1 / (1 + np.exp(-X[:, 0]))
    >>> from sklearn.linear_model import LinearRegression
    >>> learner = SpilloverRLearner(outcome_model=LinearRegression(), final_model="constant", cv=2, random_state=0)
    >>> learner = learner.fit(X, y, treatment=t, graph=graph, treatment_predictions=known)
    >>> bool((abs(learner.coef_ - [2.0, 1.0]) < 4 * np.sqrt(np.diag(learner.covariance_))).all())
    True
    """

    _not_saved = ("_training",)

    def __init__(
        self,
        *,
        exposure: Any = "share",
        interaction: bool = False,
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
        self.exposure = exposure
        self.interaction = interaction
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
        exposure_values: Any = None,
        exposure_mean: Any = None,
        exposure_variance: Any = None,
        sample_weight: Any = None,
        groups: Any = None,
        outcome_predictions: Any = None,
        treatment_predictions: Any = None,
    ) -> SpilloverRLearner:
        """Fit nuisances, constant effects and effects that vary.

        Parameters
        ----------
        X : array-like or frame, shape (n, p)
            Covariates, settled before the treatment.
        y : array-like, shape (n,)
            Outcome.
        treatment : array-like, shape (n,)
            Two levels.
        graph : Graph
            The network. Rows must cover every neighbour of every row, unless the exposures are given.
        nodes : array-like, shape (n,), optional
            Node of each row; may be left out where row i can only be node i.
        exposure_values, exposure_mean, exposure_variance : array-like, optional
            Exposures of the rows with their mean and variance given covariates and graph, all three, for exposures
            that are no mapping over ``graph`` or treatments that are not independent. Shape (n,); for J exposures
            (n, J), (n, J) and (n, J, J).
        sample_weight : array-like, shape (n,), optional
            Weights.
        groups : array-like, shape (n,), optional
            Clusters: folds do not divide them, and standard errors sum over them.
        outcome_predictions, treatment_predictions : array-like, shape (n,), optional
            Known m and P(T=1|X), used as they are but for the clip.
        """
        with atomic_fit(self):
            trained = train_spillover(
                self,
                {
                    "X": X,
                    "y": y,
                    "treatment": treatment,
                    "graph": graph,
                    "nodes": nodes,
                    "sample_weight": sample_weight,
                    "groups": groups,
                },
                (exposure_values, exposure_mean, exposure_variance),
                (outcome_predictions, treatment_predictions),
                root_seed(self.random_state),
            )
            validate_data(self, X, reset=True, skip_check_array=True)
            for name, value in trained.items():
                setattr(self, name, value)
            found = self._network_covariance(self._influence)
            unknown = np.zeros(len(found.cov), dtype=bool) if found.vanished is None else found.vanished
            self.covariance_ = np.where(unknown[:, None] | unknown, np.nan, found.cov)
        return self

    def attach_exposure(self, exposure: Any) -> SpilloverRLearner:
        """Put exposure functions back after loading: they are code, which a file does not hold.

        Only :meth:`total_effect` of other networks, and a new fit, need them.

        Parameters
        ----------
        exposure : callable, or list as in the fit
            What the constructor was given; the functions have to give the exposures of the fit again.
        """
        check_is_fitted(self)
        observed = self.exposure_.reshape(len(self.effect_), -1)
        self._source = self._source.with_functions(exposure, self._treatment, observed)
        self.exposure = exposure
        return self

    # ------------------------------------------------------------------ effects of nodes

    def predict(self, X: Any, *, graph: Any = None, nodes: Any = None) -> Array:
        """Effects β(x) by the mean over the models of all folds, shape (m, q), columns as ``effect_names_``.

        At the rows of the fit they are not out-of-fold; ``effect_`` is.

        Parameters
        ----------
        X : array-like or frame, shape (m, p)
            Covariates.
        graph : Graph, optional
            Their network; that of ``fit`` by default.
        nodes : array-like, shape (m,), optional
            Node of each row.
        """
        check_is_fitted(self)
        used, positions, values = self._rows_of(X, graph, nodes)
        columns = self._columns.new(X, values, used, positions)
        return np.asarray(self._final.predict(columns) / self._scale)

    def direct_effect(self, X: Any = None, *, at: Any = None, graph: Any = None, nodes: Any = None) -> Array:
        r"""Effect of own treatment of every node, :math:`\tau + \theta g`, shape (m,).

        Parameters
        ----------
        X, graph, nodes : optional
            As in :meth:`predict`; without X the rows of the fit, out-of-fold.
        at : float or array-like, shape (m,) or (m, J), optional
            Exposure g, for a model with interaction; by default the exposure expected given covariates, at the rows of
            the fit only.
        """
        return self._node_effect("direct", X, at, graph, nodes)

    def spillover_effect(
        self, X: Any = None, *, exposure: Any = 0, at: Any = None, graph: Any = None, nodes: Any = None
    ) -> Array:
        r"""Effect of one more unit of exposure on every node, :math:`\delta + \theta t`, shape (m,).

        Parameters
        ----------
        X, graph, nodes : optional
            As in :meth:`predict`; without X the rows of the fit, out-of-fold.
        exposure : int or str, default=0
            Which one, where there are several.
        at : float or array-like, shape (m,), optional
            Own treatment t, for a model with interaction; by default the propensity, at the rows of the fit only.
        """
        check_is_fitted(self)
        return self._node_effect(f"spillover{self._exposure_number(exposure)}", X, at, graph, nodes)

    def total_effect(self, X: Any = None, *, graph: Any = None, nodes: Any = None) -> Array:
        """Effect of treating everybody instead of nobody on every node, shape (m,).

        Parameters
        ----------
        X, graph, nodes : optional
            As in :meth:`predict`; without X the rows of the fit, out-of-fold.
        """
        return self._node_effect("total", X, None, graph, nodes)

    def _node_effect(self, effect: str, X: Any, at: Any, graph: Any, nodes: Any) -> Array:
        check_is_fitted(self)
        require_rows(X, graph=graph, nodes=nodes)
        beta, source = self.effect_, self._source
        if X is not None:
            beta = self.predict(X, graph=graph, nodes=nodes)
            if effect == "total":
                used, positions, _ = self._rows_of(X, graph, nodes)
                source = source.at(used, positions)  # which needs no treatments, hence no rows of neighbours
        if X is None:
            self._same_rows(at=at)
        else:
            check_same_rows(X, at=at)
        a = self._weights_of(effect, at, source, len(beta), of_fit=X is None)
        return np.asarray(np.einsum("ij,ij->i", a, beta))

    def _weights_of(self, effect: str, at: Any, source: Any, n: int, *, of_fit: bool) -> Array:
        """Vectors a with effect = a'β."""
        count = len(self.exposure_names_)
        full = none = np.zeros((n, count))
        if effect == "total":
            full, none = source.extremes()
        used = effect != "total" and (self._interaction or at is not None)  # given without interaction: checked alone
        level = self._level(effect, at, n, of_fit=of_fit) if used else None
        return effect_weights(effect, level, full, none, interaction=self._interaction)

    def _rows_of(self, X: Any, graph: Any, nodes: Any) -> tuple[Graph, NDArray[np.intp], Array]:
        used = self.graph_ if graph is None else check_graph(graph)
        values, _ = check_features(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        return used, row_positions(X, used, nodes), values

    def _saved_state(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in self._not_saved}
        return {**state, "exposure": without_functions(self.exposure)}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "effect_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
