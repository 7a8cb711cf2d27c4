"""The calibration sample: checked rows of predictions and truth, at one level of variation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import CalibrationError, CalibrationWarning
from causalkit.inference.covariance import finite_sample_factor, influence_covariance
from causalkit.validation import (
    Groups,
    check_choice,
    check_groups,
    check_magnitude,
    check_same_index,
    check_sample_weight,
    check_vector,
)

__all__ = ["CalibrationSample", "check_calibration_sample", "deviations", "refuse_binary", "required_rows"]

Array = NDArray[np.float64]

MINIMUM_ROWS = 10
COMFORTABLE_ROWS = 100
FEW_CLUSTERS = 10


@dataclass(frozen=True)
class CalibrationSample:
    """Rows of a calibration sample.

    Attributes
    ----------
    predictions : ndarray, shape (n,)
        Predictions Ŷ.
    y : ndarray, shape (n,)
        Truth Y.
    weight : ndarray, shape (n,), optional
        Sample weights as given.
    groups : Groups, optional
        Clusters of the rows.
    weight_type : {"probability", "frequency"}
        Survey weights, or numbers of repeated rows.
    """

    predictions: Array
    y: Array
    weight: Array | None = None
    groups: Groups | None = None
    weight_type: str = "probability"

    @property
    def n(self) -> int:
        """Rows as stored."""
        return len(self.y)

    @property
    def n_rows(self) -> float:
        """Sample size: the sum of frequency weights, else the number of rows."""
        return float(self.weight.sum()) if self.frequency is not None and self.weight is not None else float(self.n)

    @property
    def frequency(self) -> Array | None:
        """Weights that mean repeated rows, if they do."""
        return self.weight if self.weight_type == "frequency" else None

    @property
    def support(self) -> tuple[float, float]:
        """Range of the predictions that carry weight."""
        x = self.predictions if self.weight is None else self.predictions[self.weight > 0]
        return float(x.min()), float(x.max())

    @property
    def counts(self) -> Array | None:
        """Weights scaled to sum to the sample size; None without weights."""
        if self.weight is None or self.weight_type == "frequency":
            return self.weight
        return self.weight * (self.n / self.weight.sum())

    def contributions(self, influence: Array, n_params: int, cov_type: str) -> Array:
        """Influence values as additive parts of the estimate's error, finite-sample factor included.

        The rows u satisfy: covariance = Σ_g (Σ_{j in g} u_j)(Σ_{j in g} u_j)'.
        """
        factor = finite_sample_factor(self.n_rows, n_params, cov_type, self.groups)
        parts = influence * (np.sqrt(factor) / influence.shape[0])
        if self.groups is None and self.frequency is not None:
            root = np.sqrt(self.frequency)
            parts = np.divide(parts, root[:, None], out=np.zeros_like(parts), where=root[:, None] > 0)
        return parts

    def covariance(self, influence: Array, n_params: int, cov_type: str) -> Array:
        """Covariance of a coefficient with these influence values, shape (q, q)."""
        factor = finite_sample_factor(self.n_rows, n_params, cov_type, self.groups)
        return influence_covariance(influence, groups=self.groups, frequency=self.frequency, factor=factor)

    def take(self, rows: NDArray[Any]) -> CalibrationSample:
        """The sample restricted to some rows (a mask or positions)."""
        groups = None
        if self.groups is not None:
            codes, inverse = np.unique(self.groups.codes[rows], return_inverse=True)
            groups = Groups(inverse.astype(np.intp), self.groups.labels[codes])
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, predictions=self.predictions[rows], y=self.y[rows], weight=weight, groups=groups)


def required_rows(r_squared: float, relative_error: float = 0.05) -> int:
    """Calibration rows that hold the relative noise of the slope below a bound, (1-ρ²)/(ρ² c²)."""
    if r_squared <= 0:
        return int(np.iinfo(np.int64).max)
    return int(np.ceil((1 - r_squared) / (r_squared * relative_error**2) - 1e-9))


def check_calibration_sample(
    predictions: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    groups: Any = None,
    weight_type: str = "probability",
    names: tuple[str, str] = ("predictions", "y"),
) -> CalibrationSample:
    """Check a calibration sample before any work; small samples warn, tiny ones are refused."""
    check_choice(weight_type, "weight_type", ("probability", "frequency"))
    if y is None:
        raise ValueError(
            f"requires {names[1]} to be passed, but the target {names[1]} is None: a calibration sample needs "
            "the true outcome of each prediction."
        )
    for other, label in ((y, names[1]), (sample_weight, "sample_weight"), (groups, "groups")):
        check_same_index(predictions, other, (names[0], label))
    f = check_vector(predictions, names[0])
    truth = check_vector(y, names[1], n_rows=len(f), like=names[0])
    for values, label in zip((f, truth), names, strict=True):
        check_magnitude(values, label)
    weight = check_sample_weight(sample_weight, len(f), like=names[0])
    clusters = check_groups(groups, len(f), like=names[0])
    sample = CalibrationSample(f, truth, weight, clusters, weight_type)
    check_size_and_spread(sample, names)
    return sample


def check_size_and_spread(
    sample: CalibrationSample, names: tuple[str, str] = ("predictions", "y"), stacklevel: int = 4
) -> None:
    """Refuse constants and fewer than 10 rows, warn below 100 rows or 10 clusters."""
    rows = int(sample.n_rows if sample.weight is None else np.count_nonzero(sample.weight))
    if sample.frequency is not None:
        rows = int(sample.n_rows)
    used = slice(None) if sample.weight is None else sample.weight > 0
    for values, name in zip((sample.predictions[used], sample.y[used]), names, strict=True):
        spread = np.ptp(values) if len(values) else 0.0
        if not spread > 1e-12 * float(np.abs(values).max(initial=0.0)) * (spread < np.inf):
            raise CalibrationError(
                f"{name} is constant on the calibration sample ({rows} rows, value {values[0]:g}): nothing to "
                "calibrate. Pass rows on which both predictions and truth vary."
            )
    r_squared = squared_correlation(sample)
    if rows < MINIMUM_ROWS:
        raise CalibrationError(
            f"the calibration sample has {rows} rows: a minimum of {MINIMUM_ROWS} is required, and "
            f"{required_rows(r_squared)} hold the calibration noise to 5 % at a squared correlation of {r_squared:.2f}."
        )
    if rows < COMFORTABLE_ROWS:
        warnings.warn(
            f"the calibration sample has {rows} rows; {required_rows(r_squared)} rows would hold the calibration "
            f"noise to 5 % at a squared correlation of {r_squared:.2f}.",
            CalibrationWarning,
            stacklevel=stacklevel,
        )
    if sample.groups is not None and sample.groups.n_groups < FEW_CLUSTERS:
        warn_few_clusters(sample.groups.n_groups, "the calibration sample", stacklevel + 1)


def warn_few_clusters(n_groups: int, where: str, stacklevel: int = 5) -> None:
    """Say that a clustered standard error rests on few clusters."""
    warnings.warn(
        f"{where} has {n_groups} clusters, fewer than {FEW_CLUSTERS}: clustered standard errors are unreliable; "
        f"intervals use t with G−1 degrees of freedom ({n_groups - 1}).",
        CalibrationWarning,
        stacklevel=stacklevel,
    )


def squared_correlation(sample: CalibrationSample) -> float:
    """Squared (weighted) correlation of predictions and truth."""
    w = sample.weight
    df = sample.predictions - np.average(sample.predictions, weights=w)
    dy = sample.y - np.average(sample.y, weights=w)
    size = float(np.sqrt(np.average(df * df, weights=w)) * np.sqrt(np.average(dy * dy, weights=w)))
    return float(np.average(df * dy, weights=w) / size) ** 2 if size > 0 else 0.0


def deviations(sample: CalibrationSample, variation: str, level: Any = None, period: Any = None) -> CalibrationSample:
    """The sample at one level of variation: within cells, between cells, or changes over time.

    Within: deviations from the cell's mean, put back on the grand mean. Between: cell means, weighted
    by cell size. Change: differences between consecutive periods of a unit. Rows of one cell are
    dependent after the first and the last, so the cell becomes the cluster where there is none.
    """
    if variation == "total":
        return sample
    cells = sample.groups if level is None else check_groups(level, sample.n, name="level", like="predictions")
    if cells is None:
        raise ValueError(
            f'variation="{variation}" needs level (the cell or unit of each row), or groups in its place; got neither.'
        )
    if variation == "change":
        return _changes(sample, cells, period)
    weight = np.ones(sample.n) if sample.weight is None else sample.weight
    size = np.bincount(cells.codes, weights=weight, minlength=cells.n_groups).astype(float)
    rows = np.bincount(cells.codes, weights=(weight > 0).astype(float), minlength=cells.n_groups)
    usable = int((rows >= 2).sum())
    if usable == 0 or (variation == "between" and cells.n_groups < 3):
        raise ValueError(
            f'level has {cells.n_groups} cells, of which {usable} hold two rows or more: variation="{variation}" '
            "needs at least three cells, and cells of more than one row. Pass a coarser level."
        )
    safe = np.where(size > 0, size, 1.0)
    mean_f = np.bincount(cells.codes, weights=weight * sample.predictions, minlength=cells.n_groups) / safe
    mean_y = np.bincount(cells.codes, weights=weight * sample.y, minlength=cells.n_groups) / safe
    if variation == "between":
        return CalibrationSample(
            mean_f[size > 0], mean_y[size > 0], size[size > 0], _groups_of_cells(sample.groups, cells, size > 0)
        )
    return replace(
        sample,
        predictions=sample.predictions - mean_f[cells.codes] + np.average(sample.predictions, weights=sample.weight),
        y=sample.y - mean_y[cells.codes] + np.average(sample.y, weights=sample.weight),
        groups=cells if sample.groups is None else sample.groups,
    )


def _groups_of_cells(groups: Groups | None, cells: Groups, kept: NDArray[np.bool_]) -> Groups | None:
    if groups is None or np.array_equal(groups.codes, cells.codes):
        return None
    first = np.zeros(cells.n_groups, dtype=np.intp)
    first[cells.codes] = groups.codes
    if not np.array_equal(first[cells.codes], groups.codes):
        raise ValueError(
            'groups cuts across the cells of level: with variation="between" a cell is one observation and must lie '
            "in one group. Pass groups that contain whole cells, or none."
        )
    codes, inverse = np.unique(first[kept], return_inverse=True)
    return Groups(inverse.astype(np.intp), groups.labels[codes])


def _changes(sample: CalibrationSample, units: Groups, period: Any) -> CalibrationSample:
    import pandas as pd

    if period is None:
        raise ValueError('variation="change" needs period (the time of each row, sortable); got None.')
    time = check_groups(period, sample.n, name="period", like="predictions")
    order = pd.DataFrame({"unit": units.codes, "time": time.labels[time.codes] if time else 0})
    positions = order.sort_values(["unit", "time"], kind="stable").index.to_numpy()
    unit, when = units.codes[positions], order["time"].to_numpy()[positions]
    same = unit[1:] == unit[:-1]
    repeated = same & (when[1:] == when[:-1])
    if repeated.any():
        raise ValueError(
            f"period repeats within {int(repeated.sum())} unit-periods of level: expected one row per unit and period."
        )
    if not same.any():
        raise ValueError(
            f"level has {units.n_groups} units and none with two periods: changes need at least two rows per unit."
        )
    later, earlier = positions[1:][same], positions[:-1][same]
    changed = sample.take(later) if sample.groups is not None else replace(sample, groups=units).take(later)
    return replace(
        changed,
        predictions=sample.predictions[later] - sample.predictions[earlier],
        y=sample.y[later] - sample.y[earlier],
    )


def refuse_binary(y: Array) -> None:
    """Refuse an outcome with two levels: its calibration is linear."""
    low, high = y.min(), y.max()
    if np.all((y == low) | (y == high)):
        raise CalibrationError(
            f"y has two levels ({low:g}, {high:g}): binary outcome: LinearCalibration is exact (Rogan–Gladen)."
        )
