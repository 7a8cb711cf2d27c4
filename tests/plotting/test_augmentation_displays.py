"""The displays of the augmentation family: what is drawn, against closed forms and the estimator's own results."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from causalkit.augmentation import IVLikeRegressor, IVLikeRegressorCV
from causalkit.augmentation.augmenters import AdditiveNoise, NullSpaceShift
from causalkit.datasets import make_linear_augmentation
from causalkit.exceptions import InferenceUnavailableError, MethodNotApplicableError
from causalkit.plotting import AlphaPathDisplay, AugmentationDiagnosticsDisplay
from causalkit.plotting._axes import COLOURS

matplotlib.use("Agg")
GRID = np.array([1e-3, 0.1, 10.0])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    return make_linear_augmentation(400, 4, keep_probability=0.6, random_state=3)


@pytest.fixture(scope="module")
def model(data):
    return IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0).fit(data.X, data.y)


@pytest.fixture(scope="module")
def noisy():
    """A design where little confounding is needed: the augmentation moves the second and the third feature."""
    rng = np.random.default_rng(0)
    hidden, X = rng.standard_normal(600), rng.standard_normal((600, 4))
    X[:, 1] += hidden
    y = X[:, 0] - X[:, 3] + hidden + 2 * rng.standard_normal(600)
    augmentation = AdditiveNoise(columns=[1, 2])
    return X, y, IVLikeRegressor(augmentation=augmentation, penalty="analytic").fit(X, y)


def named(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def solid(ax):
    """Lines of data: neither limits (markers), nor the line at zero or at alpha."""
    return [line for line in ax.lines if line.get_linestyle() != "None" and len(line.get_xdata()) > 2]


# ---------------------------------------------------------------------- path


def test_coefficients_are_those_of_a_fit_at_each_alpha(data, model):
    display = AlphaPathDisplay.from_estimator(model, GRID)
    drawn = np.array([named(display.axes_[0], name).get_ydata() for name in ("x0", "x1", "x2", "x3")])
    for i, alpha in enumerate(GRID):
        again = IVLikeRegressor(alpha=alpha, augmentation=NullSpaceShift(data.basis), random_state=0)
        assert_allclose(drawn[:, i], again.fit(data.X, data.y).coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(named(display.axes_[0], "x0").get_xdata(), np.log10(GRID))


def test_penalty_and_risk_are_quadratic_forms_of_the_rows():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((80, 2))
    y = X[:, 0] + rng.standard_normal(80)
    GX = X + rng.standard_normal((80, 1)) * [0.0, 1.0]
    model = IVLikeRegressor().fit(X, y, augmented=GX)
    display = AlphaPathDisplay.from_estimator(model, GRID)
    d = GX - X
    centred, outcome = GX - GX.mean(axis=0), y - y.mean()
    penalty, risk = [], []
    for alpha in GRID:
        left = alpha * centred.T @ centred + d.T @ d
        h = np.linalg.solve(left, alpha * centred.T @ outcome)
        penalty.append(np.mean((d @ h) ** 2))
        risk.append(np.mean((outcome - centred @ h) ** 2))
    assert_allclose(solid(display.axes_[1])[0].get_ydata(), penalty, rtol=1e-8)
    assert_allclose(solid(display.axes_[2])[0].get_ydata(), risk, rtol=1e-8)


def test_limits_stand_beyond_the_grid_with_names(data):
    model = IVLikeRegressor().fit(data.X, data.y, augmented=data.augmented)
    display = AlphaPathDisplay.from_estimator(model, [np.inf, 0.0, *GRID])
    assert display.alphas.tolist() == [0.0, *GRID, np.inf]
    labels = [label.get_text() for label in display.axes_[2].get_xticklabels()]
    ticks = dict(zip(labels, display.axes_[2].get_xticks(), strict=True))
    assert ticks["0"] < -3 and ticks["∞"] > 1
    points = np.array([line.get_ydata() for line in display.axes_[0].lines if line.get_linestyle() == "None"])
    centred, outcome = data.augmented - data.augmented.mean(axis=0), data.y - data.y.mean()
    assert_allclose(points[:, 1], np.linalg.lstsq(centred, outcome)[0], rtol=1e-8)
    assert_allclose(data.basis @ points[:, 0], 0, atol=1e-8)  # nothing along the directions that are moved


def test_alpha_of_the_fit_is_marked(model):
    display = AlphaPathDisplay.from_estimator(model, GRID)
    for ax in display.axes_:
        assert any(np.allclose(line.get_xdata(), np.log10(0.1)) for line in ax.lines if len(line.get_xdata()) == 2)
    assert "α = 0.1" in display.axes_[0].get_title(loc="left")


def test_bands_are_the_intervals_of_a_fit_at_each_alpha(data, model):
    before = model.alpha_
    display = AlphaPathDisplay.from_estimator(model, GRID, bands=True)
    for i, alpha in enumerate(GRID):
        again = IVLikeRegressor(alpha=alpha, augmentation=NullSpaceShift(data.basis), random_state=0)
        intervals = again.fit(data.X, data.y).inference().conf_int().iloc[1:]
        assert_allclose(2 * display.half_width[i], intervals["upper"] - intervals["lower"], rtol=1e-8)
    assert model.alpha_ == before
    assert len(display.axes_[0].collections) == 4
    assert "pointwise 95 % bands" in display.axes_[0].get_title(loc="left")


def test_bands_use_clusters_and_need_the_rows(data):
    groups = np.repeat(np.arange(40), 10)
    model = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0)
    model.fit(data.X, data.y, groups=groups)
    interval = model.inference().conf_int().iloc[1:]
    display = AlphaPathDisplay.from_estimator(model, [0.1], bands=True)
    assert_allclose(2 * display.half_width[0], interval["upper"] - interval["lower"], rtol=1e-10)
    streamed = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0).partial_fit(data.X, data.y)
    assert AlphaPathDisplay.from_estimator(streamed, GRID).half_width is None
    with pytest.raises(InferenceUnavailableError, match="rows are not at hand"):
        AlphaPathDisplay.from_estimator(streamed, GRID, bands=True)


def test_one_outcome_and_some_features_of_several(data):
    Y = np.column_stack([data.y, 2 * data.y + data.X[:, 0]])
    both = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0).fit(data.X, Y)
    second = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0).fit(data.X, Y[:, 1])
    display = AlphaPathDisplay.from_estimator(both, GRID, outcome=1, features=["x2", "x0"], bands=True)
    alone = AlphaPathDisplay.from_estimator(second, GRID, bands=True)
    assert display.names == ["x2", "x0"]
    assert_allclose(display.coef, alone.coef[:, [2, 0]], rtol=1e-9)
    assert_allclose(display.half_width, alone.half_width[:, [2, 0]], rtol=1e-9)
    assert_allclose(display.risk, alone.risk, rtol=1e-9)
    with pytest.raises(ValueError, match="outcome"):
        AlphaPathDisplay.from_estimator(both, GRID, outcome=2)


def test_a_path_alone_is_drawn_without_bands(model):
    path = model.path(GRID)
    display = AlphaPathDisplay.from_result(path, alpha=np.inf)
    assert_allclose(display.coef, path.coef)
    assert display.half_width is None and not display.axes_[0].collections
    assert "∞" in [t.get_text() for t in display.axes_[2].get_xticklabels()]
    with pytest.raises(ValueError, match="path must be an AlphaPath"):
        AlphaPathDisplay.from_result(path.coef)


def test_many_coefficients_are_drawn_without_names():
    sample = make_linear_augmentation(200, 14, random_state=0)
    model = IVLikeRegressorCV(
        selection="tolerance", tolerance=0.01, augmentation=NullSpaceShift(sample.basis), random_state=0
    ).fit(sample.X, sample.y)
    display = AlphaPathDisplay.from_estimator(model, GRID)
    assert len(solid(display.axes_[0])) == 14 and display.axes_[0].get_legend() is None
    assert {line.get_color() for line in solid(display.axes_[0])} == {COLOURS["band"]}
    assert f"α = {model.alpha_:.3g}" in display.axes_[0].get_title(loc="left")


def test_words_at_the_ends_depend_on_the_source_of_variation(data, model):
    assert "invariance trusted exactly" in AlphaPathDisplay.from_estimator(model, GRID).axes_[2].get_xlabel()
    Z = data.augmentation_parameters
    real = IVLikeRegressor().fit(data.augmented, data.y, instruments=Z)
    assert "∞: least squares" in AlphaPathDisplay.from_estimator(real, GRID).axes_[2].get_xlabel()


def test_path_failures_name_what_is_wrong(model):
    with pytest.raises(ValueError, match="Call fit first"):
        AlphaPathDisplay.from_estimator(IVLikeRegressor())
    with pytest.raises(ValueError, match="not among the coefficients"):
        AlphaPathDisplay.from_estimator(model, GRID, features=["age"])
    _, two = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="ax must hold 3 axes"):
        AlphaPathDisplay.from_estimator(model, GRID, ax=two)


def test_axes_that_are_given_are_used(model):
    figure, axes = plt.subplots(3, 1)
    display = AlphaPathDisplay.from_estimator(model, GRID, ax=axes)
    assert display.axes_ == tuple(axes) and display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


# ---------------------------------------------------------------------- diagnostics


def test_relevance_is_drawn_against_k_over_n(data, model):
    display = AugmentationDiagnosticsDisplay.from_estimator(model)
    ax = display.axes_[display.panels_.index("relevance")]
    k, n = data.basis.shape[0], len(data.y)
    floor = named(ax, f"floor k/n = {k / n:.2g}")
    assert_allclose(floor.get_xdata(), k / n)
    assert_allclose(named(ax, "partial R²").get_xdata(), model.diagnostics().relevance["partial_r2"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["x0", "x1", "x2", "x3"]


def test_eigenvalues_of_known_moves(noisy):
    X, _, model = noisy
    display = AugmentationDiagnosticsDisplay.from_estimator(model)
    assert display.panels_ == ("moved", "breakdown")  # the analytic penalty draws nothing, so there is no G
    ax = display.axes_[0]
    K = np.diag([0.0, 1.0, 1.0, 0.0])
    A = np.cov(X, rowvar=False, ddof=0)
    expected = np.sort(np.linalg.eigvals(np.linalg.solve(A, K)).real)[::-1]
    assert_allclose(named(ax, "moved: 2").get_ydata(), expected[:2], rtol=1e-8)
    untouched = named(ax, "untouched (l = 0): 2")
    assert (untouched.get_ydata() < expected[1]).all() and untouched.get_xdata().tolist() == [3, 4]


def test_breakdown_widths_follow_the_formula_and_stop_where_infeasible(noisy):
    X, y, model = noisy
    contrast = np.array([1.0, 0.0, 0.0, 0.0])
    display = AugmentationDiagnosticsDisplay.from_estimator(model, contrast=contrast)
    ax = display.axes_[1]
    A = np.cov(X, rowvar=False, ddof=0)
    a = ((X - X.mean(axis=0)) * (y - y.mean())[:, None]).mean(axis=0)
    N = np.eye(4)[:, [0, 3]]
    h_ols, h_inside = np.linalg.solve(A, a), N @ np.linalg.solve(N.T @ A @ N, N.T @ a)
    noise = np.var(y) - a @ h_ols
    q = (h_ols - h_inside) @ A @ (h_ols - h_inside)
    needed = q / (noise + q)
    assert 0 < needed < 0.8
    assert_allclose(display.r2_needed, needed, rtol=1e-8)
    line = named(ax, "with the invariance")
    r2, widths = line.get_xdata(), line.get_ydata()
    feasible = r2 > needed
    assert np.isnan(widths[~feasible]).all() and (~feasible).sum() > 5
    radius = noise * r2 / (1 - r2)
    share = contrast @ N @ np.linalg.solve(N.T @ A @ N, N.T @ contrast)
    assert_allclose(widths[feasible], 2 * np.sqrt((radius - q)[feasible] * share), rtol=1e-6)
    assert (widths[feasible] > 0).all()  # an interval of no width would look like a point
    without = named(ax, "without the invariance").get_ydata()
    assert_allclose(without, 2 * np.sqrt(radius * (contrast @ np.linalg.solve(A, contrast))), rtol=1e-8)


def shaded(ax):
    return next(patch for patch in ax.patches if str(patch.get_label()).startswith("infeasible"))


def test_infeasible_part_is_shaded_also_on_the_logistic_axis(noisy, model):
    low = AugmentationDiagnosticsDisplay.from_estimator(noisy[2])
    patch = shaded(low.axes_[-1])
    assert_allclose([patch.get_x(), patch.get_width()], [0, low.r2_needed])
    high = AugmentationDiagnosticsDisplay.from_estimator(model)
    ax, patch = high.axes_[-1], shaded(high.axes_[-1])
    assert high.r2_needed > 0.8 and ax.get_xscale() == "logit"
    assert_allclose(patch.get_x() + patch.get_width(), high.r2_needed)
    assert patch.get_x() > 0
    high.figure_.canvas.draw()


def test_ribbon_holds_every_coefficient(noisy):
    display = AugmentationDiagnosticsDisplay.from_estimator(noisy[2])
    row = display.curve.iloc[-1]
    bounds = noisy[2].bounds(row["r2_max"])
    widths = bounds.upper - bounds.lower
    assert_allclose(row[["low", "median", "high"]].astype(float), [widths.min(), np.median(widths), widths.max()])
    assert_allclose(widths[[1, 2]], 0, atol=1e-8)  # the invariance says that the moved features have no effect


def test_several_outcomes_have_no_breakdown_curve(data):
    Y = np.column_stack([data.y, data.X[:, 0]])
    model = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0).fit(data.X, Y)
    assert AugmentationDiagnosticsDisplay.from_estimator(model).panels_ == ("relevance", "moved")


def test_diagnostics_failures_name_what_is_wrong(data, model):
    with pytest.raises(ValueError, match="Call fit first"):
        AugmentationDiagnosticsDisplay.from_estimator(IVLikeRegressor())
    plain = IVLikeRegressor().fit(data.X, data.y)
    real = IVLikeRegressor().fit(data.augmented, data.y, instruments=data.augmentation_parameters)
    for fitted in (plain, real):
        with pytest.raises(MethodNotApplicableError, match="instrument_diagnostics"):
            AugmentationDiagnosticsDisplay.from_estimator(fitted)
    _, two = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="ax must hold 3 axes"):
        AugmentationDiagnosticsDisplay.from_estimator(model, ax=two)
