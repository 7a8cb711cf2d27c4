"""Boosted trees: dense brute force for every stage, ordinary boosting as a limit, and the known non-linear design."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from causalkit import load, save
from causalkit.augmentation.augmenters import AdditiveNoise
from causalkit.augmentation.boosting import IVLikeBoostingRegressor
from causalkit.augmentation.splits import recover_splits
from causalkit.augmentation.stages import StageProblem
from causalkit.augmentation.trees import bin_features, grow_partition
from causalkit.exceptions import (
    AugmentationError,
    MethodNotApplicableError,
    UnderIdentifiedError,
    WeakInstrumentWarning,
)

Fit = IVLikeBoostingRegressor
PENALTIES = ("pointwise", "paired", "projected")


def sample(n: int = 400, seed: int = 0) -> dict[str, Any]:
    """Rounded features, so that no quantile decides a bin, and an augmentation of the second one."""
    rng = np.random.default_rng(seed)
    confounder = rng.standard_normal(n)
    X = np.round(np.column_stack([rng.standard_normal(n), confounder + 0.3 * rng.standard_normal(n)]), 1)
    y = np.sin(2 * X[:, 0]) + confounder + 0.2 * rng.standard_normal(n)
    G = np.round(rng.standard_normal((n, 1)), 1)
    return {"X": X, "y": y, "G": G, "GX": X + G * [0.0, 1.0], "weight": rng.integers(1, 4, n).astype(float)}


def fit(data: dict[str, Any], *, weight: Any = None, **parameters: Any) -> Fit:
    given = {"augmented": data["GX"], "augmentation_parameters": data["G"], "sample_weight": weight}
    return Fit(**parameters).fit(data["X"], data["y"], **given)


# ---------------------------------------------------------------------- one stage against dense algebra


def dense_parts(penalty: str, G: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Root of the penalty as an n x n matrix: pen(v) = |root v|², built from an explicit projection."""
    half = np.sqrt(weight / weight.sum())
    if penalty == "pointwise":
        return np.diag(half)
    centred = (G - np.average(G, axis=0, weights=weight)) * half[:, None]
    return centred @ np.linalg.pinv(centred) * half


def dense_loss(penalty: str, alpha: float, root: np.ndarray, weight: np.ndarray, y: Any, h1: Any, h0: Any) -> float:
    moved = y - h1 if penalty == "projected" else h1 - h0
    pen = 0.0 if np.isinf(alpha) else np.sum((root @ moved) ** 2) / alpha
    return float(np.average((y - h1) ** 2, weights=weight) + pen)


