"""The displays of the rewards family: what is drawn, against closed forms and the fits that they are made from."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from causalkit.datasets import make_reward_groups, make_reward_linear
from causalkit.exceptions import MethodNotApplicableError
from causalkit.plotting import OverlapDisplay, RewardComparisonDisplay, SensitivityContourDisplay
from causalkit.plotting._axes import COLOURS
from causalkit.rewards.comparison import benchmark_confounders, compare_rewards
from causalkit.rewards.deconfounder import RewardDeconfounder

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def log():
    return make_reward_groups(60, 8, random_state=0)


@pytest.fixture(scope="module")
def model(log):
    return RewardDeconfounder(method="fixed_effects").fit(log.X, log.y, confounders=log.confounders)


def labelled(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def points(ax):
    """Drawn points: value, row, hollow or not, colour."""
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_markerfacecolor() == "none", line.get_color())
        for line in ax.lines
        if line.get_marker() == "o" and len(line.get_xdata()) == 1
    ]


# ---------------------------------------------------------------------- comparison


@pytest.fixture
def table():
    frame = pd.DataFrame(
        {
            "pair_accuracy": [0.6, 0.7, np.nan],
            "pair_accuracy_se": [0.01, 0.02, np.nan],
            "within_stratum_accuracy": [0.55, 0.65, np.nan],
            "within_stratum_accuracy_se": [0.02, 0.01, np.nan],
            "correlation": [0.1, 0.9, np.nan],
            "warned": ["", "AdditivityWarning", ""],
            "note": ["", "", "needs a categorical confounder"],
        },
        index=pd.Index(["none", "partially_linear", "fixed_effects"], name="method"),
    )
    frame.attrs["yardstick"] = "y"
    return frame


def test_accuracy_within_strata_comes_first_with_its_interval(table):
    display = RewardComparisonDisplay.from_result(table)
    assert display.metrics == ("within_stratum_accuracy",)
    (ax,) = display.axes_
    assert points(ax) == [(0.55, 0, False, COLOURS["naive"]), (0.65, 1, True, COLOURS["corrected"])]
    spans = [collection.get_segments()[0] for collection in ax.collections]
    assert_allclose([span[:, 0] for span in spans], [[0.55 - 0.0392, 0.55 + 0.0392], [0.65 - 0.0196, 0.65 + 0.0196]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["none", "partially_linear", "fixed_effects"]
    assert [text.get_text() for text in ax.texts] == ["does not apply"] and ax.texts[0].xy[1] == 2
    assert "logged outcome" in ax.get_title(loc="left")


def test_measures_have_panels_and_a_correlation_has_no_interval(table):
    display = RewardComparisonDisplay.from_result(table, metrics=("pair_accuracy", "correlation"), baselines=())
    first, second = display.axes_
    assert [p[0] for p in points(first)] == [0.6, 0.7] and len(first.collections) == 2
    assert [p[0] for p in points(second)] == [0.1, 0.9] and not second.collections
    assert {p[3] for p in points(first)} == {COLOURS["corrected"]}
    assert "intervals" not in second.get_xlabel()
    chance = [line for line in second.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "--"]
    assert_allclose(chance[0].get_xdata(), 0)


def test_a_table_of_fits_is_drawn_as_it_is(log):
    made = compare_rewards(
        log.X,
        log.y,
        confounders=log.confounders,
        methods=("none", "outcome_only", "fixed_effects"),
        truth=log.reward,
        random_state=0,
    )
    display = RewardComparisonDisplay.from_result(made)
    assert_allclose([p[0] for p in points(display.axes_[0])], made["pair_accuracy"].astype(float))
    assert "true reward" in display.axes_[0].get_title(loc="left")


def test_comparison_failures_name_what_is_wrong(table):
    with pytest.raises(ValueError, match="frame of compare_rewards"):
        RewardComparisonDisplay.from_result(table[["correlation"]])
    with pytest.raises(ValueError, match=r"metrics must be among .*'ndcg'"):
        RewardComparisonDisplay.from_result(table, metrics="ndcg")
    with pytest.raises(ValueError, match="ax must hold 2 axes"):
        RewardComparisonDisplay.from_result(table, metrics=("correlation", "pair_accuracy"), ax=plt.subplots()[1])


# ---------------------------------------------------------------------- overlap


def test_spectrum_and_r2_are_those_of_regressions_on_the_levels(log, model):
    display = OverlapDisplay.from_estimator(model)
    D = pd.get_dummies(log.confounders["author"]).to_numpy(dtype=float)
    left = log.X - D @ np.linalg.lstsq(D, log.X)[0]
    total, residual = np.cov(log.X, rowvar=False, ddof=0), left.T @ left / len(left)
    expected = np.sort(np.linalg.eigvals(residual @ np.linalg.inv(total)).real)
    spectrum, features = display.axes_
    assert_allclose(labelled(spectrum, "share of variance left").get_ydata(), expected, rtol=1e-9)
    drawn = next(line for line in features.lines if len(line.get_xdata()) == 4)
    assert_allclose(drawn.get_xdata(), 1 - np.diag(residual) / np.diag(total), rtol=1e-9)
    assert [label.get_text() for label in features.get_yticklabels()] == ["x0", "x1", "x2", "x3"]
    assert spectrum.get_yscale() == "linear" and spectrum.get_legend() is None
    assert "least along x0" in spectrum.get_title(loc="left"), "b is largest on x0"


def test_small_eigenvalues_are_marked_on_a_log_scale():
    display = OverlapDisplay(
        eigenvalues=np.array([0.0, 0.01, 0.6]), loadings=["a", "b", "c"], r2=pd.Series([0.9, 0.2, 0.1], list("abc"))
    ).plot()
    ax = display.axes_[0]
    assert ax.get_yscale() == "log"
    assert_allclose(labelled(ax, "below 0.02: 2").get_ydata(), [1e-4, 0.01])
    assert_allclose(labelled(ax, "share of variance left").get_ydata(), [0.6])
    assert ax.get_ylim()[0] < 1e-4, "zero has a place at the lower end"


def test_many_features_are_sorted_and_not_named():
    r2 = pd.Series(np.linspace(0.1, 0.5, 40), [f"f{j}" for j in range(40)])
    ax = OverlapDisplay(eigenvalues=np.linspace(0.2, 1, 40), loadings=[""] * 40, r2=r2).plot().axes_[1]
    drawn = next(line for line in ax.lines if len(line.get_xdata()) == 40)
    assert_allclose(drawn.get_xdata(), r2.to_numpy()[::-1])
    assert not any(text.get_text().startswith("f") for text in ax.get_yticklabels())


def test_overlap_refuses_methods_that_do_not_rest_on_it(log):
    with pytest.raises(ValueError, match="Call fit first"):
        OverlapDisplay.from_estimator(RewardDeconfounder())
    for method in ("none", "outcome_only"):
        fit = RewardDeconfounder(method=method).fit(log.X, log.y, confounders=log.confounders)
        with pytest.raises(MethodNotApplicableError, match=f'method="{method}"'):
            OverlapDisplay.from_estimator(fit)


# ---------------------------------------------------------------------- sensitivity


def test_bound_of_a_hidden_gaussian_confounder_is_its_bias():
    # Design A with its confounder left out: shares 2/3 and .32, bias .8 for the first feature; .18 and .6 for the
    # second, whose sign is wrong: estimate -.1, robustness value .0618.
    display = SensitivityContourDisplay(name="x0", estimate=1.8, size=np.sqrt(3 * 0.68), rv=0.6955, rv_alpha=0.68)
    assert display.bound(2 / 3, 0.32) == pytest.approx(0.8, abs=1e-12)
    assert display.bound(0.6955, 0.6955) == pytest.approx(1.8, abs=1e-3)
    second = SensitivityContourDisplay(name="x1", estimate=-0.1, size=np.sqrt(3 * 0.82), rv=0.0618, rv_alpha=0.0)
    assert second.bound(2 / 3, 0.18) == pytest.approx(0.6, abs=1e-12)
    assert second.bound(0.0618, 0.0618) == pytest.approx(0.1, abs=2e-4)
    halved = SensitivityContourDisplay(name="x0", estimate=1.8, size=2.0, rv=0.5, rv_alpha=0.4, rho=-0.5)
    assert halved.bound(0.3, 0.2) == pytest.approx(0.5 * np.sqrt(0.3 * 0.2 / 0.8) * 2)


def test_bounds_are_those_of_the_estimator(model):
    display = SensitivityContourDisplay.from_estimator(model, feature="x2")
    for cf_y, cf_d in ((0.03, 0.03), (0.4, 0.1), (0.01, 0.9)):
        expected = model.sensitivity(cf_y=cf_y, cf_d=cf_d).loc["x2", "bound"]
        assert display.bound(cf_y, cf_d) == pytest.approx(expected, rel=1e-10)
    assert display.estimate == model.coef_[2]


def lines_of(ax, colour):
    """Points of the contour lines of a colour."""
    sets = [c for c in ax.collections if len(c.get_edgecolor()) and c.get_linewidth()[0] == 2.2]
    wanted = matplotlib.colors.to_rgba(COLOURS[colour])
    return np.vstack([path.vertices for c in sets for path in c.get_paths() if tuple(c.get_edgecolor()[0]) == wanted])


def test_lines_of_sign_and_significance_go_through_the_robustness_values(model):
    display = SensitivityContourDisplay.from_estimator(model, feature="x1")
    row = model.sensitivity().loc["x1"]
    assert 0 < row["rv_alpha"] < row["rv"]
    for colour, strength in (("naive", row["rv"]), ("accent", row["rv_alpha"])):
        d, y = lines_of(display.ax_, colour).T
        # Between grid points the line is straight: within a small share of the grid's spacing.
        assert_allclose(np.interp(strength, d, y), strength, atol=2e-3)
    assert_allclose(display.bound(*lines_of(display.ax_, "naive").T[::-1]), abs(row["estimate"]), rtol=0.02)
    assert_allclose(labelled(display.ax_, f"RV = {row['rv']:.3f}").get_xdata(), row["rv"])


def test_a_pair_has_the_difference_of_its_rewards(log, model):
    first, second = log.X[[0]], log.X[[5]]
    display = SensitivityContourDisplay.from_estimator(model, X_first=first, X_second=second)
    assert display.estimate == pytest.approx(float((first - second)[0] @ model.coef_))
    expected = model.sensitivity(X_first=first, X_second=second, cf_y=0.2, cf_d=0.1)["bound"].iloc[0]
    assert display.bound(0.2, 0.1) == pytest.approx(expected, rel=1e-10)
    assert display.ax_.get_title(loc="left").startswith("first less second")


def test_a_weaker_correlation_makes_room_for_its_line(model):
    full = SensitivityContourDisplay.from_estimator(model, feature="x1")
    half = SensitivityContourDisplay.from_estimator(model, feature="x1", rho=0.5)
    assert half.bound(*half.limits[::-1]) > abs(half.estimate) and min(half.limits) > min(full.limits)
    assert len(lines_of(half.ax_, "naive")) and "|ρ| = 0.5" in half.ax_.get_title(loc="left")
    assert not any(str(line.get_label()).startswith("RV") for line in half.ax_.lines)


def test_measured_confounders_are_points_and_unbounded_ones_are_named():
    sample = make_reward_linear(500, random_state=0)
    frame = sample.confounders.assign(hour=np.random.default_rng(9).standard_normal(500))
    estimator = RewardDeconfounder(method="linear_control", timing="before")
    bench = benchmark_confounders(estimator, sample.X, sample.y, confounders=frame, names=["popularity", "hour"])
    assert (bench.loc[("popularity", "x0"), "cf_y"] >= 1) and (bench.loc[("hour", "x0"), "cf_y"] < 1)
    fit = estimator.fit(sample.X, sample.y, confounders=frame)
    display = SensitivityContourDisplay.from_estimator(fit, feature="x0", benchmarks=bench)
    drawn = labelled(display.ax_, "left out")
    row = bench.loc[("hour", "x0")]
    assert (drawn.get_xdata()[0], drawn.get_ydata()[0]) == (row["cf_d"], row["cf_y"])
    assert [text.get_text() for text in display.ax_.texts if text.get_text() == "hour"] == ["hour"]
    assert any(line.get_label() == "popularity: unbounded" for line in display.ax_.lines)


def test_points_have_room_and_pairs_take_a_plain_frame(log, model):
    given = pd.DataFrame({"cf_y": [0.9], "cf_d": [0.02]}, index=["season"])
    display = SensitivityContourDisplay.from_estimator(model, X_first=log.X[:1], X_second=log.X[1:2], benchmarks=given)
    assert display.limits[1] > 0.9 and labelled(display.ax_, "left out").get_ydata()[0] == 0.9


def test_sensitivity_failures_name_what_is_wrong(log, model):
    make = SensitivityContourDisplay.from_estimator
    with pytest.raises(ValueError, match="Call fit first"):
        make(RewardDeconfounder())
    with pytest.raises(ValueError, match="'age' is not among"):
        make(model, feature="age")
    with pytest.raises(ValueError, match="pass one of them"):
        make(model, feature="x0", X_first=log.X[:1], X_second=log.X[1:2])
    with pytest.raises(ValueError, match="one pair; got 2"):
        make(model, X_first=log.X[:2], X_second=log.X[2:4])
    with pytest.raises(ValueError, match=r"rho must be a correlation in \[-1, 1\]"):
        make(model, rho=2.0)
    with pytest.raises(ValueError, match="frame of benchmark_confounders"):
        make(model, benchmarks={"cf_y": [0.1]})
    per_feature = pd.DataFrame(
        {"cf_y": [0.1], "cf_d": [0.1]},
        index=pd.MultiIndex.from_tuples([("hour", "x9")], names=["confounder", "feature"]),
    )
    with pytest.raises(ValueError, match="no rows of feature 'x0'"):
        make(model, feature="x0", benchmarks=per_feature)
    with pytest.raises(ValueError, match="for a pair pass a frame"):
        make(model, X_first=log.X[:1], X_second=log.X[1:2], benchmarks=per_feature)


def test_axes_that_are_given_are_used(model):
    _, ax = plt.subplots()
    assert SensitivityContourDisplay.from_estimator(model, ax=ax).ax_ is ax
    _, two = plt.subplots(1, 2)
    assert OverlapDisplay.from_estimator(model, ax=two).axes_ == tuple(two)
