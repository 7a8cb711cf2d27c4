"""Zero replacement against values of plain loops and of published tables, and what every method keeps."""

from __future__ import annotations

import json
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from causalkit.composition.transforms import CLR
from causalkit.composition.zero_limits import censored_normal_fit, inverse_mills_ratio
from causalkit.composition.zero_log_ratio_em import fit_log_ratio_normal
from causalkit.composition.zero_replacement import ZERO_METHODS, ZeroReplacement
from causalkit.datasets import fetch_roman_glass_cups
from causalkit.persistence import load, save
from tests.datasets.composition_files import fetch_or_skip

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "composition" / "zeros.json").read_text())
COUNTS = np.array(GOLDEN["counts"]["data"], dtype=float)
SIMULATED = np.array(GOLDEN["simulated"]["data"])
LIMITS = np.array(GOLDEN["simulated"]["limits"])
CUP_LIMITS = {"Mg": 0.45, "K": 0.40, "Ti": 0.06}
COUNT_METHODS = ["gbm", "sq", "bl", "czm"]
LIMIT_METHODS = {
    "multiplicative": {},
    "lognormal": {"method": "lognormal"},
    "lrem_complete": {"method": "lrem", "initial": "complete"},
    "lrem_multiplicative": {"method": "lrem", "initial": "multiplicative"},
    "lrsvd": {"method": "lrsvd"},
}
# These tables replace much, on purpose.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*more than 30% of their mass:causalkit.exceptions.ZeroReplacementWarning"
)


def cups() -> tuple[pd.DataFrame, pd.Series]:
    """Cups with small Mg, K and Ti set to zero, and limits: theirs, and the column minima elsewhere."""
    table = fetch_or_skip(fetch_roman_glass_cups).parts.copy()
    limits = table.min()
    for part, limit in CUP_LIMITS.items():
        table[part] = table[part].where(table[part] >= limit, 0.0)
        limits[part] = limit
    assert [(table[part] == 0).sum() for part in CUP_LIMITS] == [19, 1, 4]
    return table, limits


def cup_means(proportions: np.ndarray, table: pd.DataFrame) -> list[float]:
    return [
        float(np.log(proportions[(table[part] == 0).to_numpy(), table.columns.get_loc(part)]).mean())
        for part in CUP_LIMITS
    ]


# ---------------------------------------------------------------------- counts


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("gbm", [0.0375621459104, 0.124370069447, 0.040625, 0.132798704073]),
        ("sq", [0.0368421052632, 0.0819841005485, 0.040625, 0.111963298118]),
        ("bl", [0.0368421052632, 0.117913832200, 0.040625, 0.104347826087]),
        ("czm", [0.0203125, 0.065, 0.040625, 0.0171052631579]),
    ],
)
def test_count_methods_on_the_worked_example(method: str, expected: list[float]) -> None:
    out = ZeroReplacement(method=method).fit_transform(COUNTS)
    np.testing.assert_allclose(out[COUNTS == 0], expected, atol=1e-9)
    np.testing.assert_allclose(out, GOLDEN["counts"][method], atol=1e-14)


def test_james_stein_and_counts_on_the_worked_example() -> None:
    out = ZeroReplacement(method="gbm", output="counts").fit_transform(COUNTS)
    expected = [0.624450017227, 0.744726557273, 0.243262036627, 2.90956135471]
    np.testing.assert_allclose(out[COUNTS == 0], expected, atol=1e-9)
    np.testing.assert_array_equal(out[COUNTS > 0], COUNTS[COUNTS > 0])
    shrunk = ZeroReplacement(method="james_stein").fit_transform(COUNTS)
    np.testing.assert_allclose(shrunk[0], [0.57258065, 0.03494624, 0.30376344, 0.08870968], atol=1e-8)
    np.testing.assert_allclose(shrunk, GOLDEN["counts"]["james_stein"], atol=1e-14)
    totals = ZeroReplacement(method="james_stein", output="counts").fit_transform(COUNTS).sum(axis=1)
    np.testing.assert_allclose(totals, COUNTS.sum(axis=1))


