r"""Rewards where the effect of a text differs over the confounders: predict under every one of them, then average.

:math:`\hat r(x) = \sum_c P^*(c)\,\hat\mu(x, c)`. For a regression that is linear in X, a basis B(C) and their products
the sum needs no loop: only the mean basis under P* enters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError
from causalkit.rewards.orthogonal import row_chunks
from causalkit.rewards.products import Eliminated, ProductDesign, choose_penalty, sum_moments

__all__ = ["StandardizedFit", "average_over_targets", "interacted_ridge"]

Array = NDArray[np.float64]

# The moment matrix of this many products has 128 MB; each fold of the choice of λ has one.
MAX_PRODUCTS = 4000


@dataclass(frozen=True, eq=False, kw_only=True)
class StandardizedFit:
    """A regression on features, confounder basis and their products, averaged over target confounders.

    Attributes
    ----------
    coef : ndarray, shape (p,)
        θ̂ + Δ̂(B̄* - B̄): coefficients of the features at the mean target basis.
    intercept : float
        r̂(x) = intercept + x'coef.
    influence : ndarray, shape (n, p)
        Influence values of ``coef`` on the mean scale, in the type of X, for the λ at hand.
    adjusted_reward : ndarray, shape (n,)
        R̂ = Y - μ̂(X, C) + r̂(X).
    residuals : ndarray, shape (n,)
        Y - μ̂(X, C).
    interactions : ndarray, shape (p, b)
        Δ̂: change of the coefficients of the features (rows) with the basis (columns).
    basis_coef : ndarray, shape (b,)
        Coefficients of the basis at the mean features.
    feature_mean, basis_mean, target_basis : ndarray, shapes (p,), (b,) and (b,)
        X̄, B̄ and B̄*.
    penalty : float
        λ on the products, whose features are at unit variance.
    degrees_of_freedom : float
        n less the effective number of coefficients.
    """

    coef: Array
    intercept: float
    influence: NDArray[np.floating]
    adjusted_reward: Array
    residuals: Array
    interactions: Array
    basis_coef: Array
    feature_mean: Array
    basis_mean: Array
    target_basis: Array
    penalty: float
    degrees_of_freedom: float

    def confounder_effect(self, X: NDArray[np.floating], B: Array) -> Array:
        """μ̂(x, c) - r̂(x) of any rows: what their confounders did to the outcome of their texts, shape (n,)."""
        out = np.empty(len(X))
        for rows in row_chunks(len(X), X.shape[1]):
            slopes = (X[rows].astype(np.float64) - self.feature_mean) @ self.interactions + self.basis_coef
            out[rows] = np.einsum("ij,ij->i", B[rows] - self.target_basis, slopes)
        return out


def interacted_ridge(
    X: NDArray[np.floating],
    B: Array,
    y: Array,
    *,
    weight: Array | None = None,
    target_basis: Array | None = None,
    penalty: float | None = None,
    folds: NDArray[np.intp] | None = None,
    names: list[str] | None = None,
) -> StandardizedFit:
    r"""Regress y on X, B and X⊗B with ridge on the products, and average over target confounders.

    .. math:: \hat\mu(x, c) = a + \theta'x + \beta'b(c) + x'\Delta b(c), \qquad
              \hat r(x) = a + \beta'\bar B^* + x'(\theta + \Delta\bar B^*).

    Assumptions: no unmeasured confounding given C; μ has this form; every mixture of text and target confounder is
    within reach of the data. Additivity is not assumed.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Features, float32 or float64.
    B : ndarray, shape (n, b)
        Basis of the confounders, without constant; its columns may be collinear, as one-hot columns are.
    y : ndarray, shape (n,)
        Outcome.
    weight : ndarray, shape (n,), optional
        Weights of mean 1.
    target_basis : ndarray, shape (t, b), optional
        Basis rows of the target population, taken as fixed. Default: the mix of the log itself, whose mean is then
        estimated from the same rows; the influence values carry that too.
    penalty : float, optional
        λ. Default: the out-of-fold squared error picks one of 25 values of λ/n from 1e-6 to 1e3 times the mean
        variance of the products; ``folds`` is needed then. X, B and the constant are never penalised.
    folds : ndarray of int, shape (n,), optional
        Fold of each row.
    names : list of str, optional
        Of the features, for messages.

    Returns
    -------
    StandardizedFit
        Its influence values take the basis and λ as fixed, so with λ > 0 they are about the shrunken coefficients.

    Raises
    ------
    IdentificationError
        Features collinear given the basis, or, with λ = 0, products that the data do not inform and that the target
        needs.
    ValueError
        Neither ``penalty`` nor ``folds``, or more products than the moment matrix can hold.

    References
    ----------
    Robins 1986, doi 10.1016/0270-0255(86)90088-6 (standardisation); Lin 2013, doi 10.1214/12-AOAS583 (the regression
    with products of centred columns).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards.standardization import interacted_ridge
    >>> rng = np.random.default_rng(0)
    >>> c, u, e = rng.standard_normal((3, 1000))
    >>> x = c + u
    >>> y = x * (1 + 0.5 * c) + 2 * c + 0.1 * e
    >>> fit = interacted_ridge(x[:, None], c[:, None], y, target_basis=np.ones((1, 1)), penalty=0.0)
    >>> bool(abs(fit.coef[0] - 1.5) < 0.02)  # the effect of x where c = 1
    True
    """
    n, p = X.shape
    names = [f"x{j}" for j in range(p)] if names is None else names
    _check_arguments(X, B, penalty, folds)
    design = _design(X, B, y, np.ones(n) if weight is None else weight, names)
    if penalty is None and folds is not None:
        parts = [design.moments(np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
        total = sum_moments(parts)
        penalty = choose_penalty(parts, total)
    else:
        total = design.moments()
    solver = Eliminated(total)
    _refuse_collinear(solver, names)
    lam = float(penalty or 0.0)
    coef = solver.solve(total.moment[:, None], lam)[:, 0]
    own_mix = target_basis is None
    shift = np.zeros(B.shape[1]) if target_basis is None else target_basis.mean(axis=0) - design.basis_mean
    contrasts = _contrasts(p, shift)
    if lam == 0:
        _refuse_uninformed(solver, contrasts, names)
    return _assemble(design, solver, coef, lam, shift, contrasts, own_mix)


def _check_arguments(X: NDArray[np.floating], B: Array, penalty: float | None, folds: NDArray[np.intp] | None) -> None:
    products = X.shape[1] * B.shape[1]
    if products > MAX_PRODUCTS:
        raise ValueError(
            f"X has {X.shape[1]} features and the confounder basis {B.shape[1]} columns: {products} products, expected "
            f"at most {MAX_PRODUCTS}. Reduce the features first (for example by principal components), use fewer "
            "confounder columns, or pass an outcome_model."
        )
    if penalty is None and folds is None:
        raise ValueError("folds is missing: expected a fold per row to choose the penalty by. Pass folds or a penalty.")
    if penalty is not None and not penalty >= 0:
        raise ValueError(f"penalty must be a number of at least 0, or None to choose it; got {penalty!r}.")


def _design(X: NDArray[np.floating], B: Array, y: Array, weight: Array, names: list[str]) -> ProductDesign:
    n, p = X.shape
    total = weight.sum()
    mean, square = np.zeros(p), np.zeros(p)
    for rows in row_chunks(n, p):
        mean += weight[rows] @ X[rows].astype(np.float64)
    mean /= total
    for rows in row_chunks(n, p):
        square += weight[rows] @ (X[rows].astype(np.float64) - mean) ** 2
    scale = np.sqrt(square / total)
    flat = np.flatnonzero(~(scale > 1e-12 * np.abs(mean)))
    if len(flat):
        raise IdentificationError(
            f"X: {', '.join(names[j] for j in flat[:3])} does not vary ({len(flat)} of {p} features): a constant has "
            "no effect to estimate. Drop it."
        )
    return ProductDesign(X, B, y, weight, mean, scale, weight @ B / total, float(weight @ y / total))


def _contrasts(p: int, shift: Array) -> Array:
    """Combinations of the columns' coefficients that make up ``coef`` (features at unit variance), shape (K, p)."""
    main = np.vstack([np.zeros((1, p)), np.eye(p), np.zeros((len(shift), p))])
    return np.vstack([main, np.kron(np.eye(p), shift[:, None])])


