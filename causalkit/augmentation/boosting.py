"""IVLikeBoostingRegressor: boosted trees that an outcome-invariant augmentation, or an instrument, holds still."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from causalkit.atomic_fit import atomic_fit
from causalkit.augmentation.arguments import Variation, check_same_rows, require_parameters, resolve_variation
from causalkit.augmentation.draws import augment, augmentation_name
from causalkit.augmentation.immutable_augmenter import ImmutableAugmenterMixin
from causalkit.augmentation.linear_inputs import check_alpha
from causalkit.augmentation.moments import Layout, chunk_moments
from causalkit.augmentation.parameter_warnings import warn_of_parameters
from causalkit.augmentation.solution import reduce_parameters
from causalkit.augmentation.stages import Rows, Settings, StageProblem, boost
from causalkit.documented import DocumentedEstimator
from causalkit.seeds import root_seed
from causalkit.validation import check_fit_table, check_groups, check_integer, check_sample_weight

__all__ = ["IVLikeBoostingRegressor"]

Array = NDArray[np.float64]

PENALTIES = ("pointwise", "paired", "projected")
RANK_TOL = 1e-8  # as in the linear estimator


class IVLikeBoostingRegressor(ImmutableAugmenterMixin, RegressorMixin, DocumentedEstimator):
    r"""Boosted regression trees with a penalty on what the augmentation changes.

    With r = y - h(GX) and δ = h(GX) - h(X) the trees minimise, stage by stage,

    .. math:: E_n[r^2] + \frac{1}{\alpha}\,\mathrm{pen}(h)

    ============  =============================================================================
    penalty       pen(h)
    ============  =============================================================================
    "pointwise"   E_n δ²
    "paired"      q'S⁻¹q, q = E_n[g δ], g the centred augmentation parameters, S = E_n[g g']
    "projected"   q'S⁻¹q, q = E_n[g r]; with ``instruments`` GX is X and g the centred instruments
    ============  =============================================================================

    Each stage grows one tree on the negative gradient, over the rows GX and X together for the first two
    penalties (targets r - δ/α and δ/α; "paired": the projection of δ on g in its place), and over GX for
    "projected" (targets αr + Pr, P the projection on g) and for ``alpha=inf``. Then all leaf values are solved
    for together, which is a quadratic problem, and the tree enters with ``learning_rate``. The loss falls at
    every stage; growth ends where no tree lowers it.

    Assumes that the outcome does not depend on what the augmentation changes, f(GX) = f(X), or that the
    instruments affect y through X alone. Confounding along what the augmentation leaves alone stays. The
    invariance itself cannot be tested; ``alpha`` says how far it is distrusted. Without augmentation and
    instruments this is ordinary least-squares boosting. The projected penalty is that of the cited paper (with
    trees in the place of lines); the other two are unpublished.

    Parameters
    ----------
    alpha : float, default=0.1
        In (0, inf]; inf is boosting on the augmented rows without a penalty. Zero is refused: trees have no
        limit there that the data determine.
    augmentation : Augmenter or callable, optional
        Draws GX, once per row: an object of ``causalkit.augmentation.augmenters`` or ``(X, rng) -> GX`` or
        ``(GX, G)``.
    penalty : {"auto", "pointwise", "paired", "projected"}, default="auto"
        "auto": "projected" with ``instruments``, "pointwise" with an augmentation.
    max_iter : int, default=100
        Most stages.
    learning_rate : float, default=0.1
        Share of each tree that is added, in (0, 1].
    max_leaf_nodes : int, default=15
        Most leaves of a tree (leaves with exactly equal means count as one).
    min_samples_leaf : int, default=20
        Fewest rows of a leaf, augmented and original rows counted together. Rows count, not weights.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the augmentation.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    train_loss_ : ndarray, shape (n_iter + 1,)
        Loss before the first and after every stage.
    n_iter_ : int
        Stages that were grown.
    baseline_ : float
        Prediction before the first stage: the (weighted) mean of y.
    trees_ : Trees
        The trees as plain arrays: ``feature``, ``threshold``, ``left``, ``right``, ``value``, ``roots``, ``depth``.
    variation_ : {"instruments", "augmentation", "none"}
        Where the variation came from.
    penalty_ : str
        Penalty in use; "none" without variation.
    alpha_ : float
        The value of ``alpha``.
    n_features_in_, feature_names_in_
        Number and names of the features.

    Raises
    ------
    ValueError
        ``alpha`` not in (0, inf], other parameters out of range, missing or infinite values.
    AugmentationError
        A penalty without any variation, two sources of it, parameters that are missing or constant, augmented
        features that do not fit X.
    MethodNotApplicableError
        The analytic and the constrained penalty, which exist for linear models alone.
    UnderIdentifiedError
        As many parameters or instruments as rows.

    Warns
    -----
    LeakageWarning
        Parameters that depend on the outcome or the features.
    WeakInstrumentWarning
        "paired" or "projected" with parameters that do not move the mean of the features, or are collinear.

    Notes
    -----
    Features are cut into at most 255 bins, at quantiles of GX and X together, and take 8 bytes for every value
    of both. ``sample_weight`` acts like
    repeated rows, up to ``min_samples_leaf``. There are no standard errors: trees have no ``inference``.
    ``score`` is R² on the rows as given, which says nothing about causal risk.

    References
    ----------
    Akbar et al. 2025, An Analysis of Causal Effect Estimation using Outcome Invariant Data Augmentation,
    arXiv 2510.25128 (the risk R_IV + α R_ERM). Rothenhäusler et al. 2021, Anchor regression, arXiv 1801.06229.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.boosting import IVLikeBoostingRegressor
    >>> rng = np.random.default_rng(0)
    >>> confounder = rng.standard_normal(2000)
    >>> X = np.column_stack([confounder, rng.standard_normal(2000)]) + 0.3 * rng.standard_normal((2000, 2))
    >>> y = X[:, 1] ** 2 + confounder
    >>> def shift_first(X, rng):  # the first feature does not matter for the outcome
    ...     return X + np.column_stack([2 * rng.standard_normal(len(X)), np.zeros(len(X))])
    >>> model = IVLikeBoostingRegressor(augmentation=shift_first, max_iter=30, random_state=0).fit(X, y)
    >>> effect = model.predict([[1.0, 0.0]]) - model.predict([[-1.0, 0.0]])  # the truth is 0, least squares finds 1.8
    >>> bool(abs(effect[0]) < 0.2)
    True
    """

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        augmentation: Any = None,
        penalty: str = "auto",
        max_iter: int = 100,
        learning_rate: float = 0.1,
        max_leaf_nodes: int = 15,
        min_samples_leaf: int = 20,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.alpha = alpha
        self.augmentation = augmentation
        self.penalty = penalty
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.max_leaf_nodes = max_leaf_nodes
        self.min_samples_leaf = min_samples_leaf
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        instruments: Any = None,
        augmented: Any = None,
        augmentation_parameters: Any = None,
        groups: Any = None,
        sample_weight: Any = None,
    ) -> IVLikeBoostingRegressor:
        """Grow the trees.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features, without missing values.
        y : array-like, shape (n,)
            Outcome.
        instruments : array-like, shape (n, k), optional
            Real instruments; they exclude augmentations.
        augmented : array-like, shape (n, p) or (n, R, p), optional
            GX made beforehand, in place of ``augmentation``; R draws count 1/R each.
        augmentation_parameters : array-like, shape (n, k) or (n, R, k), optional
            Parameters of ``augmented``, needed by "paired" and "projected".
        groups : array-like, shape (n,), optional
            Checked and not used: here for the same call as on the linear estimator, where it drives errors.
        sample_weight : array-like, shape (n,), optional
            Non-negative weights.

        Returns
        -------
        self
        """
        sources = {
            "instruments": instruments,
            "augmented": augmented,
            "augmentation_parameters": augmentation_parameters,
        }
        with atomic_fit(self):
            return self._fit(X, y, groups, sample_weight, sources)

    def _fit(self, X: Any, y: Any, groups: Any, sample_weight: Any, sources: dict[str, Any]) -> IVLikeBoostingRegressor:
        given = X
        alpha = _check_alpha(self.alpha)
        check_same_rows(X, y=y, groups=groups, sample_weight=sample_weight)
        X, y = check_fit_table(self, X, y, dtype=np.float64, y_numeric=True, magnitude=True)
        settings = self._settings()
        variation = resolve_variation(
            given, augmentation=self.augmentation, penalty=self.penalty, allowed=PENALTIES, **sources
        )
        weight = check_sample_weight(sample_weight, len(X), like="X")
        check_groups(groups, len(X), like="X")
        rows = _make_rows(X, np.asarray(y, dtype=np.float64), weight, variation, self.augmentation, settings.seed)
        _warn_of_parameters(rows, variation, self.augmentation)
        problem = _make_problem(rows, variation, alpha)
        fitted = boost(rows, problem, settings)
        self.baseline_, self.trees_, self.train_loss_ = fitted
        self.n_iter_ = len(self.train_loss_) - 1
        self.variation_, self.penalty_, self.alpha_ = variation.kind, variation.penalty, alpha
        return self

    def predict(self, X: Any) -> Array:
        """Fitted values h(X), shape (n,); no augmentation is drawn."""
        check_is_fitted(self)
        X = check_fit_table(self, X, dtype=np.float64, reset=False)
        return np.asarray(self.baseline_ + self.trees_.predict(X))

    def _settings(self) -> Settings:
        rate = self.learning_rate
        if not isinstance(rate, Real) or isinstance(rate, bool) or not 0 < rate <= 1:
            raise ValueError(f"learning_rate must be a number in (0, 1]; got {rate!r}.")
        return Settings(
            max_iter=check_integer(self.max_iter, "max_iter", low=1),
            learning_rate=float(rate),
            max_leaf_nodes=check_integer(self.max_leaf_nodes, "max_leaf_nodes", low=2),
            min_samples_leaf=check_integer(self.min_samples_leaf, "min_samples_leaf", low=1),
            seed=root_seed(self.random_state),
            verbose=bool(self.verbose),
        )


def _check_alpha(value: Any) -> float:
    alpha = check_alpha(value)
    if alpha == 0:
        raise ValueError(
            "alpha > 0 is needed here: with alpha=0 only the penalty is left, and it does not determine the trees. "
            "Pass a small value such as alpha=0.01, or the linear estimator with alpha=0."
        )
    return alpha


def _make_rows(X: Array, y: Array, weight: Array | None, variation: Variation, augmentation: Any, seed: int) -> Rows:
    names = variation.instrument_names
    if variation.kind != "augmentation":
        rows = Rows(X, None, y, weight, variation.instruments, names)
    elif augmentation is None:
        n_draws = variation.augmented.shape[1]
        G = variation.parameters
        rows = Rows(
            x=variation.augmented.reshape(-1, X.shape[1]),
            u=np.repeat(X, n_draws, axis=0),
            y=np.repeat(y, n_draws),
            weight=None if weight is None else np.repeat(weight, n_draws),
            parameters=None if G is None else G.reshape(-1, G.shape[2]),
            names=names,
        )
    else:
        drawn = augment(augmentation, X, seed=seed)
        require_parameters(drawn.parameters, variation.penalty, augmentation_name(augmentation))
        k = 0 if drawn.parameters is None else drawn.parameters.shape[1]
        rows = Rows(drawn.features, X, y, weight, drawn.parameters, tuple(f"parameter{j}" for j in range(k)))
    return rows if rows.weight is None else _weighted(rows, rows.weight)


def _weighted(rows: Rows, weight: Array) -> Rows:
    """Rows of weight zero left out, as if they had not been there, and the rest with mean 1."""
    kept = weight > 0

    def take(array: Array | None) -> Array | None:
        return None if array is None else array[kept]

    scaled = weight[kept] / weight[kept].mean()
    return Rows(rows.x[kept], take(rows.u), rows.y[kept], scaled, take(rows.parameters), rows.names)


def _warn_of_parameters(rows: Rows, variation: Variation, augmentation: Any) -> None:
    if variation.kind != "augmentation" or rows.parameters is None or rows.u is None:
        return
    k, p = rows.parameters.shape[1], rows.x.shape[1]
    columns = [rows.parameters, rows.x, rows.x - rows.u, rows.y[:, None]]
    moments = chunk_moments(columns, Layout(k, p, p, 0, 1), rows.weight, len(rows.y))
    warn_of_parameters(moments, penalty=variation.penalty, augmentation=augmentation, stacklevel=5)


def _make_problem(rows: Rows, variation: Variation, alpha: float) -> StageProblem:
    n = len(rows.y)
    share = np.full(n, 1.0 / n) if rows.weight is None else rows.weight / rows.weight.sum()
    if variation.penalty == "none" or np.isinf(alpha):
        return StageProblem("none", alpha, share)
    if variation.penalty == "pointwise" or rows.parameters is None:
        return StageProblem(variation.penalty, alpha, share)
    G = rows.parameters
    moments = chunk_moments([G], Layout(G.shape[1], 0, 0, 0, 0), rows.weight, n)
    whiten = reduce_parameters(moments, centred=True, rank_tol=RANK_TOL, names=list(rows.names), warn=True, n_points=n)
    return StageProblem(variation.penalty, alpha, share, (G - moments.average("g")) @ whiten)