def test_james_stein_without_information_is_even() -> None:
    """One read, or equal proportions: λ = 1."""
    rows = [[1, 0, 0, 0], [3, 3, 3, 3], [50, 20, 10, 5]]
    out = ZeroReplacement(method="james_stein").fit_transform(rows)
    np.testing.assert_allclose(out[:2], 0.25)
    assert (np.diff(out[2]) < 0).all()


@pytest.mark.parametrize("method", ["gbm", "sq", "bl"])
def test_new_rows_have_the_totals_of_all_training_rows(method: str) -> None:
    """A new row equals the same row in training, once every other row and no more counts for its prior."""
    fitted = ZeroReplacement(method=method).fit(COUNTS)
    new = np.array([[4.0, 0.0, 2.0, 3.0]])
    together = ZeroReplacement(method=method).fit_transform(np.vstack([COUNTS, new]))[-1]
    np.testing.assert_allclose(fitted.transform(new)[0], together, rtol=1e-12)
    joint, later = ZeroReplacement(method=method).fit_transform(COUNTS), fitted.transform(COUNTS)
    assert np.abs(joint - later).max() > 1e-4


# ---------------------------------------------------------------------- limits


@pytest.mark.parametrize("name", LIMIT_METHODS)
def test_limit_methods_on_simulated_rows(name: str) -> None:
    expected = GOLDEN["simulated"][name]
    model = ZeroReplacement(detection_limit=LIMITS, **LIMIT_METHODS[name])
    out = model.fit_transform(SIMULATED)
    np.testing.assert_allclose(out, expected["proportions"], rtol=1e-6 if name == "lognormal" else 1e-9)
    assert model.n_iter_ == expected["n_iter"]


@pytest.mark.parametrize(
    ("name", "expected", "n_iter"),
    [
        ("multiplicative", (-5.8294370733, -5.9432030893, -7.8441752044), 1),
        ("lognormal", (-5.505558, -5.577332, -7.500821), 1),
        ("lrem_complete", (-5.5125523101, -5.5607311215, -7.4701838312), 15),
        ("lrem_multiplicative", (-5.5135102374, -5.5607284736, -7.4701810698), 20),
        ("lrsvd", (-5.6684020404, -5.5353072272, -7.4582714976), 7),
    ],
)
def test_limit_methods_on_cups(name: str, expected: tuple[float, ...], n_iter: int) -> None:
    table, limits = cups()
    model = ZeroReplacement(detection_limit=limits, **LIMIT_METHODS[name])
    means = cup_means(model.fit_transform(table), table)
    np.testing.assert_allclose(means, expected, atol=1e-6 if name == "lognormal" else 1e-8)
    stored = GOLDEN["cups"][name]
    np.testing.assert_allclose(means, [*stored["mean_log_proportion"].values()], atol=1e-8)
    assert model.n_iter_ == stored["n_iter"] == n_iter


def test_uncentred_regressions_reproduce_the_published_implementation() -> None:
    """The same steps with uncentred moments give the numbers of a package that sweeps the constant twice."""
    table, limits = cups()
    for rows, dl, expected in (
        (table.to_numpy(), limits.to_numpy(), None),
        (SIMULATED, LIMITS, GOLDEN["simulated"]["lrem_uncentred"]["proportions"]),
    ):
        names = [str(j) for j in range(rows.shape[1])]
        _, filled = fit_log_ratio_normal(rows, dl, names, initial="complete", centred=False)
        shares = filled / filled.sum(axis=1, keepdims=True)
        if expected is not None:
            np.testing.assert_allclose(shares, expected, rtol=1e-7)
        else:
            published = [-5.5191649139, -5.5600798566, -7.4799272088]
            np.testing.assert_allclose(cup_means(shares, table), published, atol=1e-9)


