"""Designs with structure between rows: units seen twice, and sites with slopes of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets.simulated_map import SimulatedMap, as_generator, check_number, constants, two_arms
from causalkit.validation import check_integer

__all__ = ["PanelMap", "SiteMap", "make_panel_map", "make_site_map"]

# The prediction follows lasting differences between units closely and changes hardly at all.
_UNIT_SD, _LEVEL_SLOPE, _FIXED_NOISE_SD, _CHANGE_SLOPE, _NOISE_SD = 1.5, 0.7, 0.4, 0.3, 0.2
_SLOPE_MEAN, _SLOPE_SD, _INTERCEPT_SD, _SITE_SHIFT_SD, _SITE_NOISE_SD = 0.6, 0.1, 0.15, 0.5, 0.35


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PanelMap(SimulatedMap):
    """A simulated map of units observed in two periods; one row per unit and period.

    Attributes
    ----------
    calibration_unit, calibration_period : ndarray of int, shape (n_calibration,)
        Unit and period (0 or 1) of the calibration rows.
    unit, period : ndarray of int, shape (n,)
        The same for trial rows. ``treatment`` marks the units that are treated in period 1, in both
        of their rows.
    """

    calibration_unit: NDArray[np.int64]
    calibration_period: NDArray[np.int64]
    unit: NDArray[np.int64]
    period: NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SiteMap(SimulatedMap):
    """A simulated map of several sites, with a trial in a new one.

    Attributes
    ----------
    calibration_sites : ndarray of int, shape (n_calibration,)
        Site of the calibration rows, 0 to S−1.
    sites : ndarray of int, shape (n,)
        Site of the trial rows: S, which no calibration row has.
    site_slopes, site_intercepts : ndarray, shape (S + 1,)
        True line of each site; the last one belongs to the trial.
    """

    calibration_sites: NDArray[np.int64]
    sites: NDArray[np.int64]
    site_slopes: NDArray[np.float64]
    site_intercepts: NDArray[np.float64]


def _draw_panel(
    treated: NDArray[np.int64], tau: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outcomes and predictions of shape (units, 2)."""
    n = len(treated)
    level = _UNIT_SD * rng.standard_normal(n)[:, None]
    fixed = _FIXED_NOISE_SD * rng.standard_normal(n)[:, None]
    y = level + rng.standard_normal((n, 2))
    y[:, 1] += tau * treated
    noise = _NOISE_SD * rng.standard_normal((n, 2))
    return y, _LEVEL_SLOPE * level + fixed + _CHANGE_SLOPE * (y - level) + noise


def make_panel_map(
    *, tau: float = 1.0, n_calibration: int = 500, n_arm: int = 500, random_state: Any = None
) -> PanelMap:
    r"""Simulate units seen in two periods, whose predictions follow levels better than changes.

    :math:`Y_t = \alpha + N(0,1) + \tau A\,1\{t=1\}`, :math:`\alpha \sim N(0, 1.5^2)`;
    :math:`\hat Y_t = .7\alpha + \zeta + .3(Y_t - \alpha) + N(0, .2^2)`, with :math:`\zeta \sim N(0, .4^2)` the
    same in both periods. The slope of predictions on outcomes over all calibration rows is
    :math:`(.7 \cdot 2.25 + .3)/3.25 = .57692`, that of changes on changes .3. A difference in differences
    of predictions is .3τ; divided by the slope of levels .52τ; by the slope of changes τ.

    Parameters
    ----------
    tau : float, default=1.0
        True effect on treated units in period 1.
    n_calibration : int, default=500
        Untreated calibration units; two rows each.
    n_arm : int, default=500
        Trial units per arm (controls first); two rows each.
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal, first for the calibration units and then for the trial:
        α, ζ, outcome shocks (units, 2), prediction noise (units, 2).

    Returns
    -------
    PanelMap
        Rows ordered by unit, then period. ``population``: slope, change_slope, naive, linear_calibration
        (slope of levels), change_calibration, each for the difference in differences.

    Raises
    ------
    ValueError
        If tau is not finite or a size is below 2.

    References
    ----------
    Reich (2026), arXiv:2604.11168: slopes between units and over time differ.

    Examples
    --------
    >>> from causalkit.datasets import make_panel_map
    >>> sample = make_panel_map(random_state=0)
    >>> round(sample.population["slope"], 5), sample.population["change_slope"]
    (0.57692, 0.3)
    """
    tau = check_number(tau, "tau")
    n_calibration = check_integer(n_calibration, "n_calibration", low=2)
    n_arm = check_integer(n_arm, "n_arm", low=2)
    rng = as_generator(random_state)
    calibration_y, calibration_predictions = _draw_panel(np.zeros(n_calibration, dtype=np.int64), 0.0, rng)
    treated = two_arms(n_arm)
    y, predictions = _draw_panel(treated, tau, rng)
    slope = (_LEVEL_SLOPE * _UNIT_SD**2 + _CHANGE_SLOPE) / (_UNIT_SD**2 + 1)
    naive = _CHANGE_SLOPE * tau
    return PanelMap(
        calibration_predictions=calibration_predictions.ravel(),
        calibration_y=calibration_y.ravel(),
        calibration_unit=np.repeat(np.arange(n_calibration), 2),
        calibration_period=np.tile(np.arange(2), n_calibration),
        predictions=predictions.ravel(),
        treatment=np.repeat(treated, 2),
        y=y.ravel(),
        unit=np.repeat(np.arange(2 * n_arm), 2),
        period=np.tile(np.arange(2), 2 * n_arm),
        effect=tau,
        population=constants(
            slope=slope,
            change_slope=_CHANGE_SLOPE,
            naive=naive,
            linear_calibration=naive / slope,
            change_calibration=tau,
        ),
    )


