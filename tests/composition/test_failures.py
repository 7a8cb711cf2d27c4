"""Every bad input of the estimator and the class and words that answer it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from causalkit.composition import CompositionalPartialCorrelation, compositional_ci_test
from causalkit.exceptions import (
    DegenerateLogRatioError,
    DegreesOfFreedomError,
    InferenceUnavailableError,
    NonFiniteError,
    NonPositiveError,
    NotFittedError,
    TooFewPartsError,
)
from tests.composition.test_covariance import sample

Fit = CompositionalPartialCorrelation


def table(n: int = 30, d: int = 5) -> pd.DataFrame:
    return pd.DataFrame(sample(n, d), columns=list("abcdefghijklmnop")[:d], index=[f"s{i}" for i in range(n)])


def with_cell(value: float, row: int = 3, column: int = 2) -> pd.DataFrame:
    X = table()
    X.iloc[row, column] = value
    return X


# ---------------------------------------------------------------------- amounts

AMOUNTS: dict[str, tuple[Any, type[ValueError], str]] = {
    "nan": (with_cell(np.nan), NonFiniteError, r"X contains NaN or infinity in 1 of 150 cells .*'s3', part 'c', NaN"),
    "infinity": (with_cell(np.inf), NonFiniteError, r"row 's3', part 'c', infinity.*Impute these cells or drop"),
    "negative": (with_cell(-2.0), NonPositiveError, r"row 's3', part 'c', -2\)\. Compositions are amounts"),
    "zero": (
        with_cell(0.0),
        NonPositiveError,
        r"X has 1 zeros in 150 cells \(worst part: 'c' with 1 of 30; worst row: 's3' with 1 of 5\).*"
        r'zero_replacement="multiplicative" or "lrsvd"',
    ),
    "two parts": (table().iloc[:, :2], TooFewPartsError, "2 parts .*two parts the partial correlation is always 1"),
    "one row": (table(1), DegreesOfFreedomError, r"X has 1 sample\(s\).*a minimum of 3 is required"),
    "two rows": (table(2), DegreesOfFreedomError, r"X has 2 sample\(s\).*a minimum of 3 is required"),
    "no rows": (table().iloc[:0], ValueError, r"0 sample\(s\)"),
    "a vector": (np.ones(5), ValueError, "expected shape"),
    "text": (np.array([["a", "b", "c"]] * 5), ValueError, "must hold numbers"),
    "repeated names": (table().set_axis(list("aabca"), axis=1), ValueError, r"same name, \['a', 'a'\]: rename them"),
}


@pytest.mark.parametrize("kind", AMOUNTS)
@pytest.mark.parametrize("shrinkage", ["auto", "invariant"])
def test_amounts(kind: str, shrinkage: str) -> None:
    X, error, words = AMOUNTS[kind]
    for method in ("fit", "partial_fit"):
        if method == "partial_fit" and kind in ("one row", "two rows"):
            continue  # a chunk may be short
        with pytest.raises(error, match=words):
            getattr(Fit(shrinkage=shrinkage, test=None), method)(X)


def test_empty_rows_and_parts_have_no_rule() -> None:
    row, part = table(), table()
    row.iloc[[4, 7]] = 0
    part["d"] = 0
    for rule in (None, "multiplicative"):
        with pytest.raises(NonPositiveError, match=r"2 rows of zeros only: 's4', 's7'.*drop these rows"):
            Fit(zero_replacement=rule).fit(row)
        with pytest.raises(NonPositiveError, match=r"1 parts that are zero in every row .*'d'.*drop these columns"):
            Fit(zero_replacement=rule).fit(part)


# ---------------------------------------------------------------------- degrees of freedom and rank


def test_an_unshrunk_fit_needs_rows() -> None:
    words = r"n = 8, D = 9, q = 0 confounders leave ν = 0 .*shrinkage=\"basis\".*a pseudo-inverse value is not given"
    with pytest.raises(DegreesOfFreedomError, match=words):
        Fit(shrinkage=None).fit(table(8, 9))
    with pytest.raises(DegreesOfFreedomError, match=r"n = 9, D = 8, q = 2 confounders leave ν = 0"):
        Fit(shrinkage=None).fit(table(9, 8), confounders=np.random.default_rng(0).normal(size=(9, 2)))
    uneven = [10.0, 10.0, *np.full(18, 0.1)]  # twenty rows, the weight of two
    with pytest.raises(DegreesOfFreedomError, match="an unshrunk fit needs at least as many rows as parts"):
        Fit(shrinkage=None).fit(table(20, 5), sample_weight=uneven)


def test_one_degree_of_freedom_allows_t_only() -> None:
    words = "n = 6, D = 6, q = 0. ν = 1 allows test='t' only"
    network = Fit(shrinkage=None).fit(table(6, 6))
    with pytest.raises(DegreesOfFreedomError, match=words):
        network.conf_int()
    with pytest.raises(DegreesOfFreedomError, match=words):
        Fit(shrinkage=None, test="fisher").fit(table(6, 6))
    with pytest.raises(DegreesOfFreedomError, match="test='influence' needs n > D"):
        Fit(shrinkage=None, test="influence").fit(table(6, 6))
    with pytest.raises(DegreesOfFreedomError, match="influence standard errors need n > D"):
        network.inference([(0, 1)])
    with pytest.raises(DegreesOfFreedomError, match="an unshrunk bootstrap needs n ≥ 2D rows; got n = 11, D = 6"):
        Fit(shrinkage=None, test="bootstrap").fit(table(11, 6))


@pytest.mark.parametrize("held", [0.0, 1e-16])
def test_no_shrinkage_of_a_singular_covariance(held: float) -> None:
    with pytest.raises(DegreesOfFreedomError, match=r"intensity is .* with n = 4 .* D = 5 parts.*set shrinkage to a"):
        Fit(shrinkage=held).fit(table(4))


@pytest.mark.parametrize("shrinkage", ["invariant", "ledoit_wolf"])
def test_an_estimated_zero_is_refused_too(shrinkage: str) -> None:
    """Log-ratios s and -s: every product is the same in all rows, so there is no sampling noise to shrink away."""
    c = np.array([0.1, 0.5, -0.9, 1.1, -0.8])
    X = np.exp(np.outer([1, 1, -1, -1], c))
    with pytest.raises(DegreesOfFreedomError, match=r"intensity is \S+ with n = 4 rows.*or use another method"):
        Fit(shrinkage=shrinkage, test=None).fit(X)
    with pytest.raises(DegreesOfFreedomError, match="with n = 4 rows"):
        Fit(shrinkage=shrinkage, test=None).partial_fit(X)
    with pytest.raises(DegenerateLogRatioError, match="numerical rank 1, expected D - 1 = 4"):
        Fit(shrinkage=shrinkage, test=None).fit(np.concatenate([X, X]))


def test_confounders_and_weights_may_leave_nothing() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(DegreesOfFreedomError, match=r"X has 8 sample\(s\).*and 9 with 6 confounders"):
        Fit(shrinkage="basis").fit(table(8), confounders=rng.normal(size=(8, 6)))
    with pytest.raises(DegreesOfFreedomError, match=r"effective number of 1\.\d+ leave nothing"):
        Fit(shrinkage="basis").fit(table(9), sample_weight=[1, *[1e-3] * 8], confounders=rng.normal(size=9))
    with pytest.raises(DegreesOfFreedomError, match=r"X has 2 sample\(s\) \(rows of positive weight\)"):
        Fit(shrinkage="basis").fit(table(9), sample_weight=[1, 2, *[0] * 7])


PROPORTIONAL = {
    "multiple": lambda X: X.assign(e=3.7 * X["b"]),
    "duplicate": lambda X: X.assign(e=X["b"]),
    "tiny and huge units": lambda X: X.assign(e=1e-200 * X["b"]),
    "two constants": lambda X: X.assign(b=2.0, e=5.0),
}


@pytest.mark.parametrize("kind", PROPORTIONAL)
@pytest.mark.parametrize("shrinkage", [None, "basis", "invariant", 0.4])
@pytest.mark.parametrize("n", [4, 30])
def test_proportional_parts_are_named(kind: str, shrinkage: Any, n: int) -> None:
    X = PROPORTIONAL[kind](table(n))
    if shrinkage is None and n < 5:
        shrinkage = "oas"
    with pytest.raises(DegenerateLogRatioError, match=r"parts 'b' and 'e' are proportional.*Merge them, or drop one"):
        Fit(shrinkage=shrinkage, test=None).fit(X)


def test_one_composition_in_every_row() -> None:
    """Rows that differ in their total only are the same composition up to rounding."""
    rng = np.random.default_rng(2)
    X = np.outer(np.exp(5 * rng.normal(size=20)), [0.1, 0.2, 0.3, 0.37])
    for shrinkage in (None, "basis", "invariant", "ledoit_wolf"):
        with pytest.raises(DegenerateLogRatioError, match="are proportional"):
            Fit(shrinkage=shrinkage, test=None).fit(X)


def test_other_null_contrasts_name_their_parts() -> None:
    X = table()
    X["e"] = np.sqrt(X["a"] * X["c"])
    words = r"numerical rank 3, expected D - 1 = 4: a log-contrast of the parts \['a', 'c', 'e'\] does not vary"
    with pytest.raises(DegenerateLogRatioError, match=words):
        Fit(shrinkage=None).fit(X)
    assert Fit(shrinkage="basis", test=None).fit(X).shrinkage_ > 0  # shrinkage is one way out
    with pytest.raises(DegenerateLogRatioError, match=r"\['a', 'e', 'c'\]"):
        compositional_ci_test(X, "a", "e", ["c"])
    twice = table().assign(e=lambda X: 2 * X["a"])
    with pytest.raises(DegenerateLogRatioError, match=r"\['a', 'e'\]"):
        compositional_ci_test(twice, "a", "b", ["e"])


def test_a_part_of_constant_share_cannot_be_standardised() -> None:
    X = table()
    X = X.div(X.sum(axis=1), axis=0)
    X = (X * 0.8).assign(f=0.2)
    with pytest.raises(DegenerateLogRatioError, match=r"log proportion of part 'f' does not vary.*'invariant'"):
        Fit(shrinkage="basis").fit(X)
    with pytest.raises(DegenerateLogRatioError, match="part 'f'"):
        Fit(shrinkage="basis", test=None).partial_fit(X)
    for shrinkage in (None, "invariant", "ledoit_wolf"):
        assert np.isfinite(Fit(shrinkage=shrinkage, test=None).fit(X).partial_correlation_).all()


# ---------------------------------------------------------------------- tests that do not exist


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shrinkage": "ledoit_wolf", "test": "shrunk_t"}, r"'shrunk_t' is for .*'ledoit_wolf'.*test='bootstrap'"),
        ({"shrinkage": None, "test": "shrunk_t"}, r"'shrunk_t' is for .*shrinkage is 'none'.*test='t'"),
        ({"shrinkage": "logratio", "test": "permutation"}, "'permutation' is for shrinkage 'basis', 'invariant'"),
        ({"shrinkage": "basis", "test": "shrunk_t", "null": "zero"}, r"closure null only.*null='closure'"),
        ({"shrinkage": "basis", "null": "zero"}, r"test='shrunk_t' has the closure null only"),
        ({"shrinkage": "basis", "test": "permutation", "null": "zero"}, "closure null only"),
        ({"shrinkage": "basis", "test": "influence"}, r"'influence' is for unshrunk fits.*test='shrunk_t'"),
        ({"shrinkage": "basis", "test": "t"}, "test='t' is for unshrunk fits"),
        ({"shrinkage": 0.2, "test": "fisher"}, "test='fisher' is for unshrunk fits"),
        ({"robust": "mcd", "test": "t"}, "robust='mcd' has no t reference: use test=None or test='bootstrap'"),
        ({"robust": "tyler", "test": "fisher"}, "robust='tyler' allows test='t', 'bootstrap' or None"),
        ({"robust": "tyler", "shrinkage": "basis"}, "robust='tyler' cannot be combined with shrinkage='basis'"),
        ({"robust": "mcd", "shrinkage": 0.1}, "robust='mcd' cannot be combined with shrinkage=0.1"),
        ({"shrinkage": None, "test": "influence", "storage": "factor"}, "needs all pairs at once: use storage='dense'"),
    ],
)
def test_invalid_combinations_name_a_valid_one(options: dict[str, Any], words: str) -> None:
    network = Fit(**options)
    with pytest.raises(InferenceUnavailableError, match=words):
        network.fit(table())
    with pytest.raises(NotFittedError):
        network.conf_int()


def test_groups_need_a_test_that_knows_them() -> None:
    groups = np.arange(30) // 3
    with pytest.raises(InferenceUnavailableError, match=r"takes rows as independent; with groups use test='influence'"):
        Fit(shrinkage=None, test="t").fit(table(), groups=groups)
    with pytest.raises(InferenceUnavailableError, match="'influence' is for unshrunk fits; shrinkage is 'basis'"):
        Fit(shrinkage="basis").fit(table(), groups=groups)


def test_a_robust_fit_needs_twice_as_many_rows_as_parts() -> None:
    with pytest.raises(DegreesOfFreedomError, match="robust='mcd' needs more than 2D rows: n = 10, D = 5"):
        Fit(robust="mcd").fit(table(10))
    with pytest.raises(ValueError, match="robust cannot be combined with sample_weight or confounders"):
        Fit(robust="tyler").fit(table(), sample_weight=np.ones(30))


def test_shrunken_fits_have_no_interval_and_some_have_no_test() -> None:
    for options in ({"shrinkage": "basis"}, {"shrinkage": "oas"}, {"robust": "mcd"}):
        with pytest.raises(InferenceUnavailableError, match=r"no interval in closed form: use test='bootstrap'"):
            Fit(**options).fit(table()).conf_int()
    network = Fit(shrinkage="oas").fit(table())
    for read in ("pvalues_", "qvalues_"):
        assert not hasattr(network, read)
        with pytest.raises(AttributeError, match=r"no p-values for shrinkage='oas'.*'shrunk_t', or test='bootstrap'"):
            getattr(network, read)
    with pytest.raises(AttributeError, match="no p-values"):
        network.to_frame(max_qvalue=0.05)
    with pytest.raises(InferenceUnavailableError, match="influence values are those of an unshrunk fit"):
        network.inference([(0, 1)])
    with pytest.raises(InferenceUnavailableError, match="r_squared by reference is defined for unshrunk fits"):
        network.r_squared("a")
    with pytest.raises(AttributeError, match="residual_variance_ exists for unshrunk fits only"):
        _ = network.residual_variance_


# ---------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a", "z", ["b"]), r"unknown part 'z'; the parts are \['a', 'b', 'c', 'd', 'e'\]"),
        (("a", "b", ["z"]), "unknown part 'z'"),
        (("a", 9, ["b"]), "part 9 is out of range: there are 5 parts"),
        (("a", 1.0, ["c"]), "a part must be a name or a position, got 1.0"),
        (("a", True, ["c"]), "a part must be a name or a position, got True"),
        (("a", "a", ["b"]), "i and j are the same part, 'a'"),
        (("a", "b", ["c", "b"]), r"given must hold other parts, each once.*\['b'\]"),
        (("a", "b", ["c", "c"]), "given must hold other parts, each once"),
        (("a", "b", []), "needs at least one part in `given`"),
    ],
)
def test_conditional_independence_questions(arguments: tuple[Any, ...], words: str) -> None:
    X = table()
    with pytest.raises(ValueError, match=words):
        Fit(shrinkage=None).fit(X).ci_test(*arguments)
    with pytest.raises(ValueError, match=words):
        compositional_ci_test(X, *arguments)


def test_conditional_independence_needs_rows() -> None:
    with pytest.raises(DegreesOfFreedomError, match="3 given parts leave 0 degrees of freedom with 4 rows"):
        compositional_ci_test(table(4), "a", "b", ["c", "d", "e"])


def test_read_outs_refuse_unknown_parts_and_sizes() -> None:
    network = Fit(shrinkage=None).fit(table())
    with pytest.raises(ValueError, match="unknown part 'z'"):
        network.block(["z"], ["a"])
    with pytest.raises(ValueError, match="got True"):
        network.block([True, False, True, False, False], ["a"])
    with pytest.raises(ValueError, match="unknown part 'z'"):
        network.r_squared("z")
    for pairs in ([], [("a", "a")]):
        with pytest.raises(ValueError, match="at least one pair of two different parts"):
            network.inference(pairs)
    with pytest.raises(ValueError, match="block_size must be an integer at least 1"):
        network.iter_blocks(0)
    with pytest.raises(ValueError, match="sign must be one of"):
        network.top_k(2, "up")
    with pytest.raises(ValueError, match="confidence_level"):
        network.conf_int(1.0)
    with pytest.raises(ValueError, match=r"X has 4 features, but .* is expecting 5 features"):
        Fit(shrinkage=None).fit(sample(30)).score(sample(30, 4))
    with pytest.raises(ValueError, match="feature names should match"):
        network.score(table()[list("ebcda")])


# ---------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"sample_weight": -np.ones(30)}, "sample_weight must not be negative"),
        ({"sample_weight": np.zeros(30)}, "all weights are zero"),
        ({"sample_weight": np.ones(29)}, "sample_weight has 29 rows, but X has 30"),
        ({"sample_weight": np.full(30, np.nan)}, "sample_weight contains NaN"),
        ({"groups": np.arange(29)}, "groups must hold one label per row"),
        ({"groups": [None, *range(29)]}, "groups has 1 missing labels"),
        ({"groups": ["a"] * 30}, "groups has 1 cluster"),
        ({"groups": ["a"] * 15 + ["b"] * 15, "sample_weight": [1] * 15 + [0] * 15}, "groups has 1 cluster"),
        ({"confounders": np.ones((29, 2))}, "confounders has 29 rows, but X has 30"),
        ({"confounders": np.ones(30)}, "confounders column 'confounders0' is constant: drop it"),
        ({"confounders": np.array([[i, 2.0 * i] for i in range(30)])}, "confounders are collinear: 2 columns"),
        ({"confounders": np.full((30, 1), np.inf)}, "confounders contains NaN or infinity"),
        (
            {"sample_weight": pd.Series(np.ones(30), index=[f"s{i}" for i in range(29, -1, -1)])},
            "same index labels in a different order",
        ),
    ],
)
def test_rows_of_other_arguments(rows: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fit().fit(table(), **rows)


def test_confounders_are_judged_on_the_rows_that_count() -> None:
    weight = np.r_[np.ones(20), np.zeros(10)]
    step = np.r_[np.zeros(20), np.ones(10)]
    with pytest.raises(ValueError, match="is constant: drop it"):
        Fit(shrinkage=None).fit(table(), sample_weight=weight, confounders=step)


# ---------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shrinkage": "lw"}, "shrinkage must be one of 'auto', 'basis'"),
        ({"shrinkage": 1.2}, r"shrinkage must be a method, None, or a number in \[0, 1\]; got 1.2"),
        ({"shrinkage": float("nan")}, r"a number in \[0, 1\]; got nan"),
        ({"shrinkage": True}, "got True"),
        ({"robust": "mve"}, "robust must be one of"),
        ({"test": "z"}, "test must be one of"),
        ({"null": "none"}, "null must be one of"),
        ({"fdr": "holm"}, "fdr must be one of"),
        ({"storage": "disk"}, "storage must be one of"),
        ({"confidence_level": 95}, "confidence_level"),
        ({"n_resamples": 0}, "n_resamples must be an integer at least 1"),
        ({"reference": 0}, 'reference is read by shrinkage="logratio" only'),
        ({"shrinkage": "logratio", "reference": "a"}, "must be a list of parts"),
        ({"shrinkage": "logratio", "reference": ["a", "z"]}, "reference names the part 'z'"),
        ({"zero_replacement": "gone"}, "gone"),
    ],
)
def test_parameters(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fit(**options).fit(table())


def test_nothing_is_read_before_a_fit() -> None:
    network = Fit()
    calls = [("score", (table(),)), ("conf_int", ()), ("to_frame", ()), ("top_k", (1,)), ("block", ([0], [1]))]
    calls += [("inference", ([(0, 1)],)), ("r_squared", (0,)), ("ci_test", (0, 1, [2])), ("to_networkx", ())]
    calls += [("iter_blocks", ())]
    for name, arguments in calls:
        with pytest.raises(NotFittedError):
            getattr(network, name)(*arguments)
    names = ["partial_correlation_", "precision_", "log_ratio_covariance_", "partial_variance_", "residual_variance_"]
    names += ["coef_", "r2_", "basis_variance_", "closure_null_", "factor_", "pvalues_", "qvalues_", "shrinkage_"]
    assert not any(hasattr(network, name) for name in names)
