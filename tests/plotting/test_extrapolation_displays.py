"""The displays of the extrapolation family: what is drawn, where it comes from, and what is refused."""

from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from causalkit.datasets import make_intervention_curve
from causalkit.exceptions import ExtrapolationWarning, MethodNotApplicableError
from causalkit.extrapolation import LinearInvarianceEncoder, Rep4Ex
from causalkit.inference import InferenceResult
from causalkit.plotting import DoseCurveDisplay, InvariancePathDisplay, SupportDisplay, VisibleShareDisplay
from causalkit.plotting._action_rays import FLAGS, shade_flags
from causalkit.plotting._axes import COLOURS

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class TwoActions:
    """Stands for a fitted model with the curve sum(a) + 1, ESS 10^(4 - |a|²), and a standard error of .5."""

    action_names_ = ("dose", "time")

    def __init__(self):
        self.representation_ = np.zeros((10_000, 2))
        self.observed_actions_ = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, -1.0]])

    def support(self, actions):
        ess = 10.0 ** (4 - (actions**2).sum(axis=1))
        flag = np.select([ess >= 1000, ess >= 100, ess >= 30], ["observed", "reachable", "thin"], "unsupported")
        inside = flag == "observed"
        return pd.DataFrame({"ess": ess, "ess_classifier": 2 * ess, "in_action_support": inside, "flag": flag})

    def predict(self, actions):
        return actions.sum(axis=1) + 1

    def inference(self, actions, *, method, n_bootstrap):
        m = len(actions)
        result = InferenceResult(
            estimate=self.predict(actions), cov=0.25 * np.eye(m), names=tuple(map(str, range(m))), n_obs=10_000
        )
        return SimpleNamespace(estimate=result.estimate, conf_int=result.conf_int, support=self.support(actions))

    def baselines(self, actions, names=None):
        table = {"linear": actions[:, 0], "network": 100 * actions[:, 1] ** 2}
        return pd.DataFrame({"Rep4Ex": self.predict(actions)} | {name: table[name] for name in names or table})


@pytest.fixture(scope="module")
def fitted():
    sample = make_intervention_curve(1500, random_state=1)
    encoder = LinearInvarianceEncoder(n_components=1, n_basis=20)
    model = Rep4Ex(encoder=encoder, calibration=0.0, random_state=0)
    return sample, model.fit(sample.actions, sample.y, features=sample.features)


def line(ax, label):
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return found


def spans(ax):
    """(left, right, alpha) of every shaded stretch."""
    rectangles = [patch for patch in ax.patches if isinstance(patch, plt.Rectangle)]
    return [(r.get_x(), r.get_x() + r.get_width(), r.get_alpha()) for r in rectangles]


# ---------------------------------------------------------------------- dose curve


def test_curve_of_a_model_is_that_of_its_methods(fitted):
    sample, model = fitted
    grid = np.linspace(-3, 3, 9)
    display = DoseCurveDisplay.from_estimator(model, grid[::-1], truth=sample.do_mean, baselines=["linear"])
    points = grid[:, None]
    with pytest.warns(ExtrapolationWarning):
        result = model.inference(points)
    ax = display.ax_
    assert_allclose(line(ax, "Rep4Ex").get_xydata(), np.column_stack([grid, result.estimate]))
    assert_allclose(line(ax, "truth").get_ydata(), sample.do_mean(points))
    slope = np.polyfit(sample.actions[:, 0], sample.y, 1)
    assert_allclose(line(ax, "y on actions: linear").get_ydata(), np.polyval(slope, grid))
    interval = result.conf_int()
    assert_allclose(display.lower, interval["lower"])
    assert_allclose(display.upper, interval["upper"])
    band = ax.collections[0].get_paths()[0].vertices
    assert_allclose([band[:, 1].min(), band[:, 1].max()], [interval["lower"].min(), interval["upper"].max()])
    assert display.flags == list(result.support["flag"])
    assert ax.get_xlabel() == "actions0"
    assert_allclose([display.observed.min(), display.observed.max()], [sample.actions.min(), sample.actions.max()])