def make_site_map(
    *, n_sites: int = 20, n_rows: int = 60, tau: float = 1.0, n_arm: int = 2000, random_state: Any = None
) -> SiteMap:
    r"""Simulate calibration samples of several sites and a trial in a new site.

    Each site has a line of its own, :math:`k_s \sim N(.6, .1^2)` and :math:`m_s \sim N(0, .15^2)`. Its rows
    are :math:`Y \sim N(0,1) + N(0, .5^2)` (the second term once per site) and
    :math:`\hat Y = m_s + k_s Y + .35\,N(0,1)`. The trial lies in a site drawn from the same law, with
    :math:`\tau A` added to the outcome, so the contrast of its predictions is k of that site times τ.

    Parameters
    ----------
    n_sites, n_rows : int, default=20 and 60
        Calibration sites, rows of each.
    tau : float, default=1.0
        True effect.
    n_arm : int, default=2000
        Trial rows per arm (controls first).
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal: slopes, intercepts, then site by site outcomes, their
        shift, noise; then for the trial slope, intercept, outcomes of both arms, their shift, noise.

    Returns
    -------
    SiteMap
        ``population``: slope (mean over sites), slope_sd, intercept, intercept_sd, naive (in this trial's
        site), linear_calibration (that divided by the mean slope).

    Raises
    ------
    ValueError
        If tau is not finite or a size is too small.

    References
    ----------
    DerSimonian and Laird (1986), Controlled Clinical Trials 7:177-188: the model of sites.

    Examples
    --------
    >>> from causalkit.datasets import make_site_map
    >>> sample = make_site_map(n_sites=5, random_state=0)
    >>> sample.site_slopes.shape, int(sample.sites[0])
    ((6,), 5)
    """
    n_sites = check_integer(n_sites, "n_sites", low=1)
    n_rows = check_integer(n_rows, "n_rows", low=2)
    n_arm = check_integer(n_arm, "n_arm", low=2)
    tau = check_number(tau, "tau")
    rng = as_generator(random_state)
    slopes = _SLOPE_MEAN + _SLOPE_SD * rng.standard_normal(n_sites)
    intercepts = _INTERCEPT_SD * rng.standard_normal(n_sites)

    def draw_site(slope: float, intercept: float, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Untreated outcomes of one site, and the part of the predictions that is not slope × outcome."""
        y = rng.standard_normal(n)
        y += _SITE_SHIFT_SD * rng.standard_normal()
        return y, intercept + _SITE_NOISE_SD * rng.standard_normal(n)

    drawn = [draw_site(k, m, n_rows) for k, m in zip(slopes, intercepts, strict=True)]
    calibration_y = np.concatenate([y for y, _ in drawn])
    calibration_predictions = np.concatenate([k * y + rest for k, (y, rest) in zip(slopes, drawn, strict=True)])
    new_slope = _SLOPE_MEAN + _SLOPE_SD * rng.standard_normal()
    new_intercept = _INTERCEPT_SD * rng.standard_normal()
    treatment = two_arms(n_arm)
    y, rest = draw_site(new_slope, new_intercept, 2 * n_arm)
    y += tau * treatment
    return SiteMap(
        calibration_predictions=calibration_predictions,
        calibration_y=calibration_y,
        calibration_sites=np.repeat(np.arange(n_sites), n_rows),
        predictions=new_slope * y + rest,
        treatment=treatment,
        y=y,
        sites=np.full(2 * n_arm, n_sites),
        site_slopes=np.append(slopes, new_slope),
        site_intercepts=np.append(intercepts, new_intercept),
        effect=tau,
        population=constants(
            slope=_SLOPE_MEAN,
            slope_sd=_SLOPE_SD,
            intercept=0.0,
            intercept_sd=_INTERCEPT_SD,
            naive=new_slope * tau,
            linear_calibration=new_slope * tau / _SLOPE_MEAN,
        ),
    )
