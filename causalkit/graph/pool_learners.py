"""Linear models and boosted trees of the nuisance pool: fits, settings and held-out losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.threads import boosting_threads

if TYPE_CHECKING:
    from causalkit.graph.pool import PoolTarget

__all__ = [
    "BoostedTrees",
    "LinearModel",
    "boosting_losses",
    "coarsened",
    "fit_boosting",
    "fit_linear",
    "linear_losses",
    "ridge_path",
    "row_losses",
]

Array = NDArray[np.float64]
Float = NDArray[np.float32]
Rows = NDArray[np.intp]
Splits = list[tuple[Rows, Rows]]

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
TREE_RATE = 0.05
_MOST, _MORE, _NO_PROGRESS = 10.0, 2.5, 1.0  # numbers of trees times their rate
_BINS = 255  # what histogram trees tell apart
_MOST_COARSENED = 100_000
_BLOCK_ROWS = 65_536
_LEAST_PROBABILITY = 1e-6


def row_losses(predictions: Array, target: PoolTarget) -> Array:
    """Squared error, or minus the logarithm of the probability of what happened, of every row."""
    if not target.n_levels:
        return np.asarray((target.values - predictions[:, 0]) ** 2)
    happened = predictions[np.arange(len(predictions)), target.values.astype(np.intp)]
    return -np.log(np.maximum(happened, _LEAST_PROBABILITY))


# ---------------------------------------------------------------------- linear


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A linear or logistic regression on standardised columns.

    Attributes
    ----------
    coef : ndarray, shape (c, k)
        Slopes, in units of standardised columns.
    intercept : ndarray, shape (k,)
        Intercepts.
    center, scale : ndarray, shape (c,)
        Of the columns in training; a scale of 0 marks a constant one.
    squares : bool
        Whether squares and products of the inputs are columns too.
    logistic : bool
        Whether outputs are probabilities, of k levels.
    """

    coef: Array
    intercept: Array
    center: Array
    scale: Array
    squares: bool
    logistic: bool

    def predict(self, columns: Any) -> Array:
        """Predictions, shape (n, k)."""
        slopes = np.divide(self.coef, self.scale[:, None], out=np.zeros_like(self.coef), where=self.scale[:, None] > 0)
        constant = self.intercept - self.center @ slopes
        blocks = []
        for start in range(0, len(columns), _BLOCK_ROWS):
            design = _design(columns[start : start + _BLOCK_ROWS], self.squares)
            blocks.append(design @ slopes + constant)
        scores = np.concatenate(blocks)
        return _softmax(scores) if self.logistic else scores


def _softmax(scores: Array) -> Array:
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _design(columns: Any, squares: bool) -> Array:
    values = np.asarray(columns, dtype=np.float64)
    if not squares:
        return values
    first, second = np.triu_indices(values.shape[1])
    return np.hstack([values, values[:, first] * values[:, second]])


def fit_linear(columns: Any, target: PoolTarget, penalties: tuple[float, ...], squares: bool) -> list[LinearModel]:
    """Ridge or logistic regressions, one per penalty on the squared slopes of standardised columns.

    The penalty is in units of rows: Σ w(y - Zb)² + λ|b|², or half of that beside the log likelihood.
    """
    w = np.ones(len(columns)) if target.weight is None else target.weight
    if not target.n_levels:
        center, scale, gram, cross, mean = _moments(columns, target.values, w, squares)
        slopes = ridge_path(gram, cross, penalties)
        return [LinearModel(b[:, None], np.array([mean]), center, scale, squares, False) for b in slopes]
    from sklearn.linear_model import LogisticRegression

    design = _design(columns, squares)
    center = np.average(design, axis=0, weights=w)
    scale = _spread(np.sqrt(np.average((design - center) ** 2, axis=0, weights=w)), center)
    design = (design - center) / np.where(scale > 0, scale, np.inf)
    models = []
    for penalty in penalties:
        fit = LogisticRegression(C=1.0 / penalty, max_iter=300).fit(design, target.values, sample_weight=target.weight)
        coef, intercept = fit.coef_.T, fit.intercept_
        if coef.shape[1] == 1:  # two levels: one column of log odds
            coef, intercept = np.hstack([np.zeros_like(coef), coef]), np.array([0.0, intercept[0]])
        models.append(LinearModel(coef, intercept, center, scale, squares, True))
    return models