def leaves_of(model: Fit, X: np.ndarray) -> np.ndarray:
    """Leaf of every row in the first tree, one row and one split at a time."""
    tree = model.trees_
    found = []
    for row in X:
        node = tree.roots[0]
        while tree.feature[node] >= 0:
            node = tree.left[node] if row[tree.feature[node]] <= tree.threshold[node] else tree.right[node]
        found.append(node)
    return np.array(found)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 5.0, np.inf])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_leaf_values_are_the_dense_least_squares_solution(penalty: str, alpha: float, weighted: bool) -> None:
    data = sample(150)
    data["y"] = data["y"] + 3.0  # the baseline is not zero
    weight = data["weight"] if weighted else np.ones(150)
    model = fit(data, weight=weight if weighted else None, alpha=alpha, penalty=penalty, max_iter=1, learning_rate=1.0)
    at_x, at_u = leaves_of(model, data["GX"]), leaves_of(model, data["X"])
    names = np.flatnonzero(model.trees_.feature < 0)
    M1, M0 = (at[:, None] == names for at in (at_x, at_u))
    r = data["y"] - np.average(data["y"], weights=weight)
    root = dense_parts(penalty, data["G"], weight)
    half = np.sqrt(weight / weight.sum())[:, None]
    design, target = [half * M1], [half[:, 0] * r]
    if np.isfinite(alpha):
        projected = penalty == "projected"
        design.append(root @ (M1 if projected else M1.astype(float) - M0) / np.sqrt(alpha))
        target.append(root @ r / np.sqrt(alpha) if projected else np.zeros(150))
    beta = np.linalg.lstsq(np.concatenate(design), np.concatenate(target))[0]
    assert len(names) > 3
    np.testing.assert_allclose(model.trees_.value[names], beta, rtol=1e-8, atol=1e-9)
    h1, h0 = model.predict(data["GX"]), model.predict(data["X"])
    expected = dense_loss(penalty, alpha, root, weight, data["y"], h1, h0)
    assert model.train_loss_[1] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_loss_of_many_stages_is_the_dense_one(penalty: str) -> None:
    data = sample(200)
    model = fit(data, weight=data["weight"], alpha=0.05, penalty=penalty, max_iter=25)
    h1, h0 = model.predict(data["GX"]), model.predict(data["X"])
    root = dense_parts(penalty, data["G"], data["weight"])
    expected = dense_loss(penalty, 0.05, root, data["weight"], data["y"], h1, h0)
    assert model.train_loss_[-1] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("alpha", [0.05, 4.0])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_targets_are_the_negative_gradient(penalty: str, alpha: float) -> None:
    data = sample(30)
    weight = data["weight"] / data["weight"].sum()
    rng = np.random.default_rng(1)
    h1, h0 = rng.standard_normal((2, 30))
    root = dense_parts(penalty, data["G"], weight)
    centred = data["G"] - weight @ data["G"]
    basis = centred / np.sqrt(weight @ centred**2)
    problem = StageProblem(penalty, alpha, weight, None if penalty == "pointwise" else basis)
    r, delta = data["y"] - h1, h1 - h0
    targets = problem.targets(r, None if penalty == "projected" else delta)
    step = 1e-4

    def loss(shift1: np.ndarray, shift0: np.ndarray) -> float:
        return dense_loss(penalty, alpha, root, weight, data["y"], h1 + shift1, h0 + shift0)

    unit, none = step * np.eye(30), np.zeros(30)
    pairs = [(u, none) for u in unit] + ([] if penalty == "projected" else [(none, u) for u in unit])
    # The loss is quadratic: central differences are exact up to rounding.
    gradient = np.array([loss(*p) - loss(-p[0], -p[1]) for p in pairs]) / (2 * step)
    # Targets are half the gradient per unit of weight, in units of max(1, 1/alpha).
    expected = -gradient / np.tile(weight, len(pairs) // 30) / 2 / max(1.0, 1.0 / alpha)
    np.testing.assert_allclose(targets, expected, rtol=1e-6, atol=1e-8)


def test_singular_systems_get_the_shortest_solution() -> None:
    problem = StageProblem("paired", 0.5, np.full(4, 0.25), np.array([[1.0], [-1.0], [1.0], [-1.0]]))
    leaf, other = np.array([0, 0, 0, 0]), np.array([1, 1, 2, 2])
    r, delta = np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4)
    # Leaves 1 and 2 hold original rows alone, with balanced parameters: nothing determines their values.
    np.testing.assert_allclose(problem.leaf_values(leaf, other, 3, r, delta), [2.5, 0.0, 0.0], atol=1e-12)


# ---------------------------------------------------------------------- stages


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 1.0, np.inf])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_loss_falls_at_every_stage(penalty: str, alpha: float) -> None:
    model = fit(sample(), penalty=penalty, alpha=alpha, max_iter=40)
    assert model.n_iter_ == 40
    assert model.train_loss_.shape == (41,)
    assert (np.diff(model.train_loss_) < 0).all()


