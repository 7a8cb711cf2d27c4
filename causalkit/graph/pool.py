"""The pool of nuisance learners on own and neighbours' covariates, and the choice among them by held-out loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from causalkit.graph.pool_learners import boosting_losses, fit_boosting, fit_linear, linear_losses, row_losses

if TYPE_CHECKING:
    from causalkit.graph.neighbourhoods import NodeFeatures

__all__ = ["FeatureSets", "PoolChoice", "PoolOptions", "PoolTarget", "fit_pool"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_INNER_SPLITS = 3
_MOST_SQUARED = 30  # own columns up to which squares and products are tried
LARGE = 100_000  # rows above which candidates are compared on a sample, and networks train for a few epochs only
_SELECTION_ROWS = 50_000
_ENCODED = "messages"
_LEARNERS = ("linear", "boosting", "neural")


@dataclass(frozen=True, eq=False)
class FeatureSets:
    """Columns of neighbourhoods, and which of them belong to whom.

    Attributes
    ----------
    columns : ndarray of float32, shape (n, c)
        Standardised.
    sets : dict of str to ndarray of int
        Columns of "own", "one_hop", "two_hop" (all hops), from the smallest to the largest.
    """

    columns: NDArray[np.float32]
    sets: dict[str, Rows]

    def take(self, rows: Any, name: str) -> NDArray[np.float32]:
        """Columns of one set for some rows, as a copy."""
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
    """

    sets: tuple[str, ...]
    neural: bool
    device: Any = "auto"
    encoders: tuple[Any, Any] | None = None


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
        return np.asarray(self.model.predict(_inputs(data, rows, self.features)))


@dataclass(frozen=True, eq=False)
class _Messages:
    """Inputs of a message-passing network: covariates, graph and nodes of some rows."""

    values: Array
    graph: Any
    nodes: Any


@dataclass(frozen=True, eq=False)
class _EncoderModel:
    """A fitted message-passing network as a member of the pool."""

    model: Any

    def predict(self, inputs: _Messages) -> Array:
        method = getattr(self.model, "predict_proba", self.model.predict)
        found = np.asarray(method(inputs.values, graph=inputs.graph, nodes=inputs.nodes), dtype=np.float64)
        return found if found.ndim == 2 else found[:, None]


def fit_pool(data: NodeFeatures, target: PoolTarget, train: Rows, options: PoolOptions, *, seed: int) -> PoolChoice:
    """Fit every candidate on inner splits of the training rows, and the best one on all of them.

    A candidate's loss is its mean squared error or log loss over held-out rows of splits common to all; penalties and
    numbers of trees come from the same splits. The simplest candidate whose loss is within one standard error (of the
    paired difference) of the smallest wins; linear is simpler than boosting, that than a network, and own covariates
    than those of neighbours.

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
    PoolChoice
    """
    rng = np.random.default_rng(seed)
    large = len(train) > LARGE
    sample = np.sort(rng.choice(train, _SELECTION_ROWS, replace=False)) if large else train
    seen = target.rows(sample)
    splits = _inner_splits(seen, int(rng.integers(2**31 - 1)))
    candidates = _candidates(data.sets, options)
    losses, settings = [], []
    for number, candidate in enumerate(candidates):
        found, setting = _held_out(data, sample, seen, splits, candidate, seed + number, options)
        losses.append(found)
        settings.append(setting)
    means, errors, chosen = _choose(np.array(losses), seen.weight)
    winner = candidates[chosen]
    model = _fit(_inputs(data, train, winner.features), target.rows(train), winner, settings[chosen], seed, options)
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
    return PoolChoice(winner.features, model, table)


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
        found.append(_Candidate(str(options.encoders[0].encoder), _ENCODED))
    return found


def _inner_splits(target: PoolTarget, seed: int) -> list[tuple[Rows, Rows]]:
    n = len(target.values)
    if target.groups is not None and len(np.unique(target.groups)) >= _INNER_SPLITS:
        return list(GroupKFold(_INNER_SPLITS).split(np.zeros(n), groups=target.groups))
    if target.n_levels and np.bincount(target.values.astype(np.intp)).min() >= _INNER_SPLITS:
        splitter = StratifiedKFold(_INNER_SPLITS, shuffle=True, random_state=seed)
        return list(splitter.split(np.zeros(n), target.values))
    return list(KFold(min(_INNER_SPLITS, n), shuffle=True, random_state=seed).split(np.zeros(n)))


def _inputs(data: NodeFeatures, rows: Any, features: str) -> Any:
    if features == _ENCODED:
        return _Messages(data.values[rows], data.graph, data.nodes[rows])
    return data.sets.take(rows, features)


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
        return boosting_losses(columns, target, splits, seed)
    found = np.empty(len(target.values))
    for number, (train, test) in enumerate(splits):
        inputs = _inputs(data, sample[train], candidate.features)
        model = _fit(inputs, target.rows(train), candidate, None, seed + 7 * number, options)
        found[test] = row_losses(model.predict(_inputs(data, sample[test], candidate.features)), target.rows(test))
    return found, None


def _fit(inputs: Any, target: PoolTarget, candidate: _Candidate, setting: Any, seed: int, options: PoolOptions) -> Any:
    if candidate.learner == "linear":
        return fit_linear(inputs, target, (setting,), candidate.squares)[0]
    if candidate.learner == "boosting":
        return fit_boosting(inputs, target, setting, seed)
    if candidate.learner == "neural":
        from causalkit.graph.pool_networks import fit_network

        return fit_network(inputs, target, seed, options.device)
    encoders: Any = options.encoders
    model = clone(encoders[bool(target.n_levels)]).set_params(random_state=seed % (2**31))
    values = target.values.astype(np.intp) if target.n_levels else target.values
    weight = {} if target.weight is None else {"sample_weight": target.weight}
    return _EncoderModel(model.fit(inputs.values, values, graph=inputs.graph, nodes=inputs.nodes, **weight))


def _choose(losses: Array, weight: Array | None) -> tuple[Array, Array, int]:
    """Mean losses, errors of the differences to the smallest, and the first candidate within one of them."""
    w = np.ones(losses.shape[1]) if weight is None else weight / weight.mean()
    means = losses @ w / len(w)
    best = int(np.argmin(means))
    difference = (losses - losses[best]) * w
    errors = difference.std(axis=1) / np.sqrt(len(w))
    return means, errors, int(np.argmax(means - means[best] <= errors))