def test_minimum_is_the_smallest_positive_value_of_the_matrix() -> None:
    model = ZeroReplacement(method="minimum", output="counts").fit(COUNTS + 0.5 * (COUNTS > 0))
    np.testing.assert_array_equal(model.transform(COUNTS), np.where(COUNTS == 0, 1.5, COUNTS))
    shares = model.set_params(output="proportions").transform(COUNTS)
    filled = np.where(COUNTS == 0, 1.5, COUNTS)
    np.testing.assert_allclose(shares, filled / filled.sum(axis=1, keepdims=True))


def test_multiplicative_by_hand() -> None:
    """r = .65·2 in the zero of a row with total 20; the others lose 1.3/20 of themselves."""
    rows = [[5.0, 0.0, 15.0], [1.0, 2.0, 3.0]]
    out = ZeroReplacement().fit(rows).transform(rows)
    np.testing.assert_allclose(out[0], np.array([5 * (1 - 1.3 / 20), 1.3, 15 * (1 - 1.3 / 20)]) / 20)
    np.testing.assert_allclose(out[1], np.array([1, 2, 3]) / 6)


@pytest.mark.parametrize("name", LIMIT_METHODS)
def test_limits_per_part_and_per_cell_agree(name: str) -> None:
    part = ZeroReplacement(detection_limit=LIMITS, **LIMIT_METHODS[name])
    cell = ZeroReplacement(detection_limit=np.tile(LIMITS, (len(SIMULATED), 1)), **LIMIT_METHODS[name])
    np.testing.assert_allclose(cell.fit_transform(SIMULATED), part.fit_transform(SIMULATED), rtol=1e-12)
    assert cell.detection_limit_.shape == SIMULATED.shape
    one = ZeroReplacement(detection_limit=0.1, **LIMIT_METHODS[name]).fit(SIMULATED)
    np.testing.assert_array_equal(one.detection_limit_, np.full(6, 0.1))


@pytest.mark.parametrize("name", ["multiplicative", "lognormal", "lrem_complete", "lrsvd"])
def test_a_limit_of_its_own_reaches_its_cell(name: str) -> None:
    cells = np.tile(LIMITS, (len(SIMULATED), 1))
    row = int(np.flatnonzero((SIMULATED == 0).sum(axis=1) == 1)[0])
    part = int(np.flatnonzero(SIMULATED[row] == 0)[0])
    low = cells.copy()
    low[row, part] /= 4
    first, second = (
        ZeroReplacement(detection_limit=dl, **LIMIT_METHODS[name]).fit_transform(SIMULATED)[row, part]
        for dl in (cells, low)
    )
    assert second < first


@pytest.mark.parametrize("name", ["multiplicative", "lognormal", "lrem_complete", "lrem_multiplicative"])
def test_training_rows_again_are_the_same(name: str) -> None:
    model = ZeroReplacement(detection_limit=LIMITS, **LIMIT_METHODS[name])
    np.testing.assert_allclose(model.fit_transform(SIMULATED), model.transform(SIMULATED), rtol=1e-12)


