"""Simulated designs with a hidden confounder and an augmentation that leaves the outcome alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from causalkit.datasets.simulated_map import as_generator, check_number
from causalkit.validation import check_integer

__all__ = [
    "ConfoundedLinearSample",
    "LinearAugmentationSample",
    "NonlinearAugmentationSample",
    "make_linear_augmentation",
    "make_nonlinear_augmentation",
]

Array = NDArray[np.float64]

_NOISE_SD = 0.1


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ConfoundedLinearSample:
    r"""Rows of :math:`y = X f + \xi` with hidden confounding, and their population moments; all means are 0.

    Attributes
    ----------
    X : ndarray, shape (n, p)
        Features.
    y : ndarray, shape (n,)
        Outcome.
    coef : ndarray, shape (p,)
        True effect f.
    covariance : ndarray, shape (p, p)
        :math:`\Sigma_X`, the population covariance of a row of X.
    confounding_vector : ndarray, shape (p,)
        :math:`v = \mathrm{Cov}(X, \xi)`; 0 without confounding.
    """

    X: Array
    y: Array
    coef: Array
    covariance: Array
    confounding_vector: Array

    @property
    def least_squares_coef(self) -> Array:
        r"""What least squares converges to, :math:`f + \Sigma_X^{-1}v`, shape (p,)."""
        return np.asarray(self.coef + np.linalg.solve(self.covariance, self.confounding_vector))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.X.shape[0]}, n_features={self.X.shape[1]})"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LinearAugmentationSample(ConfoundedLinearSample):
    r"""A confounded linear sample with a shift of X along directions that do not matter.

    Attributes
    ----------
    X, y, coef, covariance, confounding_vector
        As in :class:`ConfoundedLinearSample`.
    augmented : ndarray, shape (n, p)
        One draw of :math:`GX = X + G\,\mathrm{basis}`.
    augmentation_parameters : ndarray, shape (n, k)
        The draw of G, standard normal and independent of everything else.
    basis : ndarray, shape (k, p)
        Directions of the shift, :math:`\gamma\Gamma`, as ``NullSpaceShift`` takes them.
    """

    augmented: Array
    augmentation_parameters: Array
    basis: Array

    def population_coef(self, alpha: float) -> Array:
        r"""What IV-like regression with distrust α converges to, however often the augmentation is drawn.

        :math:`h_\alpha = (\Sigma_X + cB)^{-1}(\Sigma_X f + v)` with :math:`B = \mathrm{basis}'\mathrm{basis}` and
        :math:`c = 1 + 1/\alpha`. Under exact invariance, Bf = 0, its bias is :math:`(\Sigma_X + cB)^{-1}v`.

        Parameters
        ----------
        alpha : float
            In [0, inf]; inf is least squares on augmented data (c = 1), 0 the limit: least squares among the h that
            the augmentation does not change, :math:`Bh = 0`.

        Returns
        -------
        ndarray, shape (p,)

        Raises
        ------
        ValueError
            If ``alpha`` is negative or not a number.
        """
        ok = isinstance(alpha, int | float | np.integer | np.floating) and not isinstance(alpha, bool)
        if not ok or not alpha >= 0:
            raise ValueError(f"alpha must be in [0, inf]; got {alpha!r}.")
        cross = self.covariance @ self.coef + self.confounding_vector
        if alpha == 0:
            kept = null_space(self.basis)
            return np.asarray(kept @ np.linalg.solve(kept.T @ self.covariance @ kept, kept.T @ cross))
        penalised = self.covariance + (1 + 1 / float(alpha)) * self.basis.T @ self.basis
        return np.asarray(np.linalg.solve(penalised, cross))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class NonlinearAugmentationSample:
    """A confounded sample whose effect is not linear: training rows, test rows and the truth.

    Attributes
    ----------
    X, X_test : ndarray, shape (n, 3) and (n_test, 3)
        Features; the second one carries the confounder and has no effect.
    y, y_test : ndarray, shape (n,) and (n_test,)
        Outcome.
    effect, effect_test : ndarray, shape (n,) and (n_test,)
        True f at each row.
    augmented : ndarray, shape (n, 3)
        Training rows with noise added to the second feature.
    augmentation_parameters : ndarray, shape (n, 1)
        That noise.
    basis : ndarray, shape (1, 3)
        Direction of the shift, as ``NullSpaceShift`` takes it.
    """

    X: Array
    y: Array
    effect: Array
    augmented: Array
    augmentation_parameters: Array
    basis: Array
    X_test: Array
    y_test: Array
    effect_test: Array

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={len(self.y)}, n_test={len(self.y_test)})"


def make_linear_augmentation(
    n_samples: int = 2048,
    n_features: int = 32,
    *,
    confounding: float = 1.0,
    strength: float = 1.0,
    keep_probability: float = 1.0,
    violation: float = 0.0,
    random_state: Any = None,
) -> LinearAugmentationSample:
    r"""Simulate linear hidden confounding and shifts along the null space of the effect.

    :math:`X = CT + .1N_X`, :math:`y = Xf + \kappa C\varepsilon + .1N_Y`, :math:`GX = X + \gamma G\Gamma`, all letters
    standard normal; C is hidden and has as many columns as X, :math:`(T, \varepsilon)` and the effect f are drawn anew
    with each sample, and the orthonormal rows of Γ span the null space of f'. Hence
    :math:`\Sigma_X = T'T + .01I` and :math:`v = \mathrm{Cov}(X, \xi) = \kappa T'\varepsilon`.

    Parameters
    ----------
    n_samples : int, default=2048
        Rows.
    n_features : int, default=32
        Features p, at least 2.
    confounding : float, default=1.0
        κ. With 0 there is none, and least squares is unbiased.
    strength : float, default=1.0
        γ, standard deviation of the shift in each direction.
    keep_probability : float, default=1.0
        Probability, in (0, 1], that a row of Γ is known; the others are dropped. At least one row is kept.
    violation : float, default=0.0
        δ. The effect becomes :math:`f + \delta|f|d`, d a random unit vector among the kept directions, while Γ stays
        the null space of the first term: the augmentation then does change the outcome.
    random_state : int, Generator, RandomState or None
        Draws in this order: p·(p + 1) for T and ε side by side, p for f, n·p for C, n·p for N_X, n for N_Y,
        n·(p - 1) for G, all standard normal; p - 1 uniforms for the rows to keep, p - 1 standard normals for d. All
        are always drawn, so that no number depends on the settings.

    Returns
    -------
    LinearAugmentationSample

    Raises
    ------
    ValueError
        If a size or a setting is out of range.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet and Dai (2025), arXiv:2510.25128, the linear simulation.

    Examples
    --------
    >>> from causalkit.datasets import make_linear_augmentation
    >>> sample = make_linear_augmentation(n_samples=100, n_features=4, random_state=0)
    >>> sample.basis.shape, float(abs(sample.basis @ sample.coef).max().round(12))
    ((3, 4), 0.0)
    """
    n = check_integer(n_samples, "n_samples", low=1)
    p = check_integer(n_features, "n_features", low=2)
    kappa = check_number(confounding, "confounding")
    gamma = check_number(strength, "strength", low=0.0)
    if check_number(keep_probability, "keep_probability", low=0.0) > 1:
        raise ValueError(f"keep_probability must be a probability above 0, at most 1; got {keep_probability!r}.")
    delta = check_number(violation, "violation")
    rng = as_generator(random_state)
    mixing = rng.standard_normal((p, p + 1))
    loadings, epsilon = mixing[:, :p], mixing[:, p]
    f = rng.standard_normal(p)
    C, noise_x, noise_y = rng.standard_normal((n, p)), rng.standard_normal((n, p)), rng.standard_normal(n)
    G = rng.standard_normal((n, p - 1))
    uniform, weights = rng.random(p - 1), rng.standard_normal(p - 1)
    kept = uniform <= max(keep_probability, uniform.min())
    gamma_rows = _null_rows(f)[kept]
    direction = weights[kept] @ gamma_rows
    coef = f + delta * np.linalg.norm(f) * direction / np.linalg.norm(direction)
    X = C @ loadings + _NOISE_SD * noise_x
    return LinearAugmentationSample(
        X=X,
        y=X @ coef + kappa * C @ epsilon + _NOISE_SD * noise_y,
        coef=coef,
        covariance=loadings.T @ loadings + _NOISE_SD**2 * np.eye(p),
        confounding_vector=kappa * loadings.T @ epsilon,
        augmented=X + gamma * G[:, kept] @ gamma_rows,
        augmentation_parameters=G[:, kept],
        basis=gamma * gamma_rows,
    )


def _null_rows(f: Array) -> Array:
    """Orthonormal rows that span the null space of f': those of a reflection of f onto the first axis, less one."""
    u = f.copy()
    u[0] += math.copysign(float(np.linalg.norm(f)), f[0])
    return np.asarray((np.eye(len(f)) - 2 * np.outer(u, u) / (u @ u))[1:])


