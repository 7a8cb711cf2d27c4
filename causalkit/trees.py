"""Fitted trees of scikit-learn, kept as plain arrays where a file has to hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array, check_is_fitted

from causalkit.exceptions import PersistenceError

__all__ = ["FittedTrees", "TreeArrays", "boosting_arrays", "forest_arrays", "sum_of_trees"]

Array = NDArray[np.float64]
Integers = NDArray[np.intp]

_BLOCK = 1 << 16  # pairs of a row and a tree that are followed at once: they fit into the cache
_MODELS = "RandomForestRegressor, ExtraTreesRegressor, DecisionTreeRegressor or HistGradientBoostingRegressor"


@dataclass(frozen=True, eq=False)
class TreeArrays:
    r"""Regression trees as arrays, one tree after the other.

    With :math:`v_t(x)` the value of the leaf of tree t that x falls into, the prediction is

    .. math:: b + \sum_t v_t(x) \quad\text{or}\quad \frac{1}{T}\sum_{t=1}^T v_t(x).

    Attributes
    ----------
    feature : ndarray of int, shape (m,)
        Feature that a node splits on, -1 for a leaf.
    threshold : ndarray, shape (m,)
        A row with x <= threshold goes left.
    left, right : ndarray of int, shape (m,)
        Position of the children, behind their parent; a leaf is its own child.
    value : ndarray, shape (m,)
        What a leaf adds.
    starts : ndarray of int, shape (T,)
        Position of the root of each tree.
    baseline : float
        b, zero where trees are averaged.
    average : bool
        Whether the sum is divided by the number of trees.
    single_precision : bool
        Whether rows are rounded to float32 before they are compared with thresholds, as forests do.
    n_features : int
        Columns of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from causalkit.trees import forest_arrays
    >>> stump = forest_arrays(DecisionTreeRegressor(max_depth=1).fit([[0.0], [1.0]], [3.0, 5.0]))
    >>> stump.threshold[0], stump.predict(np.array([[0.5], [0.6]]))
    (np.float64(0.5), array([3., 5.]))
    """

    feature: Integers
    threshold: Array
    left: Integers
    right: Integers
    value: Array
    starts: Integers
    baseline: float
    average: bool
    single_precision: bool
    n_features: int

    def predict(self, X: Any) -> Array:
        """Predictions, shape (n,), equal to those of the model that the arrays were read from.

        Parameters
        ----------
        X : array-like, shape (n, n_features)
            Finite rows.

        Raises
        ------
        ValueError
            Rows of another width, or not finite.
        PersistenceError
            Arrays that do not fit together, which a file that was edited may hold.
        """
        self.check()
        X = check_rows(X, self.n_features, single_precision=self.single_precision)
        nodes = (self.feature, self.threshold, self.left, self.right, self.value)
        total = sum_of_trees(X, *nodes, self.starts, self.baseline)
        return total / len(self.starts) if self.average else total

    def check(self) -> None:
        """Refuse arrays that would read beyond their ends or never reach a leaf."""
        nodes = (self.feature, self.threshold, self.left, self.right, self.value)
        arrays = (*nodes, self.starts)
        plain = all(isinstance(array, np.ndarray) and array.ndim == 1 for array in arrays)
        if not plain or len({len(array) for array in nodes}) > 1 or not _are_numbers(self.baseline, self.n_features):
            raise _broken("their lengths or types differ")
        if any(array.dtype.kind != "i" for array in (self.feature, self.left, self.right, self.starts)):
            raise _broken("positions are not integers")
        if any(array.dtype != np.float64 for array in (self.threshold, self.value)):
            raise _broken("thresholds or values are not float64")
        m, own, leaf = len(self.feature), np.arange(len(self.feature)), self.feature < 0
        for child in (self.left, self.right):
            # Children behind their parent: no row can walk in a circle.
            if not np.where(leaf, child == own, (child > own) & (child < m)).all():
                raise _broken("a child is not behind its parent")
        if not (self.feature < self.n_features).all() or not ((self.starts >= 0) & (self.starts < m)).all():
            raise _broken("a feature or a root is out of range")
        if self.average and len(self.starts) == 0:
            raise _broken("there is no tree to average")


class FittedTrees:
    """A fitted forest, tree or boosting of scikit-learn that can be saved without pickle.

    It predicts with the scikit-learn model while that is there. :func:`causalkit.save` stores the trees as arrays,
    and what :func:`causalkit.load` returns predicts from these, with equal results. A pickle keeps the model.

    Parameters
    ----------
    model : RandomForestRegressor, ExtraTreesRegressor, DecisionTreeRegressor or HistGradientBoostingRegressor
        Fitted on finite numbers, one outcome, without categorical features; boosting with a loss whose predictions
        are the sum of the trees (all but "poisson" and "gamma").

    Attributes
    ----------
    model : regressor or None
        The model; None after loading.
    arrays : TreeArrays
        The trees, read from the model when asked for.

    Raises
    ------
    TypeError
        A model of another class.
    ValueError
        Several outcomes, categorical features, a loss with a link.
    NotFittedError
        The model was not fitted.

    Notes
    -----
    A forest with ``n_jobs`` above 1 adds its trees in the order in which threads finish, so that its own predictions
    differ in the last bits from call to call. Those from arrays are the ones of ``n_jobs=1``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from causalkit.trees import FittedTrees
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> trees = FittedTrees(RandomForestRegressor(5, random_state=0).fit(X, X[:, 0]))
    >>> bool((trees.predict(X) == trees.arrays.predict(X)).all())
    True
    """

    model: Any = None
    _arrays: TreeArrays | None = None

    def __init__(self, model: Any) -> None:
        _check_model(model)
        self.model = model

    @property
    def arrays(self) -> TreeArrays:
        """The trees as arrays."""
        if isinstance(self._arrays, TreeArrays):
            return self._arrays
        if self.model is None:
            raise _broken("there are none")
        return boosting_arrays(self.model) if hasattr(self.model, "_predictors") else forest_arrays(self.model)

    def predict(self, X: Any) -> Array:
        """Predictions, shape (n,), for finite rows of shape (n, p)."""
        if self.model is None:
            return self.arrays.predict(X)
        single = not hasattr(self.model, "_predictors")
        rows = check_rows(X, self.model.n_features_in_, single_precision=single)
        return np.asarray(self.model.predict(rows), dtype=np.float64)

    def __repr__(self) -> str:
        source = "arrays" if self.model is None else type(self.model).__name__
        return f"FittedTrees({source}, n_trees={len(self.arrays.starts)})"

    def _saved_state(self) -> dict[str, Any]:
        """What a file holds in the place of the compiled parts of the model."""
        return {"_arrays": self.arrays}


def check_rows(X: Any, n_features: int, *, single_precision: bool) -> NDArray[Any]:
    """Finite rows of the right width, in the precision in which they are compared with thresholds."""
    X = check_array(X, dtype=np.float32 if single_precision else np.float64)
    if X.shape[1] != n_features:
        raise ValueError(
            f"X has {X.shape[1]} columns, but the trees were grown on {n_features}: pass the same columns."
        )
    return np.asarray(X)


def sum_of_trees(
    X: NDArray[Any],
    feature: Integers,
    threshold: Array,
    left: Integers,
    right: Integers,
    value: Array,
    starts: Integers,
    baseline: float = 0.0,
) -> Array:
    """Baseline plus the leaf values of all trees, added in the order of the trees.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, p)
        Finite rows.
    feature, threshold, left, right, value, starts
        As in :class:`TreeArrays`; not checked.
    baseline : float, default=0.0
        Where the sum starts.

    Returns
    -------
    ndarray, shape (n,)
    """
    total = np.full(len(X), baseline, dtype=np.float64)
    if len(starts) == 0:
        return total
    column = np.maximum(feature, 0)
    children = np.stack([right, left], axis=1).ravel()  # one look-up by node and outcome of the comparison
    step = max(1, _BLOCK // len(starts))
    for first in range(0, len(X), step):
        block = X[first : first + step]
        n, p = block.shape
        flat = np.ascontiguousarray(block).ravel()
        offset = np.tile(np.arange(n) * p, len(starts))
        node = np.repeat(starts, n)
        walking = np.flatnonzero(feature[node] >= 0)
        for _ in range(len(feature)):  # more steps than nodes: an edited file leads in circles
            if len(walking) == 0:
                break
            here = node[walking]
            below = flat[offset[walking] + column[here]] <= threshold[here]
            here = children[2 * here + below]
            node[walking] = here
            walking = walking[feature[here] >= 0]
        # Tree by tree and not by a sum over an axis, whose order of additions numpy chooses.
        for leaves in value[node].reshape(len(starts), n):
            total[first : first + n] += leaves
    return total


# ---------------------------------------------------------------------- reading scikit-learn's arrays


def forest_arrays(model: Any) -> TreeArrays:
    """Arrays of a fitted forest or tree: the average of its trees, compared in single precision."""
    trees = [member.tree_ for member in getattr(model, "estimators_", [model])]
    parts: list[tuple[NDArray[Any], ...]] = []
    for tree in trees:
        leaf = tree.children_left < 0
        parts.append((leaf, tree.feature, tree.threshold, tree.children_left, tree.children_right, tree.value[:, 0, 0]))
    return _joined(parts, baseline=0.0, average=True, single_precision=True, n_features=model.n_features_in_)


def boosting_arrays(model: Any) -> TreeArrays:
    """Arrays of a fitted HistGradientBoostingRegressor: baseline plus the sum of its trees.

    This is the only place that reads scikit-learn's private ``_predictors`` and ``_baseline_prediction``
    (test_boosting_nodes_mean_what_we_read).
    """
    parts: list[tuple[NDArray[Any], ...]] = []
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        columns = (nodes[name] for name in ("is_leaf", "feature_idx", "num_threshold", "left", "right", "value"))
        parts.append(tuple(columns))
    baseline = float(np.asarray(model._baseline_prediction).item())
    return _joined(parts, baseline=baseline, average=False, single_precision=False, n_features=model.n_features_in_)


def _joined(parts: list[tuple[NDArray[Any], ...]], **rest: Any) -> TreeArrays:
    """One run of nodes from (is leaf, feature, threshold, left, right, value) of every tree."""
    sizes = np.array([len(part[0]) for part in parts], dtype=np.intp)
    starts = (np.cumsum(sizes) - sizes).astype(np.intp)
    empty: list[NDArray[Any]] = [np.zeros(0)]
    leaf, feature, threshold, left, right, value = (
        np.concatenate([part[i] for part in parts] or empty) for i in range(6)
    )
    leaf, own, start = leaf.astype(bool), np.arange(len(leaf), dtype=np.intp), np.repeat(starts, sizes)
    return TreeArrays(
        feature=np.where(leaf, -1, feature).astype(np.intp),
        threshold=np.where(leaf, 0.0, threshold).astype(np.float64),
        left=np.where(leaf, own, left.astype(np.intp) + start),
        right=np.where(leaf, own, right.astype(np.intp) + start),
        value=value.astype(np.float64),
        starts=starts,
        **rest,
    )


def _check_model(model: Any) -> None:
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.tree import DecisionTreeRegressor

    boosting = isinstance(model, HistGradientBoostingRegressor)
    if not boosting and not isinstance(model, RandomForestRegressor | ExtraTreesRegressor | DecisionTreeRegressor):
        raise TypeError(f"model is a {type(model).__name__}: expected a fitted {_MODELS} of scikit-learn.")
    check_is_fitted(model)
    if getattr(model, "n_outputs_", 1) != 1:
        raise ValueError(f"model predicts {model.n_outputs_} outcomes, expected one: fit one model per outcome.")
    if boosting and getattr(model, "is_categorical_", None) is not None:
        raise ValueError("model has categorical features, which are not supported: encode them as numbers first.")
    if boosting and model.loss in ("poisson", "gamma"):
        raise ValueError(
            f'model has loss="{model.loss}", whose predictions are not a sum of trees: use another loss, such as '
            '"squared_error".'
        )


def _are_numbers(baseline: Any, n_features: Any) -> bool:
    return isinstance(baseline, float) and type(n_features) is int


def _broken(why: str) -> PersistenceError:
    return PersistenceError(f"the arrays of these trees do not fit together ({why}): fit or save them again.")