def _moments(columns: Any, y: Array, w: Array, squares: bool) -> tuple[Array, Array, Array, Array, float]:
    """Centre, spread, Gram matrix and products with y of standardised columns, block by block."""
    total = float(w.sum())
    sums: Any = 0.0
    for start in range(0, len(columns), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        sums = sums + w[rows] @ _design(columns[rows], squares)
    center = sums / total
    mean = float(w @ y / total)
    gram: Any = 0.0
    cross: Any = 0.0
    for start in range(0, len(columns), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        design = _design(columns[rows], squares) - center
        weighted = design * w[rows, None]
        gram = gram + weighted.T @ design
        cross = cross + weighted.T @ (y[rows] - mean)
    scale = _spread(np.sqrt(np.diag(gram) / total), center)
    factor = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return center, scale, gram * factor * factor[:, None], cross * factor, mean


def _spread(spread: Array, center: Array) -> Array:
    return np.where(spread > 1e-7 * (np.abs(center) + spread), spread, 0.0)


def ridge_path(gram: Array, cross: Array, penalties: Any) -> list[Array]:
    """(Z'Z + λI)⁻¹Z'y for several penalties by one eigendecomposition."""
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ cross
    floor = np.maximum(values, 0.0)
    shape = (-1,) + (1,) * (rotated.ndim - 1)
    return [vectors @ (rotated / (floor + penalty).reshape(shape)) for penalty in penalties]


def linear_losses(columns: Any, target: PoolTarget, splits: Splits, squares: bool) -> tuple[Array, float]:
    """Held-out loss of every row with the penalty of smallest mean, and that penalty."""
    losses = np.empty((len(PENALTIES), len(target.values)))
    for train, test in splits:
        held = target.rows(test)
        for number, model in enumerate(fit_linear(columns[train], target.rows(train), PENALTIES, squares)):
            losses[number, test] = row_losses(model.predict(columns[test]), held)
    best = int(np.argmin(_means(losses, target.weight)))
    return losses[best], PENALTIES[best]


def _means(losses: Array, weight: Array | None) -> Array:
    return np.asarray(np.average(losses, axis=1, weights=weight))


# ---------------------------------------------------------------------- boosted trees


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """Histogram gradient boosting with predictions of shape (n, k)."""

    model: Any

    def predict(self, columns: Any) -> Array:
        """Predictions, or probabilities of the levels."""
        probabilities = getattr(self.model, "predict_proba", None)
        with boosting_threads(self.model, len(columns)):
            if probabilities is not None:
                return np.asarray(probabilities(columns), dtype=np.float64)
            return np.asarray(self.model.predict(columns), dtype=np.float64)[:, None]


def fit_boosting(columns: Any, target: PoolTarget, n_trees: int, seed: int, rate: float = TREE_RATE) -> BoostedTrees:
    """Boosted trees of at most 8 leaves, without early stopping."""
    model = _boosting(target, seed, rate).set_params(max_iter=n_trees)
    with boosting_threads(model, len(columns)):
        return BoostedTrees(model.fit(coarsened(columns), target.values, sample_weight=target.weight))


def _boosting(target: PoolTarget, seed: int, rate: float) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if target.n_levels else HistGradientBoostingRegressor
    return kind(
        learning_rate=rate,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        early_stopping=False,
        random_state=seed,
    )


def coarsened(columns: Float) -> Float:
    """Columns with at most 255 values each: every value is replaced by that of its quantile bin.

    Histogram trees bin their inputs anyway, in every fit, by quantiles that take longer than growing the trees where
    there are weights. Columns of that few values are cut half-way between them instead. Columns of more than 10⁵ rows
    stay what they are: of those the trees bin a sample, which is quicker.
    """
    if len(columns) > _MOST_COARSENED:
        return columns
    out = np.empty_like(columns)
    for j in range(columns.shape[1]):
        values = np.sort(columns[:, j])
        places = np.unique((np.arange(_BINS) + 0.5) * len(values) / _BINS).astype(np.intp)
        marks = np.unique(values[places])
        cuts = marks[:-1] + (marks[1:] - marks[:-1]) / 2
        out[:, j] = marks[np.searchsorted(cuts, columns[:, j], side="left")]
    return out


def boosting_losses(
    columns: Any, target: PoolTarget, splits: Splits, seed: int, rate: float = TREE_RATE
) -> tuple[Array, int]:
    """Held-out loss of every row with the number of trees of smallest mean, and that number.

    At a rate of .05, trees are added to all splits 50 at a time, up to 200, until the last 20 of them have not lowered
    the mean loss; at other rates these numbers are in proportion to 1/rate.
    """
    most, more, no_progress = (round(size / rate) for size in (_MOST, _MORE, _NO_PROGRESS))
    seen = coarsened(columns)
    models = [_growing(seen[train], target.rows(train), seed, rate) for train, _ in splits]
    losses = np.empty((most, len(target.values)))
    for grown in range(more, most + 1, more):
        for grow, (_, test) in zip(models, splits, strict=True):
            held = target.rows(test)
            for number, predictions in enumerate(grow(grown, columns[test])):
                if number >= grown - more:
                    values = predictions if target.n_levels else predictions[:, None]
                    losses[number, test] = row_losses(values, held)
        best = int(np.argmin(_means(losses[:grown], target.weight)))
        if best < grown - no_progress:
            break
    return losses[best], best + 1


def _growing(columns: Any, target: PoolTarget, seed: int, rate: float) -> Callable[[int, Any], Iterator[Array]]:
    """A model that is grown to a number of trees, and gives predictions of other rows after each of them."""
    model = _boosting(target, seed, rate).set_params(warm_start=True)

    def grow(n_trees: int, others: Any) -> Iterator[Array]:
        with boosting_threads(model, len(columns)):
            model.set_params(max_iter=n_trees).fit(columns, target.values, sample_weight=target.weight)
            yield from model.staged_predict_proba(others) if target.n_levels else model.staged_predict(others)

    return grow
