"""Methods side by side on held-out rows, and measured confounders as benchmarks."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold

from causalkit.rewards.comparison import benchmark_confounders, compare_rewards
from causalkit.rewards.deconfounder import RewardDeconfounder
from causalkit.rewards.pairwise import PairwiseRewardModel
from causalkit.rewards.sensitivity import omitted_variable_bias
from tests.golden.rewards.make_sensitivity import PATH, benchmark_data

Array = NDArray[np.float64]
GOLDEN = json.loads(PATH.read_text())["benchmarks"]
THETA, LOADINGS = np.array([1.0, 0.5, -0.75, 0.0]), np.array([0.8, -0.6, 0.0, 0.0])


def grouped(seed: int, n_groups: int = 40, size: int = 20) -> tuple[Array, Array, Array, Array]:
    """X = b a_g + U, Y = θ'X + 2 a_g + ε, and the group of each row."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), size)
    effect = rng.normal(size=n_groups)[groups]
    X = np.outer(effect, LOADINGS) + rng.normal(size=(len(groups), 4))
    reward = X @ THETA
    return X, reward + 2 * effect + rng.normal(size=len(groups)), reward, groups


def accuracy(truth: Array, score: Array, strata: Array | None = None) -> float:
    i, j = np.triu_indices(len(truth), 1)
    kept = truth[i] != truth[j]
    if strata is not None:
        kept &= strata[i] == strata[j]
    product = (np.sign(truth[i] - truth[j]) * np.sign(score[i] - score[j]))[kept]
    return float(np.mean((product > 0) + 0.5 * (product == 0)))


# ---------------------------------------------------------------------- comparison


def test_rows_are_held_out_rewards() -> None:
    """Least squares by hand in every fold; the fits' levels set to mean 0 over all rows."""
    X, y, _, groups = grouped(0, n_groups=15, size=8)
    C = pd.DataFrame({"author": groups.astype(str)})
    table = compare_rewards(X, y, confounders=C, methods=("none", "fixed_effects"), cv=3, groups=groups, strata=groups)
    scores = {"none": np.empty(len(y)), "fixed_effects": np.empty(len(y))}
    for train, test in GroupKFold(3).split(X, groups=groups):
        for name, score in scores.items():
            codes = groups[train] if name == "fixed_effects" else np.zeros(len(train), dtype=int)
            dummies = (codes[:, None] == np.unique(codes)).astype(float)
            coef = np.linalg.lstsq(np.hstack([X[train], dummies]), y[train], rcond=None)[0][:4]
            score[test] = (X[test] - X.mean(axis=0)) @ coef
    for name, score in scores.items():
        assert_allclose(table.loc[name, "pair_accuracy"], accuracy(y, score), rtol=1e-10)
        assert_allclose(table.loc[name, "within_stratum_accuracy"], accuracy(y, score, groups), rtol=1e-10)
        assert_allclose(table.loc[name, "calibration_slope"], np.polyfit(score, y, 1)[0], rtol=1e-8)
    assert table.attrs == {"n_rows": 120, "n_folds": 3, "yardstick": "y"}
    assert "correlation" not in table.columns


def test_deconfounded_rewards_rank_the_truth_best() -> None:
    X, y, reward, groups = grouped(1)
    C = pd.DataFrame({"author": groups.astype(str)})
    methods = ("none", "outcome_only", "fixed_effects")
    table = compare_rewards(X, y, confounders=C, methods=methods, truth=reward, random_state=0)
    for measure in ("pair_accuracy", "correlation", "uplift_8"):
        assert table.loc["fixed_effects", measure] > table.loc["outcome_only", measure] > table.loc["none", measure]
    assert table.loc["fixed_effects", "correlation"] > 0.995
    assert table.attrs["yardstick"] == "truth"
    # Judged by the confounded outcome the order turns around: guessing the group pays.
    judged = compare_rewards(X, y, confounders=C, methods=methods, strata=groups, random_state=0)
    assert judged.loc["none", "pair_accuracy"] > judged.loc["fixed_effects", "pair_accuracy"]
    assert judged.loc["none", "within_stratum_accuracy"] < judged.loc["fixed_effects", "within_stratum_accuracy"]


