"""Every bad input of the estimator, the class that answers it, and the words: argument, expected, got, remedy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression, Ridge

from causalkit.exceptions import (
    AdditivityWarning,
    BadControlError,
    BadControlWarning,
    ConvergenceWarning,
    IdentificationError,
    MethodNotApplicableError,
    NotFittedError,
    NuisanceFitWarning,
    OverlapWarning,
    UnseenLevelError,
    WeakInstrumentWarning,
)
from causalkit.rewards import PairwiseRewardModel, RewardDeconfounder

Fit = RewardDeconfounder
N = 120
WARNINGS = (NuisanceFitWarning, AdditivityWarning, BadControlWarning, OverlapWarning)


def table() -> dict[str, Any]:
    """Arguments of a fit that works."""
    rng = np.random.default_rng(0)
    rows = np.arange(N)
    X = pd.DataFrame(rng.normal(size=(N, 3)), columns=["words", "links", "caps"])
    C = pd.DataFrame({"age": rng.normal(size=N), "author": np.array(list("abcd"))[rows % 4], "month": rows % 12 + 1.0})
    y = pd.Series(X["words"] + C["age"] + rng.normal(size=N), name="shares")
    return {"X": X, "y": y, "confounders": C}


def fit_with(estimator: RewardDeconfounder, **changes: Any) -> RewardDeconfounder:
    given = table() | changes
    with warnings.catch_warnings():
        for category in WARNINGS:
            warnings.simplefilter("ignore", category)
        return estimator.fit(given.pop("X"), given.pop("y"), **given)


def with_cell(name: str, column: Any, value: Any, row: int = 7) -> dict[str, Any]:
    """The table with one cell changed."""
    changed = table()[name].copy()
    if isinstance(changed, pd.Series):
        changed.iloc[row] = value
    else:
        changed.loc[row, column] = value
    return {name: changed}


def twin(name: str) -> pd.DataFrame:
    """Features of which the confounder determines one."""
    given = table()
    return given["X"].assign(**{name: given["confounders"]["age"]})


LEVELS = table()["confounders"][["author"]]
NUMBERS = table()["confounders"][["age"]]
BOTH = table()["confounders"].assign(part=np.where(np.arange(N) < 60, "am", "pm"))[["author", "part"]]
STRANGE = np.random.default_rng(1).normal(size=N)


def bad_shape(texts: list[str]) -> NDArray[Any]:
    return np.zeros(len(texts))


def bad_rows(texts: list[str]) -> NDArray[Any]:
    out = np.ones((len(texts), 2))
    out[5, 1] = np.nan
    return out


def few_rows(texts: list[str]) -> NDArray[Any]:
    return np.ones((3, 2))


TEXTS = [f"text {i}" for i in range(N)]

# name: (estimator, changed arguments, class, patterns that all have to be found)
REFUSED: dict[str, tuple[Fit, dict[str, Any], type[Exception], tuple[str, ...]]] = {
    # what is given
    "confounders missing": (
        Fit(),
        {"confounders": None},
        ValueError,
        ("confounders is missing", 'method="partially_linear"', "pass the columns", 'method="none" ranks raw outcomes'),
    ),
    "confounders missing, levels": (
        Fit(method="fixed_effects"),
        {"confounders": None},
        ValueError,
        ("confounders is missing", 'method="fixed_effects" needs'),
    ),
    **{
        f"length of {name}": (
            Fit(method="instrument") if name == "instruments" else Fit(),
            {name: value},
            ValueError,
            (f"{name} has {N - 1} rows", f"X has {N}"),
        )
        for name, value in {
            "y": np.zeros(N - 1),
            "confounders": LEVELS.iloc[1:],
            "instruments": STRANGE[1:],
            "prompts": np.arange(N - 1),
            "groups": np.arange(N - 1),
            "sample_weight": np.ones(N - 1),
        }.items()
    },
    "order of index": (
        Fit(),
        {"confounders": LEVELS.iloc[::-1]},
        ValueError,
        ("confounders", "different order", "reorder"),
    ),
    "nan in y": (Fit(), with_cell("y", 0, np.nan), ValueError, ("y", "NaN")),
    "infinity in X": (Fit(), with_cell("X", "links", np.inf), ValueError, ("X", "infinity")),
    "nan in a confounder": (
        Fit(),
        with_cell("confounders", "age", np.nan),
        ValueError,
        ("'age' contains NaN", "1 rows", r"\[7\]", "impute it, or add an indicator"),
    ),
    "infinity in a confounder": (
        Fit(method="fixed_effects"),
        with_cell("confounders", "age", -np.inf),
        ValueError,
        ("'age' contains NaN or infinity", "first: "),
    ),
    "nan in an instrument": (
        Fit(method="instrument"),
        {"confounders": NUMBERS, "instruments": np.where(np.arange(N) == 4, np.nan, STRANGE)},
        ValueError,
        ("instruments contains NaN", "1 of 120 rows", "row 4"),
    ),
    "nan in groups": (
        Fit(),
        {"groups": [None] + [1] * (N - 1)},
        ValueError,
        ("groups has 1 missing labels", "give every row"),
    ),
    "negative weights": (
        Fit(),
        {"sample_weight": -np.ones(N)},
        ValueError,
        ("sample_weight must not be negative", "120 negative of 120 rows"),
    ),
    "no weight": (Fit(), {"sample_weight": np.zeros(N)}, ValueError, ("sample_weight must have a positive sum",)),
    # texts
    "texts without encoder": (Fit(), {"X": TEXTS}, TypeError, ("X holds texts", "pass encoder=")),
    "a Series of texts without encoder": (Fit(), {"X": pd.Series(TEXTS)}, TypeError, ("X holds texts", "encoder=")),
    "one string": (
        Fit(encoder=bad_rows),
        {"X": "x" * N},
        TypeError,
        ("X is one string", "a list or Series of strings"),
    ),
    "a missing text": (
        Fit(encoder=bad_rows),
        {"X": [*TEXTS[:-1], None]},
        TypeError,
        ("row 119 is NoneType", "Replace missing"),
    ),
    "encoder of one dimension": (
        Fit(encoder=bad_shape),
        {"X": TEXTS},
        ValueError,
        (r"encoder must return numbers of shape \(120, p\)", r"got shape \(120,\)"),
    ),
    "encoder of other rows": (
        Fit(encoder=few_rows),
        {"X": TEXTS},
        ValueError,
        (r"shape \(120, p\)", r"got shape \(3, 2\)"),
    ),
    "encoder of nan": (Fit(encoder=bad_rows), {"X": TEXTS}, ValueError, ("encoder returned NaN", "1 texts", "row 5")),
    # names
    "name in categorical": (
        Fit(categorical=["city"]),
        {},
        ValueError,
        ("categorical names 'city'", "available", "'author'"),
    ),
    "name in cyclic": (Fit(cyclic={"city": 7}), {}, ValueError, ("cyclic names 'city'", "available", "'author'")),
    "name in interactions": (
        Fit(interactions=[("author", "city")]),
        {},
        ValueError,
        ("interactions names 'city'", "available", "'month'"),
    ),
    "name in timing": (Fit(timing={"city": "before"}), {}, ValueError, ("timing names 'city'", "available", "'age'")),
    "name in endogenous": (
        Fit(method="instrument", endogenous=["city"]),
        {"instruments": STRANGE},
        ValueError,
        ("endogenous names 'city'", "available", "'age'"),
    ),
    "value of timing": (
        Fit(timing={"age": "later"}),
        {},
        ValueError,
        (r"timing\['age'\] must be one of 'before', 'after'", "later"),
    ),
    "kind of timing": (Fit(timing="after"), {}, ValueError, ("timing must be None", "dict", "'after'")),
    "period": (Fit(cyclic={"month": -12}), {}, ValueError, (r"cyclic\['month'\] must be a positive period", "-12")),
    "text that is not categorical": (
        Fit(categorical=["month"]),
        {},
        ValueError,
        ("'author' holds text", "name it there"),
    ),
    "datetime": (
        Fit(),
        {"confounders": pd.DataFrame({"when": pd.date_range("2016-01-05", periods=N)})},
        TypeError,
        ("'when' is a datetime", "month, weekday, hour", "`cyclic` or `categorical`"),
    ),
    "repeated columns": (
        Fit(),
        {"confounders": pd.DataFrame(np.ones((N, 2)), columns=["a", "a"])},
        ValueError,
        ("same name", r"\['a'\]", "rename"),
    ),
    # parameters
    "method": (Fit(method="magic"), {}, ValueError, ("method must be one of", "'partially_linear'", "'magic'")),
    "covariance": (Fit(covariance="HC9"), {}, ValueError, ("covariance must be one of", "'HC1'", "'HC9'")),
    "cluster without groups": (
        Fit(covariance="cluster"),
        {},
        ValueError,
        ('covariance="cluster" needs groups', "pass groups="),
    ),
    "cluster without groups, levels": (
        Fit(covariance="cluster", method="fixed_effects"),
        {"confounders": LEVELS},
        ValueError,
        ('covariance="cluster" needs groups',),
    ),
    "negative penalty": (Fit(penalty=-1.0), {}, ValueError, ("penalty must be a number of at least 0", '"cv"', "-1.0")),
    "penalty of another name": (Fit(penalty="loo"), {}, ValueError, ("penalty must be", '"cv"', "'loo'")),
    "penalty nan": (Fit(penalty=np.nan), {}, ValueError, ("penalty must be a number of at least 0", "nan")),
    "repeats": (Fit(n_repeats=0), {}, ValueError, ("n_repeats must be an integer at least 1", "got 0")),
    "folds": (Fit(cv=1), {}, ValueError, ("cv must be an integer between 2", "got 1")),
    "max_weight": (
        Fit(method="weighting", max_weight=0.0),
        {"confounders": LEVELS},
        ValueError,
        ("max_weight must be a positive number or None", "0.0"),
    ),
    # methods and their confounders
    "a rare level": (
        Fit(),
        {"confounders": np.array(["rare"] * 3 + ["often"] * (N - 3))},
        ValueError,
        ("level 'rare' with 3 rows", "5 folds", 'method="fixed_effects" or "mixed"'),
    ),
    "groups are the levels": (
        Fit(),
        {"confounders": LEVELS, "groups": LEVELS["author"]},
        ValueError,
        ("groups are the levels of confounders column 'author'", 'method="fixed_effects" or "mixed"'),
    ),
    **{
        f"{method} with two factors": (
            Fit(method=method),
            {"confounders": BOTH},
            ValueError,
            ("exactly one factor" if method != "weighting" else "one factor", r"\['author', 'part'\]", "interactions="),
        )
        for method in ("mixed", "mundlak", "weighting")
    },
    "leave one out with two factors": (
        Fit(method="fixed_effects", leave_one_out=True),
        {"confounders": BOTH},
        ValueError,
        ("leave_one_out needs one categorical confounder", "author, part", "interaction"),
    ),
    **{
        f"{method} without levels": (
            Fit(method=method),
            {"confounders": NUMBERS},
            ValueError,
            (f'method="{method}" needs a categorical confounder', 'method="partially_linear"', "`categorical`"),
        )
        for method in ("fixed_effects", "mixed", "mundlak")
    },
    "weighting with numbers": (
        Fit(method="weighting"),
        {},
        ValueError,
        ("needs categorical confounders", r"\['age', 'month'\] are numeric", 'method="partially_linear"'),
    ),
    "lowess with levels": (
        Fit(method="lowess"),
        {},
        ValueError,
        ("one numeric confounder", r"\['age', 'author', 'month'\]", '"fixed_effects" for levels'),
    ),
    "a final model that is ignored": (
        Fit(method="weighting", final_model=Ridge()),
        {"confounders": LEVELS},
        MethodNotApplicableError,
        ("final_model=Ridge", 'method="weighting"', "or leave it at None"),
    ),
    # identification
    "a feature that the confounder is": (
        Fit(outcome_model=LinearRegression(), treatment_model=LinearRegression()),
        {"X": twin("links"), "confounders": NUMBERS},
        IdentificationError,
        ("smallest eigenvalue", "direction of links", "Drop one of them, or set penalty"),
    ),
    "a feature constant within levels": (
        Fit(method="fixed_effects"),
        {"X": table()["X"].assign(caps=(LEVELS["author"] == "a").astype(float)), "confounders": LEVELS},
        IdentificationError,
        ("direction of caps", "set penalty"),
    ),
    "a constant feature": (
        Fit(method="none"),
        {"X": table()["X"].assign(caps=1.0)},
        IdentificationError,
        ("direction of caps",),
    ),
    "more features than rows": (
        Fit(method="none"),
        {"X": np.random.default_rng(2).normal(size=(N, N + 5))},
        IdentificationError,
        ("120 rows, 125 features", "set penalty"),
    ),
    "invariance without a direction": (
        Fit(method="invariance"),
        {"confounders": table()["confounders"].assign(month=lambda f: f["month"].astype(str))[["author"]]},
        IdentificationError,
        ("3 restrictions on 3 features leave no reward",),
    ),
    "instruments missing": (
        Fit(method="instrument"),
        {"confounders": NUMBERS},
        ValueError,
        ("instruments is missing", 'method="instrument" needs', "pass columns that move the confounder"),
    ),
    "too few instruments": (
        Fit(method="instrument"),
        {"instruments": STRANGE},
        ValueError,
        ("instruments has 1 columns for 2 endogenous confounders", r"\['age', 'month'\]", "name fewer in `endogenous`"),
    ),
    "instrument without variation": (
        Fit(method="instrument"),
        {"confounders": NUMBERS, "instruments": table()["X"][["words"]]},
        IdentificationError,
        ("instrument", "words"),
    ),
    "instrument without numbers": (
        Fit(method="instrument"),
        {"confounders": LEVELS, "instruments": STRANGE},
        ValueError,
        ("needs a numeric confounder to instrument", 'method="fixed_effects"'),
    ),
    # bad controls
    "settled afterwards": (
        Fit(timing={"age": "after"}),
        {},
        BadControlError,
        ("'age' was settled after the text", "part of the reward", "drop it", 'method="instrument"'),
    ),
    # new populations
    "unseen target": (
        Fit(method="standardization"),
        {"confounders": LEVELS, "target_confounders": pd.DataFrame({"author": ["a", "zoe"]})},
        UnseenLevelError,
        (r"target_confounders column 'author' has levels unseen in fit: zoe \(1 rows\)", "Drop"),
    ),
    "target without a column": (
        Fit(method="standardization"),
        {"target_confounders": LEVELS},
        ValueError,
        ("target_confounders lacks the columns", r"\['age', 'month'\]"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_fit(case: str) -> None:
    estimator, changes, error, patterns = REFUSED[case]
    estimator = Fit(**estimator.get_params(deep=False))
    for match in patterns:
        with pytest.raises(error, match=match) as caught:
            fit_with(estimator, **changes)
        assert type(caught.value) is error or error in (ValueError, TypeError)
    # After an error there are no fitted attributes, and nothing can be asked.
    assert vars(estimator).keys() == estimator.get_params(deep=False).keys()
    with pytest.raises(NotFittedError):
        estimator.predict(table()["X"])


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_fit_leaves_the_one_before(case: str) -> None:
    estimator, changes, error, patterns = REFUSED[case]
    fitted = fit_with(Fit(method="fixed_effects"))
    before, state = fitted.predict(table()["X"]), dict(vars(fitted))
    fitted.set_params(**estimator.get_params(deep=False))
    with pytest.raises(error, match=patterns[0]):
        fit_with(fitted, **changes)
    fitted.set_params(**Fit(method="fixed_effects").get_params(deep=False))
    np.testing.assert_array_equal(fitted.predict(table()["X"]), before)
    assert vars(fitted).keys() == state.keys()
    assert all(vars(fitted)[name] is value for name, value in state.items() if name.endswith("_"))


# ---------------------------------------------------------------------- interrupts


class Interrupted(RegressorMixin, BaseEstimator):
    """A nuisance that is stopped by the keyboard, or fails."""

    def __init__(self, error: Any = KeyboardInterrupt) -> None:
        self.error = error

    def fit(self, C: Any, y: Any, sample_weight: Any = None) -> Any:
        """Stop."""
        raise self.error("stopped")

    def predict(self, C: Any) -> Any:
        """Never reached."""
        return np.zeros(len(C))


@pytest.mark.parametrize("role", ["outcome_model", "treatment_model", "final_model", "encoder"])
def test_an_interrupt_leaves_the_fit_before(role: str) -> None:
    fitted = fit_with(Fit(random_state=0))
    before, keys = fitted.predict(table()["X"]), vars(fitted).keys()

    def stopped(texts: list[str]) -> Any:
        raise KeyboardInterrupt

    fitted.set_params(**{role: stopped if role == "encoder" else Interrupted()})
    with pytest.raises(KeyboardInterrupt):
        fit_with(fitted, **({"X": TEXTS} if role == "encoder" else {}))
    fitted.set_params(**{role: None})
    np.testing.assert_array_equal(fitted.predict(table()["X"]), before)
    assert vars(fitted).keys() == keys


def test_a_nuisance_that_fails_is_named() -> None:
    with pytest.raises(ValueError, match=r"outcome.*fold 0.*stopped"):
        fit_with(Fit(outcome_model=Interrupted(ValueError)))


# ---------------------------------------------------------------------- warnings


def weak() -> Any:
    return Fit(method="instrument").fit(
        table()["X"], table()["y"], confounders=NUMBERS, instruments=np.random.default_rng(5).normal(size=N)
    )


def little_overlap() -> Any:
    X = twin("links")
    X["links"] += 0.05 * STRANGE
    lines = {"outcome_model": LinearRegression(), "treatment_model": LinearRegression()}
    return Fit(timing="before", **lines).fit(X, table()["y"], confounders=NUMBERS)


def no_overlap_of_levels() -> Any:
    author = np.array(["low", "high"])[(table()["X"]["words"] > 0).astype(int)]
    return Fit(method="weighting", random_state=0).fit(table()["X"], table()["y"], confounders=author)


def misfit() -> Any:
    age = np.linspace(-3, 3, N)
    lines = {"outcome_model": LinearRegression(), "treatment_model": LinearRegression()}
    y = table()["X"]["words"] + 3 * age**2
    return Fit(timing="before", **lines).fit(table()["X"], y, confounders=pd.DataFrame({"age": age}))


def not_additive() -> Any:
    author = np.array(["a", "b"])[np.arange(N) % 2]
    y = table()["X"]["words"] * np.where(author == "a", 5.0, -1.0)
    return Fit(method="fixed_effects").fit(table()["X"], y + STRANGE, confounders=author)


def follows_the_text() -> Any:
    clicks = table()["X"]["words"] + STRANGE
    return Fit(random_state=0).fit(table()["X"], table()["y"], confounders=pd.DataFrame({"clicks": clicks}))


def restless() -> Any:
    class Alternating(LinearRegression):
        """Another line at every fit."""

        flip = 1.0

        def predict(self, X: Any) -> Any:
            Alternating.flip = -Alternating.flip
            return Alternating.flip * super().predict(X)

    return Fit(method="fixed_effects", final_model=Alternating()).fit(table()["X"], table()["y"], confounders=LEVELS)


WARNED: dict[str, tuple[Callable[[], Any], type[Warning], str]] = {
    "weak instrument": (
        weak,
        WeakInstrumentWarning,
        r"weak instruments for age \(F = .*Anderson-Rubin set, which may be unb",
    ),
    "overlap": (
        little_overlap,
        OverlapWarning,
        r"direction of links.* share of 0\.0\d+ of the features' variance.*set a penalty",
    ),
    "overlap of levels": (
        no_overlap_of_levels,
        OverlapWarning,
        r"level '(low|high)' has predicted probability .*consider max_w",
    ),
    "nuisance fit": (
        misfit,
        NuisanceFitWarning,
        r"score statistic \d+.*p = .*more flexible outcome_model and treatment_model",
    ),
    "additivity": (not_additive, AdditivityWarning, r"statistic \d+.*, p = .*method=\"standardization\" averages"),
    "bad control": (
        follows_the_text,
        BadControlWarning,
        r"confounder 'clicks' \(out-of-fold R² 0\.\d\d\): was it fixed before .*timing=\{'clicks': .*drop it",
    ),
    "backfitting": (restless, ConvergenceWarning, r"after 50 rounds with a last change of .* per round by 0\.\d+"),
}


@pytest.mark.parametrize("case", WARNED)
def test_warned_of_at_the_line_of_the_caller(case: str) -> None:
    call, category, words = WARNED[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = [entry for entry in caught if entry.category is category]
    assert len(found) == 1
    with pytest.warns(category, match=words):
        warnings.warn_explicit(found[0].message, category, found[0].filename, found[0].lineno)
    assert found[0].filename == __file__


# ---------------------------------------------------------------------- after the fit


def levels_fit() -> Fit:
    return fit_with(Fit(method="fixed_effects"), confounders=LEVELS)


def curved_fit() -> Fit:
    return fit_with(Fit(method="fixed_effects", final_model=LinearRegression()), confounders=LEVELS)


X2 = table()["X"][:2]
AFTER: dict[str, tuple[Callable[[], Any], type[Exception], tuple[str, ...]]] = {
    "unseen level": (
        lambda: levels_fit().confounder_effect(pd.DataFrame({"author": ["a", "zoe"]})),
        UnseenLevelError,
        ("'author'", r"zoe \(1 rows\)", 'method="mixed"', "drop these rows"),
    ),
    "confounders missing in transform": (
        lambda: levels_fit().transform(X2, [1.0, 2.0]),
        ValueError,
        ("confounders is missing", r"expected the columns \['author'\]"),
    ),
    "confounders without a column": (
        lambda: levels_fit().confounder_effect(NUMBERS),
        ValueError,
        (r"confounders lacks the columns \['author'\]",),
    ),
    "confounders of other rows": (
        lambda: levels_fit().transform(X2, [1.0, 2.0], confounders=LEVELS),
        ValueError,
        ("confounders has 120 rows", "X has 2"),
    ),
    "effect without confounders": (
        lambda: fit_with(Fit(method="none"), confounders=None).confounder_effect(LEVELS),
        ValueError,
        ("the fit had no confounders", "leave this argument out"),
    ),
    "outcome of other rows": (
        lambda: levels_fit().score(X2, [1.0], confounders=LEVELS[:2]),
        ValueError,
        ("y has 1 rows", "X has 2"),
    ),
    "other features": (
        lambda: levels_fit().predict(X2.rename(columns={"caps": "digits"})),
        ValueError,
        ("feature names should match", "digits"),
    ),
    "fewer features": (
        lambda: levels_fit().predict(X2[["words", "links"]]),
        ValueError,
        ("feature names should match", "Feature names seen at fit time, yet now missing", "caps"),
    ),
    "texts for numbers": (lambda: levels_fit().predict(["a", "b"]), TypeError, ("X holds texts", "encoder=")),
    "intervals of a curved reward": (
        lambda: curved_fit().predict(X2, return_std=True),
        ValueError,
        ("return_std needs a linear or pairwise reward", "LinearRegression", "final_model at None"),
    ),
    "pairs of a curved reward": (
        lambda: curved_fit().pair_inference(X2, X2),
        ValueError,
        ("pair_inference needs a linear or pairwise reward", "LinearRegression", "at None"),
    ),
    "pairs of other rows": (
        lambda: levels_fit().pair_inference(X2, X2[:1]),
        ValueError,
        ("X_first has 2 rows, X_second 1", "pairs of rows"),
    ),
    "sensitivity of one half of pairs": (
        lambda: levels_fit().sensitivity(X_first=X2),
        ValueError,
        ("X_first and X_second belong together", "pass both"),
    ),
    "sensitivity of other pairs": (
        lambda: levels_fit().sensitivity(X_first=X2, X_second=X2[:1]),
        ValueError,
        ("X_first has 2 rows, X_second 1",),
    ),
    **{
        f"{name} out of range": (
            lambda name=name, value=value: levels_fit().sensitivity(**{name: value}),
            ValueError,
            (name, r"\[0, 1\)" if name.startswith("cf") else r"\[-1, 1\]", str(value)),
        )
        for name, value in {"cf_y": 1.0, "cf_d": -0.1, "rho": 1.5}.items()
    },
    "confidence level": (lambda: levels_fit().sensitivity(confidence_level=95), ValueError, ("confidence_level", "95")),
}


@pytest.mark.parametrize("case", AFTER)
def test_refused_after_the_fit(case: str) -> None:
    call, error, patterns = AFTER[case]
    for match in patterns:
        with pytest.raises(error, match=match):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f.predict(X2),
        lambda f: f.transform(X2, [1.0, 2.0], confounders=LEVELS[:2]),
        lambda f: f.score(X2, [1.0, 2.0], confounders=LEVELS[:2]),
        lambda f: f.confounder_effect(LEVELS),
        lambda f: f.inference(),
        lambda f: f.pair_inference(X2, X2),
        lambda f: f.diagnostics(),
        lambda f: f.sensitivity(),
        lambda f: f.summary(),
        lambda f: PairwiseRewardModel().predict(X2),
        lambda f: PairwiseRewardModel().inference(),
    ],
)
def test_not_fitted(call: Callable[[Fit], Any]) -> None:
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        call(Fit())
