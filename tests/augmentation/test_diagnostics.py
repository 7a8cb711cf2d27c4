"""Diagnostics: F tests by explicit regression, tests of rank, leaks, what is moved, spuriousness."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.linalg import eigh, null_space, subspace_angles

from causalkit.augmentation import IVLikeRegressor
from causalkit.augmentation.augmenters import AdditiveNoise, NullSpaceShift, SignFlip
from causalkit.augmentation.diagnostics import bartlett, leak_tests, relevance_pvalue
from causalkit.datasets import make_linear_augmentation
from causalkit.exceptions import LeakageWarning, WeakInstrumentWarning
from tests.augmentation.dense_linear import Sample, sample


def f_test(y: np.ndarray, tested: np.ndarray, kept: np.ndarray) -> tuple[float, float]:
    """F test that ``tested`` adds nothing to a constant and ``kept``: statistic and p-value."""

    def rss(design: np.ndarray) -> float:
        return float(np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2))

    small = np.column_stack([np.ones(len(y)), kept])
    large = np.column_stack([small, tested])
    k, freedom = tested.shape[1], len(y) - large.shape[1]
    value = (rss(small) - rss(large)) / k / (rss(large) / freedom)
    return value, float(stats.f.sf(value, k, freedom))


def paired(data: Sample, penalty: str = "paired", **options: Any) -> IVLikeRegressor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return IVLikeRegressor(penalty=penalty, **options).fit(data.X, data.y, **data.given())


# ---------------------------------------------------------------------- tests from moments


def test_relevance_of_each_feature() -> None:
    data = sample(n=80, k=3)
    frame = paired(data).diagnostics().relevance
    assert frame is not None
    nothing = np.empty((80, 0))
    for j in range(4):
        x = data.GX[:, 0, j]
        F, _ = f_test(x, data.G[:, 0], nothing)
        np.testing.assert_allclose(frame["F"].iloc[j], F, rtol=1e-9)
        np.testing.assert_allclose(frame["partial_r2"].iloc[j], F * 3 / (F * 3 + 80 - 4), rtol=1e-9)
    assert (frame["floor"] == 3 / 80).all()


def test_canonical_correlations_and_tests_of_rank() -> None:
    data = sample(n=80, k=3)
    model = paired(data, "projected")
    frame = model.diagnostics().canonical
    assert frame is not None
    g, x = (v - v.mean(axis=0) for v in (data.G[:, 0], data.GX[:, 0]))
    values = eigh(x.T @ g @ np.linalg.solve(g.T @ g, g.T @ x), x.T @ x, eigvals_only=True)[::-1][:3]
    np.testing.assert_allclose(frame["squared_correlation"], values, rtol=1e-9)
    np.testing.assert_allclose(np.sort(model.eigenvalues_)[::-1], values, rtol=1e-9)
    for r in range(3):
        statistic = -(80 - 1 - (4 + 3 + 1) / 2) * np.log(1 - values[r:]).sum()
        np.testing.assert_allclose(frame["statistic"].iloc[r], statistic, rtol=1e-9)
        assert frame["df"].iloc[r] == (4 - r) * (3 - r)
        np.testing.assert_allclose(frame["pvalue"].iloc[r], stats.chi2.sf(statistic, (4 - r) * (3 - r)), rtol=1e-8)
    assert list(frame.index) == ["rank <= 0", "rank <= 1", "rank <= 2"]
    np.testing.assert_allclose(relevance_pvalue(model.moments_), frame["pvalue"].iloc[0])


def test_leak_tests_are_regressions() -> None:
    data = sample(n=90, k=2)
    found = leak_tests(paired(data).moments_)
    np.testing.assert_allclose(found["y on G"], f_test(data.y, data.G[:, 0], np.empty((90, 0)))[1], rtol=1e-8)
    np.testing.assert_allclose(found["y on G given X"], f_test(data.y, data.G[:, 0], data.X)[1], rtol=1e-8)
    g, x = (v - v.mean(axis=0) for v in (data.G[:, 0], data.X))
    values = eigh(g.T @ x @ np.linalg.solve(x.T @ x, x.T @ g), g.T @ g, eigvals_only=True)
    np.testing.assert_allclose(found["X with G"], bartlett(np.sort(values)[::-1], 90, 4, 2)[2], rtol=1e-8)


def test_redundant_columns_do_not_change_the_tests() -> None:
    """Degrees of freedom are ranks, not numbers of columns."""
    data = sample(n=90, k=2)
    G = np.concatenate([data.G, data.G.sum(axis=2, keepdims=True)], axis=2)
    more = Sample(**{**vars(data), "G": G})
    wide = [np.concatenate([v, v[..., :1] + v[..., 1:2]], axis=-1) for v in (data.X, data.GX)]
    doubled = Sample(**{**vars(data), "X": wide[0], "GX": wide[1]})
    expected = paired(data, ridge=1e-12)
    for other, ridge in ((more, 0.0), (doubled, 1e-6)):
        model = paired(other, ridge=ridge)
        tests = leak_tests(model.moments_)
        for name, pvalue in leak_tests(expected.moments_).items():
            np.testing.assert_allclose(tests[name], pvalue, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(relevance_pvalue(model.moments_), relevance_pvalue(expected.moments_), rtol=1e-5)


def test_tests_with_controls_condition_on_them() -> None:
    data = sample(n=90, k=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = IVLikeRegressor(penalty="paired").fit(data.X, data.y, **data.given(controls=True))
    found = leak_tests(model.moments_)
    np.testing.assert_allclose(found["y on G"], f_test(data.y, data.G[:, 0], data.W)[1], rtol=1e-8)
    both = np.hstack([data.W, data.X])
    np.testing.assert_allclose(found["y on G given X"], f_test(data.y, data.G[:, 0], both)[1], rtol=1e-8)
    relevance = model.diagnostics().relevance
    assert relevance is not None
    expected = [f_test(x, data.G[:, 0], data.W)[0] for x in data.GX[:, 0].T]
    np.testing.assert_allclose(relevance["F"], expected, rtol=1e-8)


# ---------------------------------------------------------------------- leaks


def leaking(seed: int, k: int, strength: float) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2000, 3))
    y = X @ np.ones(3) + rng.normal(size=2000)
    G = rng.normal(size=(2000, k)) + strength * y[:, None] / y.std()
    GX = X + G @ rng.normal(size=(k, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakageWarning)
        model = IVLikeRegressor().fit(X, y, augmented=GX, augmentation_parameters=G)
    return leak_tests(model.moments_)


def test_pvalues_are_uniform_for_independent_parameters() -> None:
    found = pd.DataFrame([leaking(seed, 3, 0.0) for seed in range(250)])
    for name in found:
        assert stats.kstest(found[name], "uniform").pvalue > 0.01, name


def test_power_against_a_weak_leak() -> None:
    """One parameter N(0, 1) + .1·y/sd(y), n = 2000: power .99 at 5 %; 100 samples leave the bar .95 three errors."""
    found = pd.DataFrame([leaking(seed, 1, 0.1) for seed in range(100)])
    assert (found["y on G"] < 0.05).mean() >= 0.95


def test_a_leak_is_told() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    y = X[:, 0] + rng.normal(size=500)
    honest = rng.normal(size=(500, 1))
    cases = {
        "y on G": honest + y[:, None],
        "y on G given X": honest + 0.5 * (y - X[:, 0])[:, None],
        "X with G": honest + X[:, 1:2],
    }
    for name, G in cases.items():
        given = {"augmented": X + G * [1.0, 0.0, 0.0], "augmentation_parameters": G}
        with pytest.warns(LeakageWarning, match=rf"not independent of the data.*{name}.*Draw them anew"):
            model = IVLikeRegressor().fit(X, y, **given)
        report = model.diagnostics()
        assert report.leak is not None
        assert bool(report.leak.loc[name, "leak"])
        assert any("G is not independent of the data" in note for note in report.notes)
        # The same through a function.
        with pytest.warns(LeakageWarning):
            IVLikeRegressor(augmentation=lambda X, rng, G=G: (X + G * [1.0, 0.0, 0.0], G)).fit(X, y)
    quiet = IVLikeRegressor().fit(X, y, augmented=X + honest, augmentation_parameters=honest)
    assert quiet.diagnostics().leak is not None
    assert not quiet.diagnostics().leak["leak"].any()


def test_objects_draw_without_looking_and_are_not_tested_in_fit() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = IVLikeRegressor(augmentation=AdditiveNoise(), random_state=0).fit(X, X[:, 0])
    assert model.diagnostics().leak is not None  # the report holds it all the same
    assert IVLikeRegressor().fit(X, X[:, 0], augmented=X + 1.0).diagnostics().leak is None


def test_weak_relevance_is_told() -> None:
    """A flip of centred data does not move the mean of GX: projecting holds noise only."""
    data = make_linear_augmentation(800, 4, random_state=0)
    for penalty in ("projected", "paired"):
        model = IVLikeRegressor(augmentation=SignFlip(columns=[0]), penalty=penalty, random_state=1)
        with pytest.warns(WeakInstrumentWarning, match=r"G does not move the mean of GX.*penalty='pointwise'"):
            model.fit(data.X, data.y)
        assert any("does not detectably move the mean" in note for note in model.diagnostics().notes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IVLikeRegressor(augmentation=SignFlip(columns=[0]), random_state=1).fit(data.X, data.y)
        strong = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), penalty="paired", random_state=1)
        strong.fit(data.X, data.y)
    assert any("G moves the mean of GX" in note for note in strong.diagnostics().notes)


# ---------------------------------------------------------------------- what is moved


@pytest.mark.parametrize("penalty", ["pointwise", "analytic", "constrained", "paired", "projected"])
def test_moved_and_untouched_directions(penalty: str) -> None:
    data = sample(n=80)
    if penalty == "analytic":
        model = IVLikeRegressor(penalty=penalty, augmentation=AdditiveNoise(covariance=data.K)).fit(data.X, data.y)
        B = data.K
    else:
        model = paired(data, penalty)
        d = data.GX[:, 0] - data.X
        B = d.T @ d / 80
    report = model.diagnostics()
    xc = data.X - data.X.mean(axis=0)
    values = eigh(B, xc.T @ xc / 80, eigvals_only=True)[::-1]
    np.testing.assert_allclose(report.moved["eigenvalue"], values, rtol=1e-7, atol=1e-10)
    assert list(report.moved["is_moved"]) == [True, True, False, False]
    assert report.untouched.shape == (4, 2)
    assert subspace_angles(report.untouched, null_space(B, rcond=1e-9)).max() < 1e-6
    factors = report.moved["shrinkage"]
    if penalty in ("pointwise", "analytic", "constrained"):
        x = data.X if penalty != "pointwise" else data.GX[:, 0]
        x = x - x.mean(axis=0)
        own = eigh(B, x.T @ x / 80, eigvals_only=True)[::-1][:2]
        expected = {"pointwise": 0.1 / (0.1 + own), "analytic": 1 / (1 + 11 * own), "constrained": [0.0, 0.0]}[penalty]
        np.testing.assert_allclose(factors, [*expected, 1.0, 1.0], rtol=1e-7)
    else:
        assert factors.isna().all()
    assert any("moves 2 of 4 directions; what is left (2) is as confounded" in note for note in report.notes)


def test_nothing_is_moved_without_an_augmentation() -> None:
    data = sample()
    report = IVLikeRegressor().fit(data.X, data.y).diagnostics()
    assert not report.moved["is_moved"].any()
    assert report.untouched.shape == (4, 4)
    assert report.relevance is None
    assert report.canonical is None
    np.testing.assert_allclose(report.breakdown["confounding_needed"], 0.0, atol=1e-12)
    assert report.spuriousness["pvalue"].iloc[0] == 1.0


def test_spuriousness_is_a_wald_test_of_least_squares() -> None:
    data = sample(n=80)
    basis = np.eye(4)[:2]
    model = IVLikeRegressor(augmentation=NullSpaceShift(basis), random_state=0)
    design = np.column_stack([np.ones(80), data.X])
    beta = np.linalg.lstsq(design, data.y, rcond=None)[0]
    inverse, scores = np.linalg.inv(design.T @ design), design * (data.y - design @ beta)[:, None]
    for groups in (None, data.groups):
        meat = scores.T @ scores
        if groups is not None:
            sums = np.stack([scores[groups == g].sum(axis=0) for g in np.unique(groups)])
            meat = sums.T @ sums
        cov = (inverse @ meat @ inverse)[1:3, 1:3]
        statistic = beta[1:3] @ np.linalg.solve(cov, beta[1:3])
        frame = model.fit(data.X, data.y, groups=groups).diagnostics().spuriousness
        np.testing.assert_allclose(frame["statistic"].iloc[0], statistic, rtol=1e-8)
        assert frame["df"].iloc[0] == 2
    streamed = IVLikeRegressor(augmentation=NullSpaceShift(basis), random_state=0).partial_fit(data.X, data.y)
    report = streamed.diagnostics()
    noise = np.mean((data.y - design @ beta) ** 2)
    statistic = beta[1:3] @ np.linalg.solve(noise * inverse[1:3, 1:3], beta[1:3])
    np.testing.assert_allclose(report.spuriousness["statistic"].iloc[0], statistic, rtol=1e-8)
    assert any("classical, because the rows are not at hand" in note for note in report.notes)


def test_spuriousness_holds_its_level_and_finds_confounding() -> None:
    """The moved direction has no effect; without confounding the test is of level 5 % (band of 4 errors)."""
    rejected = {0.0: 0, 1.0: 0}
    for kappa in rejected:
        for seed in range(200):
            data = make_linear_augmentation(300, 4, confounding=kappa, random_state=seed)
            model = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), penalty="analytic").fit(data.X, data.y)
            rejected[kappa] += int(model.diagnostics().spuriousness["pvalue"].iloc[0] < 0.05)
    assert abs(rejected[0.0] / 200 - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 200)
    assert rejected[1.0] > 180


# ---------------------------------------------------------------------- the object


def test_several_outcomes_have_a_row_each() -> None:
    data = sample(n=80, outcomes=2)
    report = paired(data).diagnostics()
    for t in range(2):
        alone = paired(Sample(**{**vars(data), "y": data.y[:, t]})).diagnostics()
        for name in ("spuriousness", "breakdown"):
            np.testing.assert_allclose(getattr(report, name).iloc[t], getattr(alone, name).iloc[0], rtol=1e-7)
    both = report.leak
    assert both is not None
    assert both.loc["y on G", "pvalue"] <= 1.0


def test_display_and_words(capsys: Any) -> None:
    data = sample(n=80)
    report = paired(data).diagnostics()
    text, html = repr(report), report._repr_html_()
    assert text.startswith("AugmentationDiagnostics\n- the augmentation moves 2 of 4")
    assert "outcome invariance itself cannot be tested" in text
    assert {"relevance", "canonical", "moved", "leak", "spuriousness", "breakdown"} <= set(
        re.findall(r"<summary>(\w+)</summary>", html)
    )
    assert capsys.readouterr().out == ""
    instruments = IVLikeRegressor().fit(data.X, data.y, instruments=data.X + data.G[:, 0, :1]).diagnostics()
    assert instruments.leak is None  # real instruments may well depend on X
    assert any("real instruments: see instrument_diagnostics" in note for note in instruments.notes)