def test_methods_that_do_not_apply_say_why() -> None:
    X, y, reward, groups = grouped(2, n_groups=20, size=10)
    C = pd.DataFrame({"author": groups.astype(str)})
    table = compare_rewards(X, y, confounders=C, groups=groups, truth=reward)
    assert table.index.tolist() == [
        "none",
        "outcome_only",
        "linear_control",
        "invariance",
        "partially_linear",
        "fixed_effects",
    ]
    assert "groups are the levels" in table.loc["partially_linear", "note"]
    assert "restrictions on 4 features" in table.loc["invariance", "note"]
    assert np.isnan(table.loc["partially_linear", "pair_accuracy"])
    assert table.loc[["none", "outcome_only", "fixed_effects"], "note"].eq("").all()
    assert table.loc[["none", "outcome_only", "fixed_effects"]].notna().all().all()
    with pytest.raises(ValueError, match=r"methods: none applies to these data\. partially_linear: groups are"):
        compare_rewards(X, y, confounders=C, groups=groups, methods=("partially_linear",))


def test_estimators_of_any_kind_and_names_of_their_own() -> None:
    X, y, reward, groups = grouped(3, n_groups=20, size=10)
    C = pd.DataFrame({"author": groups})
    methods = {
        "ridge": RewardDeconfounder(method="fixed_effects", categorical=["author"], penalty=5.0),
        "pairs": PairwiseRewardModel(random_state=0),
        "head": RewardDeconfounder(
            method="fixed_effects", categorical=["author"], final_model=PairwiseRewardModel(random_state=0)
        ),
    }
    table = compare_rewards(X, y, confounders=C, methods=methods, strata=groups, truth=reward, random_state=0)
    assert table.index.tolist() == ["ridge", "pairs", "head"]
    assert (table["correlation"] > 0.98).all()
    assert not hasattr(methods["ridge"], "coef_")
    unnamed = compare_rewards(X, y, confounders=C, methods=(methods["ridge"], methods["pairs"]), random_state=0)
    assert unnamed.index.tolist() == ["fixed_effects", "pairwise"]


def test_texts_are_encoded_and_sliced() -> None:
    rng = np.random.default_rng(4)
    texts = ["!" * int(k) + "a" * int(j) for k, j in rng.integers(0, 6, size=(200, 2))]
    author = rng.integers(0, 4, 200)

    def counts(some: list[str]) -> Array:
        return np.array([[t.count("!"), t.count("a")] for t in some], dtype=float)

    y = counts(texts) @ [1.0, -0.5] + author + rng.normal(size=200)
    C = pd.DataFrame({"author": author.astype(str)})
    by_text = {"fe": RewardDeconfounder(method="fixed_effects", encoder=counts)}
    by_number = {"fe": RewardDeconfounder(method="fixed_effects")}
    one = compare_rewards(texts, y, confounders=C, methods=by_text, random_state=0)
    two = compare_rewards(counts(texts), y, confounders=C, methods=by_number, random_state=0)
    three = compare_rewards(pd.Series(texts), y, confounders=C, methods=by_text, random_state=0)
    pd.testing.assert_frame_equal(one, two)
    pd.testing.assert_frame_equal(one, three)


