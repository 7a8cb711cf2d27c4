"""Section I: identities and invariances, on seeded samples that are neither normal nor symmetric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_most, near
from benchmarks.simulation import Tier
from benchmarks.validation.debiasing.stacked import jackknife_variance, stacked_variance
from causalkit.debiasing import LinearCalibration, SplineCalibration, TweedieCorrection
from causalkit.debiasing.basis import NaturalSplineBasis
from causalkit.debiasing.confidence_sets import RatioParts

__all__ = ["rows"]

Array = NDArray[np.float64]
_Z = 1.959963984540054


class _Sample(NamedTuple):
    f: Array
    y: Array
    trial: Array
    treatment: NDArray[np.int64]


def _sample(seed: int, n_calibration: int = 600, n: int = 800) -> _Sample:
    """A skewed outcome, a bent map of it with uneven noise, arms of unequal size."""
    rng = np.random.default_rng([8000, seed])

    def draw(n: int, shift: Array | float) -> tuple[Array, Array]:
        y = rng.gamma(3.0, 1.0, n) + shift
        return 1 + 0.5 * y + 0.2 * np.tanh(y - 3) + (0.3 + 0.05 * y) * rng.standard_normal(n), y

    f, y = draw(n_calibration, 0.0)
    treatment = (rng.random(n) < 0.4).astype(np.int64)
    return _Sample(f, y, draw(n, 0.5 * treatment)[0], treatment)


def _corrections() -> dict[str, Callable[..., Any]]:
    return {
        "LCC": LinearCalibration,
        "Tweedie K=5": lambda **options: TweedieCorrection(n_knots=5, **options),
        "Tweedie K=5 heteroscedastic": lambda **options: TweedieCorrection(
            n_knots=5, noise="heteroscedastic", **options
        ),
        "Tweedie KDE": lambda **options: TweedieCorrection(score="kde", **options),
        "spline K=4": lambda **options: SplineCalibration(n_knots=4, **options),
    }


def _numbers(correction: Any, s: _Sample, **fit: Any) -> Array:
    """Estimate and standard error of the difference in means."""
    result = correction.fit(s.f, s.y, **fit).effect(s.trial, treatment=s.treatment)
    return np.array([result.estimate[0], result.std_error[0]])


def rows(tier: Tier) -> Iterator[Row]:
    """I1-I3 reductions, I4-I5 sets, I6-I9 invariances, I10-I12 variances, I13 labels in the trial."""
    with quiet():
        yield from _reductions()
        yield from _binary_outcome()
        yield from _fieller()
        yield from _invariances()
        yield from _weights()
        yield from _streams()
        yield from _variances()
    yield from _kernel_noise(tier)
    yield from _break_even(tier)


def _reductions() -> Iterator[Row]:
    distance = {"two knots": 0.0, "gaussian": 0.0, "not recalibrated": 0.0, "spline": 0.0}
    stein = np.zeros(2)
    for seed in range(20):
        s = _sample(seed)
        linear = _numbers(LinearCalibration(cov_type="HC0"), s)
        for name, correction in (
            ("two knots", TweedieCorrection(n_knots=2, cov_type="HC0")),
            ("gaussian", TweedieCorrection(score="gaussian", cov_type="HC0")),
            ("spline", SplineCalibration(n_knots=2, cov_type="HC0")),
        ):
            distance[name] = max(distance[name], np.abs(_numbers(correction, s) - linear).max())
        plain = TweedieCorrection(score="gaussian", recalibrate=False).fit(s.f, s.y)
        k = np.var(s.f) / (np.var(s.f) + np.var(s.y - s.f))
        estimate = plain.effect(s.trial, treatment=s.treatment)
        expected = estimate.naive.estimate[0] / k
        distance["not recalibrated"] = max(distance["not recalibrated"], abs(estimate.estimate[0] - expected))
        fitted = TweedieCorrection(n_knots=6).fit(s.f, s.y)
        score = NaturalSplineBasis(fitted.knots_).design(s.f) @ fitted.score_coef_
        moments = np.abs([score.mean(), ((s.f - s.f.mean()) * score).mean() + 1])
        stein = np.maximum(stein, moments)
    texts = {
        "two knots": "Tweedie K=2 less LCC (estimate, HC0 SE)",
        "gaussian": "Gaussian-score Tweedie less LCC (estimate, HC0 SE)",
        "not recalibrated": "not recalibrated: less LCC with k = V/(V + noise variance)",
        "spline": "SplineCalibration K=2 less LCC (estimate, HC0 SE)",
    }
    for number, (name, text) in enumerate(texts.items()):
        yield at_most(f"I1.{number + 1}", f"{text}, 20 samples", distance[name], 1e-10)
    yield at_most("I2.1", "mean of the matched score, K=6, 20 samples", stein[0], 1e-10)
    yield at_most("I2.2", "mean of (x - mean) times the score, plus 1", stein[1], 1e-10)


def _binary_outcome() -> Iterator[Row]:
    """Rogan & Gladen 1978: (share of positives + specificity - 1)/(sensitivity + specificity - 1)."""
    rng = np.random.default_rng(8100)
    y = (rng.random(500) < 0.4).astype(float)
    f = np.where(y == 1, rng.random(500) < 0.8, rng.random(500) < 0.1).astype(float)
    trial = (rng.random(900) < 0.3).astype(float)
    sensitivity, specificity = f[y == 1].mean(), 1 - f[y == 0].mean()
    expected = (trial.mean() + specificity - 1) / (sensitivity + specificity - 1)
    measured = LinearCalibration().fit(f, y).mean(trial).estimate[0]
    yield near("I3", "binary outcome: LCC less Rogan-Gladen prevalence", measured - expected, 0.0, 1e-12)


def _fieller() -> Iterator[Row]:
    rng = np.random.default_rng(8200)
    misplaced, dual, kinds = 0, 0.0, set()
    grid = np.linspace(-60.0, 60.0, 24_001)
    for _ in range(200):
        root = rng.normal(size=(2, 2)) * [[0.3], [rng.choice([0.05, 0.5])]]
        parts = RatioParts(rng.normal(size=1), float(rng.uniform(0.3, 1.0)), root @ root.T)
        found = parts.confidence_set(0, _Z)
        kinds.add((len(found.intervals), found.bounded))
        variance = parts.cov[0, 0] - 2 * grid * parts.cov[0, 1] + grid**2 * parts.cov[1, 1]
        inside = (parts.numerator[0] - grid * parts.slope) ** 2 <= _Z**2 * variance
        held = np.zeros(len(grid), dtype=bool)
        for low, high in found.intervals:
            held |= (grid >= low) & (grid <= high)
            for end in (low, high):
                if math.isfinite(end):
                    statistic = parts.statistic(0, end)
                    dual = max(dual, abs(math.erfc(statistic / math.sqrt(2)) - 0.05))
        misplaced += int(np.sum(inside != held))
    yield near("I4.1", "Fieller's sets against a grid of 24 001 points: points misplaced, 200 sets", misplaced, 0, 0)
    yield near("I4.2", "forms of set met (interval, complement, line)", len(kinds), 3, 0)
    yield at_most("I4.3", "p-value on the boundary of Fieller's set less .05", dual, 1e-10)
    s = _sample(50)
    result = LinearCalibration().fit(s.f, s.y).effect(s.trial, treatment=s.treatment)
    ends = result.confidence_sets(0.95, method="fieller")[0]
    distance = max(abs(float(result.pvalue(t, method="fieller").iloc[0]) - 0.05) for t in (ends.lower, ends.upper))
    yield at_most("I4.4", "the same through `conf_int` and `pvalue` of an effect", distance, 1e-10)


def _invariances() -> Iterator[Row]:
    s = _sample(60)
    rng = np.random.default_rng(8300)
    first, second = rng.permutation(len(s.f)), rng.permutation(len(s.trial))
    shuffled = _Sample(s.f[first], s.y[first], s.trial[second], s.treatment[second])
    moved = _Sample(3 + 20 * s.f, s.y, 3 + 20 * s.trial, s.treatment)
    stretched = s._replace(y=-7 + 0.01 * s.y)
    for number, (name, make) in enumerate(_corrections().items()):
        base = _numbers(make(), s)
        label = f"I5.{number + 1}"
        distance = np.abs(_numbers(make(), moved) / base - 1).max()
        yield at_most(f"{label}a", f"{name}: affine change of the predictions, relative", distance, 1e-8)
        distance = np.abs(_numbers(make(), stretched) / (0.01 * base) - 1).max()
        yield at_most(f"{label}b", f"{name}: affine change of the outcome, relative", distance, 1e-8)
        distance = np.abs(_numbers(make(), shuffled) / base - 1).max()
        yield at_most(f"{label}c", f"{name}: order of rows, relative", distance, 1e-10)


def _weights() -> Iterator[Row]:
    s = _sample(70)
    counts = np.random.default_rng(8400).integers(1, 4, len(s.f))
    repeated = s._replace(f=np.repeat(s.f, counts), y=np.repeat(s.y, counts))
    origin = np.repeat(np.arange(len(s.f)), counts)
    total = len(origin)
    for number, (name, make) in enumerate(_corrections().items()):
        if name == "Tweedie KDE":
            continue  # its bandwidth follows the effective sample size, which repeats do not share
        label = f"I6.{number + 1}"
        weighted = _numbers(make(weight_type="frequency"), s, sample_weight=counts)
        distance = np.abs(weighted / _numbers(make(), repeated) - 1).max()
        yield at_most(f"{label}a", f"{name}: frequency weights against repeated rows, relative", distance, 1e-9)
        exact = name == "LCC"
        survey = make(cov_type="HC0").fit(s.f, s.y, sample_weight=counts)
        clustered = make(cov_type="HC0").fit(repeated.f, repeated.y, groups=origin)
        g = len(s.f)
        factor = g / (g - 1) * (total - 1) / (total - len(survey.coef_))
        ours, theirs = (c.effect(s.trial, treatment=s.treatment) for c in (survey, clustered))
        variances = [r.variance_parts["calibration"].iloc[0] for r in (ours, theirs)]
        distance = max(abs(ours.estimate[0] / theirs.estimate[0] - 1), abs(variances[0] * factor / variances[1] - 1))
        # Quantiles at the inner knots interpolate order statistics, of which the repeats have more.
        note = "" if exact else "knots at quantiles of more rows"
        what = f"{name}: probability weights against clusters of repeats, relative"
        yield at_most(f"{label}b", what, distance, 1e-10 if exact else 0.01, note=note)


def _streams() -> Iterator[Row]:
    from causalkit.debiasing import EffectAccumulator

    s = _sample(80)
    rng = np.random.default_rng(8500)
    weight, groups = rng.uniform(0.5, 2.0, len(s.f)), rng.integers(0, 40, len(s.f))
    worst = 0.0
    for options in ({}, {"sample_weight": weight}, {"sample_weight": weight, "groups": groups}):
        whole = LinearCalibration().fit(s.f, s.y, **options)
        for n_chunks in (1, 3, 7, 100):
            streamed, parts = LinearCalibration(), np.array_split(np.arange(len(s.f)), n_chunks)
            for part in parts:
                streamed.partial_fit(s.f[part], s.y[part], **{key: value[part] for key, value in options.items()})
            worst = max(worst, np.abs(streamed.coef_ / whole.coef_ - 1).max())
            worst = max(worst, np.abs(streamed.coef_cov_ / whole.coef_cov_ - 1).max())
    yield at_most("I7.1", "`partial_fit` over 1 to 100 chunks against `fit`, relative", worst, 1e-10)
    half = len(s.f) // 3
    merged = LinearCalibration().partial_fit(s.f[:half], s.y[:half])
    merged.merge(LinearCalibration().partial_fit(s.f[half:], s.y[half:]))
    whole = LinearCalibration().fit(s.f, s.y)
    distance = np.abs(merged.coef_cov_ / whole.coef_cov_ - 1).max()
    yield at_most("I7.2", "`merge` of two halves against `fit`, relative", distance, 1e-10)
    for number, (name, make) in enumerate(_corrections().items()):
        if name == "Tweedie KDE":
            continue
        correction = make().fit(s.f, s.y)
        accumulators = [EffectAccumulator(correction) for _ in range(3)]
        for part, accumulator in zip(np.array_split(np.arange(len(s.trial)), 3), accumulators, strict=True):
            accumulator.update(s.trial[part], s.treatment[part])
        accumulators[0].merge(accumulators[1])
        result = accumulators[0].merge(accumulators[2]).result()
        direct = correction.effect(s.trial, treatment=s.treatment)
        distance = max(
            abs(result.estimate[0] / direct.estimate[0] - 1), abs(result.std_error[0] / direct.std_error[0] - 1)
        )
        yield at_most(f"I8.{number + 1}", f"{name}: merged accumulators against `effect`, relative", distance, 1e-10)


def _variances() -> Iterator[Row]:
    from causalkit.debiasing import combine_imputations

    s = _sample(90)
    rng = np.random.default_rng(8600)
    own, other = rng.integers(0, 40, len(s.f)), rng.integers(20, 70, len(s.trial))
    shared = LinearCalibration().fit(s.f, s.y, groups=own)
    result = shared.effect(s.trial, treatment=s.treatment, groups=other, shared_groups=True)
    expected = stacked_variance(s.f, s.y, own, s.trial, s.treatment, other)
    yield at_most(
        "I9", "`shared_groups`: variance over the stacked sandwich, less 1", abs(result.cov[0, 0] / expected - 1), 1e-6
    )
    small = _sample(91, n_calibration=300, n=300)
    for number, (name, make) in enumerate(_corrections().items()):
        fitted = make().fit(small.f, small.y)
        part = fitted.effect(small.trial, treatment=small.treatment)
        gap = abs(part.variance_parts.iloc[0].sum() / part.cov[0, 0] - 1)
        yield at_most(f"I11.{number + 1}", f"{name}: variance parts add up, relative gap", gap, 1e-12)
        if name == "Tweedie KDE":
            continue  # not smooth in single rows: its range and bandwidth move with them; see I10.4
        brute = jackknife_variance(make, small.f, small.y, small.trial, small.treatment)
        ratio = math.sqrt(part.variance_parts["calibration"].iloc[0] / brute)
        yield near(f"I10.{number + 1}", f"{name}: calibration SE over that of the jackknife", ratio, 1.0, 0.05)
    correction = TweedieCorrection(n_knots=5).fit(s.f, s.y)
    columns = correction.impute(s.trial, n_imputations=4000, random_state=0)
    treated = s.treatment == 1
    estimates = columns[treated].mean(axis=0) - columns[~treated].mean(axis=0)
    sampling = (
        columns[treated].var(axis=0, ddof=1) / treated.sum() + columns[~treated].var(axis=0, ddof=1) / (~treated).sum()
    )
    combined = combine_imputations(estimates[:, None], sampling[:, None, None])
    direct = correction.effect(s.trial, treatment=s.treatment)
    ratio = float(combined.std_error[0] / direct.std_error[0])
    yield near("I12", "imputations (M = 4000) combined: SE over that of `effect`", ratio, 1.0, 0.02)
    yield from _perfect_predictor(s)


def _perfect_predictor(s: _Sample) -> Iterator[Row]:
    makers = {
        "LCC": LinearCalibration(),
        "Tweedie K=5": TweedieCorrection(n_knots=5),
        "spline K=4": SplineCalibration(n_knots=4),
    }
    for number, (name, correction) in enumerate(makers.items()):
        correction.fit(s.y, s.y)
        distance = np.abs(correction.transform(s.trial) - s.trial).max()
        yield at_most(f"I13.{number + 1}a", f"{name}, perfect predictor: distance from the identity", distance, 1e-9)
        variance = correction.effect(s.trial, treatment=s.treatment).variance_parts["calibration"].iloc[0]
        yield at_most(f"I13.{number + 1}b", f"{name}, perfect predictor: calibration variance", variance, 1e-18)


# ---------------------------------------------------------------------- noise of a kernel score


def _recalibrated(rng: np.random.Generator) -> dict[str, float]:
    """One trial, a new calibration sample each time."""
    from causalkit.datasets import make_mixture_map

    trial = make_mixture_map(sigma=3.0, n_calibration=2, n_arm=1000, random_state=8600)
    data = make_mixture_map(sigma=3.0, n_calibration=2000, n_arm=2, random_state=rng)
    correction = TweedieCorrection(score="kde").fit(data.calibration_predictions, data.calibration_y)
    result = correction.effect(trial.predictions, treatment=trial.treatment)
    return {"estimate": float(result.estimate[0]), "variance": float(result.variance_parts["calibration"].iloc[0])}


def _kernel_noise(tier: Tier) -> Iterator[Row]:
    draws = tier.repeat(_recalibrated, 600, 300, seed=8650)
    n = len(draws["estimate"])
    ratio = math.sqrt(draws["variance"].mean()) / float(draws["estimate"].std(ddof=1))
    note = f"{n} repetitions; the bandwidth is taken as fixed"
    what = "Tweedie KDE: calibration SE over its SD across calibration samples"
    yield near("I10.4", what, ratio, 1.0, 0.10, tier.band(1 / math.sqrt(2 * n)), note)


# ---------------------------------------------------------------------- labels in the trial


def _labelled(rng: np.random.Generator) -> dict[str, float]:
    from causalkit.datasets import make_gaussian_map
    from causalkit.debiasing import break_even_share, prediction_powered_ate

    data = make_gaussian_map(k=0.5, tau=0.5, n_calibration=100_000, n_arm=900, random_state=rng)
    # Rows are independent, so the first of each arm are a random part.
    arm_rows = np.tile(np.arange(900), 2)
    labelled = arm_rows < round(900 * break_even_share(0.5))
    powered = prediction_powered_ate(
        data.y[labelled],
        data.predictions[labelled],
        treatment=data.treatment[labelled],
        predictions_unlabelled=data.predictions[~labelled],
        treatment_unlabelled=data.treatment[~labelled],
    )
    calibration = LinearCalibration().fit(data.calibration_predictions, data.calibration_y)
    lcc = calibration.effect(data.predictions, treatment=data.treatment)
    return {"PPI++": float(powered.estimate[0]), "LCC": float(lcc.estimate[0])}


def _break_even(tier: Tier) -> Iterator[Row]:
    draws = tier.repeat(_labelled, 3000, 300, seed=8700)
    ratio = float(draws["PPI++"].std(ddof=1) / draws["LCC"].std(ddof=1))
    correlation = float(np.corrcoef(draws["PPI++"], draws["LCC"])[0, 1])
    band = tier.band(math.sqrt((1 - correlation**2) / len(draws["LCC"])))
    note = f"{len(draws['LCC'])} repetitions, Monte Carlo SE {math.sqrt((1 - correlation**2) / len(draws['LCC'])):.3f}"
    yield near("I14", "break-even share of labels: SD of PPI++ over that of LCC", ratio, 1.0, 0.05, band, note)
