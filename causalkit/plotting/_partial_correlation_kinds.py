"""Drawing functions behind PartialCorrelationDisplay, one per kind, on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting._axes import COLOURS, tidy

__all__ = [
    "cluster_order",
    "draw_biplot",
    "draw_matrix",
    "draw_network",
    "draw_null",
    "draw_pvalues",
    "draw_scree",
    "eigenvalues",
    "positions",
]

Array = NDArray[np.float64]

_LABELLED = 40  # beyond it only the parts that matter are named
_ON_CIRCLE = 60  # beyond it isolated parts are left out
_BINS = 20
_SIGNS = (("positive", "corrected", "-"), ("negative", "naive", (0, (4, 2))))


def eigenvalues(gamma: Array) -> tuple[Array, Array]:
    """The D - 1 eigenvalues of Γ that are not the zero of its constraint, largest first, and their vectors.

    The sign of a vector is free: its largest entry is made positive, so that figures repeat.
    """
    values, vectors = np.linalg.eigh(gamma)
    values, vectors = np.maximum(values[:0:-1], 0.0), vectors[:, :0:-1]
    top = np.abs(vectors).argmax(axis=0)
    return values, vectors * np.sign(vectors[top, np.arange(vectors.shape[1])])


def cluster_order(r: Array) -> NDArray[np.intp]:
    """Order of the leaves of an average-linkage tree on 1 - \\|r\\|."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    distance = 1 - np.minimum(np.abs(r[np.triu_indices(len(r), 1)]), 1.0)
    return np.asarray(leaves_list(linkage(distance, "average", optimal_ordering=len(r) <= 200)), dtype=np.intp)


# ---------------------------------------------------------------------- network


def positions(layout: str | Mapping[str, Any], names: list[str], values: dict[str, Any]) -> dict[int, Array]:
    """Position of each part that is drawn."""
    if isinstance(layout, Mapping):
        missing = [name for name in names if name not in layout]
        if missing:
            raise ValueError(f"layout lacks {len(missing)} parts, for example {missing[:5]}: give (x, y) of each part.")
        return {j: np.asarray(layout[name], dtype=float) for j, name in enumerate(names)}
    if layout != "circular":
        raise ValueError(f'layout must be "circular" or a mapping of part to (x, y); got {layout!r}.')
    order = cluster_order(values["r"])
    if len(names) > _ON_CIRCLE:
        order = order[values["edge"].any(axis=1)[order]]
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(order)) / max(len(order), 1)
    return {int(j): np.array([np.cos(a), np.sin(a)]) for j, a in zip(order, angle, strict=True)}


def draw_network(ax: Any, names: list[str], values: dict[str, Any], where: Any) -> None:
    """Edges below, parts above, names outside the circle."""
    r, edge = values["r"], values["edge"]
    first, second = np.nonzero(np.triu(edge, 1))
    strongest = max((abs(r[i, j]) for i, j in zip(first, second, strict=True)), default=1.0)
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        _, colour, style = _SIGNS[int(r[i, j] < 0)]
        ends = np.array([where[i], where[j]])
        ax.plot(*ends.T, color=COLOURS[colour], ls=style, lw=0.6 + 4.4 * abs(r[i, j]) / strongest, zorder=1)
    linked = edge.any(axis=1)
    small = len(where) > _LABELLED
    for j, place in where.items():
        ax.plot(*place, "o", ms=4 if small else 8, color=COLOURS["data"], alpha=1.0 if linked[j] else 0.45, zorder=2)
        _name_part(ax, names[j], place, "x-small" if small else "medium", 1.0 if linked[j] else 0.7)
    for word, colour, style in _SIGNS:
        ax.plot([], [], color=COLOURS[colour], ls=style, lw=2, label=f"r {word}")
    ax.plot([], [], color=COLOURS["data"], lw=5, label=f"width: |r| up to {strongest:.2f}" if len(first) else "no edge")
    left_out = len(names) - len(where)
    extra = {"title": f"{left_out} parts without edges not drawn"} if left_out else {}
    ax.legend(frameon=False, fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, 0.0), **extra)
    ax.margins(0.16)
    ax.set_aspect("equal")
    ax.set_axis_off()


def _name_part(ax: Any, name: str, place: Array, size: str, alpha: float) -> None:
    """Write a name outward from the centre, so that it stays off the lines."""
    length = float(np.hypot(*place))
    outward = place / length if length > 0 else np.array([0.0, 1.0])
    horizontal = "left" if outward[0] > 0.3 else "right" if outward[0] < -0.3 else "center"
    vertical = "bottom" if outward[1] > 0.3 else "top" if outward[1] < -0.3 else "center"
    offset = tuple(7 * outward)
    ax.annotate(
        name, place, xytext=offset, textcoords="offset points", ha=horizontal, va=vertical, fontsize=size, alpha=alpha
    )


# ---------------------------------------------------------------------- the other kinds


