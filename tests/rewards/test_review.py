"""Corners of the rewards family: rows without weight, kinds of covariance, degenerate inputs and their messages."""

from __future__ import annotations

import datetime
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from causalkit.exceptions import IdentificationError, MethodNotApplicableError, UnseenLevelError
from causalkit.rewards import (
    PairwiseRewardModel,
    RewardDeconfounder,
    benchmark_confounders,
    combine_with_experiment,
    compare_rewards,
    e_value,
    make_preference_pairs,
    omitted_variable_bias,
    robustness_value,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def log(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(8), n // 8)
    a = rng.normal(size=8)[group]
    X = 0.5 * a[:, None] + rng.normal(size=(n, 3))
    hour = a + rng.normal(size=n)
    y = X @ [1.0, 2.0, 3.0] + 2 * a + hour + rng.normal(size=n)
    return X, y, pd.DataFrame({"author": [f"a{g}" for g in group], "hour": hour})


def weights_with_zeros(n: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 3, n).astype(float)


def folds(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    fold = np.arange(n) % 4
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(4)]


# ---------------------------------------------------------------------- rows without weight


@pytest.mark.parametrize("covariance", ["homoskedastic", "HC1"])
@pytest.mark.parametrize(
    ("method", "columns"),
    [
        ("partially_linear", ["hour"]),
        ("fixed_effects", ["author", "hour"]),
        ("mixed", ["author"]),
        ("linear_control", ["hour"]),
        ("outcome_only", ["hour"]),
        ("none", ["hour"]),
    ],
)
def test_rows_without_weight_are_as_good_as_absent(method: str, columns: list[str], covariance: str) -> None:
    X, y, C = log()
    w = weights_with_zeros(len(y))
    kept = np.flatnonzero(w > 0)
    place = np.cumsum(w > 0) - 1
    short_folds = [(place[a[w[a] > 0]], place[b[w[b] > 0]]) for a, b in folds(len(y))]
    options: dict[str, Any] = {"method": method, "covariance": covariance, "random_state": 0, "timing": "before"}
    whole = RewardDeconfounder(cv=folds(len(y)), **options).fit(X, y, confounders=C[columns], sample_weight=w)
    short = RewardDeconfounder(cv=short_folds, **options).fit(
        X[kept], y[kept], confounders=C[columns].iloc[kept], sample_weight=w[kept]
    )
    for name in ("coef_", "covariance_", "residual_variance_", "overlap_eigenvalues_", "feature_residual_covariance_"):
        np.testing.assert_allclose(getattr(whole, name), getattr(short, name), rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(whole.inference().cov, short.covariance_, rtol=1e-6)
    np.testing.assert_allclose(whole.adjusted_reward_[kept], short.adjusted_reward_, rtol=1e-6, atol=1e-9)


def test_error_of_the_confounder_effect_with_weights_by_its_linear_map() -> None:
    X, y, C = log()
    w = weights_with_zeros(len(y))
    model = RewardDeconfounder(random_state=0, timing="before").fit(X, y, confounders=C[["hour"]], sample_weight=w)
    nuisance = model.outcome_model_
    points = np.array([[-1.0], [0.5]])
    # ℓ̂ is linear in y at the chosen penalty: its weights are the fitted values of unit outcomes.
    basis = nuisance.basis_.transform(C[["hour"]].to_numpy()) - nuisance.basis_mean_
    at = nuisance.basis_.transform(points) - nuisance.basis_mean_
    scaled = w / w[w > 0].mean()
    inverse = np.linalg.pinv((basis * scaled[:, None]).T @ basis + nuisance.alpha_[0] * np.eye(basis.shape[1]))
    s = at @ inverse @ (basis * scaled[:, None]).T
    np.testing.assert_allclose(nuisance.squared_smoother_norm(points), (s**2).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("method", ["fixed_effects", "mixed"])
def test_a_level_without_weight_has_no_fixed_effect_and_the_prior_of_mixed(method: str) -> None:
    X, y, C = log()
    w = np.where(C["author"] == "a0", 0.0, 1.0)
    model = RewardDeconfounder(method=method).fit(X, y, confounders=C[["author"]], sample_weight=w)
    if method == "mixed":
        unseen = model.confounder_effect({"author": ["never"]})
        np.testing.assert_allclose(model.confounder_effect({"author": ["a0"]}), unseen, atol=1e-12)
        return
    with pytest.raises(UnseenLevelError, match=r"no weight in fit, such as 'a0'"):
        model.confounder_effect({"author": ["a1", "a0"]})
    with pytest.raises(UnseenLevelError, match="no weight in fit"):
        model.transform(X[:2], y[:2], confounders=C[["author"]].iloc[:2])


# ---------------------------------------------------------------------- kinds of covariance


@pytest.mark.parametrize("method", ["fixed_effects", "mixed", "mundlak"])
@pytest.mark.parametrize("kind", ["HC0", "HC1", "cluster", "homoskedastic"])
def test_intervals_have_the_covariance_of_the_fit_also_with_groups(method: str, kind: str) -> None:
    X, y, C = log()
    model = RewardDeconfounder(method=method, covariance=kind)
    model.fit(X, y, confounders=C[["author"]], groups=np.arange(len(y)) // 4)
    np.testing.assert_allclose(model.inference().cov, model.covariance_, rtol=1e-10)


def test_homoskedastic_errors_over_repeats_are_the_mean_of_those_of_each() -> None:
    X, y, C = log()
    model = RewardDeconfounder(n_repeats=3, covariance="homoskedastic", random_state=0, timing="before")
    model.fit(X, y, confounders=C[["hour"]])
    each = [
        fit.residuals @ fit.residuals / (len(y) - 3) * np.linalg.inv(fit.features.T @ fit.features)
        for fit in model._parts.fits
    ]
    np.testing.assert_allclose(model.covariance_, np.mean(each, axis=0), rtol=1e-10)
    np.testing.assert_allclose(model.inference().cov, model.covariance_)


@pytest.mark.parametrize("method", ["instrument", "weighting", "standardization", "invariance"])
def test_homoskedastic_is_refused_where_there_is_no_such_formula(method: str) -> None:
    X, y, C = log()
    columns = ["author"] if method == "weighting" else ["hour"]
    instruments = C["hour"] + np.random.default_rng(1).normal(size=len(y)) if method == "instrument" else None
    model = RewardDeconfounder(method=method, covariance="homoskedastic", timing="before")
    with pytest.raises(MethodNotApplicableError, match='covariance="homoskedastic" has no formula'):
        model.fit(X, y, confounders=C[columns], instruments=instruments)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("method", ["fixed_effects", "instrument", "none"])
def test_a_single_group_is_refused_in_words(method: str) -> None:
    X, y, C = log()
    instruments = C["hour"] + np.random.default_rng(1).normal(size=len(y)) if method == "instrument" else None
    columns = ["hour"] if method == "instrument" else ["author"]
    with pytest.raises(ValueError, match="groups has 1 distinct label"):
        RewardDeconfounder(method=method).fit(
            X, y, confounders=C[columns], instruments=instruments, groups=np.zeros(len(y))
        )


def test_groups_of_which_only_one_bears_on_the_coefficients_are_refused_in_words() -> None:
    X, y, _ = log()
    author = np.where(np.arange(len(y)) < 120, "same", [f"one {i}" for i in range(len(y))])
    with pytest.raises(ValueError, match="groups: the 120 rows that bear on the coefficients"):
        RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=author, groups=np.arange(len(y)) >= 120)


def test_more_features_than_rows_with_a_penalty_have_a_positive_residual_variance() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 60)), rng.normal(size=40)
    model = RewardDeconfounder(method="none", penalty=20.0).fit(X, y)
    values = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2
    left = round(40 - (values / (values + 20.0)).sum())
    residual = model._parts.residuals
    assert model.degrees_of_freedom_ == left > 0
    assert model.residual_variance_ == pytest.approx(residual @ residual / left)
    assert np.isfinite(model.sensitivity().to_numpy(dtype=float)).all()


# ---------------------------------------------------------------------- degenerate data


def test_features_that_are_all_constant_pass_with_a_penalty() -> None:
    _, y, C = log()
    model = RewardDeconfounder(method="fixed_effects", penalty=1.0).fit(np.ones((len(y), 2)), y, confounders=C)
    np.testing.assert_allclose(model.coef_, 0.0, atol=1e-9)
    assert model.diagnostics().predictability.loc["hour", "value"] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("y", [np.zeros(240), np.ones(240)])
def test_sensitivity_of_a_constant_outcome_is_quiet(y: np.ndarray) -> None:
    X, _, C = log()
    model = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=C[["author"]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = model.sensitivity()
    assert (frame["e_value"] == 1.0).all()


def test_sensitivity_of_features_in_tiny_units_is_quiet() -> None:
    X, y, C = log()
    model = RewardDeconfounder(method="fixed_effects").fit(X * 1e-8, y, confounders=C[["author"]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = model.sensitivity()
    plain = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=C[["author"]]).sensitivity()
    np.testing.assert_allclose(frame["rv"], plain["rv"], rtol=1e-6)


def test_robustness_and_e_values_of_large_arguments() -> None:
    # RV = 1 - 1/f² + O(f⁻⁴), where the textbook form subtracts numbers of size f².
    assert 1 - robustness_value(1e4, 1e0 + 1) == pytest.approx(2 / 1e8, rel=1e-6)
    assert robustness_value(0.0, 10) == 0.0
    assert robustness_value(np.inf, 10) == 1.0
    assert e_value(1e200) == pytest.approx(2e200)
    with pytest.raises(ValueError, match="must not be negative"):
        omitted_variable_bias(-1.0, 1.0, 0.1, 0.1)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_margins_do_not_depend_on_the_unit_of_the_rewards(scale: float) -> None:
    R = np.random.default_rng(0).normal(size=12)
    prompts = np.repeat(np.arange(3), 4)
    plain = make_preference_pairs(R, prompts=prompts, max_pairs_per_prompt=None)
    scaled = make_preference_pairs(R * scale, prompts=prompts, max_pairs_per_prompt=None)
    np.testing.assert_allclose(scaled["margin"], plain["margin"], rtol=1e-12)


def test_robust_pairs_name_features_that_are_not_finite() -> None:
    X, y, _ = log()
    model = RewardDeconfounder(method="none").fit(X, y)
    with pytest.raises(ValueError, match="robust: X must hold finite numbers"):
        make_preference_pairs(y, scope="global", robust=(model, np.where(X > 2, np.nan, X), 0.1, 0.1))


def test_collinear_features_with_a_penalty_lost_in_rounding() -> None:
    X = np.random.default_rng(0).integers(0, 9, (60, 1)) * np.ones(2)
    with pytest.raises(IdentificationError, match="penalty=1e-300"):
        PairwiseRewardModel(penalty=1e-300).fit(X, X[:, 0], prompts=np.repeat(np.arange(15), 4))


def test_an_experiment_that_compares_equal_texts_is_refused() -> None:
    X, y, _ = log()
    model = RewardDeconfounder(method="none").fit(X, y)
    with pytest.raises(ValueError, match="nothing was compared"):
        combine_with_experiment(model, X[:20] + 9, X[:20] + 9, np.arange(20) % 2, random_state=0)


def test_benchmarks_of_a_perfect_fit_and_of_no_names() -> None:
    X, _, C = log()
    estimator = RewardDeconfounder(method="linear_control", timing="before")
    with pytest.raises(ValueError, match="names is empty"):
        benchmark_confounders(estimator, X, C["hour"], confounders=C[["hour"]], names=[])
    table = benchmark_confounders(estimator, X, np.ones(len(X)), confounders=C[["hour"]], names=["hour"])
    assert (table["cf_y"] == 0).all()


def test_more_folds_than_rows_or_groups_are_refused_by_name() -> None:
    X, y, C = log()
    with pytest.raises(ValueError, match="cv=500 folds need at least as many rows; got 240"):
        compare_rewards(X, y, confounders=C[["hour"]], cv=500)
    with pytest.raises(ValueError, match="cv=5 folds need at least as many groups; got 1"):
        compare_rewards(X, y, confounders=C[["hour"]], groups=np.zeros(len(y)))


# ---------------------------------------------------------------------- confounders that cannot be read


@pytest.mark.parametrize(
    ("confounders", "error", "message"),
    [
        ({"a": ["x"] * 240, "b": ["x"] * 239}, ValueError, "equal lengths"),
        ({"a": [["x"]] * 240}, TypeError, "cannot be levels"),
        ({"a": [datetime.date(2020, 1, 1)] * 240}, TypeError, "is a datetime"),
        ({"a": [datetime.datetime(2020, 1, 1)] * 240}, TypeError, "is a datetime"),
        ({"a": pd.period_range("2020-01-01", periods=240)}, TypeError, "is a datetime"),
    ],
)
def test_columns_that_cannot_be_confounders(confounders: Any, error: type[Exception], message: str) -> None:
    X, y, _ = log()
    with pytest.raises(error, match=message):
        RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=confounders)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"interactions": [()]}, "interactions must be a list of tuples"),
        ({"interactions": "author"}, "interactions must be a list of tuples"),
        ({"cyclic": ["hour"]}, "cyclic must be a dict"),
        ({"cyclic": {"hour": np.inf}}, r"cyclic\['hour'\] must be a positive period"),
        ({"cyclic": {"hour": "day"}}, r"cyclic\['hour'\] must be a positive period"),
    ],
)
def test_parameters_on_confounders_that_cannot_be_read(parameters: dict[str, Any], message: str) -> None:
    X, y, C = log()
    with pytest.raises(ValueError, match=message):
        RewardDeconfounder(method="fixed_effects", **parameters).fit(X, y, confounders=C)


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ([None] * 240, ValueError, "prompts has 240 missing labels"),
        ([["a"]] * 240, None, ""),
        ([[{"role": "user"}]] * 240, TypeError, "prompts must hold labels that can be compared"),
        (np.zeros((240, 2)), ValueError, "prompts must hold one label per row"),
    ],
)
def test_prompts_are_checked_before_work(prompts: Any, error: type[Exception] | None, message: str) -> None:
    X, y, C = log()
    model = RewardDeconfounder(method="fixed_effects")
    if error is None:
        model.fit(X, y, confounders=C[["author"]], prompts=prompts)
        assert model.diagnostics().prompts.loc["author", "share_of_prompts"] == 1.0
        return
    with pytest.raises(error, match=message):
        model.fit(X, y, confounders=C[["author"]], prompts=prompts)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"final_model": 5}, TypeError, "final_model must be a regressor"),
        ({"final_model": PairwiseRewardModel}, TypeError, "final_model must be a regressor"),
        ({"max_weight": "a"}, ValueError, "max_weight must be a positive number"),
    ],
)
def test_parameters_of_the_wrong_kind(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    X, y, C = log()
    with pytest.raises(error, match=message):
        RewardDeconfounder(method="fixed_effects", **parameters).fit(X, y, confounders=C[["author"]])


def test_missing_outcomes_and_empty_targets() -> None:
    X, y, C = log()
    with pytest.raises(ValueError, match="requires y to be passed"):
        RewardDeconfounder(method="none").fit(X, None)
    with pytest.raises(ValueError, match="target_confounders has no rows"):
        RewardDeconfounder(method="standardization").fit(
            X, y, confounders=C[["hour"]], target_confounders=C[["hour"]].iloc[:0]
        )


@pytest.mark.parametrize("method", ["weighting", "standardization", "partially_linear"])
def test_confounders_without_columns_are_refused(method: str) -> None:
    X, y, C = log()
    with pytest.raises(ValueError, match="confounders has no columns"):
        RewardDeconfounder(method=method).fit(X, y, confounders=C[[]])