def make_nonlinear_augmentation(
    n_samples: int = 4000, n_test: int = 4000, *, random_state: Any = None
) -> NonlinearAugmentationSample:
    r"""Simulate hidden confounding of a non-linear effect, with noise on a feature that does not matter.

    :math:`x_2 = C + .3N`, :math:`y = f(x) + C + .2N` with :math:`f(x) = \sin 2x_1 + x_3^2/2`, and C,
    :math:`x_1, x_3` standard normal and independent. Adding noise to :math:`x_2` leaves the outcome alone, and a model
    that no longer relies on it is no longer confounded: all of the confounding runs along the shift.

    Parameters
    ----------
    n_samples, n_test : int, default=4000
        Rows to fit on, and rows to measure errors on.
    random_state : int, Generator, RandomState or None
        Draws C, x1, the noise of x2, x3 and the noise of y, first for all training rows, then for all test rows; then
        the shifts of the training rows. All are standard normal before scaling.

    Returns
    -------
    NonlinearAugmentationSample

    Raises
    ------
    ValueError
        If a size is below 1.

    References
    ----------
    The setting of Akbar, Kilbertus, Shen, Muandet and Dai (2025), arXiv:2510.25128; the design is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_nonlinear_augmentation
    >>> sample = make_nonlinear_augmentation(n_samples=50, n_test=20, random_state=0)
    >>> sample.X.shape, sample.X_test.shape, bool((sample.augmented[:, [0, 2]] == sample.X[:, [0, 2]]).all())
    ((50, 3), (20, 3), True)
    """
    n = check_integer(n_samples, "n_samples", low=1)
    m = check_integer(n_test, "n_test", low=1)
    rng = as_generator(random_state)
    X, y, effect = _nonlinear_rows(n, rng)
    X_test, y_test, effect_test = _nonlinear_rows(m, rng)
    basis = np.array([[0.0, 1.0, 0.0]])
    shift = rng.standard_normal((n, 1))
    return NonlinearAugmentationSample(
        X=X,
        y=y,
        effect=effect,
        augmented=X + shift @ basis,
        augmentation_parameters=shift,
        basis=basis,
        X_test=X_test,
        y_test=y_test,
        effect_test=effect_test,
    )


def _nonlinear_rows(n: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    C, x1 = rng.standard_normal(n), rng.standard_normal(n)
    x2 = C + 0.3 * rng.standard_normal(n)
    x3 = rng.standard_normal(n)
    effect = np.sin(2 * x1) + x3**2 / 2
    return np.column_stack([x1, x2, x3]), effect + C + 0.2 * rng.standard_normal(n), effect