def draw_matrix(ax: Any, names: list[str], values: dict[str, Any]) -> None:
    """Heat map in the order of a clustering; the diagonal, which is 1 by definition, is left blank."""
    from matplotlib.colors import LinearSegmentedColormap

    r, order = values["r"], cluster_order(values["r"])
    shown = r[np.ix_(order, order)].copy()
    np.fill_diagonal(shown, np.nan)
    largest = float(np.nanmax(np.abs(shown))) or 1.0
    palette = [COLOURS["naive"], "#f4f4f4", COLOURS["corrected"]]
    colours = LinearSegmentedColormap.from_list("signed", palette)
    image = ax.imshow(shown, cmap=colours, vmin=-largest, vmax=largest, interpolation="nearest")
    rows, columns = np.nonzero(values["edge"][np.ix_(order, order)])
    ax.plot(columns, rows, "o", ms=max(1.0, min(5.0, 90 / len(names))), color="#202020")
    if len(names) <= _LABELLED:
        labels = [names[j] for j in order]
        size = "medium" if len(names) <= 15 else "x-small"
        ax.set_xticks(range(len(names)), labels, rotation=90, fontsize=size)
        ax.set_yticks(range(len(names)), labels, fontsize=size)
    else:
        ax.set_xticks([])
        ax.set_yticks([])
    ax.set(xlabel="part, in the order of a clustering", ylabel="part")
    ax.figure.colorbar(image, ax=ax, label="partial correlation r", shrink=0.85)


def draw_null(ax: Any, names: list[str], values: dict[str, Any]) -> None:
    """r against r⁰; the names of the pairs are written where there are few edges."""
    r, null, edge = values["r"], values["r0"], values["edge"]
    first, second = np.triu_indices(len(names), 1)
    x, y, chosen = null[first, second], r[first, second], edge[first, second]
    span = np.array([0.0, float(x.max()) * 1.05])
    ax.axhline(0, color=COLOURS["data"], lw=0.8, ls=":", label="zero null: r = 0")
    ax.plot(span, span, color=COLOURS["accent"], lw=1.4, label="closure null: r = r⁰")
    ax.plot(x[~chosen], y[~chosen], "o", ms=4, alpha=0.55, color=COLOURS["data"], label="other pairs")
    ax.plot(x[chosen], y[chosen], "D", ms=6, color=COLOURS["corrected"], label="edges")
    if chosen.sum() <= 12:
        # Pairs of nearly the same r get their names on alternate sides, or they would lie on one another.
        rank = np.argsort(np.argsort(-y[chosen]))
        for i, j, a, b, k in zip(first[chosen], second[chosen], x[chosen], y[chosen], rank, strict=True):
            side, where = ("left", 6) if k % 2 == 0 else ("right", -6)
            text = f"{names[i]}–{names[j]}"
            ax.annotate(text, (a, b), xytext=(where, 2), textcoords="offset points", fontsize="small", ha=side)
    ax.set(xlabel="closure null r⁰, from independent amounts", ylabel="partial correlation r")
    ax.margins(x=0.15)
    ax.legend(frameon=False, fontsize="small", ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    tidy(ax)


def draw_scree(ax: Any, names: list[str], values: dict[str, Any]) -> None:
    """Shares of variance as bars, their running sum as a line."""
    shares = values["shares"]
    index = np.arange(1, len(shares) + 1)
    ax.bar(index, 100 * shares, color=COLOURS["corrected"], width=0.7, label="each")
    ax.plot(index, 100 * np.cumsum(shares), "o-", ms=3, color=COLOURS["accent"], label="up to here")
    ratio = shares[0] / shares[-1] if shares[-1] > 0 else np.inf
    ax.set(xlabel="eigenvalue of Γ", ylabel="share of the log-ratio variance, %", ylim=(0, 105))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize="small", title=f"largest / smallest: {ratio:.3g}", loc="center right")
    tidy(ax)


def draw_pvalues(ax: Any, names: list[str], values: dict[str, Any]) -> None:
    """Histogram of p, with the level of uniform p-values."""
    pvalues = values["pvalues"]
    ax.hist(pvalues, bins=np.linspace(0, 1, _BINS + 1), color=COLOURS["corrected"])
    ax.axhline(len(pvalues) / _BINS, color=COLOURS["naive"], ls="--", label="if no pair were related")
    ax.set(xlabel="p-value", ylabel="pairs", xlim=(0, 1))
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)


def draw_biplot(ax: Any, names: list[str], values: dict[str, Any]) -> None:
    """Arrows of the parts; rows, where there are any, stretched to the same extent."""
    heads, shares = values["heads"], values["shares"]
    if "scores" in values:
        scores = values["scores"]
        scale = float(np.abs(heads).max() / np.abs(scores).max())
        ax.plot(*(scale * scores).T, ".", ms=4, alpha=0.6, color=COLOURS["data"], label=f"rows (× {scale:.2g})")
    length = np.hypot(*heads.T)
    named = set(np.argsort(-length, kind="stable")[:_LABELLED].tolist())
    for j, head in enumerate(heads):
        ax.plot([0, head[0]], [0, head[1]], color=COLOURS["corrected"], lw=1.2)
        if j in named:
            _name_part(ax, names[j], head, "small", 1.0)
    ax.plot(*heads.T, "o", ms=4, color=COLOURS["corrected"], label="parts")
    ax.axhline(0, color=COLOURS["data"], lw=0.5)
    ax.axvline(0, color=COLOURS["data"], lw=0.5)
    ax.set(xlabel=f"first axis, {100 * shares[0]:.0f} %", ylabel=f"second axis, {100 * shares[1]:.0f} %")
    ax.margins(0.15)
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)
