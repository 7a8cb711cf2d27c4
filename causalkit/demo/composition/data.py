"""Data of the chapter: real tables where their files are found, else small ones that need no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets import (
    fetch_roman_glass_cups,
    fetch_soil_otu,
    load_school_shares,
    make_composition_network,
)
from causalkit.exceptions import DatasetNotFoundError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CountTable", "Whole", "load_count_table", "load_whole", "simulate_counts"]

_MIN_SAMPLES = 20
_ROWS, _PARTS, _READS, _STRENGTH = 150, 30, 1500, 1.3


@dataclass(frozen=True, eq=False)
class Whole:
    """A table of parts without zeros.

    Attributes
    ----------
    name, note : str
        Of the data, and where they come from.
    parts : DataFrame, shape (n, D)
    kept : tuple of str
        A subcomposition.
    pair : tuple of str
        A pair in it whose association depends on what else is in the table.
    """

    name: str
    note: str
    parts: pd.DataFrame
    kept: tuple[str, ...]
    pair: tuple[str, str]


@dataclass(frozen=True, eq=False)
class CountTable:
    """Counts with zeros, and a variable that may move many parts at once.

    Attributes
    ----------
    counts : DataFrame, shape (n, D)
    confounder : Series, shape (n,)
    truth : ndarray of bool, shape (D, D), or None
        Pairs that are related, where this is known.
    """

    name: str
    note: str
    counts: pd.DataFrame
    confounder: pd.Series
    truth: NDArray[np.bool_] | None = None


def load_whole() -> Whole:
    """Roman glass cups where their file is found, else enrolment shares of Californian schools."""
    try:
        cups = fetch_roman_glass_cups()
    except DatasetNotFoundError:
        return _schools()
    return Whole(
        name="Roman glass cups",
        note=(
            f"Real data: oxide percentages of {len(cups.parts)} Roman glass cups, {cups.parts.shape[1]} parts "
            "(Baxter et al. 2005)."
        ),
        parts=cups.parts,
        kept=("Al", "Mg", "Ca", "Na", "K"),
        pair=("Al", "Na"),
    )


def _schools() -> Whole:
    table = load_school_shares().parts
    parts = table[(table > 0).all(axis=1)].reset_index(drop=True)
    return Whole(
        name="school enrolment",
        note=(
            "Real data: the table of Roman glass cups was not found (put roman_glass_cups.csv into the folder named by "
            f"CAUSALKIT_DATA), so this chapter uses enrolment shares of four groups in {len(parts)} Californian "
            f"counties and districts (statsmodels, star98; {len(table) - len(parts)} rows with a zero are left out)."
        ),
        parts=parts,
        kept=("asian", "hispanic", "other"),
        pair=("asian", "other"),
    )


def load_count_table(random_state: int) -> CountTable:
    """Bacterial counts of soils with their pH where the files are found, else simulated counts."""
    try:
        soil = fetch_soil_otu()
    except DatasetNotFoundError:
        return simulate_counts(random_state)
    counts = soil.parts[soil.parts.sum(axis=1) > 1]
    counts = counts.loc[:, (counts > 0).sum() >= _MIN_SAMPLES]
    zero = float((counts == 0).to_numpy().mean())
    return CountTable(
        name="soil bacteria",
        note=(
            f"Counts: {counts.shape[1]} bacterial groups seen in at least {_MIN_SAMPLES} of {len(counts)} soils, "
            f"{100 * zero:.0f} % zeros; {len(soil.parts) - len(counts)} sample with a single read was dropped "
            "(Schaipp et al. 2021)."
        ),
        counts=counts,
        confounder=soil.ph.loc[counts.index].rename("pH"),
    )


def simulate_counts(random_state: int) -> CountTable:
    """Counts of a known network, with one variable that moves four unlinked parts up or down."""
    import pandas as pd

    rng = np.random.default_rng(random_state)
    network = make_composition_network(_ROWS, _PARTS, mean_sd=1.5, random_state=random_state)
    acidity = rng.standard_normal(_ROWS)
    moved = np.zeros(_PARTS)
    moved[[2, 8]], moved[[5, 11]] = _STRENGTH, -_STRENGTH
    amounts = network.amounts * np.exp(np.outer(acidity, moved))
    shares = amounts / amounts.sum(axis=1, keepdims=True)
    reads = rng.lognormal(np.log(_READS), 0.4, size=_ROWS).astype(int)
    drawn = [rng.multinomial(total, row) for total, row in zip(reads, shares, strict=True)]
    counts = pd.DataFrame(np.array(drawn), columns=[f"taxon {j + 1:02d}" for j in range(_PARTS)])
    zero = float((counts == 0).to_numpy().mean())
    return CountTable(
        name="simulated counts",
        note=(
            f"Counts: the soil table was not found, so {_ROWS} rows of {_PARTS} simulated taxa with about {_READS} "
            f"reads each, {100 * zero:.0f} % zeros: {int(network.adjacency.sum()) // 2} pairs are related, and an "
            "acidity moves four other taxa."
        ),
        counts=counts,
        confounder=pd.Series(acidity, name="acidity"),
        truth=network.adjacency,
    )
