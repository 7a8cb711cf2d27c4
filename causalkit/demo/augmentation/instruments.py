"""Section 6: real instruments, whose strength can be tested, and confidence sets that do not rely on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.augmentation import AndersonRubinResult, IVLikeRegressor, anderson_rubin, instrument_diagnostics
from causalkit.demo.augmentation.small_design import SmallDesign
from causalkit.demo.content import Figure, Section, Table
from causalkit.exceptions import MethodNotApplicableError
from causalkit.inference.confidence_sets import ConfidenceSet
from causalkit.plotting._axes import COLOURS, tidy

__all__ = ["growth_table", "section"]

Array = NDArray[np.float64]

_LAGS = (2, 3, 4)
_KINDS = {"interval": "bounded", "rays": "two rays", "ray": "one ray", "line": "every number", "empty": "empty"}


@dataclass(frozen=True, eq=False)
class _Case:
    name: str
    ols: float
    tsls: float
    error: float
    strength: float
    ar: AndersonRubinResult

    @property
    def found(self) -> ConfidenceSet:
        return self.ar.confidence_set()


def section(small: SmallDesign) -> Section:
    """Consumption on income with three sets of lags as instruments, and the refusal for drawn parameters."""
    growth = growth_table()
    lags = ", ".join(map(str, _LAGS[:-1])) + f" and {_LAGS[-1]}"
    cases = [
        _case("consumption, quarters 1 to 3 back", growth, "consumption", (1, 2, 3)),
        _case(f"consumption, quarters {_LAGS[0]} to {_LAGS[-1]} back", growth, "consumption", _LAGS),
        _case(f"income, quarters {_LAGS[0]} to {_LAGS[-1]} back", growth, "income", _LAGS),
    ]
    return Section(
        title="Real instruments",
        text=(
            "Growth of consumption on growth of disposable income, quarterly: the share of income that is spent at "
            "once (after Campbell and Mankiw 1990, with all consumption in the place of their non-durables and "
            "services). The same news moves both, so past growth serves as instrument, such as that of "
            f"{lags} quarters back. The same class takes real instruments, as anchor regression. Here, unlike with "
            "drawn parameters, strength can be tested. An Anderson–Rubin set keeps its level however weak the "
            "instruments are; it may be two rays, or empty."
        ),
        tables=(
            Table(
                "One coefficient, three sets of instruments",
                _frame(cases),
                "F: effective first-stage F, to be compared with 10. The errors of two stages treat quarters as "
                "independent, the sets as of equal variance too; growth rates are not quite that.",
            ),
        ),
        figures=(_figure(cases),),
        readings=tuple(_readings(cases, small)),
    )


def growth_table() -> pd.DataFrame:
    """Quarterly growth, in per cent, of consumption and of disposable income."""
    from statsmodels.datasets import macrodata

    table = macrodata.load_pandas().data
    logs = np.log(table[["realcons", "realdpi"]]).set_axis(["consumption", "income"], axis=1)
    return 100 * logs.diff()


def _case(name: str, growth: pd.DataFrame, source: str, lags: tuple[int, ...]) -> _Case:
    lagged = pd.concat({f"{source} {lag} back": growth[source].shift(lag) for lag in lags}, axis=1)
    rows = pd.concat([growth, lagged], axis=1).dropna()
    X, y, Z = rows[["income"]], rows["consumption"].to_numpy(), rows[list(lagged.columns)]
    model = IVLikeRegressor(alpha=0.0).fit(X, y, instruments=Z)
    strength = instrument_diagnostics(X, y, instruments=Z)["value"]
    return _Case(
        name,
        float(model.path([np.inf]).coef[0, 0]),
        float(model.coef_[0]),
        float(model.inference().std_error[1]),
        float(strength[("effective_f", "income")]),
        anderson_rubin(X, y, instruments=Z),
    )


def _frame(cases: list[_Case]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "instruments": case.name,
                "F": case.strength,
                "least squares": case.ols,
                "two stages (α = 0)": case.tsls,
                "std. error": case.error,
                "Anderson–Rubin set, 95 %": _words(case.found),
                "shape": _KINDS[case.found.kind],
            }
            for case in cases
        ]
    )


def _words(found: ConfidenceSet) -> str:
    if not found.intervals:
        return "none"
    shown = [
        f"{'(−∞' if np.isinf(low) else f'[{_short(low)}'}, {'∞)' if np.isinf(high) else f'{_short(high)}]'}"
        for low, high in found.intervals
    ]
    return " and ".join(shown)


def _short(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _figure(cases: list[_Case]) -> Figure:
    grid = np.linspace(-3, 4, 281)
    curves = [[case.ar.pvalue_at(float(value)) for value in grid] for case in cases]

    def draw(canvas: Any) -> None:
        ax = canvas.subplots()
        styles = (("data", ":"), ("corrected", "-"), ("naive", "--"))
        for case, curve, (colour, style) in zip(cases, curves, styles, strict=True):
            ax.plot(grid, curve, color=COLOURS[colour], ls=style, lw=1.8, label=case.name)
        ax.axhline(0.05, color=COLOURS["accent"], lw=1.2, label="5 %: the set is what lies above")
        ax.set(xlabel="share of income that is spent at once", ylabel="p-value", ylim=(0, None))
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        tidy(ax)

    return Figure(
        "augmentation-anderson-rubin",
        "p-value of the Anderson–Rubin test at each value of the coefficient. A curve that stays below the line gives "
        "an empty set: instruments or model are rejected.",
        draw,
        (8.6, 3.8),
    )


def _readings(cases: list[_Case], small: SmallDesign) -> Iterator[str]:
    weak = sum(case.strength < 10 for case in cases)
    yield (
        f"{weak} of {len(cases)} sets of instruments have an F below 10: two stages and their errors are not to be "
        "relied on."
    )
    for case in cases:
        if case.found.kind == "empty":
            yield f"{case.name}: no value passes. Either these lags are no valid instruments or the line does not fit."
        elif not case.found.bounded:
            yield (
                f"{case.name}: the set is {_words(case.found)}. It has no end because these lags say little about "
                "income."
            )
        else:
            held = "holds" if case.tsls in case.found else "does not hold"
            yield (
                f"{case.name}: the set {_words(case.found)} {held} the two-stage estimate {case.tsls:.2f}. A set also "
                "gets short when no value fits well, so a short one is not a precise one."
            )
            if case.found.lower > 1:
                yield "All of it lies above 1, which no share can be: a sign against the instruments or the line."
    yield _refusal(small)


def _refusal(small: SmallDesign) -> str:
    """What the library answers to a fit by augmentation."""
    model = IVLikeRegressor(augmentation=small.shift, random_state=0).fit(small.X, small.y)
    try:
        answer = str(anderson_rubin(model))
    except MethodNotApplicableError as error:
        answer = f"refused ({error})"
    return f"The same test for a fit by augmentation: {answer}"
