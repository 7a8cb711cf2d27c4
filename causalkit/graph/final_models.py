r"""Models of the effect, a constant plus a deviation, each fitted on residuals by the R-loss.

With residuals Ỹ and T̃ every model minimises :math:`\sum_i (\tilde Y_i - \tilde T_i'\tau(x_i))^2` over its own kind of
functions :math:`\tau = c + f`, c being the constant that fits best. Without c a model that shrinks, or is linear
without an intercept, cannot express a constant effect.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold

from causalkit._crossfit_tasks import seeded_clone
from causalkit.graph.pool import LARGE, Messages
from causalkit.graph.pool_learners import coarsened, ridge_path
from causalkit.threads import boosting_threads
from causalkit.trees import FittedTrees

__all__ = [
    "ConstantEffect",
    "EffectModel",
    "GivenModel",
    "LinearEffect",
    "NeuralEffect",
    "Residuals",
    "TreeEffect",
    "best_constant",
    "fit_effect_model",
    "given_kind",
]

Array = NDArray[np.float64]
Float = NDArray[np.float32]

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
_INNER_FOLDS = 5
_MOST_TREE_ROWS = 5000
_BLOCK_ROWS = 65_536
_SMALLEST_RESIDUAL = 1e-3  # below it a pseudo-outcome is a ratio of noise


@dataclass(frozen=True, eq=False)
class Residuals:
    """What the effect is learnt from.

    Attributes
    ----------
    outcome : ndarray, shape (n,)
        Ỹ.
    treatment : ndarray, shape (n, k)
        T̃, one column per effect.
    weight : ndarray or None, shape (n,)
        Weights of the rows.
    groups : ndarray of int or None, shape (n,)
        Clusters that inner splits do not divide.
    unit : float
        Size of T̃ that counts as one: 1 for levels, the root mean square of a continuous T̃.
    """

    outcome: Array
    treatment: Array
    weight: Array | None
    groups: NDArray[np.intp] | None
    unit: float

    def rows(self, rows: NDArray[np.intp]) -> Residuals:
        """The same for some rows."""
        return Residuals(
            self.outcome[rows],
            self.treatment[rows],
            None if self.weight is None else self.weight[rows],
            None if self.groups is None else self.groups[rows],
            self.unit,
        )

    @property
    def weights(self) -> Array:
        """Weights, ones where there are none."""
        return np.ones(len(self.outcome)) if self.weight is None else self.weight


class EffectModel(Protocol):
    """A fitted model of the effect."""

    def predict(self, columns: Any) -> Array:
        """Effects, shape (n, k)."""


def best_constant(residuals: Residuals) -> Array:
    """c that minimises Σ w(Ỹ - T̃'c)²: the effect averaged with weights Var(T|x), shape (k,)."""
    weighted = residuals.treatment * residuals.weights[:, None]
    gram, cross = weighted.T @ residuals.treatment, weighted.T @ residuals.outcome
    return np.asarray(np.linalg.lstsq(gram, cross, rcond=None)[0])


@dataclass(frozen=True, eq=False)
class ConstantEffect:
    """One effect for all, ``constant`` of shape (k,)."""

    constant: Array

    def predict(self, columns: Any) -> Array:
        """Effects, shape (n, k)."""
        return np.broadcast_to(self.constant, (len(columns), len(self.constant))).copy()


@dataclass(frozen=True, eq=False)
class LinearEffect:
    """τ(z) = coef' (1, z), ``coef`` of shape (c + 1, k), with the penalty that it was fitted with."""

    coef: Array
    penalty: float

    def predict(self, columns: Any) -> Array:
        """Effects, shape (n, k)."""
        return np.asarray(columns, dtype=np.float64) @ self.coef[1:] + self.coef[0]


@dataclass(frozen=True, eq=False)
class TreeEffect:
    """c + trees(z)."""

    constant: Array
    trees: FittedTrees

    def predict(self, columns: Any) -> Array:
        """Effects, shape (n, 1)."""
        return self.constant + self.trees.predict(columns)[:, None]


@dataclass(frozen=True, eq=False)
class NeuralEffect:
    """c + scale · network(z)."""

    constant: Array
    scale: float
    network: Any

    def predict(self, columns: Any) -> Array:
        """Effects, shape (n, k)."""
        return np.asarray(self.constant + self.scale * self.network.predict(columns))


@dataclass(frozen=True, eq=False)
class GivenModel:
    """A model of the user's: the effect itself where it was fitted on (Z, T̃, Ỹ), else the deviation from c."""

    constant: Array
    model: Any

    def predict(self, columns: Any) -> Array:
        """Effects, shape (n, k)."""
        inputs, extra = given_inputs(columns)
        found = np.asarray(self.model.predict(inputs, **extra), dtype=np.float64)
        return self.constant + found.reshape(len(columns), len(self.constant))


def given_kind(model: Any) -> str:
    """How a model of the user's is fitted: "treatment" by fit(X, T, y), "weights" by fit(X, y, sample_weight).

    Raises
    ------
    TypeError
        Its fit takes neither.
    """
    fit = getattr(model, "fit", None)
    names = [] if fit is None else list(inspect.signature(fit).parameters)
    if names[:1] == ["X"] and {"T", "y"} <= set(names):
        return "treatment"
    if "sample_weight" in names:
        return "weights"
    raise TypeError(
        f"final_model: {type(model).__name__} cannot be fitted on residuals. Its fit must take (X, T, y), as "
        "forests of econml.grf do, or (X, y, sample_weight=...), as most regressors of scikit-learn do; got "
        f"fit({', '.join(names)})."
    )


def given_inputs(columns: Any) -> tuple[Any, dict[str, Any]]:
    """Features and keyword arguments of a model of the user's: the graph goes with those that take it."""
    return (columns.values, columns.extra) if isinstance(columns, Messages) else (columns, {})


def fit_effect_model(
    kind: Any, columns: Any, residuals: Residuals, *, seed: int, device: Any = "auto", n_bags: int = 5
) -> Any:
    """Fit one kind of effect model.

    Parameters
    ----------
    kind : {"constant", "linear", "forest", "boosting", "neural"} or estimator
        What to fit.
    columns : ndarray of float32, shape (n, c), or Messages
        Standardised covariates, or what a model that passes messages gets.
    residuals : Residuals
        Of the same rows.
    seed : int
        Key of all draws.
    device : str
        Where a network trains.
    n_bags : int
        Networks of a neural model.

    Returns
    -------
    EffectModel
    """
    constant = best_constant(residuals)
    if kind == "constant":
        return ConstantEffect(constant)
    if kind == "linear":
        return _fit_linear(columns, residuals, seed)
    if kind == "neural":
        return _fit_neural(columns, residuals, constant, seed, device, n_bags)
    if not isinstance(kind, str) and given_kind(kind) == "treatment":
        model = seeded_clone(kind, seed)
        given = {} if residuals.weight is None else {"sample_weight": residuals.weight}
        model.fit(np.asarray(columns, dtype=np.float64), residuals.treatment, residuals.outcome, **given)
        return GivenModel(np.zeros_like(constant), model)
    kept, pseudo, weight = _pseudo_outcomes(residuals, constant)
    model = _tree_model(kind, seed, len(kept)) if isinstance(kind, str) else seeded_clone(kind, seed)
    seen, extra = given_inputs(columns[kept])
    with boosting_threads(model, len(kept)):
        model.fit(coarsened(seen) if kind == "boosting" else seen, pseudo, sample_weight=weight, **extra)
    return TreeEffect(constant, FittedTrees(model)) if isinstance(kind, str) else GivenModel(constant, model)


def _pseudo_outcomes(residuals: Residuals, constant: Array) -> tuple[NDArray[np.intp], Array, Array]:
    """Rows, targets (Ỹ - cT̃)/T̃ and weights T̃² of a regression whose loss is the R-loss of c + f."""
    treatment = residuals.treatment[:, 0] / residuals.unit
    kept = np.flatnonzero(np.abs(treatment) >= _SMALLEST_RESIDUAL)
    t, w = residuals.treatment[kept, 0], residuals.weights[kept]
    pseudo = (residuals.outcome[kept] - constant[0] * t) / t
    return kept, pseudo, w * treatment[kept] ** 2


def _tree_model(kind: str, seed: int, n_rows: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

    if kind == "forest":
        rows = _MOST_TREE_ROWS if n_rows > _MOST_TREE_ROWS else None  # that a tree draws
        return RandomForestRegressor(200, min_samples_leaf=20, max_features=0.5, max_samples=rows, random_state=seed)
    rate = 0.03 if n_rows < LARGE else 0.1  # small steps guard against noise, which many rows average out
    return HistGradientBoostingRegressor(
        learning_rate=rate,
        max_iter=300 if n_rows < LARGE else 100,
        max_leaf_nodes=6,
        min_samples_leaf=30,
        # In units of ΣT̃²: leaves of rows with hardly any overlap would otherwise have values that no loss can see.
        l2_regularization=3.0,
        early_stopping=True,
        validation_fraction=0.2,
        tol=0.0,  # it is in units of the squared outcome, and effects must not depend on those units
        random_state=seed,
    )


def _fit_neural(columns: Float, residuals: Residuals, constant: Array, seed: int, device: Any, n_bags: int) -> Any:
    from causalkit.graph.pool_networks import training_length
    from causalkit.nn.stacked import fit_stacked_mlp

    scale = float(np.sqrt(np.average((residuals.outcome) ** 2, weights=residuals.weight)))
    scale = scale if scale > 0 else 1.0
    length = training_length(len(columns), n_bags)
    network = fit_stacked_mlp(
        columns,
        (residuals.outcome - residuals.treatment @ constant) / scale,
        multiplier=residuals.treatment / residuals.unit,
        n_outputs=len(constant),
        sample_weight=residuals.weight,
        seed=seed,
        device=device,
        n_bags=length.n_bags,
        batch_size=length.batch_size,
        max_epochs=length.max_epochs,
        patience=length.patience,
    )
    return NeuralEffect(constant, scale / residuals.unit, network)


# ---------------------------------------------------------------------- linear


def _fit_linear(columns: Float, residuals: Residuals, seed: int) -> LinearEffect:
    """Ridge of Ỹ on T̃·(1, Z); T̃ itself is not penalised, and the penalty comes from inner folds."""
    folds = _inner_folds(residuals, seed)
    grams, crosses, squares = [], [], []
    for fold in range(int(folds.max()) + 1):
        gram, cross = linear_moments(columns[folds == fold], residuals.rows(np.flatnonzero(folds == fold)))
        grams.append(gram)
        crosses.append(cross)
        inside = folds == fold
        squares.append(float((residuals.weights[inside] * residuals.outcome[inside] ** 2).sum()))
    total, totals = np.sum(grams, axis=0), np.sum(crosses, axis=0)
    k = residuals.treatment.shape[1]
    size = float(np.average(np.mean(residuals.treatment**2, axis=1), weights=residuals.weight))
    penalties = [penalty * size for penalty in PENALTIES]
    losses = np.zeros(len(penalties))
    for gram, cross, square in zip(grams, crosses, squares, strict=True):
        for number, b in enumerate(penalised_path(total - gram, totals - cross, penalties, k)):
            losses[number] += square - 2 * b @ cross + b @ gram @ b
    best = penalties[int(np.argmin(losses))]
    coef = penalised_path(total, totals, [best], k)[0]
    return LinearEffect(coef.reshape(-1, k), best)


def _inner_folds(residuals: Residuals, seed: int) -> NDArray[np.intp]:
    n = len(residuals.outcome)
    folds = np.zeros(n, dtype=np.intp)
    if residuals.groups is not None and len(np.unique(residuals.groups)) >= _INNER_FOLDS:
        splits = GroupKFold(_INNER_FOLDS).split(np.zeros(n), groups=residuals.groups)
    else:
        splits = KFold(min(_INNER_FOLDS, n), shuffle=True, random_state=seed % (2**31)).split(np.zeros(n))
    for fold, (_, test) in enumerate(splits):
        folds[test] = fold
    return folds


def linear_moments(columns: Any, residuals: Residuals) -> tuple[Array, Array]:
    """D'WD and D'WỸ of the design D = T̃ ⊗ (1, z), the k unpenalised columns first, block by block."""
    gram: Any = 0.0
    cross: Any = 0.0
    for start in range(0, len(columns), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        design = linear_design(columns[rows], residuals.treatment[rows])
        weighted = design * residuals.weights[rows, None]
        gram = gram + weighted.T @ design
        cross = cross + weighted.T @ residuals.outcome[rows]
    return gram, cross


def linear_design(columns: Any, treatment: Array) -> Array:
    """T̃ ⊗ (1, z), shape (n, (c + 1)k): column j·k + l is the j-th entry of (1, z) times T̃_l."""
    values = np.hstack([np.ones((len(columns), 1)), np.asarray(columns, dtype=np.float64)])
    return np.asarray((values[:, :, None] * treatment[:, None, :]).reshape(len(values), -1))


def penalised_path(gram: Array, cross: Array, penalties: list[float], n_free: int) -> list[Array]:
    """Ridge coefficients with the first ``n_free`` ones unpenalised, for several penalties."""
    free, rest = slice(0, n_free), slice(n_free, None)
    solved = np.linalg.lstsq(gram[free, free], np.column_stack([gram[free, rest], cross[free]]), rcond=None)[0]
    inner = gram[rest, rest] - gram[rest, free] @ solved[:, :-1]
    slopes = ridge_path(inner, cross[rest] - gram[rest, free] @ solved[:, -1], penalties)
    return [np.concatenate([solved[:, -1] - solved[:, :-1] @ b, b]) for b in slopes]