def test_display_does_not_repeat_warnings_that_it_shades(fitted, recwarn):
    DoseCurveDisplay.from_estimator(fitted[1], [-4, 0, 4], baselines=False)
    DoseCurveDisplay.from_estimator(fitted[1], [-4, 0, 4], baselines=False, band=None)
    assert not [one for one in recwarn if issubclass(one.category, ExtrapolationWarning)]


def test_ray_of_two_actions_from_an_origin():
    t = np.array([0.0, 1.0, 2.0])
    display = DoseCurveDisplay.from_estimator(TwoActions(), t, direction=[1, -2], origin=[0.5, 0.0])
    assert_allclose(display.estimate, 1.5 - t)
    assert_allclose(display.upper - display.estimate, 0.5 * 1.959964, rtol=1e-5)
    # (a - origin)'direction / 5 for the three actions of the fit.
    assert_allclose(display.observed, [-0.1, (0.5 - 2) / 5, (0.5 + 2) / 5])
    assert display.xlabel == "t, along (1, -2) from (0.5, 0)"
    assert list(display.baselines.columns) == ["linear", "network"]
    low, high = display.ax_.get_ylim()
    assert -4 < low < -0.5 and 1.5 < high < 10, "a baseline that runs away does not set the scale"


def test_shade_darkens_with_the_flag_and_changes_half_way():
    _, ax = plt.subplots()
    shade_flags(ax, np.array([0.0, 1.0, 2.0, 4.0, 6.0]), ["unsupported", "thin", "observed", "reachable", "reachable"])
    expected = [(0, 0.5, FLAGS["unsupported"]), (0.5, 1.5, FLAGS["thin"]), (3, 6, FLAGS["reachable"])]
    assert_allclose(spans(ax), expected)
    assert FLAGS["observed"] == 0 < FLAGS["reachable"] < FLAGS["thin"] < FLAGS["unsupported"]
    both = plt.subplots()[1]
    shade_flags(both, np.arange(3.0), ["thin", "observed", "thin"])
    assert len(both.get_legend_handles_labels()[1]) == 1, "each flag is named once"


def test_curve_without_band_baselines_or_actions():
    model = TwoActions()
    del model.observed_actions_
    display = DoseCurveDisplay.from_estimator(model, [0, 1], direction=[1, 0], band=None, baselines=False)
    assert display.lower is None and display.baselines is None and len(display.observed) == 0
    assert_allclose(display.estimate, [1, 2])
    assert [one.get_label() for one in display.ax_.lines] == ["Rep4Ex"]


def test_dose_curve_failures():
    model = TwoActions()
    with pytest.raises(ValueError, match="needs a fitted Rep4Ex; got str"):
        DoseCurveDisplay.from_estimator("model", [0, 1])
    with pytest.raises(ValueError, match="direction is missing: the estimator has 2 actions"):
        DoseCurveDisplay.from_estimator(model, [0, 1])
    with pytest.raises(ValueError, match=r"vector of positions along one line; got shape \(2, 2\)"):
        DoseCurveDisplay.from_estimator(model, np.eye(2))
    with pytest.raises(ValueError, match="direction must have one entry per action, 2; got 3"):
        DoseCurveDisplay.from_estimator(model, [0, 1], direction=[1, 2, 3])
    with pytest.raises(ValueError, match="not 0"):
        DoseCurveDisplay.from_estimator(model, [0, 1], direction=[0, 0])
    with pytest.raises(ValueError, match="at least two positions"):
        DoseCurveDisplay.from_estimator(model, [0], direction=[1, 0])
    with pytest.raises(ValueError, match="truth has 3 rows"):
        DoseCurveDisplay.from_estimator(model, [0, 1], direction=[1, 0], truth=[1, 2, 3])
    with pytest.raises(ValueError, match="band"):
        DoseCurveDisplay.from_estimator(model, [0, 1], direction=[1, 0], band="jackknife")


