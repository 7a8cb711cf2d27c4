"""Simulated experiments whose actions move hidden variables linearly, seen through a nonlinear mixing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ortho_group

from causalkit.datasets.simulated_map import as_generator, check_number
from causalkit.validation import check_choice, check_integer, check_matrix

__all__ = ["InterventionSample", "make_intervention_curve"]

Array = NDArray[np.float64]

_CONFOUNDING = 1.5
_WAVE = 1.5
_FREQUENCY = 1.2
_NOISE = 0.5


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class InterventionSample:
    r"""Actions, features, outcomes, and the truth behind them.

    Attributes
    ----------
    actions : ndarray, shape (n, k)
        A, exogenous.
    features : ndarray, shape (n, m), or (n, 20, 20) for images
        X = g(Z), an injective function of the hidden variables. :func:`make_moved_digit` and
        :func:`make_rendered_shapes` render one image of 20 x 20 pixels per row, without a channel axis.
    y : ndarray, shape (n,)
        Outcome.
    latent : ndarray, shape (n, d)
        Z = MA + V, hidden.
    noise : ndarray, shape (n, d)
        V, hidden, and dependent on the outcome's noise.
    action_matrix : ndarray, shape (d, k)
        M.
    scale : float
        Standard deviation of each coordinate of V.
    null : bool
        Whether the outcome does not depend on Z at all.
    """

    actions: Array
    features: Array
    y: Array
    latent: Array
    noise: Array
    action_matrix: Array
    scale: float
    null: bool

    def do_mean(self, actions: Any) -> Array:
        r"""True mean outcome under do(A = a), :math:`\sum_j\{m_j + 1.5\sin(1.2m_j)e^{-.72\sigma^2}\}`, m = Ma."""
        wanted, _ = check_matrix(actions, "actions")
        moved = wanted @ self.action_matrix.T
        damped = np.exp(-0.5 * (_FREQUENCY * self.scale) ** 2)
        return np.zeros(len(moved)) if self.null else (moved + _WAVE * damped * np.sin(_FREQUENCY * moved)).sum(axis=1)

    def __repr__(self) -> str:
        return (
            f"InterventionSample(n={len(self.y)}, actions={self.actions.shape[1]}, latent={self.latent.shape[1]}, "
            f"features={self.features.shape[1]}, null={self.null})"
        )


def make_intervention_curve(
    n_samples: int = 10_000,
    *,
    n_latent: int = 1,
    mixing: str = "warp",
    strength: float = 1.0,
    scale: float = 1.0,
    warp: float = 0.6,
    n_features: int = 10,
    null: bool = False,
    random_state: Any = None,
) -> InterventionSample:
    r"""Simulate actions on a bounded range whose effect on the outcome goes through hidden variables.

    .. math:: A \sim U(-1,1)^d, \quad Z = MA + V, \quad X = g(Z), \quad
              Y = \sum_j\{Z_j + 1.5\sin(1.2Z_j)\} + 1.5V_1 + .5\varepsilon

    with V normal, :math:`\mathrm{Var}(V_j) = \sigma^2`. One hidden variable: M = α. Two: M = α(1, .5; -.5, 1), and
    correlation .5 in V. "warp" turns and bends Z three times, h ← u + c sin(u + b) with u a rotation of h, then appends
    tanh(Lh) and rotates; "leaky" is a network of four layers with LeakyReLU(.2), nearly linear. The law of (A, Y) does
    not depend on the mixing. Outcome and features share V: regressing y on X is confounded.

    Parameters
    ----------
    n_samples : int, default=10000
        Rows.
    n_latent : {1, 2}, default=1
        d, and number of actions.
    mixing : {"warp", "leaky"}, default="warp"
        g.
    strength : float, default=1.0
        α.
    scale : float, default=1.0
        σ.
    warp : float, default=0.6
        c, below 1, where g is invertible.
    n_features : int, default=10
        m.
    null : bool, default=False
        Whether Z has no effect: y is 1.5 V₁ and noise.
    random_state : int, Generator, RandomState or None
        Source of the draws: first the mixing, then A, V, ε.

    Returns
    -------
    InterventionSample

    Raises
    ------
    ValueError
        Parameters out of range.

    References
    ----------
    The setting of Saengkyongam, Rosenfeld, Ravikumar, Pfister and Peters (2024), arXiv:2310.04295; the design is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_intervention_curve
    >>> sample = make_intervention_curve(500, random_state=0)
    >>> sample.features.shape, sample.do_mean([[1.0], [2.0]]).round(2).tolist()
    ((500, 10), [1.68, 2.49])
    """
    n = check_integer(n_samples, "n_samples", low=1)
    d = check_integer(n_latent, "n_latent", low=1, high=2)
    check_choice(mixing, "mixing", ("warp", "leaky"))
    alpha, sigma = check_number(strength, "strength"), check_number(scale, "scale")
    bend = check_number(warp, "warp")
    if not 0 <= bend < 1:
        raise ValueError(f"warp must be at least 0 and below 1, or the mixing is not invertible; got {warp!r}.")
    m = check_integer(n_features, "n_features", low=d + 1)
    rng = as_generator(random_state)
    mix = _warp(d, m, bend, rng) if mixing == "warp" else _leaky(d, m, rng)
    matrix = alpha * (np.eye(1) if d == 1 else np.array([[1.0, 0.5], [-0.5, 1.0]]))
    actions = rng.uniform(-1, 1, (n, d))
    root = np.eye(1) if d == 1 else np.linalg.cholesky(np.array([[1.0, 0.5], [0.5, 1.0]]))
    noise = sigma * rng.standard_normal((n, d)) @ root.T
    latent = actions @ matrix.T + noise
    y = _CONFOUNDING * noise[:, 0] + _NOISE * rng.standard_normal(n)
    if not null:
        y = y + (latent + _WAVE * np.sin(_FREQUENCY * latent)).sum(axis=1)
    return InterventionSample(
        actions=actions,
        features=mix(latent),
        y=y,
        latent=latent,
        noise=noise,
        action_matrix=matrix,
        scale=sigma,
        null=bool(null),
    )


def _rotation(size: int, rng: np.random.Generator) -> Array:
    if size == 1:
        return np.array([[rng.choice([-1.0, 1.0])]])
    return np.asarray(ortho_group.rvs(size, random_state=rng))


def _warp(d: int, m: int, bend: float, rng: np.random.Generator) -> Any:
    turns = [(_rotation(d, rng), rng.standard_normal(d)) for _ in range(3)]
    lift, final = rng.standard_normal((m - d, d)), _rotation(m, rng)

    def mix(latent: Array) -> Array:
        h = latent
        for turn, shift in turns:
            u = h @ turn.T
            h = u + bend * np.sin(u + shift)
        return np.asarray(np.hstack([h, np.tanh(h @ lift.T)]) @ final.T)

    return mix


def _leaky(d: int, m: int, rng: np.random.Generator) -> Any:
    sizes = [d, m, m, m, m]
    layers = []
    for inputs, outputs in pairwise(sizes):
        left, _, right = np.linalg.svd(rng.standard_normal((outputs, inputs)), full_matrices=False)
        layers.append((left @ right, 0.5 * rng.standard_normal(outputs)))

    def mix(latent: Array) -> Array:
        h = latent
        for number, (weight, bias) in enumerate(layers):
            h = h @ weight.T
            if number < len(layers) - 1:
                h = h + bias
                h = np.where(h > 0, h, 0.2 * h)
        return np.asarray(h)

    return mix