def test_new_rows_under_the_low_rank_fit_by_loops() -> None:
    """Row by row: zeros from the shrunken fit, observed cells mixed with the plain one, until the misfit rests."""
    model = ZeroReplacement(method="lrsvd", detection_limit=LIMITS, tol=1e-6).fit(SIMULATED)
    fit, m, top = model.model_, model.model_.centre, SIMULATED.max(axis=0)

    def share(logs: np.ndarray) -> np.ndarray:
        return np.exp(logs) / np.exp(logs).sum()

    def cut(x: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        logs = np.log(np.minimum(amounts, np.where(x == 0, LIMITS, np.maximum(top, x))))
        return logs - logs.mean()

    new = SIMULATED[[2, 5, 7, 11, 20]] * np.array([[1.0], [1.0], [3.0], [1.3], [0.8]])
    out = model.transform(new)
    project = fit.loadings @ fit.loadings.T
    shrink = fit.loadings @ np.diag(fit.retained) @ fit.loadings.T
    for x, found in zip(new, out, strict=True):
        zero, total = x == 0, x.sum()
        logs = np.log(np.where(zero, 0.65 * LIMITS, x))
        c, misfit, rounds = logs - logs.mean() - m, np.inf, 0
        while zero.any():
            rounds += 1
            p = np.where(zero, share(shrink @ c), share(c))
            p = share(cut(x, total * share(np.log(p) - np.log(p).mean() + m)))
            p = np.where(zero, p, share(project @ c + m) ** 0.5 * p**0.5)
            c = cut(x, total * p / p.sum()) - m
            ratio = np.log(np.where(zero, 1.0, share(c) / share(shrink @ c)))
            before, misfit = misfit, ((ratio - ratio.mean()) ** 2).sum()
            if rounds >= 5 and (misfit < 1e-6 or abs(before - misfit) < 1e-6 * before):
                break
        q = np.where(zero, share(c + fit.start_centre), x / total)
        q = np.where(zero, np.minimum(total * q / q.sum(), LIMITS), x)
        q = np.where(zero, q / q.sum() * total, x)
        np.testing.assert_allclose(found, q / q.sum(), rtol=1e-8)
    joint = ZeroReplacement(method="lrsvd", detection_limit=LIMITS)
    first, later = joint.fit_transform(SIMULATED), joint.transform(SIMULATED)
    distance = np.abs(np.log(first) - np.log(later))[SIMULATED == 0]
    assert 0 < np.median(distance) < 0.1


def test_imputed_values_recover_what_was_censored() -> None:
    """Low-rank data without noise, censored: the methods that use the other parts beat the one that does not."""
    rng = np.random.default_rng(7)
    logs = rng.normal(size=(150, 2)) @ rng.normal(size=(2, 8)) + 0.1 * rng.normal(size=(150, 8))
    x = np.exp(logs)
    limits = np.quantile(x, [0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3], axis=0).diagonal()
    censored = np.where(x < limits, 0.0, x)
    truth = np.log(x / x.sum(axis=1, keepdims=True))

    def error(method: str) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = ZeroReplacement(method=method, detection_limit=limits).fit_transform(censored)
        return float(np.mean((np.log(out) - truth)[censored == 0] ** 2))

    plain = error("multiplicative")
    assert error("lrem") < plain / 4
    assert error("lrsvd") < 0.8 * plain


# ---------------------------------------------------------------------- parts of the methods


def test_inverse_mills_ratio() -> None:
    z = np.array([-5.0, -1.0, 0.0, 2.0, 6.0])
    np.testing.assert_allclose(inverse_mills_ratio(z), norm.pdf(z) / norm.cdf(z), rtol=1e-12)
    # -z - 1/z + 2/z³ - 10/z⁵, the tail expansion
    tail = np.array([-1e2, -1e4, -1e8])
    np.testing.assert_allclose(inverse_mills_ratio(tail), -tail - 1 / tail + 2 / tail**3, rtol=1e-9)
    assert inverse_mills_ratio(np.array([60.0]))[0] == 0


def test_truncated_mean_of_the_lognormal_method() -> None:
    """μ - σφ(z)/Φ(z) is the mean below the limit, by quadrature."""
    mu, sd, limit = 0.4, 1.3, -0.2
    mass = norm.cdf(limit, mu, sd)
    mean = quad(lambda v: v * norm.pdf(v, mu, sd), -np.inf, limit)[0] / mass
    assert mu - sd * float(inverse_mills_ratio(np.array((limit - mu) / sd))) == pytest.approx(mean, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    observed=arrays(np.float64, st.integers(2, 12), elements=st.floats(-5, 5), unique=True),
    limits=arrays(np.float64, st.integers(0, 12), elements=st.floats(-5, 5)),
    shift=st.floats(-50, 50),
)
def test_censored_fit_is_a_maximum(observed: np.ndarray, limits: np.ndarray, shift: float) -> None:
    if np.ptp(observed) < 1e-3:
        return
    mean, sd = censored_normal_fit(observed, limits)

    def likelihood(mu: float, sigma: float) -> float:
        return float(norm.logpdf(observed, mu, sigma).sum() + norm.logcdf(limits, mu, sigma).sum())

    best = likelihood(mean, sd)
    for step in (1e-3, 0.1):
        for mu, sigma in (
            (mean + step * sd, sd),
            (mean - step * sd, sd),
            (mean, sd * (1 + step)),
            (mean, sd / (1 + step)),
        ):
            assert likelihood(mu, sigma) <= best + 1e-9 * max(1, abs(best))
    moved = censored_normal_fit(observed + shift, limits + shift)
    np.testing.assert_allclose(moved, (mean + shift, sd), rtol=1e-6, atol=1e-6)


def test_uncensored_fit_is_mean_and_deviation() -> None:
    x = np.array([0.3, 1.7, -0.4, 2.2])
    np.testing.assert_allclose(censored_normal_fit(x, np.array([])), (x.mean(), x.std()), rtol=1e-12)


# ---------------------------------------------------------------------- what every method keeps


def _data(method: str) -> np.ndarray:
    """Counts with zeros; one row holds the first part alone, which James-Stein cannot shrink."""
    counts = np.round(10 * SIMULATED + 30 * (np.arange(6) == 0))
    return np.delete(counts, 7, axis=0) if method == "james_stein" else counts


@pytest.mark.parametrize("method", ZERO_METHODS)
def test_rows_are_positive_proportions_and_observed_ratios_stay(method: str) -> None:
    x = _data(method)
    for model in (ZeroReplacement(method=method), ZeroReplacement(method=method, output="counts")):
        for out in (model.fit_transform(x), model.transform(x), model.transform(x[:1])):
            assert (out > 0).all()
            if model.output == "proportions":
                np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-12)
        if method == "james_stein":
            continue
        out = model.transform(x)
        for row, new in zip(x, out, strict=True):
            seen = row > 0
            np.testing.assert_allclose(new[seen] / new[0], row[seen] / row[0], rtol=1e-9)
        if model.output == "counts":
            np.testing.assert_array_equal(out[x > 0], x[x > 0])


