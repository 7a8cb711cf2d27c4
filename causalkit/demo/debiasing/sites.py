"""Section 6: slopes that differ between sites, and a trial in a site without labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.datasets import make_site_map, tilt_arms
from causalkit.debiasing import HierarchicalCalibration, LinearCalibration, slope_heterogeneity
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.demo.debiasing.estimates import Estimate, amount, count_covered, estimate_of, naive_of
from causalkit.demo.debiasing.real_map import RealMap, Rows
from causalkit.plotting import SiteForestDisplay
from causalkit.plotting._axes import COLOURS, tidy

__all__ = ["section"]

_N_CALIBRATION, _N_STUDIES, _MINIMUM_ROWS = 15000, 12, 100


@dataclass(frozen=True, eq=False)
class _Study:
    """A trial in a site from which no calibration row is used."""

    site: str
    calibration: Rows
    predictions: NDArray[np.float64]
    treatment: NDArray[np.int64]
    truth: float


def section(data: RealMap, settings: Settings) -> Section:
    """Heterogeneity of slopes, then trials in new sites with and without the transport variance."""
    if data.calibration.sites is not None:
        calibration, studies, text = _real(data, settings)
    else:
        calibration, studies, text = _simulated(settings)
    fitted = HierarchicalCalibration().fit(calibration.predictions, calibration.y, sites=calibration.sites)
    spread = slope_heterogeneity(calibration.predictions, calibration.y, sites=calibration.sites)
    rows = [_analyse(study) for study in studies]
    return Section(
        title="Sites and transport",
        text=(
            text + " HierarchicalCalibration estimates a line per site, pools them, and for a trial in a new site adds "
            "the variance of not knowing that site's own slope (transport)."
        ),
        tables=(
            Table("Slopes k over sites", _spread_table(spread)),
            Table("Trials in sites that are left out of the calibration", pd.DataFrame([row.record for row in rows])),
        ),
        figures=_figures(fitted, rows),
        readings=tuple(_readings(spread, rows)),
    )


# ---------------------------------------------------------------------- data


def _real(data: RealMap, settings: Settings) -> tuple[Rows, list[_Study], str]:
    """5° cells of the map with enough rows; the largest are left out in turn."""
    rng = np.random.default_rng(settings.random_state)
    calibration = data.calibration.sample(_N_CALIBRATION, rng)
    names, counts = np.unique(np.asarray(calibration.sites), return_counts=True)
    calibration = calibration.take(np.isin(np.asarray(calibration.sites), names[counts >= _MINIMUM_ROWS]))
    largest = names[np.argsort(-counts, kind="stable")][:_N_STUDIES]
    studies = []
    for site in largest:
        trial = data.trial.take(np.asarray(data.trial.sites) == site)
        arms = tilt_arms(trial.y, design="smooth", random_state=rng)
        others = calibration.take(np.asarray(calibration.sites) != site)
        studies.append(_Study(str(site), others, trial.predictions, arms.treatment, arms.effect))
    text = (
        f"Sites are the {int((counts >= _MINIMUM_ROWS).sum())} cells of 5° with at least {_MINIMUM_ROWS} of "
        f"{_N_CALIBRATION:,} calibration rows. Each of the {len(studies)} largest is left out of the calibration in "
        "turn and holds a trial whose arms are tilted on the truth."
    )
    return calibration, studies, text


def _simulated(settings: Settings) -> tuple[Rows, list[_Study], str]:
    studies = []
    for number, seed in enumerate(np.random.SeedSequence(settings.random_state).spawn(_N_STUDIES), start=1):
        drawn = make_site_map(random_state=np.random.default_rng(seed))
        names = np.array([f"site {site + 1:02d}" for site in drawn.calibration_sites.tolist()])
        calibration = Rows(drawn.calibration_predictions, drawn.calibration_y, {}, sites=names)
        studies.append(_Study(f"draw {number}", calibration, drawn.predictions, drawn.treatment, drawn.effect))
    text = (
        f"The diabetes data have no sites, so these are simulated: 20 sites of 60 rows whose slopes vary, and a trial "
        f"in a new one, drawn {_N_STUDIES} times (the slopes shown are of the first draw)."
    )
    return studies[0].calibration, studies, text


# ---------------------------------------------------------------------- analysis


@dataclass(frozen=True, eq=False)
class _Analysed:
    """Pooled and hierarchical estimates of one study, and its row of the table."""

    truth: float
    pooled: Estimate
    hierarchical: Estimate
    transport_share: float
    record: dict[str, Any]


def _analyse(study: _Study) -> _Analysed:
    rows = study.calibration
    pooled = LinearCalibration().fit(rows.predictions, rows.y).effect(study.predictions, treatment=study.treatment)
    fitted = HierarchicalCalibration().fit(rows.predictions, rows.y, sites=rows.sites)
    new_site = np.repeat("left out", len(study.treatment))
    result = fitted.effect(study.predictions, treatment=study.treatment, sites=new_site)
    parts = result.variance_parts.iloc[0]
    transport = 100 * float(parts["transport"] / parts.sum())
    one = estimate_of("linear calibration, pooled", pooled)
    two = estimate_of("hierarchical, new site", result)
    record = {
        "site": study.site,
        "truth": study.truth,
        "naive": naive_of(pooled).value,
        "pooled": one.value,
        "pooled covers": one.covers(study.truth),
        "new site": two.value,
        "lower": two.lower,
        "upper": two.upper,
        "new site covers": two.covers(study.truth),
        "transport, % of variance": transport,
    }
    return _Analysed(study.truth, one, two, transport, record)


def _spread_table(spread: pd.DataFrame) -> pd.DataFrame:
    low, high = spread.attrs["prediction_interval"]
    values = {
        "sites": f"{len(spread)}",
        "mean slope": f"{spread.attrs['mean']:.3f}",
        "standard deviation over sites (τ)": f"{spread.attrs['tau']:.3f}",
        "share of the spread that is not noise (I²)": f"{spread.attrs['i_squared']:.2f}",
        "95 % interval for a new site": f"[{low:.3f}, {high:.3f}]",
        "slope of all rows pooled": f"{spread.attrs['total']:.3f}",
        "slope within sites": f"{spread.attrs['within']:.3f}",
        "slope between site means": f"{spread.attrs['between']:.3f}",
    }
    return pd.DataFrame({"quantity": list(values), "value": list(values.values())})


def _figures(fitted: HierarchicalCalibration, rows: list[_Analysed]) -> tuple[Figure, ...]:
    n = len(fitted.sites_)

    def forest(canvas: Any) -> None:
        SiteForestDisplay.from_estimator(fitted, ax=canvas.subplots())

    def transport(canvas: Any) -> None:
        ax = canvas.subplots()
        for position, row in enumerate(reversed(rows)):
            for estimate, shift, colour in ((row.pooled, 0.14, "data"), (row.hierarchical, -0.14, "corrected")):
                ends = [estimate.lower / row.truth, estimate.upper / row.truth]
                label = estimate.method if position == 0 else None
                ax.plot(ends, [position + shift] * 2, color=COLOURS[colour], lw=2, label=label)
                ax.plot([estimate.value / row.truth], [position + shift], "o", ms=4, color=COLOURS[colour])
        ax.axvline(1, color=COLOURS["accent"], lw=1.5, label="truth")
        ax.set_yticks(range(len(rows)), [row.record["site"] for row in reversed(rows)])
        ax.set(xlabel="effect / truth", title="Trials in sites left out of the calibration")
        ax.legend(frameon=False, fontsize="small")
        tidy(ax)

    return (
        Figure(
            "sites",
            "Calibration slope of each site from its own rows and after pooling, with the interval for a new site.",
            forest,
            (7.0, max(3.0, 1.4 + 0.2 * n)),
        ),
        Figure(
            "transport",
            "Effect in each left-out site as a share of its truth, 95 % intervals without and with the transport part.",
            transport,
            (8.0, 4.6),
        ),
    )


def _readings(spread: pd.DataFrame, rows: list[_Analysed]) -> Iterator[str]:
    low, high = spread.attrs["prediction_interval"]
    truths = [row.truth for row in rows]
    shares = np.median([row.transport_share for row in rows])
    yield (
        f"Slope within sites {spread.attrs['within']:.2f}, between site means {spread.attrs['between']:.2f}: the one "
        "to use is that of the level at which the treatment varies. The 95 % interval "
        f"for the slope of a new site is [{low:.2f}, {high:.2f}]."
    )
    yield (
        f"Trials in left-out sites: the pooled interval covers the truth in "
        f"{count_covered([row.pooled for row in rows], truths)}, the one with transport variance in "
        f"{count_covered([row.hierarchical for row in rows], truths)}. Transport is {amount(float(shares))} % of the "
        "variance in the median trial."
    )
