"""Section K: identities, brute force, and values of other packages; largest gaps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap, quiet
from benchmarks.rows import Row, at_most
from benchmarks.simulation import Tier
from benchmarks.validation.rewards.common import THETA, fit, linear_smoother
from benchmarks.validation.rewards.identities_peers import peer_rows
from benchmarks.validation.rewards.linear import exact_sample, fit_exact
from causalkit.datasets import make_reward_groups, make_reward_instrument, make_reward_linear

__all__ = ["rows"]

Array = NDArray[np.float64]

_ALGEBRA = 1e-10


def rows(tier: Tier) -> Iterator[Row]:
    """K1 residuals, K2 backfitting, K3 levels and weights, K4 ranking, K5 sets, K6 pairs, K7-K9 other packages."""
    with quiet():
        yield from _residual_rows()
        yield from _backfitting_rows()
        yield from _level_rows()
        yield from _ranking_rows()
        yield from _set_rows()
        yield from _pair_rows()
        yield from peer_rows()


def folds(n: int, k: int = 5) -> list[tuple[Array, Array]]:
    """Interleaved folds."""
    fold = np.arange(n) % k
    return [(np.flatnonzero(fold != j), np.flatnonzero(fold == j)) for j in range(k)]


def residuals(sample: Any, splits: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Out-of-fold residuals of features and outcome after a line in the confounders."""
    C = sample.confounders.to_numpy()
    left, target = np.empty_like(sample.X), np.empty_like(sample.y)
    for train, test in splits:
        left[test] = sample.X[test] - linear_smoother().fit(C[train], sample.X[train]).predict(C[test])
        target[test] = sample.y[test] - linear_smoother().fit(C[train], sample.y[train]).predict(C[test])
    return left, target


def _residual_rows() -> Iterator[Row]:
    import statsmodels.api as sm

    sample = make_reward_linear(800, random_state=28_000)
    splits, model = folds(800), linear_smoother()
    options: dict[str, Any] = {"outcome_model": model, "treatment_model": model, "cv": splits}
    found = fit("partially_linear", sample.X, sample.y, sample.confounders, **options)
    left, target = residuals(sample, splits)
    plain = sm.OLS(target, left).fit(cov_type="HC0")
    yield at_most(
        "K1.1",
        "partially_linear against statsmodels on residuals: coefficients",
        gap(found.coef_, plain.params),
        _ALGEBRA,
    )
    yield at_most("K1.2", "the same: HC0 covariance", gap(found.covariance_, plain.cov_params()), _ALGEBRA)
    heavy = fit("partially_linear", sample.X, sample.y, sample.confounders, penalty=1e14, **options)
    only = target - target.mean() + sample.y.mean()
    what = "λ = 1e14: adjusted rewards against Y - ℓ̂ (heavy ridge is outcome_only)"
    yield at_most("K1.3", what, gap(heavy.adjusted_reward_, only), 1e-7)


def _backfitting_rows() -> Iterator[Row]:
    from causalkit.rewards.backfitting import backfit_rounds

    X, y, C, _ = exact_sample(2.0)
    hat = np.column_stack([np.ones(len(C)), C])
    projection = hat @ np.linalg.pinv(hat)

    def coef(rounds: int) -> Array:
        left = y - projection @ y
        done = backfit_rounds(linear_smoother, X, left, lambda v: projection @ v, scale=1e-300, max_rounds=rounds)
        return np.asarray(done.reward.coef_)

    first = coef(1)
    yield at_most(
        "K2.1",
        "backfitting: first round against outcome_only",
        gap(first, fit_exact("outcome_only", 2.0).coef_),
        _ALGEBRA,
    )
    yield at_most("K2.2", "backfitting: 60 rounds against θ", gap(coef(60), THETA), _ALGEBRA)
    errors = [float(np.linalg.norm(coef(k) - THETA)) for k in range(1, 9)]
    worst = gap(np.array(errors[1:]) / errors[:-1], 0.5)
    yield at_most("K2.3", "backfitting: error of a round over the one before, distance from 1 - λ_min = ½", worst, 1e-8)
    sample = make_reward_groups(40, 8, random_state=28_001)
    within = fit("fixed_effects", sample.X, sample.y, sample.confounders)
    nonlinear = fit("fixed_effects", sample.X, sample.y, sample.confounders, final_model=linear_smoother())
    what = "fixed_effects with a least-squares reward: its limit against the within coefficients"
    yield at_most("K2.4", what, gap(nonlinear.final_model_.coef_, within.coef_), 1e-5)