def test_growth_ends_where_nothing_can_be_gained() -> None:
    X = np.repeat([[0.0], [1.0]], 30, axis=0)
    model = Fit(max_iter=50, learning_rate=1.0).fit(X, X[:, 0])
    assert model.n_iter_ < 5
    np.testing.assert_allclose(model.predict(X), X[:, 0], atol=1e-12)
    constant = Fit(max_iter=5).fit(X, np.full(60, 2.0))
    assert constant.n_iter_ == 0
    np.testing.assert_allclose(constant.predict(X), 2.0, rtol=1e-14)


# ---------------------------------------------------------------------- limits


def reference(X: Any, y: Any, weight: Any = None, **parameters: Any) -> HistGradientBoostingRegressor:
    model = HistGradientBoostingRegressor(max_iter=30, max_leaf_nodes=15, early_stopping=False, **parameters)
    return model.fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_without_penalty_it_is_boosting_on_augmented_rows(penalty: str, weighted: bool) -> None:
    data = sample(1000)
    weight = data["weight"] if weighted else None
    model = fit(data, weight=weight, alpha=np.inf, penalty=penalty, max_iter=30)
    expected = reference(data["GX"], data["y"], weight).predict(data["X"])
    np.testing.assert_allclose(model.predict(data["X"]), expected, atol=1e-6)
    assert (model.penalty_, model.alpha_, model.variation_) == (penalty, np.inf, "augmentation")


def test_equal_leaf_means_do_not_disturb_boosting() -> None:
    rng = np.random.default_rng(0)
    X = np.round(rng.standard_normal((300, 4)), 1)
    y = (X[:, 0] * X[:, 1] + rng.standard_normal(300) > 0).astype(float)  # many leaves of zeros, many of ones
    model = Fit(max_iter=30, min_samples_leaf=1).fit(X, y)
    expected = reference(X, y, min_samples_leaf=1).predict(X)
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-6)


def test_without_variation_it_is_boosting() -> None:
    data = sample(1000)
    model = Fit(max_iter=30).fit(data["X"], data["y"])
    new = np.random.default_rng(3).standard_normal((500, 2))
    np.testing.assert_allclose(model.predict(new), reference(data["X"], data["y"]).predict(new), atol=1e-6)
    assert (model.penalty_, model.variation_) == ("none", "none")


def test_identical_pairs_are_boosting() -> None:
    data = sample(1000)
    model = Fit(max_iter=30, min_samples_leaf=40, alpha=0.1).fit(data["X"], data["y"], augmented=data["X"])
    # Every row is in the leaf of its copy, so the penalty is zero; the stacked rows count twice in a leaf.
    expected = reference(data["X"], data["y"], min_samples_leaf=20).predict(data["X"])
    np.testing.assert_allclose(model.predict(data["X"]), expected, atol=1e-6)


def test_instruments_project_the_features_as_they_are() -> None:
    data = sample()
    with_z = Fit(alpha=0.2, max_iter=20).fit(data["X"], data["y"], instruments=data["G"])
    given = {"augmented": data["X"], "augmentation_parameters": data["G"]}
    with pytest.warns(WeakInstrumentWarning, match="does not move the mean"):
        with_g = Fit(alpha=0.2, max_iter=20, penalty="projected").fit(data["X"], data["y"], **given)
    np.testing.assert_array_equal(with_z.predict(data["X"]), with_g.predict(data["X"]))
    assert (with_z.variation_, with_z.penalty_) == ("instruments", "projected")


def test_predictions_move_less_with_the_augmentation_as_alpha_falls() -> None:
    data = sample(1000)
    models = [fit(data, alpha=alpha) for alpha in (np.inf, 1.0, 0.1, 0.01)]
    moved = [np.mean((m.predict(data["GX"]) - m.predict(data["X"])) ** 2) for m in models]
    assert (np.diff(moved) < 0).all()
    assert moved[-1] < 0.01 * moved[0]


# ---------------------------------------------------------------------- weights, draws, scale