@pytest.mark.parametrize("method", [m for m in ZERO_METHODS if m != "james_stein"])
def test_rows_without_zeros_are_only_closed(method: str) -> None:
    x = _data(method)
    whole = x[(x > 0).all(axis=1)]
    out = ZeroReplacement(method=method).fit(x).transform(whole)
    np.testing.assert_allclose(out, whole / whole.sum(axis=1, keepdims=True), rtol=1e-14)


@pytest.mark.parametrize("method", ZERO_METHODS)
def test_new_rows_are_treated_one_by_one(method: str) -> None:
    x = _data(method)
    model = ZeroReplacement(method=method).fit(x)
    whole = model.transform(x)
    for i in range(0, len(x), 7):
        np.testing.assert_allclose(model.transform(x[i : i + 1])[0], whole[i], rtol=1e-9)


@pytest.mark.parametrize("method", ["multiplicative", "lognormal", "lrem", "lrsvd"])
def test_units_of_the_whole_table_do_not_matter(method: str) -> None:
    one = ZeroReplacement(method=method, detection_limit=LIMITS).fit_transform(SIMULATED)
    other = ZeroReplacement(method=method, detection_limit=1e4 * LIMITS).fit_transform(1e4 * SIMULATED)
    np.testing.assert_allclose(other, one, rtol=1e-7)


@pytest.mark.parametrize("method", ["multiplicative", "lognormal", "lrsvd", *COUNT_METHODS])
def test_order_of_parts_does_not_matter(method: str) -> None:
    x = _data(method)
    order = [3, 0, 5, 1, 4, 2]
    one = ZeroReplacement(method=method).fit_transform(x)
    np.testing.assert_allclose(ZeroReplacement(method=method).fit_transform(x[:, order]), one[:, order], rtol=1e-7)


