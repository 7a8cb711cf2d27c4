"""Streams: any chunks, merged in any order, give the fit of all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from causalkit.composition import CompositionalPartialCorrelation, log_ratio_covariance
from causalkit.composition.covariance import centre_logs
from causalkit.composition.moments import CompositionMoments
from causalkit.composition.shrinkage import shrink_logs
from causalkit.exceptions import (
    DegenerateLogRatioError,
    DegreesOfFreedomError,
    InferenceUnavailableError,
    TooFewPartsError,
)
from tests.composition.test_covariance import sample
from tests.composition.test_shrinkage import METHODS, matrix_of

Fit = CompositionalPartialCorrelation


def moments_of(logs: Any, use_clr: bool, cuts: list[int]) -> CompositionMoments:
    """Chunks in separate accumulators, merged from the last to the first."""
    merged = CompositionMoments(use_clr)
    for chunk in reversed(np.split(logs, cuts)):
        part = CompositionMoments(use_clr)
        part.update(chunk)
        merged.merge(part)
    return merged


@pytest.mark.parametrize("use_clr", [False, True])
def test_merged_moments_are_central_sums_of_all_rows(use_clr: bool) -> None:
    X = sample(40) * np.exp(np.linspace(0, 30, 40))[:, None]
    merged = moments_of(np.log(X), use_clr, [1, 7, 30])
    y = np.log(X / X.sum(axis=1, keepdims=True))
    if use_clr:
        y = y - y.mean(axis=1, keepdims=True)
    x = y - y.mean(axis=0)
    mean, second, fourth = merged.central()
    assert merged.n == 40
    assert_allclose(mean, y.mean(axis=0), atol=1e-13)
    assert_allclose(second, x.T @ x / 40, atol=1e-13)
    assert_allclose(fourth, (x**2).T @ x**2 / 40, atol=1e-12)
    assert_allclose(merged.covariance(), log_ratio_covariance(X), atol=1e-13)


def test_an_offset_costs_no_digits() -> None:
    """Parts of very unequal size: the first chunk's mean is taken out before sums are formed."""
    X = sample(40) * [1.0, 1e-12, 1e12, 1.0, 1e6]
    merged = moments_of(np.log(X), False, [5, 20])
    data = centre_logs(np.log(X))
    assert_allclose(merged.central()[1], data.logs.T @ data.logs / 40, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "d"), [(40, 5), (8, 12)])
def test_shrinkage_from_moments_is_that_of_the_rows(method: str, n: int, d: int) -> None:
    logs = np.log(sample(n, d))
    rows = shrink_logs(centre_logs(logs), method)
    found = moments_of(logs, method != "basis", [3, 5]).shrunk(method)
    assert found.intensity == pytest.approx(rows.intensity, abs=1e-10)
    assert found.variance_intensity == pytest.approx(rows.variance_intensity, abs=1e-10)
    assert_allclose(matrix_of(found), matrix_of(rows), atol=1e-11)
    assert_allclose(found.variances, rows.variances, rtol=1e-10)


@pytest.mark.parametrize("shrinkage", ["auto", None, "basis", "invariant", "logratio", "ledoit_wolf", "oas", 0.3])
@pytest.mark.parametrize("cuts", [[20], [1, 2, 3, 4], [35]])
def test_partial_fit_does_not_depend_on_the_chunks(shrinkage: Any, cuts: list[int]) -> None:
    X = pd.DataFrame(sample(40), columns=list("abcde"))
    whole = Fit(shrinkage=shrinkage, test=None).fit(X)
    stream = Fit(shrinkage=shrinkage, test=None)
    for chunk in np.split(np.arange(40), cuts):
        assert stream.partial_fit(X.iloc[chunk]) is stream
    assert_allclose(stream.partial_correlation_, whole.partial_correlation_, atol=1e-9)
    assert_allclose(stream.log_ratio_covariance_, whole.log_ratio_covariance_, atol=1e-12)
    assert_allclose(stream.partial_variance_, whole.partial_variance_, rtol=1e-8)
    assert stream.shrinkage_ == pytest.approx(whole.shrinkage_, abs=1e-10)
    assert stream.score(X) == pytest.approx(whole.score(X), abs=1e-8)
    assert stream.n_effective_ == 40
    assert list(stream.feature_names_in_) == list("abcde")


def test_streams_test_what_moments_can_test() -> None:
    X = sample(60)
    stream = Fit(shrinkage=None).partial_fit(X[:25]).partial_fit(X[25:])
    whole = Fit(shrinkage=None).fit(X)
    assert stream.dof_ == whole.dof_
    assert_allclose(stream.pvalues_, whole.pvalues_, rtol=1e-6)
    assert_allclose(stream.conf_int(), whole.conf_int(), atol=1e-9)
    assert stream.ci_test(0, 1, [2]).pvalue == pytest.approx(whole.ci_test(0, 1, [2]).pvalue, rel=1e-6)
    with pytest.raises(InferenceUnavailableError, match=r"needs the rows.*partial_fit"):
        Fit(shrinkage="basis", test="shrunk_t").partial_fit(X)
    for test in ("influence", "permutation", "bootstrap"):
        with pytest.raises(InferenceUnavailableError, match="which partial_fit does not keep"):
            Fit(test=test).partial_fit(X)
    with pytest.raises(InferenceUnavailableError, match="influence values are those of an unshrunk fit in memory"):
        stream.inference([(0, 1)])


