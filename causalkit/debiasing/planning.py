"""Planning: how large a calibration sample, and when labels in the trial beat a correction."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalkit.debiasing.calibration_sample import required_rows

__all__ = ["break_even_share", "required_calibration_size"]


def _check_share(value: Any, name: str, meaning: str) -> float:
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not ok or not 0 < value < 1:
        raise ValueError(f"{name} must be {meaning} strictly between 0 and 1; got {value!r}.")
    return float(value)


def _check_size(value: Any, name: str, what: str, *, low: float = 0.0) -> float:
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not ok or not np.isfinite(value) or not value > low:
        raise ValueError(f"{name} must be {what}, a finite number above {low:g}; got {value!r}.")
    return float(value)


def break_even_share(
    r_squared: float, *, effect: float | None = None, n_arm: float | None = None, n_calibration: float | None = None
) -> float:
    r"""Share of each arm that must be labelled before PPI++ is as precise as linear calibration.

    Per arm of N rows and with the outcome at unit variance, N/2 times the variance of a difference in means is
    (1 − ρ²)/f + ρ² for PPI++ with a share f labelled, and 1/ρ² for linear calibration with an endless
    calibration sample. They agree at :math:`f^* = \rho^2/(1 + \rho^2)`. A calibration sample of n_c rows adds
    (N/2)τ²(1 − ρ²)/(ρ² n_c) to the latter, which gives

    .. math:: f^* = \frac{\rho^2}{1 + \rho^2 + N\tau^2/(2 n_c)}.

    With a larger labelled share use :func:`prediction_powered_ate`, with a smaller one a correction, provided
    that its assumptions hold: the prediction-powered estimate needs none of them.

    Parameters
    ----------
    r_squared : float
        Squared correlation ρ² of predictions and truth, strictly between 0 and 1.
    effect : float, optional
        Effect τ in standard deviations of the outcome.
    n_arm : float, optional
        Rows N per arm.
    n_calibration : float, optional
        Calibration rows n_c. Give all three or none.

    Returns
    -------
    float
        The share f*.

    Raises
    ------
    ValueError
        Arguments out of range, or only some of ``effect``, ``n_arm``, ``n_calibration``.

    References
    ----------
    The PPI++ variance follows from Angelopoulos, Duchi and Zrnic (2023), arXiv:2311.01453, at the optimal λ.

    Examples
    --------
    >>> from causalkit.debiasing.planning import break_even_share
    >>> round(break_even_share(0.5), 4)
    0.3333
    >>> round(break_even_share(0.5, effect=0.5, n_arm=1000, n_calibration=200), 4)
    0.2353
    """
    rho2 = _check_share(r_squared, "r_squared", "a squared correlation")
    given = {"effect": effect, "n_arm": n_arm, "n_calibration": n_calibration}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 3:
        return rho2 / (1 + rho2)
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} missing: expected effect, n_arm and n_calibration together, or none of them "
            "for an endless calibration sample."
        )
    tau = _check_size(effect, "effect", "an effect in standard deviations of the outcome", low=-np.inf)
    rows = _check_size(n_arm, "n_arm", "a number of rows")
    calibration = _check_size(n_calibration, "n_calibration", "a number of rows")
    return rho2 / (1 + rho2 + rows * tau**2 / (2 * calibration))


def required_calibration_size(r_squared: float, *, relative_error: float = 0.05) -> int:
    r"""Calibration rows that hold the relative noise of the slope at a bound.

    The calibration noise of a corrected effect, relative to it, is
    :math:`\sqrt{(1 - \rho^2)/(\rho^2 n_c)}`, so :math:`n_c = (1 - \rho^2)/(\rho^2 c^2)`, rounded up, keeps it at
    c. Rows in clusters count for less.

    Parameters
    ----------
    r_squared : float
        Squared correlation ρ² of predictions and truth, strictly between 0 and 1.
    relative_error : float, default=0.05
        The bound c.

    Returns
    -------
    int
        Rows needed, n_c.

    Raises
    ------
    ValueError
        Arguments out of range.

    References
    ----------
    Delta method for the ratio of a contrast to a regression slope; Keogh et al. (2016), Statistics in Medicine
    35(25):4493-4508, for the correction itself.

    Examples
    --------
    >>> from causalkit.debiasing.planning import required_calibration_size
    >>> required_calibration_size(0.5)
    400
    """
    rho2 = _check_share(r_squared, "r_squared", "a squared correlation")
    bound = _check_size(relative_error, "relative_error", "a relative error such as 0.05")
    return required_rows(rho2, bound)
