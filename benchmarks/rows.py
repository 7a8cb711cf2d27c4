"""One row of a table: a measured number beside the bar that it has to meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Row", "Status", "at_least", "at_most", "deviation", "near", "recorded", "skipped", "within"]

Status = Literal["ok", "SHORT", "skipped", "deviation"]


@dataclass(frozen=True)
class Row:
    """A measured number and its bar.

    Attributes
    ----------
    id : str
        Letter of the section and number, such as "D2.4".
    what : str
        What was measured.
    measured : float or None
        The number; None where it was not run.
    bar : str
        The bar in words, the Monte Carlo band included where there is one.
    status : {"ok", "SHORT", "skipped", "deviation"}
        "deviation" marks a published number that is known to follow another definition; it is shown and
        counted, but is not a failure.
    note : str
        Anything that a reader needs in addition.
    """

    id: str
    what: str
    measured: float | None
    bar: str
    status: Status
    note: str = ""

    @property
    def section(self) -> str:
        """Letter of the section."""
        return self.id[0]

    @property
    def failed(self) -> bool:
        """Whether the number falls short."""
        return self.status == "SHORT"

    def shown(self) -> str:
        """The measured number as text."""
        if self.measured is None:
            return "not run"
        return _digits(self.measured)


def _digits(value: float) -> str:
    return f"{value:.3g}" if 0 < abs(value) < 1e-4 else f"{value:.10g}" if abs(value) < 1e6 else f"{value:.6g}"


def _verdict(ok: bool) -> Status:
    return "ok" if ok else "SHORT"


def _banded(bar: str, band: float) -> str:
    return bar if band == 0 else f"{bar}, band {band:.2g}"


def near(
    id: str, what: str, measured: float, target: float, tolerance: float, band: float = 0.0, note: str = ""
) -> Row:
    """A number within ``tolerance`` of a target."""
    measured = float(measured)
    ok = abs(measured - target) <= tolerance + band
    return Row(id, what, measured, _banded(f"{target:.10g} ± {tolerance:.3g}", band), _verdict(ok), note)


def within(id: str, what: str, measured: float, low: float, high: float, band: float = 0.0, note: str = "") -> Row:
    """A number in an interval, which the Monte Carlo band widens."""
    measured = float(measured)
    ok = low - band <= measured <= high + band
    return Row(id, what, measured, _banded(f"in [{low:.6g}, {high:.6g}]", band), _verdict(ok), note)


def at_least(id: str, what: str, measured: float, low: float, band: float = 0.0, note: str = "") -> Row:
    """A number that is at least so large."""
    measured = float(measured)
    return Row(id, what, measured, _banded(f">= {low:.6g}", band), _verdict(measured >= low - band), note)


def at_most(id: str, what: str, measured: float, high: float, band: float = 0.0, note: str = "") -> Row:
    """A number that is at most so large."""
    measured = float(measured)
    return Row(id, what, measured, _banded(f"<= {high:.6g}", band), _verdict(measured <= high + band), note)


def deviation(id: str, what: str, measured: float, target: float, tolerance: float, note: str) -> Row:
    """A listed number that is known to follow another definition than the one that is implemented."""
    measured = float(measured)
    status: Status = "ok" if abs(measured - target) <= tolerance else "deviation"
    return Row(id, what, measured, f"{target:.10g} ± {tolerance:.3g}", status, note)


def recorded(id: str, what: str, measured: float, note: str = "") -> Row:
    """A number without a bar, written down for the reader."""
    return Row(id, what, float(measured), "recorded", "ok", note)


def skipped(id: str, what: str, reason: str) -> Row:
    """A number that cannot be measured here."""
    return Row(id, what, None, "", "skipped", f"not run: {reason}")
