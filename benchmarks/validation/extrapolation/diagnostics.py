"""Sections G, J, K: level of the invariance test, reach of the data, and what the actions can show at all."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from benchmarks.rows import Row, at_least, near
from benchmarks.simulation import Tier, standard_error
from benchmarks.validation.extrapolation.common import draws, listed_level, seeds_note
from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation import effective_sample_size, project_off_actions, wild_bootstrap_pvalue
from causalkit.extrapolation.encoder_models import action_line
from causalkit.extrapolation.penalty import draw_frequencies, median_distance, orthonormal_moments
from causalkit.extrapolation.sieve import SieveMoments
from causalkit.extrapolation.sieve_fit import ActionMoments
from causalkit.extrapolation.support import ActionSupport, support_table

__all__ = ["HERMITE", "effective_share", "invariance_rows", "support_rows", "visible_rows", "visible_share"]

Array = NDArray[np.float64]

_SEED = 71_000
_N_FEATURES = 128
_LISTED = 200
_REPRESENTATIONS = {
    "affine": ("φ = Z", (0.065, 0.070)),
    "square": ("φ = Z + .1 Z²", (0.11, 0.225)),
    "tanh": ("φ = Z + .3 tanh 2Z", (0.04, 0.045)),
}
# Shares of e = He_j(Z) less its affine part that the actions show, α/σ → j = 2, 3, 4, 5.
_VISIBLE = {
    0.5: (0.0024, 0.0000, 0.0000, 0.0000),
    1.0: (0.0260, 0.0018, 0.0010, 0.0001),
    2.0: (0.1624, 0.0320, 0.0333, 0.0058),
    4.0: (0.4937, 0.2153, 0.2554, 0.0983),
}
# ESS/n at a* = 1, 1.25, 1.5, 2, 2.5 by α/σ.
_POINTS = (1.0, 1.25, 1.5, 2.0, 2.5)
_REACH = {
    1.0: (0.53, 0.37, 0.24, 0.076, 0.016),
    2.0: (0.28, 0.12, 0.038, 1.1e-3, 5e-6),
    4.0: (0.14, 0.019, 5e-4, 1.7e-9, 2e-18),
}
_ONE_DIGIT = (5e-6, 5e-4, 2e-18)
_SMALLEST = 1e-4
_LARGE = 1_000_000
_BLOCK = 50_000
HERMITE = (2, 3, 4, 5)


# ---------------------------------------------------------------------- invariance test


def _scaled_noise(actions: Array, rng: np.random.Generator, uneven: bool) -> Array:
    """Noise of standard deviation 1, or ½ + |a|."""
    draw = rng.standard_normal(actions.shape)
    return draw * (0.5 + np.abs(actions)) if uneven else draw


def _test(rng: np.random.Generator, size: int) -> dict[str, float]:
    actions = rng.uniform(-1, 1, (size, 1))
    standard = (actions - actions.mean()) / actions.std()
    frequencies = draw_frequencies(1, _N_FEATURES, median_distance(standard, rng), rng)
    projected, _ = project_off_actions(ActionMoments(frequencies).values(standard), standard)

    def rejected(phi: Array, method: str) -> float:
        residual = action_line(phi, standard, None)[2]
        return float(wild_bootstrap_pvalue(residual, projected, method=method, rng=rng)[1] <= 0.05)

    z = actions + _scaled_noise(actions, rng, False)
    uneven = actions + _scaled_noise(actions, rng, True)
    return {
        "affine": rejected(z, "wild"),
        "uneven": rejected(uneven, "wild"),
        "permuted": rejected(z, "permutation"),
        "permuted uneven": rejected(uneven, "permutation"),
        "square": rejected(z + 0.1 * z**2, "wild"),
        "tanh": rejected(z + 0.3 * np.tanh(2 * z), "wild"),
    }


def invariance_rows(tier: Tier) -> Iterator[Row]:
    """G1 to G4 levels, G5 power beside a run of its own."""
    bars = {
        "affine": "wild, sd of V 1",
        "uneven": "wild, sd of V ½ + |a|",
        "permuted": "permutation, sd of V 1",
        "permuted uneven": "permutation, sd of V ½ + |a|",
    }
    for number, n in enumerate((500, 2000)):
        found = tier.repeat(_test, 200, 60, seed=_SEED + n, size=n)
        for place, (key, words) in enumerate(bars.items()):
            what = f"n={n}, φ = Z, {words}: rejections at 5 %"
            yield tier.share_within(f"G{place + 1}{'ab'[number]}", what, found[key], 0.02, 0.08)
        for place, (key, (words, listed)) in enumerate(_REPRESENTATIONS.items()):
            what = f"n={n}, {words}, wild: rejections, listed"
            yield listed_level(f"G5.{place + 1}{'ab'[number]}", what, found[key], listed[number], _LISTED)


# ---------------------------------------------------------------------- support


def effective_share(alpha: float, a: float) -> float:
    """ESS/n = 1/∫ p_do²/p_train by quadrature, A uniform on (-1, 1) and V standard normal."""
    z = np.linspace(alpha * a - 12, alpha * a + 12, 200_001)
    do = np.exp(-((z - alpha * a) ** 2)) / (2 * math.pi)
    # The upper tail as a difference of small numbers; Φ of large arguments would cancel.
    train = (ndtr(alpha - np.abs(z)) - ndtr(-alpha - np.abs(z))) / (2 * alpha)
    return float(1 / np.trapezoid(do / train, z))


def _support(r: int, alpha: float) -> dict[str, float]:
    sample = make_intervention_curve(strength=alpha, random_state=r)
    matrix, intercept, residual = action_line(sample.latent, sample.actions, None)
    support = ActionSupport(sample.latent, residual, sample.actions, matrix, intercept, len(sample.y), r)
    found = {}
    for a in _POINTS:
        if effective_share(alpha, a) >= _SMALLEST:
            middle = matrix @ np.array([a]) + intercept
            found[f"{a:g}"] = effective_sample_size(
                support.residual + middle, middle, support.centers, support.covariance
            )
        else:
            found[f"{a:g}"] = float(support_table(support, np.array([[a]]))["flag"].iloc[0] == "unsupported")
    return found


def support_rows(tier: Tier) -> Iterator[Row]:
    """J1 the table by quadrature, J2 its estimates with known Z, J3 flags where next to nothing is left."""
    for number, (alpha, listed) in enumerate(_REACH.items()):
        for place, (a, target) in enumerate(zip(_POINTS, listed, strict=True)):
            # Half a unit of the last digit listed, of two or of one.
            rounding = 0.5 * 10.0 ** (math.floor(math.log10(target)) - (target not in _ONE_DIGIT))
            what = f"α/σ={alpha:g}, a={a:g}: ESS/n by quadrature"
            yield near(f"J1.{number + 1}{'abcde'[place]}", what, effective_share(alpha, a), target, 1.001 * rounding)
    for number, alpha in enumerate(_REACH):
        found = draws(tier, _support, range(tier.size(5, 3)), alpha=alpha)
        for place, a in enumerate(_POINTS):
            exact, values = effective_share(alpha, a), found[f"{a:g}"]
            label, name = f"{number + 1}{'abcde'[place]}", f"α/σ={alpha:g}, a={a:g}, known Z"
            if exact >= _SMALLEST:
                tolerance = 0.10 if exact >= 0.01 else 0.35
                what = f"{name}: ESS/n, normal form, median, over its value {exact:.3g}"
                band = tier.band(1.2533 * standard_error(values / exact))
                middle = float(np.median(values)) / exact
                yield near(f"J2.{label}", what, middle, 1.0, tolerance, band, seeds_note(values))
            else:
                what = f"{name}: ESS/n is {exact:.1g}: share of draws with the flag `unsupported`"
                yield at_least(f"J3.{label}", what, float(values.mean()), 1.0, note=f"{len(values)} draws")


# ---------------------------------------------------------------------- visible share


def _hermite(degree: int, z: Array) -> Array:
    coefficients = np.zeros(degree + 1)
    coefficients[degree] = 1.0
    return np.polynomial.hermite_e.hermeval(z, coefficients)


def visible_share(alpha: float, degree: int) -> float:
    """Share of Var(e) in a curved mean given the action, e = He_j(Z) less its affine part, by quadrature."""
    a, w = np.polynomial.legendre.leggauss(40)
    w = w / 2
    v, u = np.polynomial.hermite_e.hermegauss(40)
    u = u / u.sum()
    z = alpha * a[:, None] + v
    joint = w[:, None] * u
    e = _hermite(degree, z)
    e = e - (joint * e).sum()
    e = e - (joint * e * z).sum() / (joint * z * z).sum() * z
    mean = e @ u
    curved = mean - (w * mean) @ a / ((w * a) @ a) * a
    return float(w @ curved**2 / (joint * e**2).sum())


def _simulated_shares(alpha: float) -> Array:
    """The same from a million rows, through orthonormal functions of the action."""
    rng = np.random.default_rng([_SEED, int(10 * alpha)])
    actions = rng.uniform(-1, 1, (_LARGE, 1))
    z = alpha * actions + rng.standard_normal((_LARGE, 1))
    standard = (actions - actions.mean()) / actions.std()
    functions = ActionMoments(draw_frequencies(1, _N_FEATURES, median_distance(standard, rng), rng))
    design = np.column_stack([np.ones(_LARGE), z])
    e = np.column_stack([_hermite(j, z[:, 0]) for j in HERMITE])
    e = e - design @ np.linalg.solve(design.T @ design, design.T @ e)
    moments = None
    for start in range(0, _LARGE, _BLOCK):
        rows = slice(start, start + _BLOCK)
        part = SieveMoments.of_rows(standard[rows], e[rows], functions.values(standard[rows]))
        moments = part if moments is None else moments + part
    if moments is None:
        raise ValueError("no rows were drawn.")
    curved = moments.projected("B") @ orthonormal_moments(moments.projected_gram())
    return np.asarray((curved**2).sum(axis=1) / np.diag(moments.covariance("B", "B")))


def visible_rows(tier: Tier) -> Iterator[Row]:
    """K1 by quadrature, K2 from a million rows."""
    for number, (alpha, listed) in enumerate(_VISIBLE.items()):
        for place, (degree, target) in enumerate(zip(HERMITE, listed, strict=True)):
            what = f"α/σ={alpha:g}, He_{degree}: visible share by quadrature"
            label = f"{number + 1}{'abcd'[place]}"
            yield near(f"K1.{label}", what, visible_share(alpha, degree), target, 5.001e-5)
    for number, (alpha, listed) in enumerate(_VISIBLE.items()):
        found = _simulated_shares(alpha)
        for place, (degree, target) in enumerate(zip(HERMITE, listed, strict=True)):
            what = f"α/σ={alpha:g}, He_{degree}, n=1e6, orthonormal moments: visible share"
            yield near(f"K2.{number + 1}{'abcd'[place]}", what, found[place], target, 0.002)
