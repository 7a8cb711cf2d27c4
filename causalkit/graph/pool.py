"""The pool of nuisance learners on own and neighbours' covariates, and the choice among them by held-out loss."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from causalkit.graph.pool_learners import (
    TREE_RATE,
    boosting_losses,
    fit_boosting,
    fit_linear,
    linear_losses,
    row_losses,
)
from causalkit.graph.warning_place import caller_level

if TYPE_CHECKING:
    from causalkit.graph.neighbourhoods import NodeFeatures

__all__ = [
    "LARGE",
    "MESSAGES",
    "FeatureSets",
    "Messages",
    "PoolChoice",
    "PoolDecision",
    "PoolOptions",
    "PoolTarget",
    "choose_from_pool",
    "encoder_label",
    "fit_pool",
]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_INNER_SPLITS = 3
_MOST_SQUARED = 30  # own columns up to which squares and products are tried
LARGE = 100_000  # rows above which candidates are compared on a sample, and networks train for a few epochs only
_SELECTION_ROWS = 50_000
_LARGE_TREE_RATE = 0.1
MESSAGES = "messages"
_LEARNERS = ("linear", "boosting", "neural")


@dataclass(frozen=True, eq=False)
class Messages:
    """Inputs of a model that passes messages itself: covariates, graph and nodes of some rows.

    Attributes
    ----------
    values : ndarray of float64, shape (n, p)
        Covariates.
    graph : Graph
        Carries the covariates of other nodes.
    nodes : Index, shape (n,)
        Node of each row.
    """

    values: Array
    graph: Any
    nodes: Any

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Messages:
        return Messages(self.values[rows], self.graph, self.nodes[rows])

    @property
    def extra(self) -> dict[str, Any]:
        """Keyword arguments of fit and predict beside the covariates."""
        return {"graph": self.graph, "nodes": self.nodes}


@dataclass(frozen=True, eq=False)
class FeatureSets:
    """Columns of neighbourhoods, and which of them belong to whom.

    Attributes
    ----------
    columns : ndarray of float32, shape (n, c)
        Standardised.
    sets : dict of str to ndarray of int
        Columns of "own", "one_hop", "two_hop" (all hops), from the smallest to the largest.
    messages : Messages, optional
        What models that pass messages themselves get instead, by the name "messages".
    """

    columns: NDArray[np.float32]
    sets: dict[str, Rows]
    messages: Messages | None = None

    def take(self, rows: Any, name: str) -> Any:
        """Columns of one set for some rows, as a copy."""
        if name == MESSAGES and self.messages is not None:
            return self.messages[rows]
        columns = self.sets[name]
        if len(columns) == self.columns.shape[1]:
            return np.ascontiguousarray(self.columns[rows])
        return np.ascontiguousarray(self.columns[rows][:, columns])


@dataclass(frozen=True, eq=False)
class PoolTarget:
    """What is learnt.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Outcomes, or codes 0..k-1 of the levels.
    n_levels : int
        k, or 0 for a regression.
    weight : ndarray or None, shape (n,)
        Weights of the rows.
    groups : ndarray of int or None, shape (n,)
        Clusters that inner splits do not divide.
    """

    values: Array
    n_levels: int
    weight: Array | None = None
    groups: Rows | None = None

    def rows(self, rows: Rows) -> PoolTarget:
        """The same for some rows."""
        return PoolTarget(
            self.values[rows],
            self.n_levels,
            None if self.weight is None else self.weight[rows],
            None if self.groups is None else self.groups[rows],
        )


@dataclass(frozen=True)
class PoolOptions:
    """How the pool works.

    Attributes
    ----------
    sets : tuple of str
        Feature sets to try.
    neural : bool
        Whether networks take part (they need torch).
    device : str
        Where they train.
    encoders : tuple of two estimators, optional
        A message-passing regressor and classifier that take part too.
    tree_rate : float
        Learning rate of boosted trees.
    """

    sets: tuple[str, ...]
    neural: bool
    device: Any = "auto"
    encoders: tuple[Any, Any] | None = None
    tree_rate: float = TREE_RATE

    def for_many_rows(self) -> PoolOptions:
        """The same with longer steps of boosted trees: small ones guard against noise, which many rows average out."""
        return replace(self, tree_rate=max(self.tree_rate, _LARGE_TREE_RATE))


@dataclass(frozen=True)
class _Candidate:
    learner: str
    features: str
    squares: bool = False

    @property
    def label(self) -> str:
        return f"{self.learner}, squares" if self.squares else self.learner


@dataclass(frozen=True, eq=False)
class PoolChoice:
    """The fitted winner and how the candidates compared.

    Attributes
    ----------
    features : str
        Its feature set.
    model : object
        Fitted; ``predict(columns)`` gives (n, k).
    table : list of dict
        One row per candidate: learner, features, setting, loss, std_error (of the difference to the best), selected.
    """

    features: str
    model: Any
    table: list[dict[str, Any]]

    def predict(self, data: NodeFeatures, rows: Any) -> Array:
        """Predictions of some rows, shape (m, max(k, 1))."""
        return np.asarray(self.model.predict(data.sets.take(rows, self.features)))


@dataclass(frozen=True, eq=False)
class _EncoderModel:
    """A fitted message-passing network as a member of the pool."""

    model: Any

    def predict(self, inputs: Messages) -> Array:
        method = getattr(self.model, "predict_proba", self.model.predict)
        found = np.asarray(method(inputs.values, **inputs.extra), dtype=np.float64)
        return found if found.ndim == 2 else found[:, None]


@dataclass(frozen=True, eq=False)
class PoolDecision:
    """Which candidate is to be fitted, and how it compared.

    Attributes
    ----------
    candidate : object
        The winner.
    setting : float, int or None
        Its penalty or number of trees.
    table : list of dict
        As in :class:`PoolChoice`.
    """

    candidate: _Candidate
    setting: Any
    table: list[dict[str, Any]]


def choose_from_pool(
    data: NodeFeatures, target: PoolTarget, train: Rows, options: PoolOptions, *, seed: int
) -> PoolDecision:
    """Compare every candidate on inner splits of the training rows.

    A candidate's loss is its mean squared error or log loss over held-out rows of splits common to all; penalties and
    numbers of trees come from the same splits. The simplest candidate whose loss is within one standard error (of the
    paired difference) of the smallest wins; linear is simpler than boosting, that than a network, and own covariates
    than those of neighbours. Above 10⁵ rows a sample of 5·10⁴ is compared.

    Parameters
    ----------
    data : NodeFeatures
        Columns of all rows.
    target : PoolTarget
        Of all rows.
    train : ndarray of int
        Rows that may be seen.
    options : PoolOptions
        Which candidates.
    seed : int
        Key of all draws.

    Returns
    -------
    PoolDecision
    """
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(train, _SELECTION_ROWS, replace=False)) if len(train) >= LARGE else train
    seen = target.rows(sample)
    splits = _inner_splits(seen, int(rng.integers(2**31 - 1)))
    candidates = _candidates(data.sets, options)
    losses, settings = [], []
    for number, candidate in enumerate(candidates):
        try:
            found, setting = _held_out(data, sample, seen, splits, candidate, seed + number, options)
        except FloatingPointError as error:  # a network diverged, at a third of the rate too
            warnings.warn(
                f"{candidate.label} on {candidate.features} covariates leaves the pool: {error}",
                ConvergenceWarning,
                stacklevel=caller_level(),
            )
            found, setting = np.full(len(seen.values), np.inf), None
        losses.append(found)
        settings.append(setting)
    means, errors, chosen = _choose(np.array(losses), seen.weight)
    table = [
        {
            "learner": candidate.label,
            "features": candidate.features,
            "setting": setting,
            "loss": float(mean),
            "std_error": float(error),
            "selected": number == chosen,
        }
        for number, (candidate, setting, mean, error) in enumerate(
            zip(candidates, settings, means, errors, strict=True)
        )
    ]
    return PoolDecision(candidates[chosen], settings[chosen], table)


def fit_pool(
    data: NodeFeatures,
    target: PoolTarget,
    train: Rows,
    options: PoolOptions,
    *,
    seed: int,
    decision: PoolDecision | None = None,
) -> PoolChoice:
    """Fit the best candidate on the training rows; arguments as in :func:`choose_from_pool`, which decides."""
    if decision is None:
        decision = choose_from_pool(data, target, train, options, seed=seed)
    winner = decision.candidate
    inputs = data.sets.take(train, winner.features)
    model = _fit(inputs, target.rows(train), winner, decision.setting, seed, options)
    return PoolChoice(winner.features, model, decision.table)


def _candidates(features: FeatureSets, options: PoolOptions) -> list[_Candidate]:
    """From the simplest to the most complex, which is the order that ties are settled in."""
    found = []
    for learner in _LEARNERS:
        if learner == "neural" and not options.neural:
            continue
        for name in options.sets:
            found.append(_Candidate(learner, name))
            if learner == "linear" and name == "own" and len(features.sets["own"]) <= _MOST_SQUARED:
                found.append(_Candidate(learner, name, squares=True))
    if options.encoders is not None:
        found.append(_Candidate(encoder_label(options.encoders[0].encoder), MESSAGES))
    return found


def encoder_label(encoder: Any) -> str:
    """Name of an encoder in tables."""
    return encoder if isinstance(encoder, str) else type(encoder).__name__


def _inner_splits(target: PoolTarget, seed: int) -> list[tuple[Rows, Rows]]:
    n = len(target.values)
    if target.groups is not None and len(np.unique(target.groups)) >= _INNER_SPLITS:
        return list(GroupKFold(_INNER_SPLITS).split(np.zeros(n), groups=target.groups))
    if target.n_levels and np.bincount(target.values.astype(np.intp)).min() >= _INNER_SPLITS:
        splitter = StratifiedKFold(_INNER_SPLITS, shuffle=True, random_state=seed)
        return list(splitter.split(np.zeros(n), target.values))
    return list(KFold(min(_INNER_SPLITS, n), shuffle=True, random_state=seed).split(np.zeros(n)))


def _held_out(
    data: NodeFeatures,
    sample: Rows,
    target: PoolTarget,
    splits: list[tuple[Rows, Rows]],
    candidate: _Candidate,
    seed: int,
    options: PoolOptions,
) -> tuple[Array, Any]:
    """Held-out loss of every row of the sample, and the setting with the smallest mean."""
    if candidate.learner in ("linear", "boosting"):
        columns = data.sets.take(sample, candidate.features)
        if candidate.learner == "linear":
            return linear_losses(columns, target, splits, candidate.squares)
        return boosting_losses(columns, target, splits, seed, options.tree_rate)
    found = np.empty(len(target.values))
    for number, (train, test) in enumerate(splits):
        inputs = data.sets.take(sample[train], candidate.features)
        model = _fit(inputs, target.rows(train), candidate, None, seed + 7 * number, options)
        found[test] = row_losses(model.predict(data.sets.take(sample[test], candidate.features)), target.rows(test))
    return found, None


def _fit(inputs: Any, target: PoolTarget, candidate: _Candidate, setting: Any, seed: int, options: PoolOptions) -> Any:
    if candidate.learner == "linear":
        return fit_linear(inputs, target, (setting,), candidate.squares)[0]
    if candidate.learner == "boosting":
        return fit_boosting(inputs, target, setting, seed, options.tree_rate)
    if candidate.learner == "neural":
        from causalkit.graph.pool_networks import fit_network

        return fit_network(inputs, target, seed, options.device)
    encoders: Any = options.encoders
    model = clone(encoders[bool(target.n_levels)]).set_params(random_state=seed % (2**31))
    values = target.values.astype(np.intp) if target.n_levels else target.values
    weight = {} if target.weight is None else {"sample_weight": target.weight}
    return _EncoderModel(model.fit(inputs.values, values, **inputs.extra, **weight))


def _choose(losses: Array, weight: Array | None) -> tuple[Array, Array, int]:
    """Mean losses, errors of the differences to the smallest, and the first candidate within one of them."""
    w = np.ones(losses.shape[1]) if weight is None else weight / weight.mean()
    means = losses @ w / len(w)
    best = int(np.argmin(means))
    with np.errstate(invalid="ignore"):  # of a candidate that left the pool
        difference = np.where(np.isfinite(losses), losses - losses[best], 0.0) * w
    errors = difference.std(axis=1) / np.sqrt(len(w))
    return means, errors, int(np.argmax(means - means[best] <= errors))
