"""Simulated logs of published content with numeric confounders: a line, curves, one that needs an instrument."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets.reward_sample import LOADINGS, THETA, RewardSample, linear_limits, reward_sample
from causalkit.datasets.simulated_map import as_generator, check_number
from causalkit.validation import check_integer

__all__ = ["make_reward_instrument", "make_reward_linear", "make_reward_nonlinear"]

Array = NDArray[np.float64]


def make_reward_linear(n_samples: int = 4000, *, confounding: float = 2.0, random_state: Any = None) -> RewardSample:
    r"""Simulate one Gaussian confounder that texts go along with linearly.

    :math:`X = bC + U`, :math:`Y = \theta'X + \gamma C + \varepsilon` with θ = (1, .5, -.75, 0), b = (.8, -.6, 0, 0) and
    C, ε, U standard normal. With :math:`\Sigma_X = bb' + I`:

    - raw outcomes give :math:`\theta + \gamma\Sigma_X^{-1}b` ("none"; with γ = 2 feature 2 has the wrong sign);
    - subtracting E[Y|C] and regressing on raw features gives :math:`\Sigma_X^{-1}\theta` ("outcome_only"), attenuated
      exactly along the confounded direction;
    - the best reward that is uncorrelated with C is :math:`\theta - b(b'\theta)/(b'b)` ("invariance");
    - residuals on both sides give θ, and so does a linear control here.

    The correct adjusted reward correlates with C, by :math:`b'\theta/\sqrt{\theta'\Sigma_X\theta + 1} = 2/7`.

    Parameters
    ----------
    n_samples : int, default=4000
        Rows.
    confounding : float, default=2.0
        γ.
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal: n for C, n·4 for U, n for ε.

    Returns
    -------
    RewardSample
        Confounder ``popularity``.

    Raises
    ------
    ValueError
        If the size is below 1 or γ is not a finite number.

    References
    ----------
    The setting of Loghmani (2025), arXiv:2506.00152; the design is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_reward_linear
    >>> sample = make_reward_linear(100, random_state=0)
    >>> sample.X.shape, sample.population["none"].round(4).tolist()
    ((100, 4), [1.8, -0.1, -0.75, 0.0])
    """
    n = check_integer(n_samples, "n_samples", low=1)
    gamma = check_number(confounding, "confounding")
    rng = as_generator(random_state)
    C = rng.standard_normal(n)
    X = np.outer(C, LOADINGS) + rng.standard_normal((n, 4))
    population = linear_limits(gamma)
    return reward_sample(X, THETA, gamma * C, rng.standard_normal(n), {"popularity": C}, population)


def make_reward_nonlinear(n_samples: int = 2000, *, random_state: Any = None) -> RewardSample:
    r"""Simulate two numeric confounders that move texts and outcome along curves.

    :math:`C_1, C_2` uniform on (-2, 2); :math:`X_1 = \sin 2C_1 + U_1`, :math:`X_2 = (C_2^2 - 4/3)/2 + U_2`,
    :math:`X_3 = U_3`; :math:`g = 2\sin 2C_1 + C_2^2 - 4/3 + C_1`; :math:`Y = \theta'X + g + \varepsilon` with
    θ = (1, -.5, .5) and U, ε standard normal. Confounders entered as lines take little of this away.

    Parameters
    ----------
    n_samples : int, default=2000
        Rows.
    random_state : int, Generator, RandomState or None
        Draws in this order: n·2 uniforms for C, n·3 standard normals for U, n for ε.

    Returns
    -------
    RewardSample
        Confounders ``first`` and ``second``.

    Raises
    ------
    ValueError
        If the size is below 1.

    References
    ----------
    The design is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_reward_nonlinear
    >>> sample = make_reward_nonlinear(100, random_state=0)
    >>> sample.population["linear_control"].round(4).tolist()
    [1.5691, 0.0246, 0.5]
    """
    n = check_integer(n_samples, "n_samples", low=1)
    rng = as_generator(random_state)
    C = rng.uniform(-2, 2, (n, 2))
    wave, bowl = np.sin(2 * C[:, 0]), C[:, 1] ** 2 - 4 / 3
    X = np.column_stack([wave, bowl / 2, np.zeros(n)]) + rng.standard_normal((n, 3))
    theta = np.array([1.0, -0.5, 0.5])
    confounders = {"first": C[:, 0], "second": C[:, 1]}
    effect = 2 * wave + bowl + C[:, 0]
    return reward_sample(X, theta, effect, rng.standard_normal(n), confounders, _nonlinear_limits(theta))


def _nonlinear_limits(theta: Array) -> dict[str, Array]:
    """Limits from moments of a uniform variable; X₁, X₂ and X₃ are independent, so each has its own simple slope."""
    wave = 0.5 - np.sin(8) / 16  # E sin² 2C₁
    line = (np.sin(4) / 4 - np.cos(4)) / 2  # E C₁ sin 2C₁
    bowl = 16 / 5 - (4 / 3) ** 2  # Var C₂²
    own = np.array([wave, bowl / 4, 0.0])
    shared = np.array([2 * wave + line, bowl / 2, 0.0])  # Cov(X, g)
    # What a line in C₁ explains of sin 2C₁; C₂² has no linear part, and C₁ itself drops out of g.
    explained = line**2 / (4 / 3)
    return {
        "none": theta + shared / (own + 1),
        "linear_control": theta + np.array([2 * (wave - explained), bowl / 2, 0.0]) / (own + 1 - [explained, 0.0, 0.0]),
        "outcome_only": theta / (own + 1),
        "partially_linear": theta,
    }


def make_reward_instrument(n_samples: int = 4000, *, random_state: Any = None) -> RewardSample:
    r"""Simulate a confounder that something unobserved moves together with the outcome, and an instrument for it.

    :math:`C = Z + V`, :math:`X = bZ + U`, :math:`Y = \theta'X + 2C + .8V + e` with Z, V, U, e standard normal, θ and b
    as in :func:`make_reward_linear`. Least squares on X and C overstates the effect of C, 2.5333 instead of 2, and
    gets the reward wrong; two-stage least squares with Z has the standard errors :math:`\sqrt{1.64/n}` (coefficients)
    and :math:`\sqrt{3.28/n}` (effect of C).

    Parameters
    ----------
    n_samples : int, default=4000
        Rows.
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal: n for Z, n for V, n·4 for U, n for e.

    Returns
    -------
    RewardSample
        Confounder ``popularity``, instrument ``shock``; ``population["linear_control_effect"]`` is the effect of C by
        least squares, shape (1,).

    Raises
    ------
    ValueError
        If the size is below 1.

    References
    ----------
    The setting of Loghmani (2025), arXiv:2506.00152; the design is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_reward_instrument
    >>> sample = make_reward_instrument(100, random_state=0)
    >>> sample.population["linear_control"].round(4).tolist()
    [0.7867, 0.66, -0.75, 0.0]
    """
    import pandas as pd

    n = check_integer(n_samples, "n_samples", low=1)
    rng = as_generator(random_state)
    Z, V = rng.standard_normal(n), rng.standard_normal(n)
    X = np.outer(Z, LOADINGS) + rng.standard_normal((n, 4))
    C = Z + V
    # Covariance of (X, C), and of (X, C) with the error .8V, which least squares takes for an effect.
    joint = np.block([[np.outer(LOADINGS, LOADINGS) + np.eye(4), LOADINGS[:, None]], [LOADINGS[None, :], 2.0]])
    bias = np.linalg.solve(joint, np.append(np.zeros(4), 0.8))
    population = {
        "none": linear_limits(2.0)["none"],
        "linear_control": THETA + bias[:4],
        "linear_control_effect": 2 + bias[4:],
        "instrument": THETA,
    }
    noise = 0.8 * V + rng.standard_normal(n)
    instruments = pd.DataFrame({"shock": Z})
    return reward_sample(X, THETA, 2 * C, noise, {"popularity": C}, population, instruments=instruments)
