"""Combining a log with an experiment: the formulas by hand, closed-form bias, orientation, leakage, failures."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from causalkit.exceptions import LeakageWarning, MethodNotApplicableError
from causalkit.rewards.deconfounder import RewardDeconfounder
from causalkit.rewards.fusion import ExperimentFusion, combine_with_experiment, hash_rows
from causalkit.rewards.pairwise import PairwiseRewardModel

Array = NDArray[np.float64]

THETA, LOADINGS = np.array([1.0, 0.5, -0.75, 0.0]), np.array([0.8, -0.6, 0.0, 0.0])


def logged(gamma: float, n: int, seed: int, method: str = "none", **options: Any) -> RewardDeconfounder:
    """Reward of a log X = bC + U, Y = θ'X + γC + ε."""
    rng = np.random.default_rng(seed)
    C, U, error = rng.normal(size=n), rng.normal(size=(n, 4)), rng.normal(size=n)
    X = np.outer(C, LOADINGS) + U
    model = RewardDeconfounder(method=method, timing="before", random_state=0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of chance findings of the diagnostics
        return model.fit(X, X @ THETA + gamma * C + error, confounders=C)


def experiment(m: int, seed: int) -> tuple[Array, Array, Array]:
    """Texts from N(0, I); the first wins where θ'q plus the noise of two outcomes is positive."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, m, 4))
    return first, second, ((first - second) @ THETA + np.sqrt(2) * rng.normal(size=m) > 0).astype(float)


# ---------------------------------------------------------------------- formulas


@pytest.mark.parametrize("kind", ["pointwise", "pairwise", "pairwise head"])
def test_weights_and_predictions_by_hand(kind: str) -> None:
    first, second, won = experiment(200, 0)
    q = first - second
    log: Any = logged(2.0, 300, 1)
    if kind == "pairwise":
        rng = np.random.default_rng(2)
        a, b = rng.normal(size=(2, 150, 4))
        log = PairwiseRewardModel().fit_pairs(a, b, (a - b) @ THETA + rng.logistic(size=150) > 0)
    elif kind == "pairwise head":
        log = logged(2.0, 300, 1, method="partially_linear", final_model=PairwiseRewardModel(random_state=0))
    if kind == "pointwise":
        scale = np.sqrt(2 * log.residual_variance_)
        p_log = stats.norm.cdf(q @ log.coef_ / scale)
        slope, V = stats.norm.pdf(q @ log.coef_ / scale) / scale, log.covariance_
    else:
        head = log if kind == "pairwise" else log.final_model_
        p_log = expit(q @ head.coef_)
        slope, V = p_log * (1 - p_log), head.covariance_
    v_log = slope**2 * np.einsum("ij,jk,ik->i", q, V, q)

    half = np.arange(200) % 2 == 0
    splits = [(np.flatnonzero(half), np.flatnonzero(~half)), (np.flatnonzero(~half), np.flatnonzero(half))]
    model = PairwiseRewardModel(penalty=0.3)
    fused = combine_with_experiment(log, first, second, won, experimental_model=model, cv=splits)
    rows, predictions = [], []
    for train, test in splits:
        fitted = PairwiseRewardModel(penalty=0.3).fit_pairs(first[train], second[train], won[train])
        p = expit(q @ fitted.coef_)
        v = (p * (1 - p)) ** 2 * np.einsum("ij,jk,ik->i", q, fitted.covariance_, q)
        turned = p_log[test] >= 0.5
        bias = np.where(turned, p_log[test], 1 - p_log[test]).mean() - np.where(turned, won[test], 1 - won[test]).mean()
        weight = v[test].mean() / (bias**2 + v_log[test].mean() + v[test].mean())
        rows.append([weight, bias, v_log[test].mean(), v[test].mean()])
        predictions.append(weight * p_log + (1 - weight) * p)
    names = ["weight", "bias", "variance_observational", "variance_experimental"]
    assert_allclose(fused.splits[names], rows, rtol=1e-9)
    assert_allclose([getattr(fused, name) for name in names], np.mean(rows, axis=0), rtol=1e-9)
    assert_allclose(fused.predict_pairs(first, second), np.mean(predictions, axis=0), rtol=1e-9)


def test_bias_of_the_raw_outcome_has_its_closed_form() -> None:
    """With q Gaussian both means are arcsines: of the log's own certainty, and of how often it is right."""
    gamma, m = -3.0, 20_000
    log = logged(gamma, 40_000, 3)
    inverse = np.linalg.inv(np.outer(LOADINGS, LOADINGS) + np.eye(4))
    w, sigma2 = THETA + gamma * inverse @ LOADINGS, 1 + gamma**2 * (1 - LOADINGS @ inverse @ LOADINGS)
    own = np.sqrt(w @ w / (w @ w + sigma2))
    right = w @ THETA / np.sqrt(w @ w * (THETA @ THETA + 1))
    expected = (np.arcsin(own) - np.arcsin(right)) / np.pi
    fused = combine_with_experiment(log, *experiment(m, 4), random_state=0)
    assert expected > 0.06
    # The share won has standard error ½/√m; the log's coefficients add less.
    assert abs(fused.bias - expected) < 4 * 0.5 / np.sqrt(m) + 0.003


def test_a_deconfounded_log_has_no_bias_and_more_weight() -> None:
    first, second, won = experiment(1000, 5)
    honest = combine_with_experiment(logged(-3.0, 2000, 6, "partially_linear"), first, second, won, random_state=0)
    naive = combine_with_experiment(logged(-3.0, 2000, 6), first, second, won, random_state=0)
    assert abs(honest.bias) < 4 * 0.5 / np.sqrt(1000)
    assert naive.bias > 0.03
    assert honest.weight > naive.weight
    # Fused predictions lie nearer to the truth than the naive log's.
    a, b, _ = experiment(2000, 7)
    truth = stats.norm.cdf((a - b) @ THETA / np.sqrt(2))
    raw = stats.norm.cdf((a - b) @ naive.observational.coef_ / np.sqrt(2 * naive.observational.residual_variance_))
    assert np.mean((naive.predict_pairs(a, b) - truth) ** 2) < 0.5 * np.mean((raw - truth) ** 2)


# ---------------------------------------------------------------------- orientation


def test_the_order_of_texts_does_not_matter() -> None:
    log = logged(-3.0, 500, 8)
    first, second, won = experiment(300, 9)
    won[:40] = 0.25  # shares of several judges
    flip = np.random.default_rng(0).random(300) < 0.5
    a, b = np.where(flip[:, None], second, first), np.where(flip[:, None], first, second)
    one = combine_with_experiment(log, first, second, won, random_state=1)
    two = combine_with_experiment(log, a, b, np.where(flip, 1 - won, won), random_state=1)
    assert_allclose(two.splits, one.splits, rtol=1e-7)
    assert_allclose(two.predict_pairs(first, second), one.predict_pairs(first, second), rtol=1e-7)
    assert_allclose(one.predict_pairs(first, second) + one.predict_pairs(second, first), 1.0, rtol=1e-9)


def test_identical_texts_add_no_bias() -> None:
    log = logged(-3.0, 500, 8)
    first, second, won = experiment(300, 9)
    halves = [(np.arange(150), np.arange(150, 300))]
    second[150:200] = first[150:200]
    one = combine_with_experiment(log, first, second, won, cv=halves)
    won[150:200] = 1 - won[150:200]
    two = combine_with_experiment(log, first, second, won, cv=halves)
    assert one.bias == two.bias


# ---------------------------------------------------------------------- splits


class Recording(PairwiseRewardModel):
    """Keeps the first column of the pairs that it was fitted on, and their groups."""

    def fit_pairs(self, X_first: Any, X_second: Any, won: Any, **metadata: Any) -> Any:
        super().fit_pairs(X_first, X_second, won, **metadata)
        self.seen_, self.clusters_ = np.asarray(X_first)[:, 0], metadata["groups"]
        return self


def test_groups_stay_together_and_cluster_the_errors() -> None:
    log = logged(0.0, 300, 10)
    first, second, won = experiment(240, 11)
    groups = np.repeat([f"g{k}" for k in range(24)], 10)
    fused = combine_with_experiment(
        log, first, second, won, groups=groups, experimental_model=Recording(), cv=3, random_state=0
    )
    assert len(fused.experimental) == 3
    for fitted in fused.experimental:
        inside = np.isin(first[:, 0], fitted.seen_)
        assert not set(groups[inside]) & set(groups[~inside])
        assert len(np.unique(fitted.clusters_)) == len(set(groups[inside])) == 16
    again = combine_with_experiment(log, first, second, won, groups=groups, cv=3, random_state=0)
    assert_allclose(again.splits, fused.splits)
    assert fused.splits["n_held_out"].sum() == 240


def test_texts_go_through_the_encoder() -> None:
    rng = np.random.default_rng(12)
    texts = ["!" * int(k) + "a" * int(j) for k, j in rng.integers(0, 6, size=(300, 2))]

    def counts(some: list[str]) -> Array:
        return np.array([[t.count("!"), t.count("a")] for t in some], dtype=float)

    y = counts(texts) @ [1.0, -0.5] + rng.normal(size=300)
    by_text = RewardDeconfounder(method="none", encoder=counts).fit(texts, y)
    by_number = RewardDeconfounder(method="none").fit(counts(texts), y)
    for model in (by_text, by_number):
        vars(model).pop("row_hashes_", None)  # few different texts: all of them recur
    won = rng.random(150) < expit((counts(texts[:150]) - counts(texts[150:])) @ [1.0, -0.5])
    one = combine_with_experiment(by_text, texts[:150], texts[150:], won, random_state=0)
    two = combine_with_experiment(by_number, counts(texts[:150]), counts(texts[150:]), won, random_state=0)
    assert_allclose(one.splits, two.splits)
    assert_allclose(one.predict_pairs(texts[:5], texts[5:10]), two.predict_pairs(*np.split(counts(texts[:10]), 2)))


def test_result_is_frozen_and_shows_its_numbers() -> None:
    fused = combine_with_experiment(logged(0.0, 300, 13), *experiment(100, 14), random_state=0)
    assert isinstance(fused, ExperimentFusion)
    with pytest.raises(AttributeError):
        fused.weight = 1.0  # type: ignore[misc]
    assert "weight=" in repr(fused) and "splits=" not in repr(fused)


# ---------------------------------------------------------------------- leakage


def test_rows_of_the_log_in_the_experiment_are_noticed() -> None:
    rng = np.random.default_rng(15)
    X = rng.normal(size=(400, 4)).astype(np.float32)
    log = PairwiseRewardModel(random_state=0).fit(X, X @ THETA + rng.gumbel(size=400))
    first, second, won = experiment(100, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeakageWarning)
        combine_with_experiment(log, first, second, won)
    second[:7] = X[:7]  # in double precision now
    second[7:9] = X[:2]
    with pytest.warns(LeakageWarning, match="7 of the 198 different texts"):
        combine_with_experiment(log, first, second, won)


def test_hashes_tell_rows_apart() -> None:
    rng = np.random.default_rng(17)
    X = rng.normal(size=(20_000, 5)).astype(np.float32)
    hashes = hash_rows(X)
    assert hashes.dtype == np.uint64 and hashes.shape == (20_000,)
    assert len(np.unique(hashes)) == 20_000
    assert_array_equal(hash_rows(X.astype(float)), hashes)
    assert_array_equal(hash_rows(np.asfortranarray(X)), hashes)
    assert_array_equal(hash_rows(X[::7]), hashes[::7])
    assert_array_equal(hash_rows(pd.DataFrame(X[:3])), hashes[:3])
    assert not np.isin(hash_rows(X[:, ::-1]), hashes).any()
    # Small integers differ in few bits, and rows of the same entries in another order must differ too.
    grid = np.array(np.meshgrid(*[np.arange(12.0)] * 4)).reshape(4, -1).T
    assert len(np.unique(hash_rows(grid))) == 12**4
    assert hash_rows(np.array([[0.0, 1.0]])) == hash_rows(np.array([[-0.0, 1.0]]))


# ---------------------------------------------------------------------- failures


def test_inputs_are_checked() -> None:
    log = logged(0.0, 200, 18)
    first, second, won = experiment(50, 19)
    with pytest.raises(NotFittedError):
        combine_with_experiment(RewardDeconfounder(), first, second, won)
    with pytest.raises(ValueError, match="X_first has 50 rows, X_second 49"):
        combine_with_experiment(log, first, second[:-1], won)
    with pytest.raises(ValueError, match=r"X_second must have shape \(m, 4\)"):
        combine_with_experiment(log, first, second[:, :3], won)
    with pytest.raises(ValueError, match="won has 49 rows"):
        combine_with_experiment(log, first, second, won[:-1])
    with pytest.raises(ValueError, match=r"won must lie in \[0, 1\]"):
        combine_with_experiment(log, first, second, won - 1)
    with pytest.raises(ValueError, match="X_first contains NaN"):
        combine_with_experiment(log, np.where(first == first[0, 0], np.nan, first), second, won)
    with pytest.raises(ValueError, match="groups must hold one label per row"):
        combine_with_experiment(log, first, second, won, groups=np.zeros(3))
    with pytest.raises(ValueError, match="won has 2 groups, fewer than the cv=3 parts"):
        combine_with_experiment(log, first, second, won, groups=np.arange(50) % 2, cv=3)
    with pytest.raises(ValueError, match="cv must be an integer at least 2"):
        combine_with_experiment(log, first, second, won, cv=1)
    with pytest.raises(TypeError, match="experimental_model must be a PairwiseRewardModel; got Ridge"):
        combine_with_experiment(log, first, second, won, experimental_model=Ridge())


def test_columns_of_frames_are_checked() -> None:
    rng = np.random.default_rng(20)
    frame = pd.DataFrame(rng.normal(size=(200, 2)), columns=["length", "links"])
    log = RewardDeconfounder(method="none").fit(frame, frame["length"] + rng.normal(size=200))
    first = pd.DataFrame(rng.normal(size=(40, 2)), columns=["length", "links"])
    with pytest.raises(ValueError, match="X_second has the columns"):
        combine_with_experiment(log, first, first[["links", "length"]], np.zeros(40))


def test_rewards_without_variance_are_refused() -> None:
    log = logged(0.0, 200, 21, method="partially_linear", final_model=Ridge())
    first, second, won = experiment(50, 22)
    with pytest.raises(MethodNotApplicableError, match="final_model=Ridge"):
        combine_with_experiment(log, first, second, won)
    with pytest.raises(MethodNotApplicableError, match="got Ridge"):
        combine_with_experiment(Ridge().fit(first, won), first, second, won)
