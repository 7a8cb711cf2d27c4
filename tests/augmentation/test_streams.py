"""Chunks, merged fits and Dask collections give the fit to all rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.kernel_approximation import Nystroem
from sklearn.preprocessing import PolynomialFeatures

from causalkit.augmentation import IVLikeRegressor
from causalkit.augmentation.augmenters import AdditiveNoise, Compose, ImageFlip, NullSpaceShift, Permutation, SignFlip
from causalkit.augmentation.pairs import chunk_slices
from tests.augmentation.dense_linear import PENALTIES, Sample, sample, stacked

pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning")

DATA = sample(n=10_000, draws=1, seed=7)
SHIFT = NullSpaceShift(np.eye(4)[:2], scale=0.7)
CUTS = [(0, 10_000), (0, 17, 4095, 4097, 9_999, 10_000), (0, 4096, 8192, 10_000), (0, 5_000, 5_001, 10_000)]


def model_for(penalty: str, **options: Any) -> IVLikeRegressor:
    return IVLikeRegressor(augmentation=SHIFT, penalty=penalty, random_state=3, **options)


def chunk(a: int, b: int) -> dict[str, Any]:
    return {"X": DATA.X[a:b], "y": DATA.y[a:b], "exogenous": DATA.W[a:b], "sample_weight": DATA.weight[a:b]}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_every_chunking_equals_one_fit(penalty: str) -> None:
    """Blocks of 4096 rows share a stream of draws; chunks that end anywhere get the same numbers."""
    draws = {"n_draws": 2} if penalty != "analytic" else {}
    batch = model_for(penalty, **draws).fit(**chunk(0, 10_000))
    for cuts in CUTS:
        edges = list(itertools.pairwise(cuts))
        streamed = model_for(penalty, **draws)
        for a, b in edges:
            assert streamed.partial_fit(**chunk(a, b)) is streamed
        np.testing.assert_allclose(stacked(streamed), stacked(batch), rtol=1e-10, atol=1e-12)
        assert (streamed.n_samples_, streamed.n_draws_) == (10_000, batch.n_draws_)
        # Out of order, each with the number of its first row.
        shuffled = model_for(penalty, **draws)
        for a, b in sorted(edges, key=lambda e: -(e[1] - e[0])):
            shuffled.partial_fit(**chunk(a, b), first_row=a)
        np.testing.assert_allclose(stacked(shuffled), stacked(batch), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_merged_fits_equal_one_fit(penalty: str) -> None:
    batch = model_for(penalty).fit(**chunk(0, 10_000))
    edges = [(0, 3_000), (3_000, 7_500), (7_500, 10_000)]
    parts = [clone(model_for(penalty)).partial_fit(**chunk(a, b), first_row=a) for a, b in edges]
    before = [stacked(part) for part in parts]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        first, second, third = (parts[i] for i in order)
        for merged in (first.merge(second).merge(third), first.merge(second.merge(third))):
            np.testing.assert_allclose(stacked(merged), stacked(batch), rtol=1e-10, atol=1e-12)
            assert merged.n_samples_ == 10_000
    for part, old in zip(parts, before, strict=True):
        np.testing.assert_array_equal(stacked(part), old)


def test_a_fit_goes_on_as_a_stream() -> None:
    batch = model_for("pointwise").fit(**chunk(0, 10_000))
    model = model_for("pointwise").fit(**chunk(0, 6_000)).partial_fit(**chunk(6_000, 10_000))
    np.testing.assert_allclose(stacked(model), stacked(batch), rtol=1e-10)
    part = model_for("pointwise").partial_fit(**chunk(6_000, 10_000), first_row=6_000)
    merged = model_for("pointwise").fit(**chunk(0, 6_000)).merge(part)
    np.testing.assert_allclose(stacked(merged), stacked(batch), rtol=1e-10)
    np.testing.assert_allclose(stacked(merged.fit(**chunk(0, 10_000))), stacked(batch))  # fit starts afresh


def test_given_pairs_and_instruments_in_chunks() -> None:
    data = sample(n=300, draws=2)
    kinds = [
        lambda rows: {"augmented": rows.GX, "augmentation_parameters": rows.G},
        lambda rows: {"instruments": rows.G[:, 0]},
        lambda rows: {},
    ]
    for kind in kinds:
        batch = IVLikeRegressor().fit(data.X, data.y, **kind(data))
        streamed = IVLikeRegressor()
        for part in (slice(0, 11), slice(11, 200), slice(200, 300)):
            rows = data.rows(part)
            streamed.partial_fit(rows.X, rows.y, **kind(rows))
        np.testing.assert_allclose(stacked(streamed), stacked(batch), rtol=1e-9)


def test_finite_augmenters_in_chunks() -> None:
    augmentation = Compose(SignFlip(columns=[0]), Permutation([[1, 2]]))
    for n_draws in ("orbit", 3):
        options = {"augmentation": augmentation, "n_draws": n_draws, "random_state": 0}
        batch = IVLikeRegressor(**options).fit(DATA.X, DATA.y)
        streamed = IVLikeRegressor(**options)
        for a, b in ((0, 123), (123, 6_000), (6_000, 10_000)):
            streamed.partial_fit(DATA.X[a:b], DATA.y[a:b])
        np.testing.assert_allclose(streamed.coef_, batch.coef_, rtol=1e-10, atol=1e-12)


def test_images_in_chunks() -> None:
    X, y = DATA.X, DATA.y
    options = {"augmentation": ImageFlip((1, 2, 2), "horizontal"), "n_draws": 2, "random_state": 0}
    batch = IVLikeRegressor(**options).fit(X, y)
    streamed = IVLikeRegressor(**options).partial_fit(X[:5_000], y[:5_000]).partial_fit(X[5_000:], y[5_000:])
    np.testing.assert_allclose(streamed.coef_, batch.coef_, rtol=1e-10)


def test_fitted_feature_map_in_chunks() -> None:
    """A map that learns from rows must be fitted beforehand, because a stream sees them once."""
    with pytest.raises(NotFittedError):
        IVLikeRegressor(feature_map=Nystroem(n_components=5), ridge=1e-3).partial_fit(DATA.X[:100], DATA.y[:100])
    mapping = PolynomialFeatures(2, include_bias=False).fit(DATA.X)
    options = {"feature_map": mapping, "augmentation": SHIFT, "random_state": 0}
    batch = IVLikeRegressor(**options).fit(DATA.X, DATA.y)
    streamed = IVLikeRegressor(**options)
    for a, b in ((0, 1_000), (1_000, 10_000)):
        streamed.partial_fit(DATA.X[a:b], DATA.y[a:b])
    np.testing.assert_allclose(streamed.coef_, batch.coef_, rtol=1e-8)


@pytest.mark.parametrize("first_row", [0, 1, 4095, 4096, 10_000])
@pytest.mark.parametrize("width", [3, 2_000])
def test_slices_cover_the_rows_and_end_on_blocks(width: int, first_row: int) -> None:
    for n in (1, 4096, 30_000):
        slices = chunk_slices(n, width, first_row)
        np.testing.assert_array_equal(np.concatenate([np.arange(n)[s] for s in slices]), np.arange(n))
        assert all((s.stop + first_row) % 4096 == 0 for s in slices[:-1])
        assert all(s.stop - s.start <= max(4096, 2**22 // width) for s in slices)


def test_wide_rows_are_cut() -> None:
    """Many chunks inside one call equal the direct sums."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9_000, 120))
    y = X[:, 0] + rng.normal(size=9_000)
    assert len(chunk_slices(9_000, 360)) > 1
    model = IVLikeRegressor(alpha=0.5, augmentation=AdditiveNoise(), random_state=1).fit(X, y)
    seed = int(np.random.RandomState(1).randint(2**31 - 1))
    noise = np.vstack(
        [
            AdditiveNoise().sample(4096, 120, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(b, 0))))
            for b in range(3)
        ]
    )[:9_000]
    x, d = X + noise, noise
    xc = x - x.mean(axis=0)
    h = np.linalg.solve(0.5 * xc.T @ xc + d.T @ d, 0.5 * xc.T @ y)
    np.testing.assert_allclose(model.coef_, h, rtol=1e-8, atol=1e-11)


