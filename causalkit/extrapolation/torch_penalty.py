r"""The invariance penalty with gradients: whole batches, or two batches without bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from causalkit.nn import import_torch

__all__ = ["ActionLine", "projected_features", "two_batch_penalty", "whitened_penalty"]

_RIDGE = 1e-6


@dataclass(frozen=True, eq=False)
class ActionLine:
    r"""A line :math:`Wa + b` that is held fixed, with the moments of the actions.

    Attributes
    ----------
    matrix : torch.Tensor of float64, shape (d, k)
        W.
    intercept : torch.Tensor of float64, shape (d,)
        b.
    mean : torch.Tensor of float64, shape (k,)
        Mean of the actions.
    covariance : torch.Tensor of float64, shape (k, k)
        Cov(A).
    """

    matrix: Any
    intercept: Any
    mean: Any
    covariance: Any


def projected_features(actions: Any, frequencies: Any, projection: Any) -> Any:
    r"""Random features of actions less their least squares on (1, A), :math:`f(a) - (1, a)G`.

    Parameters
    ----------
    actions : torch.Tensor, shape (n, k)
        Standardised actions.
    frequencies : torch.Tensor, shape (k, D/2)
        ω.
    projection : torch.Tensor, shape (k + 1, D)
        G, of all rows.

    Returns
    -------
    torch.Tensor, shape (n, D)
    """
    torch = import_torch()
    angles = actions @ frequencies
    features = torch.cat([angles.cos(), angles.sin()], dim=1) / frequencies.shape[1] ** 0.5
    return features - projection[0] - actions @ projection[1:]


def whitened_penalty(phi: Any, actions: Any, projected: Any, weight: Any = None) -> Any:
    r"""V-statistic of a batch, whitened by what goes with the action.

    .. math:: Q_B = \operatorname{tr}(S_B^{-1}C), \quad C = n^{-2}\Phi'F_\perp F_\perp'\Phi, \quad
              S_B = \mathrm{Cov}(\phi,A)\mathrm{Cov}(A)^{-1}\mathrm{Cov}(A,\phi) + \varepsilon I

    Gradients flow through S_B too: with S_B held fixed, shrinking φ would lower the value. The sums over rows are in
    the precision of the arguments, the d × d algebra in double precision. On all rows this is
    :func:`causalkit.extrapolation.invariance_penalty`
    (test_penalty_of_all_rows_is_that_of_the_numpy_function).

    Parameters
    ----------
    phi : torch.Tensor, shape (n, d)
        Representation.
    actions : torch.Tensor, shape (n, k)
        Standardised actions.
    projected : torch.Tensor, shape (n, D)
        F⊥.
    weight : torch.Tensor, shape (n,), optional
        Weights of the rows.

    Returns
    -------
    torch.Tensor, scalar of float64
    """
    n = len(phi)
    share = phi.new_full((n, 1), 1 / n) if weight is None else (weight / weight.sum())[:, None]
    left = phi - (share * phi).sum(dim=0)
    right = actions - (share * actions).sum(dim=0)
    weighted = share * left
    moments = (weighted.T @ projected).double()
    cross = (weighted.T @ right).double()
    spread = ((share * right).T @ right).double()
    return _whitened(cross @ _solve(spread, cross.T), moments @ moments.T)


def two_batch_penalty(phi: Any, actions: Any, projected: Any, line: ActionLine, weight: Any = None) -> Any:
    r"""Unbiased form of the penalty, from two independent batches.

    .. math:: \operatorname{tr}(S_B^{-1}M_1M_2'), \qquad
              M_j = \operatorname{mean}_{\text{batch } j}(\phi - \hat Wa - \hat b)f_\perp'

    The noise of M₁ and of M₂ is independent, so that it does not add up as in the square of one batch. The value of
    S_B is that of the fixed line; its gradient is that of the batches' covariance with the action, which is linear in
    φ and hence unbiased as well.

    Parameters
    ----------
    phi : torch.Tensor, shape (2B, d)
        First the rows of batch 1, then those of batch 2.
    actions : torch.Tensor, shape (2B, k)
        Standardised actions.
    projected : torch.Tensor, shape (2B, D)
        F⊥.
    line : ActionLine
        Ŵ, b̂ and moments of the actions, from other or from all rows.
    weight : torch.Tensor, shape (2B,), optional
        Weights of the rows, of mean 1 over all data.

    Returns
    -------
    torch.Tensor, scalar of float64
    """
    half = len(phi) // 2
    kind = phi.dtype
    residual = phi - actions @ line.matrix.T.to(kind) - line.intercept.to(kind)
    centred = actions - line.mean.to(kind)
    if weight is not None:
        residual, centred = residual * weight[:, None], centred * weight[:, None]
    first = (residual[:half].T @ projected[:half]).double() / half
    second = (residual[half:].T @ projected[half:]).double() / (len(phi) - half)
    slope = _solve(line.covariance, (phi.T @ centred).double().T / len(phi)).T
    matrix = line.matrix + (slope - slope.detach())
    return _whitened(matrix @ line.covariance @ matrix.T, first @ second.T)


def _whitened(between: Any, violation: Any) -> Any:
    torch = import_torch()
    d = len(between)
    identity = torch.eye(d, dtype=between.dtype, device=between.device)
    return torch.trace(_solve(between + _RIDGE * torch.trace(between) / d * identity, violation))


def _solve(matrix: Any, right: Any) -> Any:
    # Without the check of the plain solver, which would wait for the device in every step; a singular matrix gives
    # numbers that are not finite, and the training loop looks for those.
    return import_torch().linalg.solve_ex(matrix, right, check_errors=False)[0]