def _refuse_collinear(solver: Eliminated, names: list[str]) -> None:
    p = len(names)
    loading = np.linalg.norm(solver.empty_main[1 : 1 + p], axis=1)
    if loading.max(initial=0.0) > 1e-5:
        worst = [names[j] for j in np.argsort(loading)[::-1][:3] if loading[j] > 0.1 * loading.max()]
        raise IdentificationError(
            "the features have no variation of their own given the confounders, in the direction of "
            f"{', '.join(worst)}. Drop one of them."
        )


def _refuse_uninformed(solver: Eliminated, contrasts: Array, names: list[str]) -> None:
    moved = np.linalg.norm(contrasts.T @ solver.null_space(), axis=1)
    if moved.max(initial=0.0) > 1e-5:
        worst = [names[j] for j in np.argsort(moved)[::-1][:3] if moved[j] > 0.1 * moved.max()]
        raise IdentificationError(
            f"the coefficients of {', '.join(worst)} at the target confounders are not identified: the log has too few "
            "rows, or no variation of these features, at some of them. Choose a positive penalty, a coarser basis, or "
            "target confounders within the log."
        )


def _assemble(
    design: ProductDesign,
    solver: Eliminated,
    coef: Array,
    penalty: float,
    shift: Array,
    contrasts: Array,
    own_mix: bool,
) -> StandardizedFit:
    """Back to the units of X, with one pass over the rows for residuals and influence values."""
    n, p = design.X.shape
    delta = coef[solver.d :].reshape(p, -1) / design.scale[:, None]
    basis_coef = coef[1 + p : solver.d]
    slopes = coef[1 : 1 + p] / design.scale + delta @ shift
    directions = solver.solve(contrasts, penalty) * (n / design.scale)
    residuals, influence = np.empty(n), np.empty((n, p), dtype=design.X.dtype)
    effect = np.empty(n)
    for at, F in design.chunks():
        w = design.weight[at]
        residuals[at] = design.y[at] - design.outcome_mean - F @ coef
        values = (F @ directions) * (w * residuals[at])[:, None]
        b = design.B[at] - design.basis_mean
        if own_mix:  # B̄ is a mean of the same rows, and coef moves with it by Δ
            values += (b @ delta.T) * w[:, None]
        influence[at] = values
        x = F[:, 1 : 1 + p] * design.scale
        effect[at] = np.einsum("ij,ij->i", b - shift, x @ delta + basis_coef)
    return StandardizedFit(
        coef=slopes,
        intercept=float(design.outcome_mean + coef[0] + basis_coef @ shift - slopes @ design.mean),
        influence=influence,
        adjusted_reward=design.y - effect,
        residuals=residuals,
        interactions=delta,
        basis_coef=basis_coef,
        feature_mean=design.mean,
        basis_mean=design.basis_mean,
        target_basis=design.basis_mean + shift,
        penalty=penalty,
        degrees_of_freedom=n - solver.effective_dimension(penalty),
    )