@pytest.mark.parametrize("penalty", PENALTIES)
def test_weights_are_repeated_rows(penalty: str) -> None:
    data = sample(300)
    weight = np.where(np.arange(300) % 7 == 0, 0.0, data["weight"])
    data["X"][0] = data["GX"][0] = 50.0  # a row of weight zero must not even move a bin
    repeats = weight.astype(int)
    repeated = {key: np.repeat(value, repeats, axis=0) for key, value in data.items()}
    settings = {"alpha": 0.1, "penalty": penalty, "max_iter": 15, "min_samples_leaf": 1}
    weighted, copied = fit(data, weight=weight, **settings), fit(repeated, **settings)
    np.testing.assert_allclose(weighted.predict(data["X"]), copied.predict(data["X"]), atol=1e-5)
    np.testing.assert_allclose(weighted.train_loss_, copied.train_loss_, rtol=1e-6)


def test_copies_of_a_draw_are_one_draw() -> None:
    data = sample(300)
    twice = {"augmented": np.stack([data["GX"]] * 2, axis=1), "augmentation_parameters": np.stack([data["G"]] * 2, 1)}
    model = Fit(max_iter=15, min_samples_leaf=20, penalty="paired").fit(data["X"], data["y"], **twice)
    once = fit(data, max_iter=15, min_samples_leaf=10, penalty="paired")
    np.testing.assert_allclose(model.predict(data["X"]), once.predict(data["X"]), atol=1e-6)


def test_units_of_the_outcome_do_not_matter() -> None:
    data = sample()
    model = fit(data, alpha=1e-4, max_iter=15)
    tiny = fit({**data, "y": 2.0**-60 * data["y"]}, alpha=1e-4, max_iter=15)
    np.testing.assert_allclose(2.0**60 * tiny.predict(data["X"]), model.predict(data["X"]), rtol=1e-9)


def test_augmenter_draws_follow_the_random_state() -> None:
    data = sample()
    settings = {"augmentation": AdditiveNoise(columns=[1]), "max_iter": 5}
    first, second, third = (Fit(random_state=s, **settings).fit(data["X"], data["y"]) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.predict(data["X"]), second.predict(data["X"]))
    assert np.abs(first.predict(data["X"]) - third.predict(data["X"])).max() > 1e-3
    assert (first.variation_, first.penalty_) == ("augmentation", "pointwise")


def test_saved_and_pickled_models_predict_the_same(tmp_path: Any) -> None:
    data = sample()
    model = Fit(augmentation=AdditiveNoise(columns=[1]), max_iter=5, random_state=0).fit(data["X"], data["y"])
    path = os.path.join(tmp_path, "model.causalkit")
    save(model, path)
    for again in (load(path), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict(data["X"]), model.predict(data["X"]))
    assert not hasattr(model, "inference")


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    data = sample()
    fit(data, max_iter=3)
    assert capsys.readouterr().err == ""
    fit(data, max_iter=3, verbose=1)
    assert "3/3\n" in capsys.readouterr().err


# ---------------------------------------------------------------------- trees


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_recovered_splits_are_those_of_the_grown_tree(seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 12, (3, 400)).astype(np.uint8)
    targets = np.sin(codes[0]) * codes[1] + rng.standard_normal(400)
    weight = rng.uniform(0.5, 1.5, 400) if weighted else None
    settings = {"max_leaf_nodes": 12, "min_samples_leaf": 5}
    part = grow_partition(codes, codes.T.astype(float), targets, weight, **settings, seed=0)
    tree = HistGradientBoostingRegressor(max_iter=1, learning_rate=1.0, early_stopping=False, **settings)
    tree.fit(codes.T.astype(float), targets, sample_weight=weight)
    grid = np.stack(np.meshgrid(*[np.arange(12)] * 3), axis=-1).reshape(-1, 3)
    node = np.zeros(len(grid), dtype=int)
    for _ in range(12):
        inner = part.feature[node] >= 0
        below = grid[np.arange(len(grid)), np.maximum(part.feature[node], 0)] <= part.cut[node]
        node = np.where(inner, np.where(below, part.left[node], part.right[node]), node)
    means = np.array(
        [
            np.average(targets[part.row_leaf == i], weights=None if weight is None else weight[part.row_leaf == i])
            for i in range(part.n_leaves)
        ]
    )
    assert part.n_leaves == 12
    np.testing.assert_allclose(means[part.leaf[node]], tree.predict(grid.astype(float)), rtol=1e-5)


