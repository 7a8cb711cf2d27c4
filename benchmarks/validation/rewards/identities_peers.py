"""Section K, other packages: pyfixest, linearmodels, DoubleML and its bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmarks.measuring import gap
from benchmarks.peers.composition.common import absent, peer
from benchmarks.rows import Row, at_most, deviation, skipped
from benchmarks.validation.rewards.common import fit, linear_smoother

__all__ = ["crossed_log", "double_ml", "peer_rows"]

Array = NDArray[np.float64]

_BAR = 1e-8


def crossed_log(n: int, p: int, levels: tuple[int, ...], seed: int) -> tuple[Array, Array, Any]:
    """Features that go along with crossed factors, an outcome that they move as well, and the factors as a frame."""
    import pandas as pd

    rng = np.random.default_rng([28_100, seed, n, p, *levels])
    codes = [rng.integers(0, size, n) for size in levels]
    effects = [rng.standard_normal(size)[code] for size, code in zip(levels, codes, strict=True)]
    X = rng.standard_normal((n, p)) + 0.5 * np.sum(effects, axis=0)[:, None]
    y = X @ rng.standard_normal(p) + 2 * np.sum(effects, axis=0) + rng.standard_normal(n)
    return X, y, pd.DataFrame({f"f{k}": pd.Categorical(code) for k, code in enumerate(codes)})


def peer_rows() -> Iterator[Row]:
    """K7 pyfixest, K8 linearmodels, K9 DoubleML."""
    yield from _pyfixest_rows()
    yield from _linearmodels_rows()
    yield from _double_ml_rows()


def _pyfixest_rows() -> Iterator[Row]:
    import pandas as pd

    module = peer("pyfixest")
    if module is None:
        yield skipped("K7", "fixed_effects against pyfixest", absent("pyfixest"))
        return
    X, y, factors = crossed_log(2000, 3, (150, 40), 1)
    clusters = np.random.default_rng(28_101).integers(0, 60, 2000)
    frame = pd.DataFrame(X, columns=["x0", "x1", "x2"]).assign(y=y, cluster=clusters, f0=factors["f0"].astype(int))
    frame["f1"] = factors["f1"].astype(int)
    ssc = module.ssc(k_fixef="nonnested")
    for number, (name, vcov) in enumerate((("HC1", "hetero"), ("cluster", {"CRV1": "cluster"}))):
        # A tolerance at rounding level: its default one leaves a gap of its own.
        theirs = module.feols("y ~ x0 + x1 + x2 | f0 + f1", frame, vcov=vcov, ssc=ssc, fixef_tol=1e-13)
        groups = clusters if name == "cluster" else None
        ours = fit("fixed_effects", X, y, factors, groups=groups)
        what = f"two factors against pyfixest, {name}"
        yield at_most(f"K7.{number + 1}a", f"{what}: coefficients", gap(ours.coef_, theirs.coef()), _BAR)
        ratio = np.sqrt(np.diag(ours.covariance_)) / np.asarray(theirs.se())
        # pyfixest counts n/(n - k) for "hetero" and (n - 1)/(n - k) for clusters, ours is n/(n - k) for both.
        factor = np.sqrt(2000 / 1999) if name == "cluster" else 1.0
        yield at_most(f"K7.{number + 1}b", f"{what}: standard errors, relative", gap(ratio, factor), 1e-7)


def _linearmodels_rows() -> Iterator[Row]:
    module = peer("linearmodels.iv.absorbing")
    if module is None:
        yield skipped("K8", "fixed_effects against linearmodels", absent("linearmodels"))
        return
    X, y, factors = crossed_log(2000, 3, (150, 40), 2)
    theirs = module.AbsorbingLS(y, X, absorb=factors).fit(cov_type="robust", debiased=False)
    ours = fit("fixed_effects", X, y, factors, covariance="HC0")
    yield at_most("K8.1", "two factors against linearmodels: coefficients", gap(ours.coef_, theirs.params), _BAR)
    ratio = np.sqrt(np.diag(ours.covariance_)) / np.asarray(theirs.std_errors)
    yield at_most("K8.2", "two factors against linearmodels: HC0 standard errors, relative", gap(ratio, 1), 1e-7)


def double_ml(module: Any, sample: Any, splits: list[tuple[Array, Array]], models: tuple[Any, Any], d: int = 0) -> Any:
    """An unfitted partially linear model of DoubleML for one feature, with these folds."""
    data = module.DoubleMLData.from_arrays(sample.confounders.to_numpy(), sample.y, sample.X[:, d])
    model = module.DoubleMLPLR(data, models[0], models[1], n_folds=len(splits), draw_sample_splitting=False)
    model.set_sample_splitting(splits)
    return model


def _double_ml_rows() -> Iterator[Row]:
    from benchmarks.validation.rewards.identities import folds, residuals
    from causalkit.datasets import make_reward_linear

    module = peer("doubleml")
    if module is None:
        yield skipped("K9", "partially_linear against DoubleML", absent("doubleml"))
        return
    sample, splits, model = make_reward_linear(1500, random_state=28_102), folds(1500), linear_smoother()
    X = sample.X[:, :1]
    options: dict[str, Any] = {"outcome_model": model, "treatment_model": model, "cv": splits}
    ours = fit("partially_linear", X, sample.y, sample.confounders, **options)
    theirs = double_ml(module, sample, splits, (model, model))
    left, target = residuals(sample, splits)
    given = {"ml_l": (sample.y - target)[:, None], "ml_m": (sample.X - left)[:, :1]}
    theirs.fit(external_predictions={"d": given})
    what = "partially_linear against DoubleML"
    yield at_most("K9.1", f"{what}, given the same nuisances: coefficient", gap(ours.coef_, theirs.coef), _BAR)
    se = float(np.sqrt(ours.covariance_[0, 0]))
    yield at_most("K9.2", f"{what}: standard error, relative", gap(se / float(theirs.se[0]), 1), _BAR)
    yield from _bound_rows(what, ours, theirs, left[:, 0], target)


def _bound_rows(what: str, ours: Any, theirs: Any, left: Array, target: Array) -> Iterator[Row]:
    cf_y, cf_d, rho = 0.05, 0.1, 0.8
    theirs.sensitivity_analysis(cf_y=cf_y, cf_d=cf_d, rho=rho)
    frame, found = ours.sensitivity(cf_y=cf_y, cf_d=cf_d, rho=rho).iloc[0], theirs.sensitivity_params
    ends = ("lower", "upper")
    distance = max(gap(frame[end], found["theta"][end]) for end in ends)
    yield at_most("K9.3", f"{what}: bounds", distance, _BAR)
    limits = max(gap(frame[f"ci_{end}"], found["ci"][end]) for end in ends)
    note = (
        "DoubleML 0.11 divides ψ by its derivative, which is negative, and so adds the noise of the bias to that of "
        "the estimate with the opposite sign: its two errors are exchanged (K9.5), see K9.6"
    )
    yield deviation("K9.4", f"{what}: one-sided limits of the bounds, gap", limits, 0.0, _BAR, note)
    quantile = float(ndtri(0.95))
    own = {
        "lower": (frame["lower"] - frame["ci_lower"]) / quantile,
        "upper": (frame["ci_upper"] - frame["upper"]) / quantile,
    }
    exchanged = max(gap(own["lower"], found["se"]["upper"]), gap(own["upper"], found["se"]["lower"]))
    yield at_most("K9.5", f"{what}: errors of the bounds, theirs exchanged", exchanged, _BAR)
    strength = rho * math.sqrt(cf_y * cf_d / (1 - cf_d))
    direct = {end: _error_of_bound(left, target, sign * strength) for end, sign in (("lower", -1), ("upper", 1))}
    worst = max(gap(own[end], direct[end]) for end in ends)
    yield at_most("K9.6", "errors of the bounds against derivatives of the bounds in the rows' weights", worst, 1e-7)
    rv = ours.sensitivity()["rv"].iloc[0]
    theirs.sensitivity_analysis(rho=1.0)
    value = float(np.ravel(theirs.sensitivity_params["rv"])[0])
    yield at_most("K9.7", f"{what}: robustness value (a numerical search there)", gap(rv, value), 1e-5)


def _error_of_bound(left: Array, target: Array, strength: float) -> float:
    """Standard error of θ̂ + kS by central differences in the weight of each row."""
    n, step, slopes = len(left), 1e-4, []

    def bound(w: Array) -> float:
        coef = (w * left) @ target / (w @ left**2)
        sigma2 = w @ (target - coef * left) ** 2 / w.sum()
        return float(coef + strength * math.sqrt(sigma2 * w.sum() / (w @ left**2)))

    for i in range(n):
        w = np.ones(n)
        w[i] += step
        above = bound(w)
        w[i] -= 2 * step
        slopes.append(n * (above - bound(w)) / (2 * step))
    return float(np.linalg.norm(slopes) / n)