# ---------------------------------------------------------------------- Dask


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("dask.array")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def lazy(data: Sample, rows: int) -> dict[str, Any]:
    import dask.array as da

    return {
        "X": da.from_array(data.X, chunks=(rows, 2)),  # columns are cut too
        "y": da.from_array(data.y, chunks=rows),
        "exogenous": da.from_array(data.W, chunks=(rows, -1)),
        "sample_weight": da.from_array(data.weight, chunks=rows),
    }


@pytest.mark.parametrize("penalty", PENALTIES)
def test_dask_arrays_equal_one_fit(penalty: str, cluster: Any) -> None:
    batch = model_for(penalty).fit(**chunk(0, 10_000))
    model = model_for(penalty).fit(**lazy(DATA, 3_300))
    np.testing.assert_allclose(stacked(model), stacked(batch), rtol=1e-10, atol=1e-12)
    assert model.n_samples_ == 10_000
    result = model.inference(chunks=[chunk(0, 5_000), chunk(5_000, 10_000)])
    np.testing.assert_allclose(result.cov, batch.inference().cov, rtol=1e-7, atol=1e-14)


def test_dask_frames_equal_one_fit(cluster: Any) -> None:
    frames = pytest.importorskip("dask.dataframe")
    rows = DATA.rows(slice(0, 1_000))
    table = pd.DataFrame(rows.X, columns=list("abcd"))
    table["y"] = rows.y
    table[["z0", "z1"]] = rows.G[:, 0]
    parts = frames.from_pandas(table, npartitions=4)
    kinds: list[dict[str, Any]] = [
        {},
        {"instruments": ["z0", "z1"]},
        {"exogenous": ["z0"]},
        {"augmented": list("abcd")},
    ]
    for kind in kinds:
        model = IVLikeRegressor().fit(
            parts[list("abcd")], parts["y"], **{name: parts[columns] for name, columns in kind.items()}
        )
        batch = IVLikeRegressor().fit(
            table[list("abcd")], table["y"], **{name: table[columns] for name, columns in kind.items()}
        )
        np.testing.assert_allclose(stacked(model), stacked(batch), rtol=1e-9)
        assert list(model.feature_names_in_) == list("abcd")
    uneven = parts[parts["y"] > 0]  # partitions of unknown lengths
    kept = table[table["y"] > 0]
    model = IVLikeRegressor(augmentation=SHIFT, random_state=0).fit(uneven[list("abcd")], uneven["y"])
    batch = IVLikeRegressor(augmentation=SHIFT, random_state=0).fit(kept[list("abcd")], kept["y"])
    np.testing.assert_allclose(stacked(model), stacked(batch), rtol=1e-9)