def test_leaves_with_equal_means_are_told_apart() -> None:
    # A checkerboard: the two corners of each diagonal carry one name, and every cut goes through both names.
    codes = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], dtype=np.uint8)
    part = recover_splits(codes, np.array([0, 1, 1, 0]), np.array([1.0, -1.0]))
    assert part.n_leaves == 4
    assert sorted(part.row_leaf) == [0, 1, 2, 3]


def test_weighted_bins_are_those_of_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 2))
    X[:, 1] = np.round(X[:, 1])
    repeats = rng.integers(1, 5, 2000)
    weighted, copied = bin_features(X, repeats / repeats.mean()), bin_features(np.repeat(X, repeats, axis=0))
    for a, b in zip(weighted.edges, copied.edges, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.repeat(weighted.codes, repeats, axis=1), copied.codes)
    counts = np.bincount(copied.codes[0])
    assert len(counts) == 255
    assert counts.max() <= repeats.sum() / 255 + 5
    assert len(weighted.edges[1]) == len(np.unique(X[:, 1])) - 1


# ---------------------------------------------------------------------- known truth


def test_error_in_the_nonlinear_design() -> None:
    """Error: variance of h - f over that of f, on un-augmented test rows; bars from two prototypes."""
    rng = np.random.default_rng(0)

    def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        C, x1 = rng.standard_normal(4000), rng.standard_normal(4000)
        x2, x3 = C + 0.3 * rng.standard_normal(4000), rng.standard_normal(4000)
        f = np.sin(2 * x1) + x3**2 / 2
        return np.column_stack([x1, x2, x3]), f + C + 0.2 * rng.standard_normal(4000), f

    (X, y, _), (X_test, _, f) = draw(), draw()
    GX = X + rng.standard_normal((4000, 1)) * [0.0, 1.0, 0.0]

    def error(model: Fit) -> float:
        return float(np.var(model.predict(X_test) - f) / np.var(f))

    least_squares = error(Fit().fit(X, y))
    falling = [error(Fit(alpha=alpha).fit(X, y, augmented=GX)) for alpha in (np.inf, 1.0, 0.1)]
    assert 0.85 <= least_squares <= 0.95
    assert 0.22 <= falling[0] <= 0.32
    assert falling[2] <= 0.06
    assert falling[0] > falling[1] > falling[2]


# ---------------------------------------------------------------------- failures

D = sample(60)

