"""Identities of the projected penalty with relatives, by formula and by the packages ivmodels and linearmodels."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap
from benchmarks.rows import Row, at_most, near, skipped
from benchmarks.validation.augmentation.common import relative_gap
from causalkit.augmentation import IVLikeRegressor
from causalkit.augmentation.anderson_rubin import anderson_rubin
from causalkit.augmentation.instruments import instrument_diagnostics

__all__ = ["peer_rows"]

Array = NDArray[np.float64]

_INSTALL = "peer absent: {} is not installed: pip install -e '.[bench]'"
_ALPHAS = (0.01, 0.1, 1.0, 10.0)
# Seed, rows, instruments, strength of the first stage, effect of the first instrument on y: one set of each kind.
_SETS = {
    "interval": (0, 200, 3, 0.8, 0.0),
    "rays": (2, 120, 2, 0.15, 0.0),
    "line": (2, 100, 4, 0.0, 0.0),
    "empty": (2, 200, 3, 1.0, 2.0),
}


def _peer(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


def _data(seed: int, n: int, p: int, k: int, strength: float = 0.8, direct: float = 0.0) -> tuple[Array, Array, Array]:
    """X, y and Z with a hidden cause of X and y; ``direct`` is an effect of the first instrument on y."""
    rng = np.random.default_rng([16_000, seed])
    Z, hidden = rng.standard_normal((n, k)), rng.standard_normal((n, p))
    X = strength * Z @ rng.standard_normal((k, p)) + hidden + 0.5 * rng.standard_normal((n, p))
    effect = rng.standard_normal(p)
    return X, X @ effect + hidden.sum(axis=1) + rng.standard_normal(n) + direct * Z[:, 0] + 1.0, Z


def _transformed(X: Array, y: Array, Z: Array, alpha: float) -> Array:
    """Least squares of sY + tE[Y|Z] on sX + tE[X|Z], centred; s = √α, t = √(1+α) - √α (Proposition 1)."""
    x, z, outcome = X - X.mean(axis=0), Z - Z.mean(axis=0), y - y.mean()
    s, t = np.sqrt(alpha), np.sqrt(1 + alpha) - np.sqrt(alpha)
    both = np.column_stack([x, outcome])
    both = s * both + t * z @ np.linalg.lstsq(z, both, rcond=None)[0]
    return np.asarray(np.linalg.lstsq(both[:, :-1], both[:, -1], rcond=None)[0])


def peer_rows(relatives: str, instruments: str) -> Iterator[Row]:
    """Anchor regression, k-class and Proposition 1; then tests, sets and errors of real instruments."""
    cases = (("k = p + 2", _data(0, 300, 3, 5)), ("k < p", _data(1, 300, 5, 3)))
    for number, (name, (X, y, Z)) in enumerate(cases):
        fits = [IVLikeRegressor(alpha=a).fit(X, y, instruments=Z).coef_ for a in _ALPHAS]
        worst = max(gap(h, _transformed(X, y, Z, a)) for a, h in zip(_ALPHAS, fits, strict=True))
        what = f"{name}: projected against the regression of Proposition 1, four α"
        yield at_most(f"{relatives}.{number + 1}", what, worst, 1e-10)
    yield from _k_class(relatives, cases)
    yield from _instruments(instruments)


def _k_class(label: str, cases: tuple[tuple[str, tuple[Array, Array, Array]], ...]) -> Iterator[Row]:
    ivmodels = _peer("ivmodels")
    what = "projected against ivmodels' anchor regression and k-class"
    if ivmodels is None:
        yield skipped(f"{label}.3", what, _INSTALL.format("ivmodels"))
        return
    anchor = import_module("ivmodels.models.anchor_regression").AnchorRegression
    number = 2
    for name, (X, y, Z) in cases:
        for centred in (True, False):
            number += 1
            model = IVLikeRegressor(fit_intercept=centred).fit(X, y, instruments=Z)
            ours = model.path(_ALPHAS)
            errors = []
            for a, h, constant in zip(_ALPHAS, ours.coef, ours.intercept, strict=True):
                first = anchor(gamma=1 + 1 / a, fit_intercept=centred).fit(X, y, Z=Z)
                second = ivmodels.KClass(kappa=1 / (1 + a), fit_intercept=centred).fit(X, y, Z=Z)
                for theirs in (first, second):
                    errors += [gap(h, np.ravel(theirs.coef_)), gap(constant, theirs.intercept_ if centred else 0.0)]
            how = "with intercept" if centred else "without intercept"
            yield at_most(f"{label}.{number}", f"{name}, {how}: {what}, four α", max(errors), 1e-10)
    X, y, Z = cases[0][1]
    W = np.random.default_rng(16_001).standard_normal((len(y), 2)) + Z[:, :2]
    errors = []
    for a in _ALPHAS:
        model = IVLikeRegressor(alpha=a).fit(X, y, instruments=Z, exogenous=W)
        theirs = ivmodels.KClass(kappa=1 / (1 + a)).fit(X, y, Z=Z, C=W)
        errors.append(gap(np.append(model.coef_, model.exogenous_coef_), np.ravel(theirs.coef_)))
    yield at_most(
        f"{label}.{number + 1}", "with two controls: projected against ivmodels' k-class, four α", max(errors), 1e-10
    )


# ---------------------------------------------------------------------- real instruments


def _instruments(label: str) -> Iterator[Row]:
    tests = _peer("ivmodels.tests")
    if tests is None:
        yield skipped(f"{label}.1", "Anderson-Rubin, rank test, κ of LIML, sets", _INSTALL.format("ivmodels"))
    else:
        yield from _tests(label, tests)
    if _peer("linearmodels") is None:
        yield skipped(f"{label}.9", "two-stage least squares and robust errors", _INSTALL.format("linearmodels"))
    else:
        yield from _two_stage(label)


def _tests(label: str, tests: Any) -> Iterator[Row]:
    X, y, Z = _data(2, 250, 2, 4)
    # Near two-stage least squares, so that p is neither 0 nor 1.
    beta = IVLikeRegressor(alpha=0.0).fit(X, y, instruments=Z).coef_ + np.array([0.05, -0.1])
    for number, distribution in enumerate(("f", "chi2")):
        ours = anderson_rubin(X, y, instruments=Z, beta=beta, distribution=distribution)
        statistic, pvalue = tests.anderson_rubin_test(Z=Z, X=X, y=y, beta=beta, critical_values=distribution)
        error = max(abs(ours.statistic / float(statistic) - 1), abs(ours.pvalue - float(pvalue)))
        what = f"Anderson-Rubin under {distribution}: statistic (relative) and p against ivmodels"
        yield at_most(f"{label}.{number + 1}", what, error, 1e-8)
    frame = instrument_diagnostics(X, y, instruments=Z)
    statistic, pvalue = tests.rank_test(Z=Z, X=X)
    found = frame.loc[("rank_test", "")]
    error = max(abs(found["value"] / float(statistic) - 1), abs(found["pvalue"] - float(pvalue)))
    yield at_most(f"{label}.3", "rank test: statistic (relative) and p against ivmodels", error, 1e-8)
    liml = import_module("ivmodels").KClass(kappa="liml").fit(X, y, Z=Z)
    error = abs(float(frame.loc[("kappa_liml", ""), "value"]) - float(liml.kappa_))
    yield at_most(f"{label}.4", "κ of LIML against ivmodels", error, 1e-8)
    for number, (kind, (seed, n, k, strength, direct)) in enumerate(_SETS.items()):
        x, outcome, instruments = _one_feature(seed, n, k, strength, direct)
        ours = anderson_rubin(x, outcome, instruments=instruments).confidence_set()
        quadric = tests.inverse_anderson_rubin_test(Z=instruments, X=x, y=outcome, alpha=0.05, critical_values="f")
        what, note = f"Anderson-Rubin set of one coefficient, {kind}", f"ours: {ours}"
        same = float(ours.kind == kind == _kind(quadric))
        yield near(f"{label}.{5 + number}a", f"{what}: of the kind of ivmodels' quadric", same, 1.0, 0.0, note=note)
        if kind in ("interval", "rays"):
            yield at_most(f"{label}.{5 + number}b", f"{what}: ends against ivmodels", _ends(ours, quadric), 1e-8)


def _one_feature(seed: int, n: int, k: int, strength: float, direct: float) -> tuple[Array, Array, Array]:
    """One feature; the direct effect is that of the first instrument on y."""
    rng = np.random.RandomState(seed)
    Z, hidden = rng.standard_normal((n, k)), rng.standard_normal((n, 1))
    X = strength * Z @ np.ones((k, 1)) + hidden + 0.3 * rng.standard_normal((n, 1))
    return X, X[:, 0] + hidden[:, 0] + direct * Z[:, 0] + rng.standard_normal(n), Z


def _coefficients(quadric: Any) -> Array:
    """a, b, c of the quadric aβ² + bβ + c ≤ 0."""
    return np.array([float(np.ravel(quadric.A)[0]), float(np.ravel(quadric.b)[0]), float(quadric.c)])


def _kind(quadric: Any) -> str:
    a, b, c = _coefficients(quadric)
    if b * b > 4 * a * c:
        return "interval" if a > 0 else "rays"
    return "empty" if a > 0 else "line"


def _ends(ours: Any, quadric: Any) -> float:
    """Distance of our finite ends from the roots of the quadric, relative."""
    roots = np.sort(np.roots(_coefficients(quadric)).real)
    ends = np.sort([end for part in ours.intervals for end in part if np.isfinite(end)])
    return relative_gap(ends, roots)


def _two_stage(label: str) -> Iterator[Row]:
    from linearmodels.iv import IV2SLS

    for number, (name, p, k) in enumerate((("k = p", 3, 3), ("k > p", 3, 6))):
        X, y, Z = _data(3 + number, 400, p, k)
        model = IVLikeRegressor(alpha=0.0).fit(X, y, instruments=Z)
        theirs = IV2SLS(y, np.ones((len(y), 1)), X, Z).fit(cov_type="robust")
        result = model.inference()
        place = 9 + 2 * number
        error = relative_gap(result.estimate, np.asarray(theirs.params))
        yield at_most(f"{label}.{place}", f"{name}: two-stage least squares against linearmodels", error, 1e-10)
        error = relative_gap(result.std_error, np.asarray(theirs.std_errors))
        if p == k:
            what = f"{name}: robust errors against linearmodels"
            yield at_most(f"{label}.{place + 1}", what, error, 1e-8)
        else:
            note = "ours allow for moments that more instruments than features cannot all meet"
            yield at_most(
                f"{label}.{place + 1}", f"{name}: robust errors, which differ a little", error, 0.2, note=note
            )
