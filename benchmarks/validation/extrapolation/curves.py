"""Sections A, B, E, F: curves with known hidden variables, by default, with two actions, and without any effect."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.measuring import installed
from benchmarks.rows import Row, at_least, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation.common import (
    MIXINGS,
    RADII,
    curve_errors,
    default_fit,
    draws,
    linear_r2,
    median_row,
    network_curve,
    oracle_fit,
    seeds_note,
)
from causalkit.datasets import make_intervention_curve

__all__ = ["default_rows", "null_rows", "oracle_rows", "two_action_rows"]

_DRAWS, _FEW = 5, 3
_NULL_GRID = np.arange(-2.0, 2.01, 0.25)[:, None]
_TORCH = "torch is not installed: pip install -e '.[torch]'"


def _oracle(r: int, n_latent: int) -> dict[str, float]:
    sample = make_intervention_curve(n_latent=n_latent, random_state=r)
    model = oracle_fit(sample, r)
    shift = sample.noise[:, 0]
    given = model.predict_given_features(sample.actions, features=sample.latent)
    truth = (sample.latent + 1.5 * np.sin(1.2 * sample.latent)).sum(axis=1) + 1.5 * shift
    error = float(np.sqrt(np.mean((given - truth) ** 2)))
    return curve_errors(model.predict, sample) | {"given": error, "calibration": model.calibration_}


def oracle_rows(tier: Tier) -> Iterator[Row]:
    """A1 one action, A2 two."""
    bars = {1: {"near": 0.08, "far": 0.15}, 2: {"near": 0.10, "far": 0.15}}
    for number, d in enumerate((1, 2)):
        found = draws(tier, _oracle, range(tier.size(_DRAWS, _FEW)), n_latent=d)
        label, name = f"A{number + 1}", f"known Z, d={d}, α=σ=1"
        yield recorded(f"{label}.1", f"{name}: error in, median", np.median(found["in"]), seeds_note(found["in"]))
        for place, zone in enumerate(("near", "far")):
            where = zone if d == 1 else f"at radius {RADII[zone]:g}"
            what = f"{name}: error {where}, median"
            yield median_row(tier, f"{label}.{place + 2}", what, found[zone], bars[d][zone])
        what = f"{name}: given features under their own action, RMSE of ν + ψ about the truth, median"
        yield recorded(f"{label}.4", what, np.median(found["given"]), seeds_note(found["given"]))


def _default(r: int, mixing: str, cross: bool) -> dict[str, float]:
    sample = make_intervention_curve(mixing=mixing, random_state=r)
    model = default_fit(sample, r)
    found = curve_errors(model.predict, sample)
    found |= {"R2": linear_r2(model.representation_, sample.latent), "ridge": model.encoder_.ridge_}
    found |= {"floor": linear_r2(sample.features, sample.latent), "calibration": model.calibration_}
    found["root"] = float(model.diagnostics().calibration["root"].iloc[0])
    if installed("torch"):
        found |= {f"network {k}": v for k, v in curve_errors(network_curve(sample, r), sample).items()}
    if cross:
        crossed = default_fit(sample, r, cv=2)
        found |= {f"cv {k}": v for k, v in curve_errors(crossed.predict, sample).items()}
    return found


def default_rows(tier: Tier) -> Iterator[Row]:
    """B1 WARP, B2 LRELU: R², near, far; recorded beside them what they compare with."""
    for number, (mixing, title) in enumerate(MIXINGS.items()):
        found = draws(tier, _default, range(tier.size(_DRAWS, _FEW)), mixing=mixing, cross=tier.full)
        label, name = f"B{number + 1}", f"Rep4Ex(), {title}, d=1, α=σ=1"
        yield median_row(tier, f"{label}.1", f"{name}: R² of Z, median", found["R2"], 0.95, least=True)
        yield recorded(f"{label}.2", f"{name}: error in, median", np.median(found["in"]), seeds_note(found["in"]))
        yield median_row(tier, f"{label}.3", f"{name}: error near, median", found["near"], 0.12)
        tuned = "ridge " + " ".join(f"{v:.0e}" for v in found["ridge"])
        tuned += ", calibration " + " ".join(f"{v:g}" for v in found["calibration"])
        yield median_row(tier, f"{label}.4", f"{name}: error far, median", found["far"], 0.35, note=tuned)
        what = f"{title}: R² of Z on the raw features, median (floor)"
        yield recorded(f"{label}.5", what, np.median(found["floor"]), seeds_note(found["floor"]))
        what = f"{name}: miss inside the support in sd(y), median"
        yield recorded(f"{label}.6", what, np.median(found["root"]), seeds_note(found["root"]))
        if "network far" in found:
            what = f"{title}: network of y on A, same data, error far, median"
            yield recorded(f"{label}.7", what, np.median(found["network far"]), seeds_note(found["network far"]))
            ratio = float(np.median(found["far"]) / np.median(found["network far"]))
            yield recorded(f"{label}.8", f"{name}: median error far over the network's", ratio)
        if "cv far" in found:
            what = f"Rep4Ex(cv=2), {title}: error far, median"
            yield recorded(f"{label}.9", what, np.median(found["cv far"]), seeds_note(found["cv far"]))


def _two_actions(r: int) -> dict[str, float]:
    sample = make_intervention_curve(n_latent=2, random_state=r)
    model = default_fit(sample, r)
    found = curve_errors(model.predict, sample) | {"R2": linear_r2(model.representation_, sample.latent)}
    found["floor"] = linear_r2(sample.features, sample.latent)
    return found | {f"network {k}": v for k, v in curve_errors(network_curve(sample, r), sample).items()}


def two_action_rows(tier: Tier) -> Iterator[Row]:
    """E1 draws with a smaller error than the network of y on A; recorded errors of both."""
    name = "Rep4Ex(), WARP, d=2, α=σ=1"
    if not installed("torch"):
        yield skipped("E1", f"{name}: draws below the network of y on A", _TORCH)
        return
    found = draws(tier, _two_actions, range(tier.size(_DRAWS, 2)))
    better = found["far"] < found["network far"]
    pairs = " ".join(
        f"{ours:.2g}/{theirs:.2g}" for ours, theirs in zip(found["far"], found["network far"], strict=True)
    )
    what = f"{name}: share of draws with a smaller error at radius 2.25 than the network of y on A"
    yield at_least("E1", what, float(better.mean()), 0.8, note=f"{len(better)} draws, ours/network: {pairs}")
    for number, zone in enumerate(RADII):
        for letter, key, who in (("a", zone, name), ("b", f"network {zone}", "network of y on A, same data")):
            what = f"{who}: error at radius {RADII[zone]:g}, median"
            yield recorded(f"E{number + 2}{letter}", what, np.median(found[key]), seeds_note(found[key]))
    note = seeds_note(found["R2"], f"raw features {np.median(found['floor']):.3g}")
    yield recorded("E5", f"{name}: R² of Z, median", np.median(found["R2"]), note)


def _null(r: int, mixing: str) -> dict[str, float]:
    sample = make_intervention_curve(mixing=mixing, null=True, random_state=r)
    model = default_fit(sample, r)
    return {
        "largest": float(np.abs(model.predict(_NULL_GRID)).max()),
        "oracle": float(np.abs(oracle_fit(sample, r).predict(_NULL_GRID)).max()),
        "slope": linear_r2(model.representation_, sample.y[:, None]),
    }


def null_rows(tier: Tier) -> Iterator[Row]:
    """F1 WARP, F2 LRELU: largest value of a curve that is zero, while y varies with φ."""
    for number, (mixing, title) in enumerate(MIXINGS.items()):
        found = draws(tier, _null, range(tier.size(_DRAWS, _FEW)), mixing=mixing)
        name = f"no effect, Rep4Ex(), {title}, d=1, α=σ=1"
        what = f"{name}: largest |curve| on |a| <= 2, median"
        yield median_row(tier, f"F{number + 1}.1", what, found["largest"], 0.15)
        what = f"the same with known Z, {title} draws, median"
        yield recorded(f"F{number + 1}.2", what, np.median(found["oracle"]), seeds_note(found["oracle"]))
        what = f"{name}: R² of y on φ alone, median (.675 in the population with φ = Z)"
        yield recorded(f"F{number + 1}.3", what, np.median(found["slope"]), seeds_note(found["slope"]))
