"""Two samples of the linear design of Akbar et al. (2025), fixed to the last digit, and numbers measured on them.

``RISKS`` were computed by programs other than the library. Fits are without intercept and without centring; risks are
normalised causal excess risks in the Euclidean norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIZES = {0: (4, 500), 42: (32, 2048)}
ALPHAS = (0.001, 0.01, 0.1, 1.0, 10.0)
SUMS = {
    0: {"y": 162.69641637885405, "X": -144.1714008617177, "G": 11.933275558032875},
    42: {"y": -2429.230530188309, "X": 748.7350130611014, "G": -16.989436201861864},
}
# "erm", "augmented" (least squares on GX), "constrained" and the three penalties at ALPHAS.
RISKS = {
    0: {
        "erm": 0.7923284077,
        "augmented": 0.0323058241,
        "constrained": 0.0107341006,
        "projected": (0.0127779783, 0.0124787458, 0.0127605867, 0.0224080668, 0.0305280776),
        "paired": (0.0106743812, 0.0102313678, 0.0100945470, 0.0207404564, 0.0301885674),
        "analytic": (0.0106762348, 0.0102501609, 0.0102043811, 0.0200130121, 0.0278566557),
    },
    42: {
        "erm": 0.2663807366,
        "augmented": 0.0549533223,
        "constrained": 0.0005838915,
        "projected": (0.0176400787, 0.0093744854, 0.0171764087, 0.0386818114, 0.0523211396),
        "paired": (0.0005850309, 0.0016351365, 0.0131670479, 0.0379762634, 0.0522685736),
        "analytic": (0.0005844633, 0.0015788798, 0.0128098717, 0.0377711743, 0.0523410367),
    },
}
SIGMA_RISKS_42 = {"erm": 0.0236325099, "augmented": 0.0186798655}
# Seed 0: the true effect, and the projected fit at α = .1.
EFFECT_0 = (-2.5529898158, 0.6536185954, 0.8644361989, -0.7421650204)
PROJECTED_0 = (-2.3516088189, 0.6390052668, 0.7606150348, -0.5076467199)
# Seed 42: smallest and largest squared canonical correlation of G and GX.
CANONICAL_42 = (0.0009621531, 0.9557537890)


@dataclass(frozen=True)
class SeededSample:
    """A sample: X (n, m), y (n,), G (n, m-1), gamma (m-1, m), GX = X + G·gamma, effect (m,), Σ_X (m, m)."""

    X: np.ndarray
    y: np.ndarray
    G: np.ndarray
    gamma: np.ndarray
    GX: np.ndarray
    effect: np.ndarray
    covariance: np.ndarray


def seeded_sample(seed: int) -> SeededSample:
    """Draw T, ε, f, C, N_X, N_Y, G, in this order, from the legacy generator, whose stream never changes."""
    m, n = SIZES[seed]
    normal = np.random.RandomState(seed).standard_normal
    T, epsilon, f, C = normal((m, m)), normal(m), normal(m), normal((n, m))
    X = C @ T + 0.1 * normal((n, m))
    y = X @ f + C @ epsilon + 0.1 * normal(n)
    G = normal((n, m - 1))
    u = f.copy()
    u[0] += np.sign(f[0]) * np.linalg.norm(f)
    gamma = (np.eye(m) - 2 * np.outer(u, u) / (u @ u))[1:]
    return SeededSample(X, y, G, gamma, X + G @ gamma, f, T.T @ T + 0.01 * np.eye(m))