@pytest.mark.parametrize("method", ["multiplicative", "lrsvd", "lrem"])
def test_imputed_values_lie_below_their_limits(method: str) -> None:
    out = ZeroReplacement(method=method, detection_limit=LIMITS, output="counts").fit_transform(SIMULATED)
    zero = SIMULATED == 0
    # The last cut of lrsvd is followed by a closure, and multiplicative puts its mass on top of the row.
    slack = 1.0 if method == "lrem" else 2.0
    usual = zero & (zero.sum(axis=1, keepdims=True) < 4)
    assert (out[usual] <= slack * np.broadcast_to(LIMITS, out.shape)[usual]).all()


@settings(max_examples=30, deadline=None)
@given(x=arrays(np.int64, (6, 4), elements=st.integers(0, 30)), method=st.sampled_from([*COUNT_METHODS, "james_stein"]))
def test_counts_of_any_kind(x: np.ndarray, method: str) -> None:
    # Every row has two parts and every part two rows, which the methods ask for.
    x = x + np.array([40, 0, 0, 0]) + np.tile(np.eye(3, 4, k=1, dtype=int), (2, 1))
    out = ZeroReplacement(method=method).fit_transform(x)
    assert (out > 0).all()
    np.testing.assert_allclose(out.sum(axis=1), 1)
    if method != "james_stein":
        smallest = np.where(x > 0, x / x.sum(axis=1, keepdims=True), np.inf).min(axis=0)
        assert (out[x == 0] <= np.broadcast_to(smallest, x.shape)[x == 0] * (1 + 1e-12)).all()


# ---------------------------------------------------------------------- as a transformer


@pytest.mark.parametrize("method", ZERO_METHODS)
def test_fitted_attributes(method: str) -> None:
    x = pd.DataFrame(_data(method), columns=list("abcdef"))
    model = ZeroReplacement(method=method).fit(x)
    np.testing.assert_array_equal(model.column_totals_, x.sum())
    np.testing.assert_allclose(model.column_minimum_, x.div(x.sum(axis=1), axis=0).replace(0, np.inf).min())
    np.testing.assert_array_equal(model.detection_limit_, x.replace(0, np.inf).min())
    assert list(model.get_feature_names_out()) == list("abcdef")
    assert model.n_iter_ >= 1


@pytest.mark.parametrize("method", ZERO_METHODS)
def test_pickled_and_saved_models_are_the_same(method: str, tmp_path: Any) -> None:
    x = _data(method)
    model = ZeroReplacement(method=method).fit(x)
    save(model, tmp_path / "model")
    for again in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model")):
        np.testing.assert_array_equal(again.transform(x), model.transform(x))


def test_pipeline_and_search() -> None:
    x, y = _data("multiplicative"), np.linspace(-1, 1, 40)
    pipeline = Pipeline([("zeros", ZeroReplacement()), ("clr", CLR()), ("line", LinearRegression())])
    search = GridSearchCV(pipeline, {"zeros__method": ["multiplicative", "czm", "lrsvd"]}, cv=3, error_score="raise")
    search.fit(x, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    by_hand = clone(search.best_estimator_["zeros"]).fit_transform(x)
    np.testing.assert_allclose(
        search.best_estimator_["line"].predict(CLR().fit_transform(by_hand)), search.predict(x), atol=0.2
    )


def test_frames_keep_rows_and_names() -> None:
    x = pd.DataFrame(COUNTS, columns=list("abcd"), index=list("wxyz"))
    out = ZeroReplacement(method="czm").set_output(transform="pandas").fit_transform(x)
    assert list(out.columns) == list("abcd")
    assert list(out.index) == list("wxyz")
    assert math.isclose(out.loc["w", "b"], 0.0203125)
