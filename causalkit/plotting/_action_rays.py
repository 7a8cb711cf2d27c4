"""Points along which dose curves and supports are drawn, and the shading that says how far the data reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting._axes import COLOURS
from causalkit.validation import check_vector

__all__ = ["FLAGS", "ActionRay", "action_ray", "shade_flags"]

Array = NDArray[np.float64]

# Shade of the region behind the curve: the less the data carry, the darker.
FLAGS = {"observed": 0.0, "reachable": 0.1, "thin": 0.25, "unsupported": 0.42}
_WORDS = {"reachable": "beyond, reachable", "thin": "beyond, thin", "unsupported": "beyond, unsupported"}


@dataclass(frozen=True, eq=False)
class ActionRay:
    """Actions along a line.

    Attributes
    ----------
    position : ndarray, shape (m,)
        Where on the line, rising: the action itself where there is one.
    actions : ndarray, shape (m, k)
        The actions.
    label : str
        Words for the axis.
    observed : ndarray
        Positions of the actions of the fit, projected on the line; empty if they are not at hand.
    """

    position: Array
    actions: Array
    label: str
    observed: Array


def action_ray(estimator: Any, actions: Any, direction: Any, origin: Any, who: str) -> ActionRay:
    """Actions of one column as they are, or origin + t · direction for positions t.

    Raises
    ------
    ValueError
        An estimator that is not fitted, several actions without a direction, or shapes that do not fit.
    """
    names = _names(estimator, who)
    k = len(names)
    given = np.asarray(actions)
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim != 1:
        raise ValueError(
            f"actions must be a vector of positions along one line; got shape {given.shape}. With several actions pass "
            "the positions t, and direction= (and origin=)."
        )
    t = np.sort(check_vector(given, "actions"))
    if len(t) < 2:
        raise ValueError(f"actions must hold at least two positions to draw a curve; got {len(t)}.")
    if k == 1 and direction is None and origin is None:
        return ActionRay(t, t[:, None], str(names[0]), _observed(estimator, np.ones(1), np.zeros(1)))
    if direction is None:
        raise ValueError(
            f"direction is missing: the estimator has {k} actions ({', '.join(map(str, names))}). Pass direction= with "
            "one entry each; actions are then positions t along origin + t · direction."
        )
    along = _point(direction, "direction", k)
    if not np.any(along):
        raise ValueError("direction must have an entry that is not 0.")
    start = np.zeros(k) if origin is None else _point(origin, "origin", k)
    words = ", ".join(f"{v:g}" for v in along)
    label = f"t, along ({words})" + ("" if not np.any(start) else f" from ({', '.join(f'{v:g}' for v in start)})")
    return ActionRay(t, start + t[:, None] * along, label, _observed(estimator, along, start))


def shade_flags(ax: Any, position: Array, flags: Sequence[str]) -> None:
    """Shade the stretches between positions by what the support says there, each flag named once in the legend."""
    kinds = np.asarray(flags, dtype=str)
    # The border between two flags is drawn half-way between their positions.
    borders = np.concatenate([position[:1], (position[1:] + position[:-1]) / 2, position[-1:]])
    starts = np.flatnonzero(np.r_[True, kinds[1:] != kinds[:-1]])
    named: set[str] = set()
    for first, after in zip(starts, [*starts[1:], len(kinds)], strict=True):
        kind = str(kinds[first])
        if FLAGS[kind] == 0:
            continue
        label = None if kind in named else _WORDS[kind]
        named.add(kind)
        ax.axvspan(
            borders[first], borders[after], color=COLOURS["data"], alpha=FLAGS[kind], lw=0, zorder=0, label=label
        )


def _names(estimator: Any, who: str) -> list[str]:
    if not (hasattr(estimator, "support") and hasattr(estimator, "action_names_")):
        raise ValueError(f"{who} needs a fitted Rep4Ex; got {type(estimator).__name__}. Call fit first.")
    return list(estimator.action_names_)


def _point(values: Any, name: str, k: int) -> Array:
    found = check_vector(values, name)
    if len(found) != k:
        raise ValueError(f"{name} must have one entry per action, {k}; got {len(found)}.")
    return found


def _observed(estimator: Any, along: Array, start: Array) -> Array:
    """Positions of the actions of the fit; a model from a file has none."""
    observed = getattr(estimator, "observed_actions_", None)
    if observed is None:
        return np.empty(0)
    return np.asarray((observed - start) @ along / (along @ along))
