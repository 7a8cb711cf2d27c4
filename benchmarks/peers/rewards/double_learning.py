"""Partially linear fits beside DoubleML, with the same learners and the same folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap
from benchmarks.peers.augmentation.common import interleaved_cpu_medians, slower
from benchmarks.peers.composition.common import absent, peer
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.rewards.common import fit
from benchmarks.validation.rewards.identities import folds
from benchmarks.validation.rewards.identities_peers import double_ml
from benchmarks.validation.rewards.nonlinear import boosting, spline
from causalkit.crossfit import CrossFitter, Nuisance
from causalkit.datasets import make_reward_nonlinear
from causalkit.rewards.orthogonal import fit_orthogonal

__all__ = ["double_learning"]

Array = NDArray[np.float64]

_ROWS, _MANY = 20_000, 8


def double_learning(tier: Tier) -> Iterator[Row]:
    """D1 splines and ridge, D2 boosting, D3 several features."""
    module = peer("doubleml")
    if module is None:
        yield skipped("D1", "n=2e4, one feature: our time over DoubleML", absent("doubleml"))
        return
    sample = make_reward_nonlinear(_ROWS, random_state=np.random.default_rng([29_500, _ROWS]))
    splits = folds(_ROWS)
    learners = {"splines and ridge": spline(), "boosting, 100 rounds of 8 leaves": boosting(100, 8)}
    for number, (words, model) in enumerate(learners.items()):
        label, name = f"D{number + 1}", f"n=2e4, one feature, {words}"
        calls: dict[str, Callable[[], Any]] = {
            "ours": lambda model=model: _ours(sample, model, splits, 1),
            "crossed": lambda model=model: _crossed(sample, model, splits),
            "theirs": lambda model=model: double_ml(module, sample, splits, (model, model)).fit(),
        }
        times = interleaved_cpu_medians(calls, tier.size(9, 5) if number == 0 else tier.size(5, 3))
        note = "ours fits both nuisances once more on all rows, for new rows; theirs has none for them"
        yield slower(f"{label}.1", f"{name}: our time over DoubleML's", times["ours"], times["theirs"], 1.0, note)
        what = f"{name}: cross-fitting and regression alone over DoubleML"
        yield slower(f"{label}.4", what, times["crossed"], times["theirs"], 1.0)
        ours, theirs = calls["ours"](), calls["theirs"]()
        yield at_most(f"{label}.2", f"{name}: distance of the coefficients", gap(ours.coef_, theirs.coef), 1e-8)
        error = float(np.sqrt(ours.covariance_[0, 0]))
        yield at_most(f"{label}.3", f"{name}: distance of the errors, relative", gap(error / theirs.se[0], 1), 1e-8)
    yield from _many(module, sample, splits, tier)


def _ours(sample: Any, model: Any, splits: Any, p: int) -> Any:
    options = {"outcome_model": model, "treatment_model": model, "cv": splits}
    return fit("partially_linear", sample.X[:, :p], sample.y, sample.confounders, **options)


def _crossed(sample: Any, model: Any, splits: Any) -> Any:
    """What DoubleML does: out-of-fold nuisances, coefficient and covariance, nothing for new rows."""
    C, X = sample.confounders.to_numpy(), sample.X[:, 0]
    nuisances = [Nuisance("outcome", model, sample.y, X=C), Nuisance("features", model, X, X=C)]
    found = CrossFitter(cv=splits).predict(nuisances).predictions
    left, target = X - found["features"][0], sample.y - found["outcome"][0]
    return fit_orthogonal(left[:, None], target).covariance("HC0")


def _many(module: Any, sample: Any, splits: Any, tier: Tier) -> Iterator[Row]:
    rng = np.random.default_rng([29_500, 1])
    X = np.hstack([sample.X, rng.standard_normal((_ROWS, _MANY - 3)) + sample.confounders.to_numpy()[:, :1]])
    treatments = [f"d{j}" for j in range(_MANY)]
    columns = np.column_stack([sample.y, X, sample.confounders.to_numpy()])
    import pandas as pd

    frame = pd.DataFrame(columns, columns=["y", *treatments, "first", "second"])
    data = module.DoubleMLData(frame, "y", treatments, x_cols=["first", "second"], use_other_treat_as_covariate=False)
    model = spline()

    def theirs() -> Any:
        found = module.DoubleMLPLR(data, model, model, n_folds=len(splits), draw_sample_splitting=False)
        found.set_sample_splitting(splits)
        return found.fit()

    def ours() -> Any:
        options: dict[str, Any] = {"outcome_model": model, "treatment_model": model, "cv": splits}
        return fit("partially_linear", X, sample.y, sample.confounders, **options)

    times = interleaved_cpu_medians({"ours": ours, "theirs": theirs}, tier.size(5, 3))
    note = f"{times['ours']:.3g} s against {times['theirs']:.3g} s; one regression of all features against one each"
    what = f"n=2e4, {_MANY} features, splines and ridge: our time over DoubleML's"
    yield recorded("D3", what, times["ours"] / times["theirs"], note)