def test_a_stream_becomes_a_fit_when_its_rows_suffice() -> None:
    X = sample(9, 6)
    stream = Fit(shrinkage=None)
    for k in range(5):
        stream.partial_fit(X[k : k + 1])
        assert not hasattr(stream, "partial_correlation_")
    stream.partial_fit(X[5:6])
    assert stream.dof_ == 1
    assert stream.partial_fit(X[6:]).dof_ == 4


def test_rows_of_an_earlier_fit_are_added_to() -> None:
    X = sample(40)
    whole = Fit(shrinkage="basis", test=None).fit(X)
    later = Fit(shrinkage="basis", test=None).fit(X[:20]).partial_fit(X[20:])
    assert_allclose(later.partial_correlation_, whole.partial_correlation_, atol=1e-9)
    # A new fit starts anew.
    assert later.fit(X[:10]).partial_fit(X[10:15]).n_effective_ == 15
    weighted = Fit(test=None).fit(X, sample_weight=np.arange(1, 41))
    with pytest.raises(ValueError, match="partial_fit cannot add to a fit with sample_weight"):
        weighted.partial_fit(X)


def test_a_bad_chunk_leaves_the_stream_as_it_was() -> None:
    X = pd.DataFrame(sample(40), columns=list("abcde"))
    stream = Fit(shrinkage="basis", test=None).partial_fit(X[:20])
    before = stream.partial_correlation_.copy()
    bad = X[20:].copy()
    bad.iloc[3, 2] = -1
    for chunk, message in (
        (bad, "Negative values"),
        (X[20:].rename(columns={"a": "z"}), "feature names should match"),
        (X[20:].iloc[:, :4], "feature"),
    ):
        with pytest.raises(ValueError, match=message):
            stream.partial_fit(chunk)
        assert_allclose(stream.partial_correlation_, before, atol=0)
    whole = Fit(shrinkage="basis", test=None).fit(X)
    assert_allclose(stream.partial_fit(X[20:]).partial_correlation_, whole.partial_correlation_, atol=1e-9)
    with pytest.raises(ValueError, match="needs other cross-moments than those of the earlier chunks"):
        stream.set_params(shrinkage="invariant").partial_fit(X)


def test_streams_fail_with_the_words_of_fit() -> None:
    X = sample(20)
    proportional = X.copy()
    proportional[:, 3] = 7 * proportional[:, 1]
    for shrinkage in (None, "basis", "invariant", 0.0):
        with pytest.raises(DegenerateLogRatioError, match="'x1' and 'x3' are proportional"):
            Fit(shrinkage=shrinkage, test=None).partial_fit(proportional)
    dependent = X.copy()
    dependent[:, 4] = np.sqrt(X[:, 0] * X[:, 1])
    with pytest.raises(DegenerateLogRatioError, match=r"numerical rank 3, expected D - 1 = 4.*'x0', 'x1', 'x4'"):
        Fit(shrinkage=None).partial_fit(dependent)
    with pytest.raises(DegreesOfFreedomError, match="intensity is 0 with n = 4"):
        Fit(shrinkage=0.0, test=None).partial_fit(X[:4])
    with pytest.raises(TooFewPartsError):
        Fit().partial_fit(X[:, :2])
    for options in ({"robust": "mcd"}, {"zero_replacement": "czm"}, {"reference": [0], "shrinkage": "logratio"}):
        with pytest.raises(
            ValueError, match="partial_fit cannot be combined with robust, zero_replacement or reference"
        ):
            Fit(**options).partial_fit(X)
    with pytest.raises(ValueError, match="no rows have been added yet"):
        CompositionMoments(False).central()


# ---------------------------------------------------------------------- Dask


@pytest.mark.parametrize("shrinkage", [None, "basis", "invariant"])
def test_dask_arrays_and_frames_are_read_in_blocks(shrinkage: Any) -> None:
    array = pytest.importorskip("dask.array")
    frames = pytest.importorskip("dask.dataframe")
    X = pd.DataFrame(sample(50), columns=list("abcde"))
    whole = Fit(shrinkage=shrinkage, test=None).fit(X)
    inputs = [
        array.from_array(X.to_numpy(), chunks=(7, 5)),
        array.from_array(X.to_numpy(), chunks=(20, 2)),
        frames.from_pandas(X, npartitions=4),
    ]
    for table in inputs:
        fitted = Fit(shrinkage=shrinkage, test=None).fit(table)
        assert_allclose(fitted.partial_correlation_, whole.partial_correlation_, atol=1e-9)
    assert list(fitted.feature_names_in_) == list("abcde")
    late = frames.from_pandas(X, npartitions=5)
    late = late[late["a"] == late["a"]].map_partitions(lambda part: part[part.index >= 12])  # the first is empty
    expected = Fit(shrinkage=shrinkage, test=None).fit(X[12:]).partial_correlation_
    assert_allclose(Fit(shrinkage=shrinkage, test=None).fit(late).partial_correlation_, expected, atol=1e-9)


def test_dask_refuses_what_it_cannot_stream() -> None:
    array = pytest.importorskip("dask.array")
    X = array.from_array(sample(20), chunks=(7, 5))
    with pytest.raises(ValueError, match="Dask arrays are read as a stream"):
        Fit().fit(X, sample_weight=np.ones(20))
    with pytest.raises(DegreesOfFreedomError, match="2 sample"):
        Fit().fit(X[:2])
    with pytest.raises(DegreesOfFreedomError, match="an unshrunk fit needs at least as many rows as parts"):
        Fit(shrinkage=None).fit(X[:4])
    zeros = np.ones((20, 5))
    zeros[15, 2] = 0
    with pytest.raises(ValueError, match="zeros"):
        Fit().fit(array.from_array(zeros, chunks=(7, 5)))