def test_baselines_by_name_are_those_of_the_estimator(fitted):
    _, model = fitted
    display = DoseCurveDisplay.from_estimator(model, [-1, 0, 1], baselines=["linear"])
    assert list(display.baselines.columns) == ["linear"]
    with pytest.raises(ValueError, match=r"names must be among 'linear'.*got \['oracle'\]"):
        DoseCurveDisplay.from_estimator(model, [0, 1], baselines=["oracle"])


# ---------------------------------------------------------------------- support


def test_support_along_a_line_is_that_of_the_model(fitted):
    _, model = fitted
    grid = np.array([0.0, 1.0, 2.0, 6.0])
    table = model.support(grid[:, None])
    display = SupportDisplay.from_estimator(model, grid)
    ax = display.ax_
    assert_array_equal(display.ess, table["ess"])
    assert_array_equal(display.ess_classifier, table["ess_classifier"])
    assert display.n_rows == 1500 and "of 1500" in ax.get_ylabel()
    drawn = line(ax, "effective rows").get_ydata()
    assert_allclose(drawn, np.maximum(table["ess"], 1.0))
    assert ax.get_yscale() == "log"
    assert_allclose(line(ax, "100: reachable").get_ydata(), 100)
    assert_allclose(line(ax, "30: thin").get_ydata(), 30)


def test_support_on_a_grid_keeps_points_and_values_together():
    first, second = np.array([-1.0, 0.0, 2.0]), np.array([0.0, 0.5])
    points = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    shuffled = points[[4, 0, 5, 2, 1, 3]]
    display = SupportDisplay.from_estimator(TwoActions(), shuffled)
    assert_array_equal(display.position[0], first)
    assert_array_equal(display.position[1], second)
    assert_allclose(np.log10(display.ess), 4 - second[:, None] ** 2 - first**2)
    assert_array_equal(display.observed, (second[:, None] ** 2 + first**2) <= 1)
    mesh = display.ax_.collections[0]
    assert_allclose(mesh.get_array().reshape(2, 3), np.maximum(display.ess, 1.0))
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("dose", "time")


def test_support_failures():
    model = TwoActions()
    grid = np.stack(np.meshgrid([0, 1], [0, 1]), axis=-1).reshape(-1, 2)
    with pytest.raises(ValueError, match="every point of a grid once: 2 and 2 values make 4 points; got 3"):
        SupportDisplay.from_estimator(model, grid[:3])
    with pytest.raises(ValueError, match="every point of a grid once"):
        SupportDisplay.from_estimator(model, grid[[0, 1, 2, 2]])
    with pytest.raises(ValueError, match="needs a fitted Rep4Ex; got int"):
        SupportDisplay.from_estimator(3, grid)
    with pytest.raises(ValueError, match="direction is missing"):
        SupportDisplay.from_estimator(model, [0, 1])
    one = TwoActions()
    one.action_names_ = ("dose",)
    with pytest.raises(ValueError, match="the estimator 1 actions"):
        SupportDisplay.from_estimator(one, grid)


# ---------------------------------------------------------------------- path


def test_path_of_a_curve_has_its_two_losses(fitted):
    _, model = fitted
    display = InvariancePathDisplay.from_estimator(model)
    assert display.panels == ["c_in", "shell_loss"] and display.xlabel == "ridge μ"
    for panel, name in zip(display.axes_, display.panels, strict=True):
        by_ridge = model.path_.sort_values("penalty")
        assert_allclose(panel.lines[0].get_xydata(), by_ridge[["penalty", name]])
        chosen = model.path_[model.path_["chosen"]]
        assert_allclose(panel.lines[1].get_xydata(), chosen[["penalty", name]])
        assert panel.get_xscale() == "log"


