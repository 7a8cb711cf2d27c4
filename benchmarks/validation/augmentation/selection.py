"""Section F: rules that choose alpha, on fresh linear designs with the published form."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import ShuffleSplit

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_most, near, recorded
from benchmarks.simulation import Tier
from benchmarks.validation.augmentation.common import euclidean, fit_sample, linear_sample, listed, mean_of_listed
from causalkit.augmentation import IVLikeRegressorCV
from causalkit.augmentation.augmenters import NullSpaceShift

__all__ = ["rows"]

Array = NDArray[np.float64]

_SEED = 12_000


def _one(rng: np.random.Generator) -> dict[str, float]:
    """Errors and alphas of the rules: ten log-uniform alphas, one random hold-out of a fifth of the rows."""
    sample, seed = linear_sample(rng)
    f, shift = sample.coef, NullSpaceShift(sample.basis)
    alphas = np.exp(rng.uniform(np.log(1e-4), 0.0, 10))
    out = {
        "augmented": float(euclidean(fit_sample(sample, "projected", seed, alpha=np.inf).coef_, f)),
        "fixed": float(euclidean(fit_sample(sample, "projected", seed, alpha=0.1).coef_, f)),
    }
    rules = {
        "cv on x": ("cv", "original"),
        "cv on gx": ("cv", "augmented"),
        "correction": ("confounder_correction", "original"),
    }
    common = {"alphas": alphas, "augmentation": shift, "penalty": "projected", "random_state": seed}
    for name, (rule, rows) in rules.items():
        split = ShuffleSplit(1, test_size=0.2, random_state=seed)
        model = IVLikeRegressorCV(selection=rule, evaluate_on=rows, cv=split, **common).fit(sample.X, sample.y)
        out |= {name: float(euclidean(model.coef_, f)), f"alpha: {name}": model.alpha_}
    for rows in ("original", "augmented"):
        options = common | {"alphas": None}
        model = IVLikeRegressorCV(selection="cv", evaluate_on=rows, **options).fit(sample.X, sample.y)
        out[f"default grid: {rows}"] = np.log10(model.alpha_)
    out["largest"] = float(alphas.max())
    model = IVLikeRegressorCV(selection="tolerance", tolerance=1e-3, augmentation=shift, random_state=seed)
    out["tolerance"] = float(euclidean(model.fit(sample.X, sample.y).coef_, f))
    try:
        IVLikeRegressorCV(selection="level", cv=5, **common).fit(sample.X, sample.y)
        out["refused"] = 0.0
    except ValueError:
        out["refused"] = 1.0
    return out


def rows(tier: Tier) -> Iterator[Row]:
    """F1 the parity bar, F2 alphas that the rules choose, F3 a fixed alpha beside them, F4 rules of this library."""
    with quiet():
        draws = tier.repeat(_one, 200, 60, seed=_SEED)
    same = float((draws["alpha: cv on x"] == draws["alpha: cv on gx"]).mean())
    yield mean_of_listed("F1.1", "DA+ERM: mean Euclidean nCER", draws["augmented"], 0.070, 0.091)
    what = "cv, one hold-out scored on {} rows: mean Euclidean nCER"
    yield mean_of_listed("F1.2", what.format("augmented"), draws["cv on gx"], 0.037, 0.050)
    yield mean_of_listed("F1.3", "confounder correction: mean Euclidean nCER", draws["correction"], 0.019, 0.031)
    yield mean_of_listed("F1.4", what.format("un-augmented"), draws["cv on x"], 0.037, 0.050, "the default here")
    what = "cv on {} rows: mean α"
    yield listed("F2.1", what.format("augmented"), draws["alpha: cv on gx"], 0.53, n_listed=200, rounding=0.005)
    yield listed("F2.2", what.format("un-augmented"), draws["alpha: cv on x"], 0.53, n_listed=200, rounding=0.005)
    note = "the listed mean cannot tell the scores apart: that of the largest of ten such α is .534, by integration"
    yield recorded("F2.3", "share of samples in which both scores choose the same α", same, note)
    share = float((draws["alpha: cv on x"] == draws["largest"]).mean())
    yield recorded("F2.4", "share of samples in which the score on un-augmented rows chooses the largest α", share)
    for number, rows_scored in enumerate(("original", "augmented")):
        chosen = 10 ** float(draws[f"default grid: {rows_scored}"].mean())
        what = f"default grid, five folds, scored on {rows_scored} rows: geometric mean of α"
        yield recorded(f"F2.{number + 5}", what, chosen)
    what = "confounder correction: mean α"
    yield listed("F2.7", what, draws["alpha: correction"], 0.2, n_listed=200, rounding=0.05)
    yield listed("F3.1", "fixed α = .1: mean Euclidean nCER", draws["fixed"], 0.019, n_listed=200, rounding=5e-4)
    for number, name in enumerate(("cv on gx", "cv on x", "correction")):
        ratio = float(draws["fixed"].mean() / draws[name].mean())
        yield at_most(f"F3.{number + 2}", f"fixed α = .1 over the rule: {name}, ratio of means", ratio, 1.0)
    what = "pointwise, tolerance .001: mean Euclidean nCER"
    yield recorded("F4.1", what, float(draws["tolerance"].mean()))
    share = float(draws["refused"].mean())
    yield near("F4.2", "31 continuous parameters: share of samples in which level is refused", share, 1.0, 0.0)