FAILURES: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = {
    "alpha zero": ({"alpha": 0}, {}, ValueError, "alpha > 0 is needed here"),
    "alpha negative": ({"alpha": -0.5}, {}, ValueError, r"alpha must be in \[0, inf\].*instrument_diagnostics"),
    "alpha nan": ({"alpha": np.nan}, {}, ValueError, r"alpha must be in \[0, inf\]"),
    "alpha text": ({"alpha": "auto"}, {}, ValueError, r"alpha must be in \[0, inf\].*'auto'"),
    "penalty alone": ({"penalty": "pointwise"}, {}, AugmentationError, "nothing to penalise.*augmentation="),
    "unknown penalty": ({"penalty": "ridge"}, {}, ValueError, "penalty must be one of 'auto'"),
    "analytic": ({"penalty": "analytic"}, {"augmented": D["GX"]}, MethodNotApplicableError, "use penalty=.pointwise"),
    "constrained": (
        {"penalty": "constrained"},
        {"augmented": D["GX"]},
        MethodNotApplicableError,
        "does not exist for this estimator.*use penalty=.pointwise",
    ),
    "two sources": ({"augmentation": AdditiveNoise()}, {"augmented": D["GX"]}, AugmentationError, "drop augmented="),
    "instruments and augmented": (
        {},
        {"instruments": D["G"], "augmented": D["GX"]},
        AugmentationError,
        "instruments and augmented were both given.*invariance_test",
    ),
    "instruments and augmentation": (
        {"augmentation": AdditiveNoise()},
        {"instruments": D["G"]},
        AugmentationError,
        "instruments and augmentation were both given.*invariance_test",
    ),
    "projected without G": (
        {"penalty": "projected"},
        {"augmented": D["GX"]},
        AugmentationError,
        "augmentation_parameters=.*pointwise",
    ),
    "paired, function without G": (
        {"penalty": "paired", "augmentation": lambda X, rng: X + 1.0},
        {},
        AugmentationError,
        r"lambda.*return \(GX, G\)",
    ),
    "shape of augmented": (
        {},
        {"augmented": D["GX"][:, :1]},
        AugmentationError,
        r"\(60, 2\) or \(60, R, 2\).*\(60, 1\)",
    ),
    "rows of augmented": ({}, {"augmented": D["GX"][:9]}, AugmentationError, r"got \(9, 2\)"),
    "nan in augmented": (
        {},
        {"augmented": np.where(np.arange(60)[:, None] == 7, np.nan, D["GX"])},
        AugmentationError,
        "1 of 60 rows .first: row 7",
    ),
    "shape of G": (
        {"penalty": "paired"},
        {"augmented": D["GX"], "augmentation_parameters": D["G"][:5]},
        AugmentationError,
        r"augmentation_parameters.*\(60, k\).*got \(5, 1\)",
    ),
    "constant G": (
        {"penalty": "paired"},
        {"augmented": D["GX"], "augmentation_parameters": np.ones(60)},
        AugmentationError,
        "constant",
    ),
    "too many instruments": (
        {},
        {"instruments": np.random.default_rng(0).standard_normal((60, 59))},
        UnderIdentifiedError,
        "identity",
    ),
    "rows of instruments": ({}, {"instruments": D["G"][:4]}, ValueError, "instruments has 4 rows, but X has 60"),
    "groups": ({}, {"groups": np.zeros(3)}, ValueError, "groups must hold one label per row"),
    "weights": ({}, {"sample_weight": -np.ones(60)}, ValueError, "sample_weight must not be negative"),
    "learning rate": ({"learning_rate": 1.5}, {}, ValueError, r"learning_rate must be a number in \(0, 1\]"),
    "max_iter": ({"max_iter": 0}, {}, ValueError, "max_iter must be an integer at least 1"),
    "max_leaf_nodes": ({"max_leaf_nodes": 1}, {}, ValueError, "max_leaf_nodes must be an integer at least 2"),
    "min_samples_leaf": ({"min_samples_leaf": 0}, {}, ValueError, "min_samples_leaf must be an integer at least 1"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_bad_input_is_named(case: str) -> None:
    parameters, given, error, words = FAILURES[case]
    with pytest.raises(error, match=words):
        Fit(**parameters).fit(D["X"], D["y"], **given)


def test_missing_values_are_refused() -> None:
    X = D["X"].copy()
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        Fit().fit(X, D["y"])


def test_redundant_parameters_are_named_and_change_nothing() -> None:
    data = sample()
    with pytest.warns(WeakInstrumentWarning, match="constant or collinear"):
        spanned = Fit(max_iter=10).fit(data["X"], data["y"], instruments=np.column_stack([data["G"], 2 * data["G"]]))
    plain = Fit(max_iter=10).fit(data["X"], data["y"], instruments=data["G"])
    np.testing.assert_allclose(spanned.predict(data["X"]), plain.predict(data["X"]), atol=1e-6)