def test_dask_features_beside_arrays_in_memory(cluster: Any) -> None:
    import dask.array as da

    model = model_for("pointwise").fit(
        da.from_array(DATA.X, chunks=(2_500, -1)), DATA.y, exogenous=DATA.W, sample_weight=DATA.weight
    )
    np.testing.assert_allclose(stacked(model), stacked(model_for("pointwise").fit(**chunk(0, 10_000))), rtol=1e-10)


def test_dask_blocks_that_do_not_match(cluster: Any) -> None:
    import dask.array as da

    X = da.from_array(DATA.X[:100], chunks=(50, -1))
    with pytest.raises(ValueError, match=r"cut differently.*rechunk them alike"):
        IVLikeRegressor().fit(X, da.from_array(DATA.y[:100], chunks=30))
    with pytest.raises(ValueError, match=r"blocks of y have \[40, 60\] rows, those of X \[50, 50\]: align them"):
        IVLikeRegressor().fit(X, da.from_array(DATA.y[:100], chunks=((40, 60),)))
    with pytest.raises(ValueError, match=r"y has 99 rows, but X has 100"):
        IVLikeRegressor().fit(X, DATA.y[:99])
    with pytest.raises(ValueError, match=r"groups are for standard errors.*inference\(chunks="):
        IVLikeRegressor().fit(X, DATA.y[:100], groups=DATA.groups[:100])
    broken = DATA.y[:100].copy()
    broken[70] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        IVLikeRegressor().fit(X, da.from_array(broken, chunks=50))
    with pytest.raises(ValueError, match=r"empty.*0 sample"):
        IVLikeRegressor().fit(X[:0], DATA.y[:0])


def test_bootstrap_on_a_dask_cluster_is_the_serial_one(cluster: Any) -> None:
    rows = DATA.rows(slice(0, 80))
    model = IVLikeRegressor(augmentation=AdditiveNoise(0.5), n_draws=2, random_state=0)
    model.fit(rows.X, rows.y, groups=rows.groups)
    serial = model.inference(method="refit", n_bootstrap=12)
    with joblib.parallel_config("dask"):
        result = model.inference(method="refit", n_bootstrap=12)
    np.testing.assert_array_equal(result.cov, serial.cov)
