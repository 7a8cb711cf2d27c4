"""Every bad input: its named error or warning, and the words of the message."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from causalkit import (
    HierarchicalCalibration,
    LinearCalibration,
    SplineCalibration,
    TweedieCorrection,
    correct_vcov,
    prediction_powered_ate,
)
from causalkit.exceptions import (
    CalibrationError,
    CalibrationWarning,
    ConvergenceWarning,
    DiscretePredictionsError,
    ExtrapolationWarning,
    LeakageWarning,
    NotFittedError,
    OverlapWarning,
    WeakInstrumentWarning,
)

RNG = np.random.default_rng(0)
Y = RNG.normal(size=200)
F = 0.6 * Y + 0.4 * RNG.normal(size=200)
X, A = np.clip(RNG.normal(size=60) * 0.5, F.min(), F.max()), np.arange(60) % 2
LINEAR = LinearCalibration().fit(F, Y)
SITES = np.arange(200) % 5
MODELS = [LinearCalibration, TweedieCorrection, SplineCalibration]


# A bad input may raise a second warning; pytest.warns sees all of them whatever is ignored here.
pytestmark = pytest.mark.filterwarnings(
    "ignore::causalkit.exceptions.CalibrationWarning",
    "ignore::causalkit.exceptions.WeakInstrumentWarning",
    "ignore:.torch.jit.trace. is deprecated:DeprecationWarning",
)


def noise(seed: int, n: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def refuses(error: type[Exception], *words: str) -> Any:
    return pytest.raises(error, match="(?s)" + ".*".join(re.escape(w) for w in words))


def warns(category: type[Warning], *words: str) -> Any:
    return pytest.warns(category, match="(?s)" + ".*".join(re.escape(w) for w in words))


def with_row(values: np.ndarray, row: int, value: float) -> np.ndarray:
    out = values.copy()
    out[row] = value
    return out


# ---------------------------------------------------------------------- calibration rows


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: ((with_row(F, 7, np.nan), Y), {}), ("predictions", "1 of 200 rows (first: row 7, NaN)")),
        (lambda: ((F, with_row(Y, 3, np.inf)), {}), ("y contains", "1 of 200 rows (first: row 3, infinity)")),
        (lambda: ((F, Y[:-1]), {}), ("y has 199 rows, but predictions has 200", "unequal lengths")),
        (lambda: ((np.column_stack([F, F]), Y), {}), ("predictions must be one column", "(200, 2)")),
        (lambda: ((F, Y), {"sample_weight": with_row(np.ones(200), 5, -2)}), ("sample_weight", "1 negative", "row 5")),
        (lambda: ((F, Y), {"sample_weight": np.zeros(200)}), ("sample_weight must have a positive sum", "zero")),
        (lambda: ((F, Y), {"groups": np.arange(199)}), ("groups must hold one label per row", "(199,)")),
    ],
)
def test_malformed_rows(model: Any, change: Callable[[], Any], words: tuple[str, ...]) -> None:
    arguments, options = change()
    with refuses(ValueError, *words):
        model().fit(*arguments, **options)


@pytest.mark.parametrize("model", MODELS)
def test_constants(model: Any) -> None:
    with refuses(CalibrationError, "y is constant", "nothing to calibrate"):
        model().fit(F, np.ones(200))
    with refuses(CalibrationError, "predictions is constant", "nothing to calibrate"):
        model().fit(np.full(200, 3.0), Y)


def test_singular_gram() -> None:
    rounded = np.round(F, 1)
    with refuses(CalibrationError, "too many knots for the distinct values"):
        SplineCalibration(n_knots=6).fit(np.where(rounded > 0, 1.0, 0.0) + (rounded > 0.5), Y)
    repeated = np.concatenate([np.tile(F[:120], 1), np.full(80, 0.1) + 1e-13 * np.arange(80)])
    with refuses(CalibrationError, "too many knots for the distinct values"):
        TweedieCorrection(n_knots=12).fit(repeated, np.concatenate([Y[:120], noise(1, 80)]))


@pytest.mark.parametrize("model", MODELS)
def test_slope_that_is_not_positive(model: Any) -> None:
    with refuses(CalibrationError, "-0.", "predictions do not increase with y: check units, sign and row order"):
        model().fit(-F, Y)


def test_rows_needed() -> None:
    with refuses(CalibrationError, "has 9 rows", "hold the calibration noise to 5 %"):
        LinearCalibration().fit(F[:9], Y[:9])
    r2 = np.corrcoef(F[:50], Y[:50])[0, 1] ** 2
    needed = int(np.ceil((1 - r2) / (r2 * 0.05**2)))
    with warns(CalibrationWarning, "has 50 rows", f"{needed} rows would hold", "5 %"):
        LinearCalibration().fit(F[:50], Y[:50])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearCalibration().fit(F[:100], Y[:100])


def test_weak_slope() -> None:
    with warns(WeakInstrumentWarning, "standard errors from zero", "Fieller set used; it may be unbounded"):
        LinearCalibration().fit(0.1 * Y + noise(2), Y)


def test_leakage_and_over_dispersion() -> None:
    with warns(LeakageWarning, "predictions vary more with y than y itself: were these rows used in training?"):
        LinearCalibration().fit(1.3 * Y + 0.1 * noise(3), Y)
    with warns(CalibrationWarning, "over-dispersed predictions", "recalibrate, or check they are out of sample"):
        LinearCalibration().fit(0.9 * Y + 0.9 * noise(4), Y)


def test_atoms() -> None:
    atoms = np.concatenate([F[:190], np.full(10, 0.25)])
    with refuses(DiscretePredictionsError, "0.25", "5.0 %", "the score does not exist", "LinearCalibration"):
        TweedieCorrection().fit(atoms, np.concatenate([Y[:190], noise(5, 10)]))
    with refuses(DiscretePredictionsError, "the score does not exist"):
        TweedieCorrection().fit(np.repeat(F[:50], 11)[:549], np.repeat(Y[:50], 11)[:549] + noise(6, 549))


@pytest.mark.parametrize("model", [TweedieCorrection, SplineCalibration])
def test_binary_outcome(model: Any) -> None:
    y = (Y > 0).astype(float)
    with refuses(CalibrationError, "binary outcome: LinearCalibration is exact (Rogan–Gladen)"):
        model().fit(0.3 * y + 0.2 * noise(7), y)


@pytest.mark.parametrize(
    ("noise", "what"),
    [
        (lambda u, n: (0.1 + np.exp(u)) * n, "Breusch-Pagan"),
        (lambda u, n: n**2 - 1, "skew"),
        (lambda u, n: n * np.abs(n) ** 2, "excess kurtosis"),
    ],
)
def test_residuals_that_are_not_normal(noise: Any, what: str) -> None:
    rng = np.random.default_rng(1)
    u, n = rng.normal(size=1000), rng.normal(size=1000)
    with warns(CalibrationWarning, what, 'noise="heteroscedastic" or SplineCalibration'):
        TweedieCorrection(n_knots=3).fit(u, u + noise(u, n))


@pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning")
def test_correction_that_falls() -> None:
    rng = np.random.default_rng(2)
    f = np.where(rng.random(1000) < 0.5, rng.normal(-2, 0.4, 1000), rng.normal(2, 0.4, 1000))
    with warns(CalibrationWarning, "does not increase", "first near", "fewer knots or another correction"):
        model = TweedieCorrection(n_knots=6).fit(f, f + 1.2 * rng.normal(size=1000))
    assert not model.monotone_
    with warns(CalibrationWarning, "does not increase", "fewer knots or another correction"):
        SplineCalibration(n_knots=6).fit(F, Y)


def test_weak_instruments() -> None:
    f = 0.25 * Y + 0.6 * np.random.default_rng(3).normal(size=200)
    with warns(WeakInstrumentWarning, "F_4 = ", "F_3 = ", "F_2 = ", "equals LinearCalibration"):
        SplineCalibration().fit(f, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        with warns(WeakInstrumentWarning, "F_6 = ", "below 10"):
            SplineCalibration(n_knots=6).fit(f, Y)


# ---------------------------------------------------------------------- trial rows


def test_predictions_off_support() -> None:
    far = np.where(np.arange(60) < 6, 9.0, X)
    with warns(ExtrapolationWarning, "10.0 %", "above", "linear continuation used"):
        LINEAR.effect(far, treatment=A)
    with warns(ExtrapolationWarning, "both sides"):
        LINEAR.mean(np.where(np.arange(60) < 3, -9.0, far))


def test_custom_score_without_bootstrap() -> None:
    class Score:
        def get_params(self, deep: bool = True) -> dict[str, Any]:
            return {}

        def fit(self, X: Any, y: Any = None) -> Score:
            return self

        def predict(self, X: Any) -> Any:
            return -X[:, 0] / 0.5

    model = TweedieCorrection(score=Score()).fit(F, Y)
    with warns(CalibrationWarning, "score noise not in the standard error: set n_bootstrap"):
        model.effect(X, treatment=A)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.effect(X, treatment=A, n_bootstrap=2, random_state=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"treatment": np.ones(60)}, ("single level", "at least two levels")),
        ({"treatment": np.arange(60)}, ("60 levels", 'estimator="ols"')),
        ({"treatment": A[:-1]}, ("treatment must hold one level per row", "(59,)")),
        ({"estimator": "hajek"}, ("propensity", "confounders", "neither")),
        ({"estimator": "horvitz_thompson"}, ("propensity", "confounders", "neither")),
        ({"estimator": "aipw"}, ("propensity", "confounders", "neither")),
        ({"estimator": "aipw", "propensity": np.full(60, 0.5)}, ("confounders",)),
        ({"estimator": "hajek", "propensity": np.full(60, 1.0)}, ("strictly between 0 and 1", "60 rows")),
        ({"estimator": "hajek", "confounders": A}, ("separate the treatment levels", "no overlap")),
        ({"estimator": "did"}, ("post", "got None")),
        ({"estimator": "did", "post": np.arange(60)}, ("post must have two values",)),
        ({"estimator": "best"}, ("estimator must be one of", "'difference'", "'best'")),
        ({"sample_weight": A}, ("has no weight",)),
        ({"estimator": "ols", "confounders": np.ones((60, 1))}, ("collinear",)),
        ({"shared_groups": True}, ("shared_groups=True", "trial and the calibration sample", "Pass groups")),
        ({"shared_groups": True, "groups": np.arange(60) % 20}, ("the calibration sample lack",)),
        ({"n_bootstrap": -1}, ("n_bootstrap must be an integer at least 0",)),
    ],
)
@pytest.mark.filterwarnings("ignore::causalkit.exceptions.CalibrationWarning")
def test_trial_that_does_not_fit(options: dict[str, Any], words: tuple[str, ...]) -> None:
    with refuses(ValueError, *words):
        LINEAR.effect(X, **{"treatment": A, **options})


def test_shared_groups_that_the_trial_lacks() -> None:
    model = LinearCalibration().fit(F, Y, groups=np.arange(200) % 20)
    with refuses(ValueError, "shared_groups=True", "the trial lack"):
        model.effect(X, treatment=A, shared_groups=True)


def test_extreme_propensity() -> None:
    with warns(OverlapWarning, "[.01, .99]", "10 %"):
        LINEAR.effect(X, treatment=A, estimator="hajek", propensity=np.where(np.arange(60) < 6, 0.001, 0.5))


def test_level_slope_in_a_difference_in_differences() -> None:
    with warns(CalibrationWarning, "a cross-sectional slope does not repair a difference in differences"):
        LINEAR.effect(X, treatment=A, estimator="did", post=np.arange(60) // 30)


def test_levels_of_variation() -> None:
    with refuses(ValueError, 'variation="within"', "level", "groups"):
        LinearCalibration(variation="within").fit(F, Y)
    with refuses(ValueError, "200 cells", "0 hold two rows"):
        LinearCalibration(variation="within").fit(F, Y, level=np.arange(200))
    with refuses(ValueError, 'variation="change"', "period"):
        LinearCalibration(variation="change").fit(F, Y, level=np.arange(200) // 2)
    with refuses(ValueError, "200 units", "none with two periods"):
        LinearCalibration(variation="change").fit(F, Y, level=np.arange(200), period=np.zeros(200))
    with refuses(ValueError, "period repeats", "one row per unit and period"):
        LinearCalibration(variation="change").fit(F, Y, level=np.arange(200) // 2, period=np.zeros(200))


def test_few_clusters() -> None:
    with warns(CalibrationWarning, "the calibration sample has 4 clusters", "t with G−1 degrees of freedom (3)"):
        LinearCalibration().fit(F, Y, groups=np.arange(200) % 4)
    with warns(CalibrationWarning, "the trial has 6 clusters", "t with G−1 degrees of freedom (5)"):
        LINEAR.effect(X, treatment=A, groups=np.arange(60) // 10)


def test_differential_without_treatment() -> None:
    with refuses(ValueError, 'differential="shift" needs treatment'):
        LinearCalibration(differential="shift").fit(F, Y)
    model = LinearCalibration(differential="shift").fit(F, Y, treatment=np.arange(200) % 2)
    with refuses(ValueError, 'differential="shift"', "pass treatment of each row"):
        model.transform(X)
    with refuses(ValueError, "levels [7] that the calibration sample lacks"):
        model.transform(X, treatment=np.where(A == 1, 7, 0))


# ---------------------------------------------------------------------- regressions


def test_regressions() -> None:
    frame = pd.DataFrame({"f": X, "a": A, "z": np.arange(60) / 60})
    spline = SplineCalibration(n_knots=2).fit(F, Y)
    table = smf.ols("f ~ a", frame).fit()
    with refuses(TypeError, "SplineCalibration", "use .ols(formula, data)"):
        correct_vcov(table, correction=spline)
    for name, formula in (("logit", "a ~ f"), ("poisson", "a ~ f"), ("quantreg", "f ~ a")):
        options = {} if name == "quantreg" else {"disp": 0}
        with refuses(ValueError, "not linear in the outcome"):
            correct_vcov(getattr(smf, name)(formula, frame).fit(**options), correction=LINEAR)
    with warns(CalibrationWarning, "outcome: corrected map; covariate: raw map"):
        LINEAR.ols("f ~ a + np.square(f)", frame)
    with refuses(ValueError, "left side", "np.log(f)"):
        LINEAR.ols("np.log(f) ~ a", frame)
    with refuses(ValueError, "one tilde"):
        LINEAR.ols("f", frame)


# ---------------------------------------------------------------------- sites


def test_sites() -> None:
    with refuses(ValueError, "sites is missing"):
        HierarchicalCalibration().fit(F, Y)
    with refuses(CalibrationError, "2 usable sites", "heterogeneity is not estimable"):
        HierarchicalCalibration().fit(F, Y, sites=np.arange(200) % 2)
    small = np.where(np.arange(200) < 4, 9, SITES)
    flat = np.where(SITES == 4, 0.5, Y)
    with warns(CalibrationWarning, "[9]", "pooled distribution"):
        HierarchicalCalibration().fit(F, Y, sites=small)
    with warns(CalibrationWarning, "[4]", "pooled distribution"):
        model = HierarchicalCalibration().fit(F, flat, sites=SITES)
    for call in (lambda: model.transform(X, sites=np.full(60, 8)), lambda: model.effect(X, treatment=A, sites=A + 7)):
        with warns(CalibrationWarning, "8", "new-site distribution used: transport variance included"):
            call()


def test_pyro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyro", None)
    with refuses(ImportError, "bayes"):
        HierarchicalCalibration(method="nuts").fit(F, Y, sites=SITES)


def test_chains_that_have_not_mixed() -> None:
    pytest.importorskip("pyro", reason="extra bayes is not installed")
    model = HierarchicalCalibration(method="nuts", num_samples=4, warmup_steps=1, n_chains=2, random_state=0)
    with warns(ConvergenceWarning, "R̂ of", "1.05"):
        model.fit(F, Y, sites=SITES)


# ---------------------------------------------------------------------- labels, coefficients, order of use


def test_labels_in_the_trial() -> None:
    arm, held = np.arange(200) % 3, np.arange(200) % 3 < 2
    with refuses(ValueError, "no labelled row in arm 2", "expected labels in every arm"):
        prediction_powered_ate(
            Y[held], F[held], predictions_unlabelled=F, treatment=arm[held], treatment_unlabelled=arm
        )
    arm = np.arange(200) % 2
    with warns(CalibrationWarning, "15"):
        prediction_powered_ate(
            Y[:30], F[:30], predictions_unlabelled=F[30:], treatment=arm[:30], treatment_unlabelled=arm[30:]
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"slope": 0.0}, ("slope must be a positive",)),
        ({"slope": -1.0}, ("slope must be a positive",)),
        ({"slope": 1.0, "cov": [[1, 2], [2, 1]]}, ("positive semidefinite",)),
        ({"slope": 1.0, "cov": [[1.0]]}, ("2 by 2",)),
    ],
)
def test_coefficients_that_cannot_be(arguments: dict[str, Any], words: tuple[str, ...]) -> None:
    with refuses(ValueError, *words):
        LinearCalibration.from_coefficients(**arguments)


@pytest.mark.parametrize("model", [*MODELS, HierarchicalCalibration])
def test_use_before_fit(model: Any) -> None:
    frame = pd.DataFrame({"f": X, "a": A})
    for call in (
        lambda: model().transform(X),
        lambda: model().effect(X, treatment=A),
        lambda: model().mean(X),
        lambda: model().ols("f ~ a", frame),
        lambda: model().impute(X),
        lambda: model().diagnostics(),
    ):
        with pytest.raises(NotFittedError):
            call()


@pytest.mark.parametrize(
    "line",
    [
        "LinearCalibration().fit(F[:50], Y[:50])",
        "LinearCalibration(variation='between').fit(F, Y, level=np.arange(200) // 10)",
        "LinearCalibration(differential='arms').fit(F[:120], Y[:120], treatment=np.arange(120) % 2)",
        "LinearCalibration().fit(F, Y, groups=np.arange(200) % 4)",
        "LinearCalibration().fit(1.3 * Y + 0.01 * F, Y)",
        "LinearCalibration().partial_fit(1.3 * Y + 0.01 * F, Y)",
        "TweedieCorrection(n_knots=2).fit(1.3 * Y + 0.01 * F**2, Y)",
        "HierarchicalCalibration().fit(F, Y, sites=np.where(np.arange(200) < 3, 7, SITES))",
        "LINEAR.effect(9 * X, treatment=A)",
        "LINEAR.mean(9 * X)",
        "LINEAR.effect(X, treatment=A, groups=A)",
        "LINEAR.effect(X, treatment=A, estimator='hajek', propensity=np.full(60, 0.001))",
        "LINEAR.effect(X, treatment=A, estimator='hajek', confounders=2.5 * A + Y[:60])",
        "LINEAR.effect(X, treatment=A, estimator='aipw', confounders=3 * A + Y[:60], random_state=0)",
        "LINEAR.effect(X, treatment=A, estimator='did', post=np.arange(60) // 30)",
    ],
)
def test_warnings_point_at_the_line_of_the_caller(line: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(line, "analysis.py", "exec"), dict(globals()))
    assert caught
    assert {warning.filename for warning in caught} == {"analysis.py"}


def test_methods_that_a_correction_lacks() -> None:
    tweedie = TweedieCorrection(n_knots=3).fit(F, Y).effect(X, treatment=A)
    with refuses(ValueError, 'method="fieller"', "TweedieCorrection"):
        tweedie.conf_int(method="fieller")
    with refuses(ValueError, 'method="bootstrap"', "n_bootstrap"):
        tweedie.conf_int(method="bootstrap")
    with refuses(ValueError, "grid must lie in [0, 1]"):
        tweedie.sensitivity([-0.5])
