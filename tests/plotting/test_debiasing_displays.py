"""The displays of the debiasing family: what is drawn, against the results that they are made from."""

import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from causalkit import HierarchicalCalibration, LinearCalibration, TweedieCorrection
from causalkit.datasets import make_gaussian_map, make_site_map
from causalkit.plotting import BandDisplay, CalibrationDisplay, ScoreDisplay, SiteForestDisplay
from causalkit.plotting._axes import COLOURS

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    return make_gaussian_map(k=0.5, tau=1.0, n_calibration=600, n_arm=500, random_state=0)


@pytest.fixture(scope="module")
def linear(data):
    return LinearCalibration().fit(data.calibration_predictions, data.calibration_y)


@pytest.fixture(scope="module")
def effect(data, linear):
    return linear.effect(data.predictions, treatment=data.treatment)


def by_label(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def luminance(colour):
    channels = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("page", ["#ffffff", "#1a2029", "#14181e"])
@pytest.mark.parametrize("name", sorted(COLOURS))
def test_colours_are_legible_on_light_and_dark_pages(name, page):
    low, high = sorted([luminance(COLOURS[name]), luminance(page)])
    assert (high + 0.05) / (low + 0.05) >= 3


# ---------------------------------------------------------------------- band


def test_band_runs_from_exclusion_to_surrogacy(data, linear, effect):
    display = BandDisplay.from_result(effect, truth=1.0)
    curve = by_label(display.ax_, "τ(r)")
    treated, control = (data.predictions[data.treatment == arm].mean() for arm in (1, 0))
    exclusion, surrogacy = curve.get_ydata()[[0, -1]]
    b = np.cov(data.calibration_predictions, data.calibration_y)[0, 1] / data.calibration_predictions.var(ddof=1)
    assert_allclose(exclusion, (treated - control) / linear.slope_, rtol=1e-10)
    assert_allclose(surrogacy, (treated - control) * b, rtol=1e-10)
    assert_allclose(by_label(display.ax_, "naive").get_ydata(), treated - control, rtol=1e-12)
    assert_allclose(by_label(display.ax_, "truth").get_ydata(), 1.0)


def test_band_takes_words_and_axes(effect):
    _, ax = plt.subplots()
    display = BandDisplay.from_result(effect, title="Grants", ylabel="effect, dollars", ax=ax)
    assert display.ax_ is ax
    assert (ax.get_title(), ax.get_ylabel()) == ("Grants", "effect, dollars")
    again = display.plot(ax=plt.subplots()[1])
    assert (again.ax_.get_title(), again.ax_.get_ylabel()) == ("Between the two assumptions", "effect (1 - 0)")


def test_band_refuses_an_unknown_effect(effect):
    with pytest.raises(ValueError, match="'2 - 0' is not among"):
        BandDisplay.from_result(effect, effect="2 - 0")


# ---------------------------------------------------------------------- calibration


def test_calibration_bins_are_means_by_level_of_the_truth(data, linear):
    u, y = data.calibration_predictions, data.calibration_y
    display = CalibrationDisplay.from_estimator(linear, u, y, n_bins=4)
    cuts = np.quantile(y, [0.25, 0.5, 0.75])
    groups = [y < cuts[0], (y >= cuts[0]) & (y < cuts[1]), (y >= cuts[1]) & (y < cuts[2]), y >= cuts[2]]
    assert_allclose(display.bins["y"], [y[rows].mean() for rows in groups])
    assert_allclose(display.bins["prediction"], [u[rows].mean() for rows in groups])
    assert_allclose(display.bins["raw"], [(u - y)[rows].mean() for rows in groups])
    corrected = (u - linear.intercept_) / linear.slope_
    assert_allclose(display.bins["residual"], [(corrected - y)[rows].mean() for rows in groups], atol=1e-12)
    left, right = display.ax_
    assert left.get_xlabel() == right.get_xlabel() == "truth Y"
    line = by_label(left, f"Ŷ on Y: slope k = {linear.slope_:.2f}")
    rise = np.ptp(line.get_ydata()) / np.ptp(line.get_xdata())
    assert_allclose(rise, np.cov(u, y)[0, 1] / y.var(ddof=1), rtol=1e-10)


def test_calibration_draws_on_two_given_axes(data, linear):
    _, axes = plt.subplots(1, 2)
    display = CalibrationDisplay.from_estimator(linear, data.calibration_predictions, data.calibration_y, ax=axes)
    assert display.ax_ is axes
    with pytest.raises(ValueError, match="n_bins"):
        CalibrationDisplay.from_estimator(linear, data.calibration_predictions, data.calibration_y, n_bins=1)


# ---------------------------------------------------------------------- score


def test_score_is_the_normal_one_when_the_correction_is_linear(data):
    # With two knots the spline is a line, and the fitted score is that of a normal density.
    u, y = data.calibration_predictions, data.calibration_y
    display = ScoreDisplay.from_estimator(TweedieCorrection(n_knots=2).fit(u, y))
    assert_allclose(display.normal_score, -(display.grid - u.mean()) / u.var(), rtol=1e-10)
    assert_allclose(display.score, display.normal_score, atol=0.02 * np.abs(display.normal_score).max())
    assert display.support == (u.min(), u.max())
    assert display.ax_.get_xlabel() == "prediction ŷ"


def test_score_needs_a_tweedie_correction(linear):
    with pytest.raises(ValueError, match="got LinearCalibration"):
        ScoreDisplay.from_estimator(linear)


# ---------------------------------------------------------------------- sites


def test_site_forest_lists_sites_by_their_raw_slope():
    data = make_site_map(random_state=0)
    names = np.array([f"site {s}" for s in data.calibration_sites.tolist()])
    fitted = HierarchicalCalibration().fit(data.calibration_predictions, data.calibration_y, sites=names)
    display = SiteForestDisplay.from_estimator(fitted)
    slopes = {}
    for name in np.unique(names):
        rows = names == name
        u, y = data.calibration_predictions[rows], data.calibration_y[rows]
        slopes[name] = np.cov(u, y)[0, 1] / y.var(ddof=1)
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == sorted(slopes, key=slopes.get)
    drawn = display.ax_.containers[0].lines[0].get_xdata()
    assert_allclose(drawn, sorted(slopes.values()), rtol=1e-8)
    assert np.ptp(display.shrunk) < np.ptp(display.raw), "pooling draws the slopes together"


def test_site_forest_needs_sites(linear):
    with pytest.raises(ValueError, match=re.escape("got LinearCalibration")):
        SiteForestDisplay.from_estimator(linear)