def test_warnings_of_the_fits_are_listed_and_not_issued() -> None:
    rng = np.random.default_rng(5)
    C = rng.normal(size=300)
    X = np.outer(C, [2.0, 0.0]) + rng.normal(size=(300, 2))
    y = X @ [1.0, 0.5] + C + rng.normal(size=300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compare_rewards(X, y, confounders=C, methods=("none", "partially_linear"), random_state=0)
    assert "BadControlWarning" in table.loc["partially_linear", "warned"]
    assert table.loc["none", "warned"] == ""


def test_folds_given_by_the_user() -> None:
    X, y, _, groups = grouped(6, n_groups=10, size=10)
    C = pd.DataFrame({"author": groups.astype(str)})
    split = [(np.arange(50), np.arange(50, 100))]
    table = compare_rewards(X, y, confounders=C, methods=("none",), cv=split)
    design = np.column_stack([X[:50], np.ones(50)])
    coef = np.linalg.lstsq(design, y[:50], rcond=None)[0][:4]
    assert_allclose(table.loc["none", "pair_accuracy"], accuracy(y[50:], X[50:] @ coef), rtol=1e-10)


def test_comparison_inputs_are_checked() -> None:
    X, y, _, groups = grouped(7, n_groups=10, size=10)
    C = pd.DataFrame({"author": groups.astype(str)})
    with pytest.raises(ValueError, match="method must be one of"):
        compare_rewards(X, y, confounders=C, methods=("none", "best"))
    with pytest.raises(TypeError, match="methods must hold names of methods"):
        compare_rewards(X, y, confounders=C, methods=(LinearRegression(),))
    with pytest.raises(ValueError, match="methods has two entries named 'none'"):
        compare_rewards(X, y, confounders=C, methods=("none", "none"))
    with pytest.raises(ValueError, match="methods is empty"):
        compare_rewards(X, y, confounders=C, methods=())
    with pytest.raises(ValueError, match="y has 99 rows"):
        compare_rewards(X, y[:-1], confounders=C)
    with pytest.raises(ValueError, match="confounders has 99 rows"):
        compare_rewards(X, y, confounders=C[:-1])
    with pytest.raises(ValueError, match="truth has 99 rows"):
        compare_rewards(X, y, confounders=C, truth=y[:-1])
    with pytest.raises(ValueError, match="strata must hold one label per row"):
        compare_rewards(X, y, confounders=C, strata=groups[:-1])
    with pytest.raises(ValueError, match="cv must be an integer at least 2"):
        compare_rewards(X, y, confounders=C, cv=1)


# ---------------------------------------------------------------------- benchmarks


def linear_nuisances(**options: Any) -> RewardDeconfounder:
    return RewardDeconfounder(
        outcome_model=LinearRegression(), treatment_model=LinearRegression(), timing="before", **options
    )


@pytest.mark.parametrize("name", ["c0", "c1", "c2"])
def test_benchmarks_equal_doubleml(name: str) -> None:
    data = benchmark_data()
    C = pd.DataFrame(data["C"], columns=["c0", "c1", "c2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # linear nuisances are what the peer was given
        table = benchmark_confounders(
            linear_nuisances(cv=data["splits"]), data["d"][:, None], data["y"], confounders=C, names=[name]
        )
    row = table.loc[(name, "x0")]
    golden = GOLDEN[name]
    assert_allclose(row["estimate"], golden["estimate"], rtol=1e-8)
    assert_allclose(row["estimate_without"] - row["estimate"], golden["change"], rtol=1e-6)
    assert_allclose(row["cf_y"], golden["cf_y"], rtol=1e-6)
    assert_allclose(row["cf_d"], golden["cf_d"], rtol=1e-6, atol=1e-12)


def test_benchmarks_by_hand_for_levels() -> None:
    """Least squares with dummies: gains in R² and in the inverse of the residual features' covariance."""
    rng = np.random.default_rng(8)
    n = 400
    author, month = rng.integers(0, 5, n), rng.integers(0, 6, n)
    X = rng.normal(size=(n, 3)) + 0.3 * author[:, None] * [1, 0, -1] + 0.1 * month[:, None] * [0, 1, 0]
    y = X @ [0.5, -0.2, 0.1] + 0.5 * author + 0.2 * month + rng.normal(size=n)
    C = pd.DataFrame({"author": author, "month": month})
    model = RewardDeconfounder(method="fixed_effects", categorical=["author", "month"], timing={"author": "before"})
    table = benchmark_confounders(model, X, y, confounders=C, names=["author", "month", ("author", "month")])

    def fit(columns: list[str]) -> tuple[float, Array, Array]:
        dummies = np.hstack([np.ones((n, 1)), *[(C[[c]].to_numpy() == np.unique(C[c])).astype(float) for c in columns]])
        left = [v - dummies @ np.linalg.lstsq(dummies, v, rcond=None)[0] for v in (X, y[:, None])]
        theta = np.linalg.lstsq(left[0], left[1][:, 0], rcond=None)[0]
        error = left[1][:, 0] - left[0] @ theta
        return float(np.mean(error**2) / y.var()), np.diag(np.linalg.inv(left[0].T @ left[0] / n)), theta

    unexplained, nu2, theta = fit(["author", "month"])
    for name, kept in (("author", ["month"]), ("month", ["author"]), ("author, month", [])):
        short, short_nu2, short_theta = fit(kept)
        cf_y = (unexplained - short) / -unexplained
        cf_d = nu2 / short_nu2 - 1
        rows = table.loc[name]
        assert_allclose(rows["estimate"], theta, rtol=1e-7)
        assert_allclose(rows["estimate_without"], short_theta, rtol=1e-7)
        assert_allclose(rows["cf_y"], cf_y, rtol=1e-7)
        assert_allclose(rows["cf_d"], np.maximum(cf_d, 0), atol=1e-9)
        for j in range(3):
            if cf_y < 1 and cf_d[j] > 0:
                expected = omitted_variable_bias(unexplained * y.var(), nu2[j], cf_y, cf_d[j])
                assert_allclose(rows["bound"].iloc[j], expected, rtol=1e-6)
                assert rows["reading"].iloc[j] == f"within ±{expected:.3g}"


def test_a_confounder_stronger_than_the_noise_is_unbounded() -> None:
    rng = np.random.default_rng(9)
    C = pd.DataFrame({"popularity": rng.normal(size=600), "hour": rng.normal(size=600)})
    X = 0.3 * C[["popularity"]].to_numpy() + rng.normal(size=(600, 1))
    y = X[:, 0] + 3 * C["popularity"] + rng.normal(size=600)
    table = benchmark_confounders(
        RewardDeconfounder(timing="before", random_state=0), X, y, confounders=C, names=["popularity", "hour"]
    )
    row = table.loc[("popularity", "x0")]
    assert row["cf_y"] >= 1 and np.isinf(row["bound"]) and row["reading"] == "unbounded"
    assert table.loc[("hour", "x0"), "reading"].startswith("within ±")
    assert_allclose(row["estimate"], 1.0, atol=4 / np.sqrt(600))


def test_parameters_forget_what_is_left_out() -> None:
    """Names of the column that is left out may stand in every parameter."""
    rng = np.random.default_rng(10)
    C = pd.DataFrame(
        {"author": rng.integers(0, 4, 300), "day": rng.integers(0, 3, 300), "hour": rng.uniform(0, 24, 300)}
    )
    X = rng.normal(size=(300, 2))
    y = X[:, 0] + 0.1 * C["author"] + rng.normal(size=300)
    model = RewardDeconfounder(
        method="fixed_effects",
        categorical=["author", "day"],
        interactions=[("author", "day")],
        cyclic={"hour": 24},
        timing={"author": "before", "hour": "before", "day": "before"},
    )
    table = benchmark_confounders(model, X, y, confounders=C, names=["author", "day", "hour"])
    assert len(table) == 6 and np.isfinite(table["cf_y"]).all()
    by_author = RewardDeconfounder(method="fixed_effects", categorical=["author"], cyclic={"hour": 24}, timing="before")
    expected = by_author.fit(X, y, confounders=C[["author", "hour"]]).coef_
    assert_allclose(table.loc["day", "estimate_without"], expected, rtol=1e-9)
    assert model.get_params()["cyclic"] == {"hour": 24} and not hasattr(model, "coef_")


def test_fit_metadata_reaches_both_fits() -> None:
    rng = np.random.default_rng(11)
    C = pd.DataFrame({"a": rng.integers(0, 3, 200).astype(str), "b": rng.integers(0, 3, 200).astype(str)})
    X = rng.normal(size=(200, 1))
    y = X[:, 0] + rng.normal(size=200)
    weight = rng.integers(1, 3, 200).astype(float)
    table = benchmark_confounders(
        RewardDeconfounder(method="fixed_effects"), X, y, confounders=C, names=["a"], sample_weight=weight
    )
    one = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=C, sample_weight=weight)
    two = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=C[["b"]], sample_weight=weight)
    assert_allclose(
        table.loc[("a", "x0"), ["estimate", "estimate_without"]].astype(float), [one.coef_[0], two.coef_[0]]
    )


def test_benchmark_inputs_are_checked() -> None:
    rng = np.random.default_rng(12)
    C = pd.DataFrame({"hour": rng.normal(size=100)})
    X, y = rng.normal(size=(100, 1)), rng.normal(size=100)
    with pytest.raises(
        ValueError, match=r"names has 'price', which is no column of confounders; available: \['hour'\]"
    ):
        benchmark_confounders(RewardDeconfounder(), X, y, confounders=C, names=["price"])
    with pytest.raises(TypeError, match="estimator must be a RewardDeconfounder; got HistGradientBoostingRegressor"):
        benchmark_confounders(HistGradientBoostingRegressor(), X, y, confounders=C, names=["hour"])