def _level_rows() -> Iterator[Row]:
    from causalkit.rewards.weighting import weighted_level_means

    sample = make_reward_groups(30, 5, random_state=28_002)
    left_out = fit("fixed_effects", sample.X, sample.y, sample.confounders, leave_one_out=True)
    codes = np.repeat(np.arange(30), 5)
    alone = sample.y - sample.X @ left_out.coef_
    brute = np.array(
        [alone[i] - np.mean([alone[j] for j in range(150) if codes[j] == codes[i] and j != i]) for i in range(150)]
    )
    reward = sample.X @ left_out.coef_ + brute
    error = left_out.adjusted_reward_ - reward
    what = "leave_one_out: adjusted rewards against level means without the row"
    yield at_most("K3.1", what, float(np.ptp(error)), _ALGEBRA)
    rng = np.random.default_rng(28_003)
    weight = rng.uniform(0.2, 3, 150)
    found = weighted_level_means(sample.y, codes, 30, weight).effect
    direct = [np.average(sample.y[codes == g], weights=weight[codes == g]) for g in range(30)]
    yield at_most("K3.2", "weighted level means against a loop", gap(found, direct), _ALGEBRA)


def _ranking_rows() -> Iterator[Row]:
    from causalkit.selection import best_of_n_uplift, pairwise_accuracy

    rng = np.random.default_rng(28_004)
    truth, tied = rng.standard_normal(14), rng.integers(0, 6, 14).astype(float)
    for number, (name, score) in enumerate((("distinct", tied + 0.01 * truth), ("tied", tied))):
        best = []
        for drawn in combinations(range(14), 4):
            top = score[list(drawn)].max()
            best.append(np.mean([truth[i] for i in drawn if score[i] == top]))
        brute = float(np.mean(best) - truth.mean())
        what = f"best-of-4 uplift of 14 rows, {name} scores, against all draws"
        yield at_most(f"K4.{number + 1}", what, gap(best_of_n_uplift(truth, score, 4), brute), _ALGEBRA)
    pairs = [(i, j) for i, j in combinations(range(14), 2)]
    direct = np.mean([0.5 + 0.5 * np.sign((truth[i] - truth[j]) * (tied[i] - tied[j])) for i, j in pairs])
    yield at_most(
        "K4.3", "pair accuracy with ties against all pairs", gap(pairwise_accuracy(truth, tied), direct), _ALGEBRA
    )


def _set_rows() -> Iterator[Row]:
    from causalkit.rewards.anderson_rubin import anderson_rubin_set
    from causalkit.rewards.instrument import two_stage_fit

    sample = make_reward_instrument(500, random_state=28_005)
    C, Z = sample.confounders.to_numpy(), sample.instruments.to_numpy()
    options: dict[str, Any] = {"instruments": sample.instruments}
    sets = {
        "classical": anderson_rubin_set(two_stage_fit(sample.X, None, C, Z, sample.y), covariance="homoskedastic"),
        "robust": fit("instrument", sample.X, sample.y, sample.confounders, **options).anderson_rubin_,
    }
    options["groups"] = np.arange(500) // 5
    sets["clustered"] = fit("instrument", sample.X, sample.y, sample.confounders, **options).anderson_rubin_
    for number, (kind, found) in enumerate(sets.items()):
        worst = 0.0 if found.kind == kind else np.inf
        for level in (0.8, 0.9, 0.95, 0.99):
            ends = [end for piece in found.confidence_set(level).intervals for end in piece if np.isfinite(end)]
            worst = max(worst, *(abs(found.pvalue(end) - (1 - level)) for end in ends))
        what = f"Anderson-Rubin set, {kind}: p-value on the boundary against one minus the level"
        yield at_most(f"K5.{number + 1}", what, worst, 1e-8)


def _pair_rows() -> Iterator[Row]:
    from causalkit.rewards import PairwiseRewardModel

    rng = np.random.default_rng(28_006)
    X = rng.standard_normal((600, 3))
    first, second = X[:300], X[300:]
    won = (rng.random(300) < 1 / (1 + np.exp(-(first - second) @ np.array([1, -0.6, 0])))).astype(float)
    for number, penalty in enumerate((0.0, 5.0)):
        w, q = np.zeros(3), first - second
        for _ in range(50):
            p = 1 / (1 + np.exp(-q @ w))
            step = np.linalg.solve(
                (q * (p * (1 - p))[:, None]).T @ q + penalty * np.eye(3), q.T @ (won - p) - penalty * w
            )
            w = w + step
        found = PairwiseRewardModel(penalty=penalty).fit_pairs(first, second, won).coef_
        yield at_most(
            f"K6.{number + 1}", f"pairwise model, penalty {penalty:g}, against direct Newton steps", gap(found, w), 1e-7
        )
