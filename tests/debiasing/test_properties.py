"""Properties that must hold for any data: reductions, invariances, weights, streams, duality, resampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from causalkit import (
    LinearCalibration,
    SplineCalibration,
    TweedieCorrection,
    break_even_share,
    prediction_powered_ate,
)
from causalkit.debiasing.confidence_sets import RatioParts
from tests.golden.debiasing_reference import line, weight_derivatives

pytestmark = pytest.mark.filterwarnings(
    "ignore::causalkit.exceptions.CalibrationWarning",
    "ignore::causalkit.exceptions.ExtrapolationWarning",
    "ignore::causalkit.exceptions.LeakageWarning",
    "ignore::causalkit.exceptions.WeakInstrumentWarning",
)
FEW = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 100_000)

# Corrections whose fit is the same for any order of the rows (folds of an automatic choice are not).
CORRECTIONS: dict[str, Callable[..., Any]] = {
    "linear": LinearCalibration,
    "tweedie": lambda **kw: TweedieCorrection(n_knots=4, **kw),
    "heteroscedastic": lambda **kw: TweedieCorrection(n_knots=3, noise="heteroscedastic", **kw),
    "kernel": lambda **kw: TweedieCorrection(score="kde", **kw),
    "spline": lambda **kw: SplineCalibration(n_knots=3, **kw),
}
NAMES = st.sampled_from(sorted(CORRECTIONS))


def sample_of(seed: int, n: int = 120, m: int = 60) -> dict[str, Any]:
    """Skewed predictions with errors that vary; a trial inside their range."""
    rng = np.random.default_rng(seed)
    y = rng.gamma(3, size=n) - 3
    f = rng.uniform(0.3, 0.9) * y + rng.normal(0, 0.3 + 0.1 * np.abs(y))
    return {
        "f": f,
        "y": y,
        "w": rng.uniform(0.3, 3, n),
        "counts": rng.integers(1, 4, n),
        "g": np.arange(n) % 25,
        "x": rng.choice(f, m) + 0.05 * rng.normal(size=m),
        "a": np.arange(m) % 2,
        "trial_g": 15 + np.arange(m) % 20,
    }


def positive(data: dict[str, Any], weight: Any = None) -> None:
    assume(line(data["y"], data["f"], np.ones(len(data["y"])) if weight is None else weight)[1] > 0.1)


def run(model: Any, data: dict[str, Any], *, fit: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    return model.fit(data["f"], data["y"], **(fit or {})).effect(data["x"], treatment=data["a"], **kwargs)


# ---------------------------------------------------------------------- reductions to linear calibration


@FEW
@given(seed=SEEDS, kind=st.sampled_from(["plain", "weighted", "clustered", "frequency"]))
def test_two_knots_are_linear_calibration(seed: int, kind: str) -> None:
    data = sample_of(seed)
    fit = {"weighted": {"sample_weight": data["w"]}, "clustered": {"groups": data["g"]}}.get(kind, {})
    if kind == "frequency":
        fit = {"sample_weight": data["counts"]}
    options = {"cov_type": "HC0", "weight_type": "frequency" if kind == "frequency" else "probability"}
    positive(data, fit.get("sample_weight"))
    expected = run(LinearCalibration(**options), data, fit=fit)
    linear = LinearCalibration(**options).fit(data["f"], data["y"], **fit)
    for model in (
        TweedieCorrection(score="gaussian", **options),
        TweedieCorrection(n_knots=2, **options),
        SplineCalibration(n_knots=2, **options),
    ):
        result = run(model, data, fit=fit)
        assert_allclose(model.coef_, linear.coef_, rtol=1e-8, atol=1e-9)
        assert_allclose(model.coef_cov_, linear.coef_cov_, rtol=1e-7, atol=1e-12)
        assert_allclose(result.estimate, expected.estimate, rtol=1e-8)
        assert_allclose(result.std_error, expected.std_error, rtol=1e-8)


@FEW
@given(seed=SEEDS)
def test_without_recalibration_the_slope_is_a_variance_ratio(seed: int) -> None:
    data = sample_of(seed)
    positive(data)
    result = run(TweedieCorrection(score="gaussian", recalibrate=False), data)
    k = np.var(data["f"]) / (np.var(data["f"]) + np.var(data["y"] - data["f"]))
    assert_allclose(result.estimate, result.naive.estimate / k, rtol=1e-9)


@FEW
@given(seed=SEEDS)
def test_binary_outcomes_are_rogan_gladen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = rng.integers(0, 2, 80), rng.random(50) < 0.5
    f = np.where(rng.random(80) < np.where(y == 1, 0.8, 0.2), 1.0, 0.0)
    assume(0 < y.sum() < 80)
    share = f[y == 1].mean(), f[y == 0].mean()
    assume(share[0] - share[1] > 0.05)
    result = LinearCalibration().fit(f, y).mean(x.astype(float))
    assert_allclose(result.estimate, (x.mean() - share[1]) / (share[0] - share[1]), rtol=1e-9, atol=1e-12)


@FEW
@given(seed=SEEDS, name=NAMES)
def test_perfect_predictions_are_left_alone(seed: int, name: str) -> None:
    data = sample_of(seed)
    data["f"] = data["y"]
    model = CORRECTIONS[name]()
    result = run(model, data)
    assert_allclose(model.transform(data["x"]), data["x"], rtol=1e-7, atol=1e-7)
    assert_allclose(result.variance_parts["calibration"], 0, atol=1e-12)
    assert_allclose(result.estimate, result.naive.estimate, rtol=1e-6)


# ---------------------------------------------------------------------- Fieller's set


RATIOS = st.tuples(
    st.floats(-3, 3), st.floats(0.02, 2), st.floats(0.01, 2), st.floats(0.005, 0.7), st.floats(-0.95, 0.95)
)


@FEW
@given(parts=RATIOS, level=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_fiellers_set_against_a_grid(parts: tuple[float, ...], level: float) -> None:
    n, k, se_n, se_k, rho = parts
    c = rho * se_n * se_k
    ratio = RatioParts(np.array([n]), k, np.array([[se_n**2, c], [c, se_k**2]]))
    z = stats.norm.ppf(0.5 + level / 2)
    found = ratio.confidence_set(0, z)
    grid = np.concatenate([np.linspace(-60, 60, 4001), n / k + np.linspace(-1, 1, 401)])
    # Acceptance by the test itself: |N - tk| at most z standard errors.
    margin = z * np.sqrt(se_n**2 - 2 * grid * c + grid**2 * se_k**2) - np.abs(n - grid * k)
    clear = np.abs(margin) > 1e-6
    inside = np.array([t in found for t in grid])
    assert np.array_equal(inside[clear], (margin > 0)[clear])
    assert found.bounded == (k**2 > z**2 * se_k**2)
    for end in {low for low, _ in found.intervals} | {high for _, high in found.intervals}:
        if np.isfinite(end):
            assert_allclose(2 * stats.norm.sf(ratio.statistic(0, end)), 1 - level, atol=1e-8)


@FEW
@given(seed=SEEDS, level=st.sampled_from([0.8, 0.95]), clustered=st.booleans())
def test_sets_and_p_values_are_dual(seed: int, level: float, clustered: bool) -> None:
    data = sample_of(seed)
    positive(data)
    fit, options = ({"groups": data["g"]}, {"groups": data["trial_g"]}) if clustered else ({}, {})
    result = run(LinearCalibration(), data, fit=fit, **options)
    for method in ("delta", "fieller"):
        for found in result.confidence_sets(level, method=method):
            for end in np.ravel(found.intervals):
                if np.isfinite(end):
                    assert_allclose(result.pvalue(end, method=method), 1 - level, atol=1e-10)
    assert_allclose(result.pvalue(result.estimate, method="fieller"), 1, atol=1e-10)
    if not clustered:  # the chi-squared form of the p-value, for independent samples
        v, k, v_k = result.naive.cov[0, 0], result.lines.slope, result.lines.cov[1, 1]
        statistic = (result.naive.estimate[0] - 0.3 * k) ** 2 / (v + 0.09 * v_k)
        assert_allclose(result.pvalue(0.3, method="fieller"), stats.chi2.sf(statistic, 1), rtol=1e-8)


# ---------------------------------------------------------------------- invariances


@FEW
@given(seed=SEEDS, name=NAMES, scale=st.floats(0.01, 500), shift=st.floats(-100, 100))
def test_affine_changes_carry_through(seed: int, name: str, scale: float, shift: float) -> None:
    data = sample_of(seed)
    positive(data)
    result = run(CORRECTIONS[name](), data)
    of_y = run(CORRECTIONS[name](), {**data, "y": shift + scale * data["y"]})
    assert_allclose(of_y.estimate, scale * result.estimate, rtol=1e-6)
    assert_allclose(of_y.std_error, scale * result.std_error, rtol=1e-6)
    of_f = run(CORRECTIONS[name](), {**data, "f": shift + scale * data["f"], "x": shift + scale * data["x"]})
    assert_allclose(of_f.estimate, result.estimate, rtol=1e-6)
    assert_allclose(of_f.std_error, result.std_error, rtol=1e-6)


@FEW
@given(seed=SEEDS, name=NAMES, weighted=st.booleans())
def test_the_order_of_rows_does_not_matter(seed: int, name: str, weighted: bool) -> None:
    data, rng = sample_of(seed), np.random.default_rng(seed)
    fit = {"groups": data["g"], **({"sample_weight": data["w"]} if weighted else {})}
    positive(data, fit.get("sample_weight"))
    one, two = rng.permutation(120), rng.permutation(60)
    result = run(CORRECTIONS[name](), data, fit=fit, groups=data["trial_g"], shared_groups=True)
    moved = {key: value[one if key in ("f", "y", "w", "g", "counts") else two] for key, value in data.items()}
    fit = {key: value[one] for key, value in fit.items()}
    again = run(CORRECTIONS[name](), moved, fit=fit, groups=moved["trial_g"], shared_groups=True)
    assert_allclose(again.estimate, result.estimate, rtol=1e-8)
    assert_allclose(again.std_error, result.std_error, rtol=1e-7)


# ---------------------------------------------------------------------- weights


@FEW
@given(seed=SEEDS, name=NAMES, cov_type=st.sampled_from(["HC0", "HC1"]))
def test_frequency_weights_are_repeated_rows(seed: int, name: str, cov_type: str) -> None:
    assume(name != "kernel")  # copies are atoms, which a kernel or a score refuses
    data = sample_of(seed)
    positive(data, data["counts"])
    options = {"cov_type": cov_type, "weight_type": "frequency"}
    model = CORRECTIONS[name](**options).fit(data["f"], data["y"], sample_weight=data["counts"])
    longer = [np.repeat(data[key], data["counts"]) for key in ("f", "y")]
    copies = CORRECTIONS[name](cov_type=cov_type)
    if name in ("linear", "spline"):
        copies.fit(*longer)
        assert_allclose(model.coef_cov_, copies.coef_cov_, rtol=1e-6, atol=1e-12)
        assert_allclose(model.transform(data["x"]), copies.transform(data["x"]), rtol=1e-7, atol=1e-9)
    else:  # copies are refused as atoms; the numeric part accepts them
        from causalkit.debiasing.calibration_lines import fit_lines
        from causalkit.debiasing.calibration_sample import CalibrationSample

        sample = CalibrationSample(*longer)
        parts = copies._solve(sample, fit_lines(sample, cov_type), copies.n_knots, None).fitted
        assert_allclose(model.transform(data["x"]), parts.basis.evaluate(data["x"], parts.coef), rtol=1e-7, atol=1e-9)
        assert_allclose(model.coef_cov_, parts.noise.T @ parts.noise, rtol=1e-6, atol=1e-12)
    assert model.n_calibration_ == len(longer[0])


@FEW
@given(seed=SEEDS, name=st.sampled_from(["linear", "spline"]))
def test_survey_weights_are_clusters_of_copies(seed: int, name: str) -> None:
    # A row of integer weight w has the noise of w copies that are one and the same: w² in the variance.
    data = sample_of(seed)
    positive(data, data["counts"])
    model = CORRECTIONS[name](cov_type="HC0").fit(data["f"], data["y"], sample_weight=data["counts"])
    f, y, row = (np.repeat(v, data["counts"]) for v in (data["f"], data["y"], np.arange(120)))
    copies = CORRECTIONS[name](cov_type="HC0", weight_type="frequency").fit(f, y, groups=row)
    if name == "linear":
        n, j = len(f), len(model.coef_)
        factor = 120 / 119 * (n - 1) / (n - j)  # of clusters, where HC0 has none
        assert_allclose(model.coef_, copies.coef_, rtol=1e-8)
        assert_allclose(model.coef_cov_ * factor, copies.coef_cov_, rtol=1e-7, atol=1e-12)
    alone = CORRECTIONS[name]().fit(data["f"], data["y"], sample_weight=data["counts"], groups=np.arange(120))
    single = CORRECTIONS[name]().fit(data["f"], data["y"], sample_weight=data["counts"])
    # Clusters of one row have the factor G/(G-1)·(n-1)/(n-J), which for G = n is that of HC1.
    assert_allclose(alone.coef_cov_, single.coef_cov_, rtol=1e-8)


# ---------------------------------------------------------------------- streams


@FEW
@given(
    seed=SEEDS,
    cuts=st.lists(st.integers(1, 119), min_size=1, max_size=5, unique=True),
    kind=st.sampled_from(["plain", "weighted", "clustered", "frequency", "weighted and clustered"]),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_chunks_and_merges_equal_one_fit(seed: int, cuts: list[int], kind: str, offset: float) -> None:
    data = sample_of(seed)
    options = {"weight_type": "frequency" if kind == "frequency" else "probability"}
    extra: dict[str, Any] = {}
    if "weighted" in kind or kind == "frequency":
        extra["sample_weight"] = data["counts"].astype(float) if kind == "frequency" else data["w"]
    if "clustered" in kind:
        extra["groups"] = data["g"]
    positive(data, extra.get("sample_weight"))
    f, y = data["f"] + offset, data["y"] + offset
    whole = LinearCalibration(**options).fit(f, y, **extra)
    chunks = np.split(np.arange(120), sorted(cuts))
    streams = [LinearCalibration(**options), LinearCalibration(**options)]
    for i, rows in enumerate(chunks):
        try:
            streams[i % 2].partial_fit(f[rows], y[rows], **{key: value[rows] for key, value in extra.items()})
        except ValueError as error:  # the rows so far may slope downwards
            assume("do not increase" not in str(error) and "constant" not in str(error))
            raise
    merged = streams[0].merge(streams[1])
    tolerance = 1e-10 if offset == 0 else 1e-7
    assert_allclose([merged.slope_, merged.intercept_], [whole.slope_, whole.intercept_], rtol=tolerance)
    assert_allclose(merged.cov_, whole.cov_, rtol=tolerance, atol=tolerance * np.abs(whole.cov_).max())
    assert_allclose(merged.berkson_slope_, whole.berkson_slope_, rtol=tolerance)
    assert merged.support_ == whole.support_
    assert merged.n_calibration_ == whole.n_calibration_
    effects = [model.effect(data["x"] + offset, treatment=data["a"]) for model in (merged, whole)]
    assert_allclose(effects[0].std_error, effects[1].std_error, rtol=tolerance)
    assert effects[0].df == effects[1].df


# ---------------------------------------------------------------------- variance by resampling and derivatives


def test_shared_clusters_are_a_stacked_sandwich() -> None:
    data = sample_of(1)
    result = run(LinearCalibration(), data, fit={"groups": data["g"]}, groups=data["trial_g"], shared_groups=True)

    def effect(w_c: np.ndarray, w_t: np.ndarray) -> np.ndarray:
        m, k = line(data["y"], data["f"], w_c)
        means = [np.average((data["x"] - m) / k, weights=w_t * (data["a"] == level)) for level in (0, 1)]
        return np.array([means[1] - means[0]])

    ones = np.ones(120), np.ones(60)
    of_calibration = weight_derivatives(lambda v: effect(v, ones[1]), ones[0], np.arange(120))[:, 0]
    of_trial = weight_derivatives(lambda v: effect(ones[0], v), ones[1], np.arange(60))[:, 0]
    # Finite-sample factors G/(G-1)·(n-1)/(n-p) of each sample.
    of_calibration *= np.sqrt(25 / 24 * 119 / 118)
    of_trial *= np.sqrt(20 / 19 * 59 / 58)
    sums = np.bincount(np.r_[data["g"], data["trial_g"]], weights=np.r_[of_calibration, of_trial])
    assert_allclose(result.std_error**2, np.sum(sums**2), rtol=1e-7)
    assert_allclose(result.joint_cov[0, 2], np.sum(_sums(data, "trial") * _sums(data, "slope")), rtol=1e-6)


def _sums(data: dict[str, Any], of: str) -> np.ndarray:
    """Cluster sums over all labels of the numerical influence on the naive contrast or on k."""
    if of == "slope":
        values = weight_derivatives(
            lambda v: np.array([line(data["y"], data["f"], v)[1]]), np.ones(120), np.arange(120)
        )
        return np.bincount(data["g"], weights=values[:, 0] * np.sqrt(25 / 24 * 119 / 118), minlength=35)

    def naive(v: np.ndarray) -> np.ndarray:
        means = [np.average(data["x"], weights=v * (data["a"] == level)) for level in (0, 1)]
        return np.array([means[1] - means[0]])

    values = weight_derivatives(naive, np.ones(60), np.arange(60))
    return np.bincount(data["trial_g"], weights=values[:, 0] * np.sqrt(20 / 19 * 59 / 58), minlength=35)


@pytest.mark.parametrize("name", sorted(CORRECTIONS))
def test_variance_against_the_jackknife(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    data = sample_of(2, 500, 200)
    data["y"] = rng.normal(size=500)  # no rows of great leverage
    data["f"] = 0.6 * data["y"] + 0.4 * rng.normal(size=500)
    data["x"] = rng.choice(data["f"], 200) + 0.2 * data["a"]
    if name == "kernel":
        model: Any = TweedieCorrection(score="kde", bandwidth=0.4, cov_type="HC0")
    else:
        model = CORRECTIONS[name](cov_type="HC0")
    result = run(model, data)
    fixed = {"f": getattr(model, "knots_", None), "y": getattr(model, "instrument_knots_", None)}

    def estimate(keep_c: np.ndarray, keep_t: np.ndarray) -> float:
        # Knots and bandwidth are held: the variance takes them as given, and quantiles defeat the jackknife.
        def knots(z: np.ndarray, n_knots: int, weight: Any = None) -> np.ndarray:
            key = (
                "f" if np.allclose(z, (data["f"][keep_c] - data["f"][keep_c].mean()) / data["f"][keep_c].std()) else "y"
            )
            return (fixed[key] - data[key][keep_c].mean()) / data[key][keep_c].std()

        monkeypatch.setattr("causalkit.debiasing.tweedie.spline_knots", knots)
        monkeypatch.setattr("causalkit.debiasing.spline_calibration.spline_knots", knots)
        refitted = model._refit(model._fitted.sample.take(keep_c))
        g = refitted.basis.evaluate(data["x"][keep_t], refitted.coef)
        a = data["a"][keep_t]
        return float(g[a == 1].mean() - g[a == 0].mean())

    full = np.arange(500), np.arange(200)
    left = [np.array([estimate(np.delete(full[0], j), full[1]) for j in full[0]])]
    left.append(np.array([estimate(full[0], np.delete(full[1], j)) for j in full[1]]))
    variance = [(len(v) - 1) / len(v) * np.sum((v - v.mean()) ** 2) for v in left]
    parts = result.variance_parts[["calibration", "sampling"]].to_numpy()[0]
    # Equal to first order; the jackknife adds the second, a few percent at 500 rows.
    assert_allclose(variance, parts, rtol=0.1)


def test_labels_in_the_trial_break_even() -> None:
    # ρ² = .5 and an endless calibration sample: a third of labels makes prediction-powered as precise.
    rng = np.random.default_rng(3)
    n = 60_000
    y, arm = rng.normal(size=n), np.arange(n) % 2
    f = 0.5 * y + 0.5 * rng.normal(size=n)
    calibration = LinearCalibration.from_coefficients(0.5)
    labelled = np.arange(n) < n * break_even_share(0.5)
    powered = prediction_powered_ate(
        y[labelled],
        f[labelled],
        predictions_unlabelled=f[~labelled],
        treatment=arm[labelled],
        treatment_unlabelled=arm[~labelled],
    )
    assert_allclose(powered.std_error, calibration.effect(f, treatment=arm).std_error, rtol=0.05)
