"""Input of the linear estimators: grids of alpha, names of columns, chunks of rows read again, feature maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.pairs import Rows

if TYPE_CHECKING:
    from causalkit.validation import Groups

__all__ = [
    "FitInput",
    "check_alpha",
    "check_alphas",
    "check_feature_map",
    "read_chunks",
    "refuse_one_cluster",
    "refuse_other_names",
]

Array = NDArray[np.float64]

ROW_ARGUMENTS = ("instruments", "exogenous", "augmented", "augmentation_parameters", "groups", "sample_weight")


@dataclass(frozen=True, eq=False)
class FitInput:
    """Checked input of one call of fit or partial_fit.

    Attributes
    ----------
    rows : Rows
    groups : Groups or None
    exogenous_names : list of str
    """

    rows: Rows
    groups: Groups | None
    exogenous_names: list[str]


def check_alpha(alpha: Any) -> float:
    """Check a number in [0, inf]."""
    number = isinstance(alpha, int | float | np.integer | np.floating) and not isinstance(alpha, bool)
    if not number or np.isnan(alpha) or alpha < 0:
        hint = " LIML-type values are k-class, see instrument_diagnostics." if number and alpha < 0 else ""
        raise ValueError(f"alpha must be in [0, inf]; got {alpha!r}.{hint}")
    return float(alpha)


def check_alphas(alphas: Any) -> Array:
    """Check a grid of numbers in [0, inf], shape (m,), as one array."""
    try:
        grid = np.ravel(alphas)
    except ValueError:
        raise ValueError(f"alphas must be a flat list of numbers in [0, inf]; got {alphas!r}.") from None
    if not len(grid):
        raise ValueError("alphas must hold at least one number in [0, inf]; got none.")
    if grid.dtype.kind not in "iuf" or not (grid >= 0).all():
        return np.array([check_alpha(alpha) for alpha in grid])  # the first that is none is named
    return grid.astype(float)


def refuse_one_cluster(groups: Groups | None) -> None:
    """Refuse groups that hold every row: their errors would be zero."""
    if groups is not None and groups.n_groups < 2:
        raise ValueError(
            f"groups has {groups.n_groups} cluster: clustered standard errors need at least two. Leave groups out if "
            "the rows are independent."
        )


def refuse_other_names(
    argument: str, expected: list[str] | tuple[str, ...], given: list[str] | tuple[str, ...]
) -> None:
    """Refuse columns of other names or in another order than those of the fit; arrays have no names to compare."""
    default = [f"{argument}{j}" for j in range(len(expected))]
    if list(expected) in (default, list(given)) or list(given) == default[: len(given)]:
        return
    raise ValueError(
        f"{argument} must have the columns of the fit in the same order: expected {list(expected)}, got {list(given)}. "
        f"Reorder them: {argument}[{list(expected)}]."
    )


def check_feature_map(feature_map: Any) -> None:
    """Refuse what cannot be fitted and applied."""
    if isinstance(feature_map, type) or not (hasattr(feature_map, "fit") and hasattr(feature_map, "transform")):
        raise ValueError(
            f"feature_map must be a scikit-learn transformer with fit and transform; got {feature_map!r}. Pass an "
            "instance, such as Nystroem()."
        )


def read_chunks(chunks: Any) -> Iterator[dict[str, Any]]:
    """Arguments of each chunk of ``inference(chunks=...)``, those that are missing as None."""
    known = ("X", "y", *ROW_ARGUMENTS, "first_row")
    hint = "Pass chunks=[(X, y), ...], or dictionaries with the arguments of partial_fit."
    if isinstance(chunks, dict) or not hasattr(chunks, "__iter__"):
        raise ValueError(f"chunks must be an iterable of chunks; got {type(chunks).__name__}. {hint}")
    for number, chunk in enumerate(chunks):
        if isinstance(chunk, dict):
            unknown = [name for name in chunk if name not in known]
            if unknown or "X" not in chunk or "y" not in chunk:
                raise ValueError(
                    f"chunks[{number}] must hold X and y, and of other arguments {', '.join(known[2:])}; got "
                    f"{list(chunk)}. {hint}"
                )
            given = dict(chunk)
        elif isinstance(chunk, tuple | list) and len(chunk) == 2:
            given = {"X": chunk[0], "y": chunk[1]}
        else:
            raise ValueError(f"chunks[{number}] must be (X, y) or a dictionary; got {type(chunk).__name__}. {hint}")
        yield dict.fromkeys(ROW_ARGUMENTS) | given
