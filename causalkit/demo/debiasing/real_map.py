"""The real map of the chapter: the income map where there is one, else the bundled diabetes data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets import load_diabetes_map, load_income_map
from causalkit.exceptions import DataNotFoundError

__all__ = ["RealMap", "Region", "Rows", "load_real_map"]

Array = NDArray[np.float64]

_DOLLARS = 1000.0


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with prediction and truth.

    Attributes
    ----------
    predictions, y : ndarray, shape (n,)
    covariates : dict of str to ndarray, shape (n,)
        Standardised over all rows of the map.
    cells : ndarray of str, shape (n,), or None
        Small areas, the clusters of standard errors.
    sites : ndarray of str, shape (n,), or None
        Large areas.
    """

    predictions: Array
    y: Array
    covariates: dict[str, Array]
    cells: NDArray[Any] | None = None
    sites: NDArray[Any] | None = None

    def take(self, rows: NDArray[Any]) -> Rows:
        """The rows picked by a mask or positions."""
        return Rows(
            self.predictions[rows],
            self.y[rows],
            {name: values[rows] for name, values in self.covariates.items()},
            None if self.cells is None else self.cells[rows],
            None if self.sites is None else self.sites[rows],
        )

    def sample(self, size: int, rng: np.random.Generator) -> Rows:
        """At most ``size`` rows drawn without replacement."""
        n = len(self.y)
        return self.take(rng.permutation(n)[:size])


@dataclass(frozen=True, eq=False)
class Region:
    """Arms that are groups of people or places, which the map may see.

    ``calibration`` and ``trial`` hold 1 for the first-named side.
    """

    name: str
    calibration: NDArray[np.int64]
    trial: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RealMap:
    """A map with its truth, split into calibration sample and trial.

    Attributes
    ----------
    name, unit : str
        Of the outcome.
    note : str
        Which data these are, and why.
    calibration, trial : Rows
    regions : tuple of Region
    """

    name: str
    unit: str
    note: str
    calibration: Rows
    trial: Rows
    regions: tuple[Region, ...]


def load_real_map(path: Path | None, random_state: int) -> RealMap:
    """Load the income map if the user named one or it can be found, else the diabetes data.

    Raises
    ------
    DataNotFoundError
        If a map was named, by argument or by CAUSALKIT_INCOME_MAP, that is not there or cannot be read.
    """
    named = path is not None or bool(os.environ.get("CAUSALKIT_INCOME_MAP"))
    try:
        return _income(load_income_map(path))
    except DataNotFoundError:
        if named:
            raise
        return _diabetes(random_state)
    except ValueError as error:
        raise DataNotFoundError(f"The file of the income map cannot be used: {error}") from error


def _income(source: Any) -> RealMap:
    frame = source.frame
    spread = {name: (frame[name].mean(), frame[name].std()) for name in ("lat", "lon")}
    middle = {name: source.trial[name].median() for name in ("lat", "lon")}

    def rows(part: Any) -> Rows:
        lon, lat = part["lon"].to_numpy(), part["lat"].to_numpy()
        return Rows(
            part["prediction"].to_numpy(dtype=float) / _DOLLARS,
            part["income"].to_numpy(dtype=float) / _DOLLARS,
            {name: (part[name].to_numpy() - mean) / sd for name, (mean, sd) in spread.items()},
            _grid(lon, lat, 1),
            _grid(lon, lat, 5),
        )

    def region(name: str, column: str) -> Region:
        above = [
            (part[column].to_numpy() > middle[column]).astype(np.int64) for part in (source.calibration, source.trial)
        ]
        return Region(name, *above)

    return RealMap(
        name="household income",
        unit="thousand dollars",
        note=(
            f"Real data: the income map, {len(frame):,} points of the contiguous United States with mean household "
            "income and its out-of-sample prediction from satellite images (Rolf et al. 2021). The "
            f"{len(source.calibration):,} rows with test = 0 calibrate, the {len(source.trial):,} rows with test = 1 "
            "are the trial. Amounts are in thousand dollars."
        ),
        calibration=rows(source.calibration),
        trial=rows(source.trial),
        regions=(region("north − south", "lat"), region("east − west", "lon")),
    )


def _grid(lon: Array, lat: Array, degrees: int) -> NDArray[Any]:
    """Label of the grid cell of each point, by its south-west corner."""
    west, south = (np.floor(values / degrees).astype(int) * degrees for values in (lon, lat))
    corners, codes = np.unique(np.column_stack([south, west]), axis=0, return_inverse=True)
    labels = [f"{abs(a)}°{'N' if a >= 0 else 'S'} {abs(b)}°{'W' if b < 0 else 'E'}" for a, b in corners.tolist()]
    return np.array(labels)[codes.reshape(-1)]


def _diabetes(random_state: int) -> RealMap:
    source = load_diabetes_map(random_state=random_state)
    test = source.frame["test"].to_numpy()
    features = source.features
    scale = np.sqrt(len(test))  # the bundled features have sum of squares 1

    def rows(part: int) -> Rows:
        used = test == part
        covariates = {name: features[name].to_numpy()[used] * scale for name in ("age", "bp")}
        return Rows(source.predictions[used], source.y[used], covariates)

    def region(name: str, above: NDArray[np.bool_]) -> Region:
        return Region(name, above[test == 0].astype(np.int64), above[test == 1].astype(np.int64))

    sex, bmi = features["sex"].to_numpy(), features["bmi"].to_numpy()
    return RealMap(
        name="disease progression",
        unit="points of the progression score",
        note=(
            "Real data: the income map was not found (name its file with --income-map or CAUSALKIT_INCOME_MAP), so "
            f"this chapter uses scikit-learn's bundled diabetes data: disease progression of {len(test)} patients "
            "(Efron et al. 2004) and its out-of-fold linear prediction. "
            f"{int((test == 0).sum())} patients calibrate, the other {int((test == 1).sum())} are the trial."
        ),
        calibration=rows(0),
        trial=rows(1),
        regions=(
            region("sex (coded higher − lower)", sex > 0),
            region("body mass (above − below the median)", bmi > np.median(bmi)),
        ),
    )