def test_path_of_a_penalty_has_zero_and_the_admissible_range():
    path = pd.DataFrame(
        {
            "penalty": [0.0, 1.0, 10.0, 100.0],
            "reconstruction": [0.1, 0.1, 0.11, 0.4],
            "q_b": [3.0, 2.0, 1.0, 0.5],
            "admissible": [True, True, True, False],
            "chosen": [False, False, True, False],
        }
    )
    display = InvariancePathDisplay.from_estimator(
        SimpleNamespace(path_=path, encoder_=[SimpleNamespace(method="autoencoder")])
    )
    assert display.panels == ["reconstruction", "q_b"] and display.xlabel == "penalty λ"
    panel = display.axes_[1]
    assert_allclose(panel.lines[0].get_xdata(), [0.1, 1, 10, 100])
    assert [one.get_text() for one in panel.get_xticklabels()] == ["0", "$10^{0}$", "$10^{1}$", "$10^{2}$"]
    assert_allclose([spans(panel)[0][:2]], [[100 / np.sqrt(10), 100 * np.sqrt(10)]])
    assert_allclose(panel.lines[1].get_xydata(), [[10, 1.0]])


def test_path_draws_one_line_per_calibration():
    path = pd.DataFrame(
        {"penalty": [1e-3, 1e-3, 1e-2, 1e-2], "calibration": [0.0, 30.0] * 2, "c_in": [1.0, 2.0, 3.0, 4.0]}
    )
    path["chosen"] = path["c_in"] == 2.0
    (panel,) = InvariancePathDisplay(path=path).plot().axes_
    assert [one.get_text() for one in panel.get_legend().get_texts()] == ["0", "30"]
    assert_allclose(panel.lines[0].get_ydata(), [1, 3])
    assert_allclose(panel.lines[1].get_ydata(), [2, 4])


def test_path_failures(fitted):
    with pytest.raises(ValueError, match="needs a fitted Rep4Ex or LinearInvarianceEncoder; got str"):
        InvariancePathDisplay.from_estimator("model")
    nothing = SimpleNamespace(path_=pd.DataFrame({"penalty": [np.nan], "c_in": [1.0], "chosen": [True]}))
    for estimator in (nothing, SimpleNamespace(path_=pd.DataFrame())):
        with pytest.raises(MethodNotApplicableError, match="ridge='auto'"):
            InvariancePathDisplay.from_estimator(estimator)
    with pytest.raises(ValueError, match="path has none of the columns"):
        InvariancePathDisplay(path=pd.DataFrame({"penalty": [1.0], "chosen": [True]})).plot()
    with pytest.raises(ValueError, match="ax must hold 2 axes"):
        InvariancePathDisplay.from_estimator(fitted[1], ax=plt.subplots()[1])


# ---------------------------------------------------------------------- visible share


def test_visible_shares_are_split_by_the_noise():
    display = VisibleShareDisplay(shares=np.array([0.3, 0.02, 1e-3, 0.0]), noise=0.01).plot()
    ax = display.ax_
    assert display.n_visible == 2 and ax.get_title(loc="left") == "2 of 4 directions are visible"
    assert_allclose(line(ax, "visible").get_xydata(), [[1, 0.3], [2, 0.02]])
    assert_allclose(line(ax, "cannot be seen").get_xydata(), [[3, 1e-3], [4, 1e-8]])
    assert_allclose(line(ax, "largest without a signal, 95 %").get_ydata(), 0.01)
    assert line(ax, "visible").get_color() == COLOURS["corrected"]


def test_spectrum_comes_from_the_rows_kept_for_reports(fitted):
    _, model = fitted
    spectrum = model.diagnostics().visible_share
    of_model = VisibleShareDisplay.from_estimator(model)
    assert_array_equal(of_model.shares, spectrum.shares)
    assert (of_model.noise, of_model.n_visible) == (spectrum.noise, spectrum.n_visible)
    encoder = model.encoder_
    of_encoder = VisibleShareDisplay.from_estimator(encoder)
    assert_array_equal(of_encoder.shares, encoder.invariance_test().visible.shares)
    assert_array_equal(VisibleShareDisplay.from_result(spectrum).shares, spectrum.shares)


def test_visible_share_failures():
    with pytest.raises(ValueError, match="needs a fitted Rep4Ex or LinearInvarianceEncoder; got LinearInv"):
        VisibleShareDisplay.from_estimator(LinearInvarianceEncoder())
    with pytest.raises(ValueError, match="an invariance test or a visible-share spectrum; got int"):
        VisibleShareDisplay.from_result(1)