def average_over_targets(
    predict: Callable[[Array], Any],
    X: NDArray[np.floating],
    targets: Array,
    weight: Array | None = None,
) -> Array:
    """r̂(x) = Σ_t w_t μ̂(x, c_t) / Σ_t w_t for any outcome model μ̂.

    Parameters
    ----------
    predict : callable
        Takes the columns (X, C), shape (m, p + q), and returns m predictions.
    X : ndarray, shape (n, p)
        Features whose rewards are wanted.
    targets : ndarray, shape (t, q)
        Confounder rows of the target population, encoded as the model was fitted. Equal rows are predicted once.
    weight : ndarray, shape (t,), optional
        Weights of the target rows.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError
        No target rows, or predictions that are not one finite number per row.
    """
    if targets.ndim != 2 or len(targets) == 0:
        raise ValueError(
            f"target_confounders must be a table with at least one row: got shape {targets.shape}. Pass the "
            "confounders of the population to average over, or None for those of the log."
        )
    distinct, index = np.unique(targets, axis=0, return_inverse=True)
    share = np.bincount(index.reshape(-1), weights=weight, minlength=len(distinct))
    share = share / share.sum()
    n, p = X.shape
    out = np.zeros(n)
    for rows in row_chunks(n, p + targets.shape[1]):
        columns = np.empty((rows.stop - rows.start, p + targets.shape[1]))
        columns[:, :p] = X[rows]
        for row, fraction in zip(distinct, share, strict=True):
            columns[:, p:] = row
            found = np.asarray(predict(columns), dtype=np.float64).reshape(-1)
            if found.shape != (len(columns),) or not np.isfinite(found).all():
                raise ValueError(
                    f"outcome_model must predict one finite number per row: got shape {found.shape} for "
                    f"{len(columns)} rows, {int((~np.isfinite(found)).sum())} of them not finite."
                )
            out[rows] += fraction * found
    return out
