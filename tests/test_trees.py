"""Trees as arrays: equal to scikit-learn's predictions, in memory, in a file and after edits of the file."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from causalkit.crossfit import CrossFitResult
from causalkit.exceptions import PersistenceError
from causalkit.persistence import load, read_manifest, save
from causalkit.trees import FittedTrees, TreeArrays, boosting_arrays, forest_arrays, sum_of_trees

MODELS = {
    "forest": lambda seed: RandomForestRegressor(7, min_samples_leaf=2, max_features=0.5, random_state=seed),
    "best first": lambda seed: RandomForestRegressor(3, max_leaf_nodes=6, random_state=seed),
    "extra": lambda seed: ExtraTreesRegressor(5, random_state=seed),
    "tree": lambda seed: DecisionTreeRegressor(random_state=seed),
    "boosting": lambda seed: HistGradientBoostingRegressor(
        max_iter=9, min_samples_leaf=2, max_leaf_nodes=6, early_stopping=False, random_state=seed
    ),
    "stopped": lambda seed: HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=20, min_samples_leaf=2, early_stopping=True, random_state=seed
    ),
}


def rows_and_target(seed, n=60, p=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, X[:, 0] ** 2 + np.sign(X[:, 1]) + 0.1 * rng.normal(size=n)


def fitted(kind, seed=0):
    X, y = rows_and_target(seed)
    return FittedTrees(MODELS[kind](seed).fit(X, y))


def at_the_thresholds(arrays, p):
    """Rows that sit on every threshold of every feature, and on its two neighbours in double precision."""
    cuts = arrays.threshold[arrays.feature >= 0][:50]
    values = np.concatenate([[0.0], cuts, np.nextafter(cuts, -np.inf), np.nextafter(cuts, np.inf)])
    return np.repeat(values[:, None], p, axis=1)


def as_user(trees, path):
    save(CrossFitResult(predictions={"final": trees}, folds=np.zeros((1, 1), int)), path)
    return load(path).predictions["final"]


# ---------------------------------------------------------------------- equal predictions


@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**31 - 1),
    n=st.integers(12, 80),
    p=st.integers(1, 4),
    target=st.sampled_from(["smooth", "constant", "two values"]),
    grid=st.booleans(),
)
def test_arrays_predict_what_the_model_predicts(kind, seed, n, p, target, grid):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, size=(n, p)) / 3 if grid else rng.normal(size=(n, p)) * 10.0 ** rng.integers(-3, 4)
    y = {"smooth": X[:, 0] + rng.normal(size=n), "constant": np.full(n, 0.1), "two values": (X[:, 0] > 0) * 1.0}[target]
    model = MODELS[kind](seed % 1000).fit(X, y)
    trees = FittedTrees(model)
    for rows in (X, rng.normal(size=(9, p)) * 100, at_the_thresholds(trees.arrays, p), X[:1]):
        np.testing.assert_array_equal(trees.arrays.predict(rows), model.predict(rows))
        np.testing.assert_array_equal(trees.predict(rows), model.predict(rows))


def test_forests_compare_in_single_precision_and_boosting_in_double():
    """0.1 is below its neighbour in double precision, and equal to it in single precision."""
    above = np.nextafter(0.1, 1)
    X = np.repeat([[0.0], [0.1], [0.5]], 30, axis=0)
    y = np.repeat([0.0, 0.0, 1.0], 30)
    for model in (DecisionTreeRegressor(), HistGradientBoostingRegressor(max_iter=1, learning_rate=1.0)):
        arrays = FittedTrees(model.fit(X, y)).arrays
        inner = arrays.feature == 0
        edited = dataclasses.replace(arrays, threshold=np.where(inner, 0.1, arrays.threshold))
        low, high = edited.predict([[0.1], [above]])
        # float32(0.1) > 0.1, so that the forest sends both to the right.
        assert (low == high) == arrays.single_precision
        assert arrays.single_precision == isinstance(model, DecisionTreeRegressor)
    assert float(np.float32(0.1)) > 0.1


def test_a_tree_worked_by_hand():
    #      x0 <= 1          second tree: one leaf
    #     /       \
    #   10     x1 <= -2
    #           /    \
    #          20    30
    arrays = TreeArrays(
        feature=np.array([0, -1, 1, -1, -1, -1]),
        threshold=np.array([1.0, 0, -2.0, 0, 0, 0]),
        left=np.array([1, 1, 3, 3, 4, 5]),
        right=np.array([2, 1, 4, 3, 4, 5]),
        value=np.array([0.0, 10, 0, 20, 30, 0.5]),
        starts=np.array([0, 5]),
        baseline=1.0,
        average=False,
        single_precision=False,
        n_features=2,
    )
    rows = [[1.0, 9.0], [1.0000001, -2.0], [2.0, -1.9]]
    np.testing.assert_array_equal(arrays.predict(rows), [11.5, 21.5, 31.5])
    averaged = dataclasses.replace(arrays, average=True, baseline=0.0)
    np.testing.assert_array_equal(averaged.predict(rows), [5.25, 10.25, 15.25])


def test_many_rows_go_through_in_blocks():
    trees = fitted("forest")
    rows = np.random.default_rng(1).normal(size=(30_011, 3))  # 7 trees: several blocks, the last one not full
    np.testing.assert_array_equal(trees.arrays.predict(rows), trees.model.predict(rows))


def test_no_trees_are_the_baseline():
    empty = np.zeros(0, dtype=np.intp)
    total = sum_of_trees(np.ones((3, 2)), empty, np.zeros(0), empty, empty, np.zeros(0), empty, 2.5)
    np.testing.assert_array_equal(total, [2.5, 2.5, 2.5])


def test_a_circle_ends():
    """Whoever skips the check gets a number, not a program that hangs."""
    around = np.array([0, 0], dtype=np.intp)
    start, value = np.zeros(1, dtype=np.intp), np.array([4.0, 5.0])
    total = sum_of_trees(np.ones((2, 1)), around, np.zeros(2), np.array([1, 0]), np.array([1, 0]), value, start)
    assert total.shape == (2,)


def test_boosting_nodes_mean_what_we_read():
    """Two groups, one step at full rate: mean as baseline, one split half-way, deviations as leaves."""
    X = np.repeat([[0.0, 7.0], [1.0, 7.0]], [30, 10], axis=0)
    y = np.repeat([2.0, 6.0], [30, 10])
    model = HistGradientBoostingRegressor(max_iter=1, learning_rate=1.0, min_samples_leaf=1, early_stopping=False)
    arrays = boosting_arrays(model.fit(X, y))
    assert arrays.baseline == 3.0
    np.testing.assert_array_equal(arrays.feature, [0, -1, -1])
    np.testing.assert_array_equal(arrays.threshold, [0.5, 0.0, 0.0])
    np.testing.assert_array_equal((arrays.left, arrays.right), ([1, 1, 2], [2, 1, 2]))
    np.testing.assert_allclose(arrays.value[1:], [-1.0, 3.0], rtol=1e-12)
    assert (arrays.average, arrays.single_precision, arrays.n_features) == (False, False, 2)
    arrays.check()


def test_forest_nodes_mean_what_we_read():
    arrays = forest_arrays(DecisionTreeRegressor().fit([[0.0, 7.0], [1.0, 7.0]], [2.0, 6.0]))
    np.testing.assert_array_equal(arrays.feature, [0, -1, -1])
    np.testing.assert_array_equal(arrays.threshold, [0.5, 0.0, 0.0])
    np.testing.assert_array_equal(arrays.value, [4.0, 2.0, 6.0])
    assert (arrays.baseline, arrays.average, arrays.single_precision) == (0.0, True, True)


# ---------------------------------------------------------------------- files and pickles


@pytest.mark.parametrize("kind", MODELS)
def test_saved_trees_predict_the_same(kind, tmp_path):
    trees = fitted(kind)
    again = as_user(trees, tmp_path / "f")
    rows = np.concatenate([rows_and_target(5)[0], at_the_thresholds(trees.arrays, 3)])
    assert again.model is None
    np.testing.assert_array_equal(again.predict(rows), trees.model.predict(rows))
    assert not any(name.startswith("sklearn.") for name in read_manifest(tmp_path / "f")["classes"])
    twice = as_user(again, tmp_path / "g")  # what was loaded can be saved
    np.testing.assert_array_equal(twice.predict(rows), trees.model.predict(rows))
    assert (tmp_path / "f").read_bytes() == (tmp_path / "g").read_bytes()


def test_a_pickle_keeps_the_model():
    trees = fitted("boosting")
    again = pickle.loads(pickle.dumps(trees))
    X = rows_and_target(2)[0]
    assert isinstance(again.model, HistGradientBoostingRegressor)
    np.testing.assert_array_equal(again.predict(X), trees.predict(X))
    assert repr(again) == "FittedTrees(HistGradientBoostingRegressor, n_trees=9)"


def test_saved_trees_predict_in_another_process(tmp_path):
    trees = fitted("forest")
    save(trees, tmp_path / "f")
    code = (
        "import sys, json\nfrom causalkit import load\n"
        "print(json.dumps(load(sys.argv[1]).predict([[0.1, -0.2, 0.3], [1, 2, 3]]).tolist()))\n"
        "print('sklearn.ensemble' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], capture_output=True, text=True, check=True)
    numbers, imported = done.stdout.splitlines()
    assert json.loads(numbers) == trees.predict([[0.1, -0.2, 0.3], [1, 2, 3]]).tolist()
    assert imported == "False"  # the arrays need nothing else


def test_changed_bytes_are_refused_or_harmless(tmp_path):
    path = tmp_path / "f"
    trees = FittedTrees(DecisionTreeRegressor(max_depth=2, random_state=0).fit(*rows_and_target(0)))
    save(trees, path)
    data, X = path.read_bytes(), rows_and_target(1)[0]
    rng, refused = np.random.default_rng(3), 0
    places = rng.choice(len(data), 300, replace=False)
    for place in places:
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            again = load(path).predict(X)
        except PersistenceError:
            refused += 1
        else:
            np.testing.assert_array_equal(again, trees.predict(X))
    assert refused > 0.6 * len(places)
    for length in range(0, len(data), 211):
        path.write_bytes(data[:length])
        with pytest.raises(PersistenceError):
            load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"left": np.array([0, 1, 2])},  # a circle
        {"right": np.array([9, 1, 2])},
        {"left": np.array([-2, 1, 2])},
        {"left": np.array([1, 2, 2])},  # a leaf that is not its own child
        {"feature": np.array([5, -1, -1])},
        {"feature": np.array([0.0, -1.0, -1.0])},
        {"starts": np.array([3])},
        {"starts": np.array([-1])},
        {"starts": np.zeros(0, dtype=np.intp)},
        {"value": np.zeros(2)},
        {"value": np.zeros(3, dtype=np.int64)},
        {"threshold": np.zeros((3, 1))},
        {"threshold": [0.0, 0.0, 0.0]},
        {"baseline": "0"},
        {"n_features": 2.5},
    ],
    ids=lambda changes: f"{next(iter(changes))}={next(iter(changes.values()))!r}",
)
def test_arrays_that_do_not_fit_together_are_refused(changes, tmp_path):
    """As somebody could write them into a file with every digest computed anew."""
    sound = forest_arrays(DecisionTreeRegressor().fit([[0.0], [1.0]], [2.0, 6.0]))
    np.testing.assert_array_equal(sound.predict([[0.0], [2.0]]), [2.0, 6.0])
    save(dataclasses.replace(sound, **changes), tmp_path / "f")
    with pytest.raises(PersistenceError, match="do not fit together"):
        load(tmp_path / "f").predict([[0.0], [1.0]])


def test_a_file_without_trees_is_refused():
    empty = object.__new__(FittedTrees)  # what a file with an empty state gives
    with pytest.raises(PersistenceError, match="there are none"):
        empty.predict([[0.0]])


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize("model", [LinearRegression(), None, "forest"])
def test_other_models_are_refused(model):
    with pytest.raises(TypeError, match="expected a fitted RandomForestRegressor"):
        FittedTrees(model)


def test_models_that_are_not_a_sum_of_trees_are_refused():
    X, y = rows_and_target(0)
    with pytest.raises(NotFittedError):
        FittedTrees(RandomForestRegressor())
    with pytest.raises(ValueError, match="predicts 2 outcomes"):
        FittedTrees(RandomForestRegressor(2).fit(X, np.column_stack([y, y])))
    with pytest.raises(ValueError, match='loss="poisson"'):
        FittedTrees(HistGradientBoostingRegressor(loss="poisson", max_iter=1).fit(X, np.exp(y)))
    codes = np.arange(60)[:, None] % 3
    with pytest.raises(ValueError, match="categorical features"):
        FittedTrees(HistGradientBoostingRegressor(categorical_features=[0], max_iter=1).fit(codes, y))


@pytest.mark.parametrize("kind", ["forest", "boosting"])
@pytest.mark.parametrize("loaded", [False, True])
def test_rows_that_cannot_be_predicted(kind, loaded, tmp_path):
    trees = as_user(fitted(kind), tmp_path / "f") if loaded else fitted(kind)
    with pytest.raises(ValueError, match="X has 2 columns, but the trees were grown on 3"):
        trees.predict(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="NaN"):
        trees.predict([[np.nan, 0.0, 0.0]])
    with pytest.raises(ValueError, match="2D array"):
        trees.predict([0.0, 0.0, 0.0])
