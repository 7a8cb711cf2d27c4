"""EffectMapDisplay: effects of nodes, drawn on their network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.inference import network_skeleton
from causalkit.plotting._axes import COLOURS, panels_of
from causalkit.plotting._graph_layout import graph_layout
from causalkit.validation import check_choice, check_integer, check_matrix, check_vector

__all__ = ["EffectMapDisplay"]

Array = NDArray[np.float64]
Ints = NDArray[np.intp]

# Between the blue and the orange of the other displays: a grey that neither page swallows.
_SCALE = [COLOURS["corrected"], "#7fb0d3", "#c4c4c4", "#dd9a68", COLOURS["naive"]]
_COVERED = 0.98
_HEXAGONS = 60
_PALEST = 0.25


class EffectMapDisplay:
    r"""Effects of nodes in the colours of their nodes, with a truth beside them on the same scale if there is one.

    Colours diverge from the mean effect, or from a value of your own such as 0, and end where 98 % of the nodes are
    inside. Neighbours that share a colour are what a model of own covariates cannot see. Up to ``max_nodes`` nodes and
    edges are drawn one by one; a larger network becomes a map of hexagons with the mean effect of their nodes, paler
    where they hold few. Where nodes lie has no meaning beyond who is near whom, unless you give a ``layout`` such as
    coordinates of places.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
        Where the nodes are drawn.
    effect : ndarray, shape (n,)
        Effects; nodes with NaN are drawn small and grey.
    edges : ndarray of int, shape (m, 2), optional
        Rows of ``positions`` that are linked.
    truth : ndarray, shape (n,), optional
        Known effects.
    center : float, optional
        Where colours diverge; default the mean effect.
    kind : {"auto", "nodes", "hexagons"}, default="auto"
        "auto" draws hexagons above 5000 nodes.
    label : str, default="effect"
        Words at the colour bar.
    note : str, default=""
        Words below the map.

    Attributes
    ----------
    axes_ : tuple of Axes
        The map, and that of the truth.
    figure_ : Figure
    colorbar_ : Colorbar
    kind_ : str
        How nodes were drawn.

    Raises
    ------
    ValueError
        Not a fitted estimator, arrays that do not fit one another, a column that does not exist, or axes that are not
        as many as the panels.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.datasets import make_graph_heterogeneity
    >>> from causalkit.plotting import EffectMapDisplay
    >>> data = make_graph_heterogeneity(60, random_state=0)
    >>> noise = np.random.default_rng(0).normal(size=60)
    >>> display = EffectMapDisplay.from_result(data.effect + 0.3 * noise, adjacency=data.adjacency, truth=data.effect)
    >>> display.positions.shape, display.kind_, len(display.axes_)
    ((60, 2), 'nodes', 2)
    """

    def __init__(
        self,
        *,
        positions: Array,
        effect: Array,
        edges: Ints | None = None,
        truth: Array | None = None,
        center: float | None = None,
        kind: str = "auto",
        label: str = "effect",
        note: str = "",
    ) -> None:
        self.positions, self.effect, self.edges, self.truth = positions, effect, edges, truth
        self.center, self.kind, self.label, self.note = center, kind, label, note

    @classmethod
    def from_estimator(cls, estimator: Any, *, truth: Any = None, column: int = 0, **options: Any) -> EffectMapDisplay:
        """Draw the out-of-fold effects of a fitted learner on its network.

        Parameters
        ----------
        estimator : GraphRLearner or SpilloverRLearner
            Fitted.
        truth : array-like, shape (n,), optional
            Known effects of the rows of the fit.
        column : int, default=0
            Which effect, where there are several per row.
        **options
            The keywords of :meth:`from_result` but ``adjacency`` and ``nodes``.
        """
        if not all(hasattr(estimator, name) for name in ("effect_", "graph_", "positions_")):
            raise ValueError(
                "EffectMapDisplay needs a fitted learner of causalkit.graph; got "
                f"{type(estimator).__name__}. Call fit first, or pass arrays to EffectMapDisplay.from_result."
            )
        effect = np.asarray(estimator.effect_, dtype=float)
        effect = effect[:, None] if effect.ndim == 1 else effect
        check_integer(column, "column", low=0)
        if column >= effect.shape[1]:
            raise ValueError(f"column={column} asks for more than the {effect.shape[1]} effects per row of this fit.")
        return cls.from_result(
            effect[:, column],
            adjacency=estimator.graph_.to_scipy(),
            nodes=estimator.positions_,
            truth=truth,
            **options,
        )

    @classmethod
    def from_result(
        cls,
        effect: Any,
        *,
        adjacency: Any,
        nodes: Any = None,
        truth: Any = None,
        center: float | None = None,
        component: str = "largest",
        layout: Any = None,
        max_nodes: int = 5000,
        label: str = "effect",
        random_state: Any = 0,
        ax: Any = None,
    ) -> EffectMapDisplay:
        """Draw effects of any origin on a network.

        Parameters
        ----------
        effect : array-like, shape (n,)
            One effect per row.
        adjacency : scipy sparse matrix, shape (N, N)
            The network; directions and weights do not count.
        nodes : array-like of int, shape (n,), optional
            Row of ``adjacency`` that each effect belongs to; default all in order.
        truth : array-like, shape (n,), optional
            Known effects, drawn beside.
        center : float, optional
            Where colours diverge; default the mean effect.
        component : {"largest", "all"}, default="largest"
            Whether only the largest connected part is drawn.
        layout : array-like, shape (N, 2), optional
            Coordinates of all nodes; computed by springs otherwise.
        max_nodes : int, default=5000
            Up to so many nodes are drawn one by one.
        label : str, default="effect"
            Words at the colour bar.
        random_state : int or Generator, default=0
            Seed of the layout.
        ax : Axes, or sequence of two with a truth, optional
            New ones by default.
        """
        matrix = network_skeleton(adjacency).matrix
        size = matrix.shape[0]
        check_choice(component, "component", ("largest", "all"))
        check_integer(max_nodes, "max_nodes", low=1)
        rows = _row_of(nodes, effect, size)
        full = _spread(check_vector(effect, "effect"), rows, size)
        known = None if truth is None else _spread(check_vector(truth, "truth", n_rows=len(rows)), rows, size)
        kept = _largest(matrix) if component == "largest" else np.arange(size)
        part = matrix[kept][:, kept] if len(kept) < size else matrix
        if layout is None:
            points = graph_layout(part, random_state=random_state)
        else:
            points = check_matrix(layout, "layout", n_rows=size, like="adjacency")[0]
            if points.shape[1] != 2:
                raise ValueError(f"layout must have two columns, x and y; got {points.shape[1]}.")
            points = points[kept]
        several = len(kept) <= max_nodes
        source = np.repeat(np.arange(len(kept)), np.diff(part.indptr))
        once = source < part.indices
        display = cls(
            positions=points,
            effect=full[kept],
            edges=np.column_stack([source[once], part.indices[once]]) if several else None,
            truth=None if known is None else known[kept],
            center=center,
            kind="nodes" if several else "hexagons",
            label=label,
            note=f"largest component: {len(kept)} of {size} nodes" if len(kept) < size else f"{size} nodes",
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> EffectMapDisplay:
        """Draw one map, or two with a truth.

        Parameters
        ----------
        ax : Axes, or sequence of two with a truth, optional
            New ones by default.

        Returns
        -------
        EffectMapDisplay
        """
        check_choice(self.kind, "kind", ("auto", "nodes", "hexagons"))
        self._check_sizes()
        drawn = [("estimate", self.effect)] + ([] if self.truth is None else [("truth", self.truth)])
        self.axes_ = panels_of(ax, len(drawn), (5.6 * len(drawn) + 0.8, 5.4))
        self.figure_ = self.axes_[0].figure
        automatic = "nodes" if len(self.effect) <= 5000 else "hexagons"
        self.kind_ = automatic if self.kind == "auto" else self.kind
        draw = self._draw_nodes if self.kind_ == "nodes" else self._draw_hexagons
        maps = [draw(panel, values) for panel, (_, values) in zip(self.axes_, drawn, strict=True)]
        self._share_colours(maps)
        for panel, (name, _) in zip(self.axes_, drawn, strict=True):
            panel.set_aspect("equal")
            panel.set_axis_off()
            # Words stand inside: a layout of axes of fixed aspect leaves no room around them.
            panel.margins(x=0.02, y=0.09)
            panel.set_title(self._title(name), loc="left", fontsize="medium", y=1, pad=-12)
        self.axes_[0].text(0, 0, self.note, transform=self.axes_[0].transAxes, fontsize="small", va="bottom")
        return self

    def _check_sizes(self) -> None:
        n = len(self.effect)
        for name, values in (("positions", self.positions), ("truth", self.truth)):
            if values is not None and len(values) != n:
                raise ValueError(f"{name} has {len(values)} rows, effect has {n}: pass one row per node to both.")
        if not np.isfinite(self.effect).any():
            raise ValueError(
                "effect holds no finite value at the nodes that are drawn. Rows outside the largest component are left "
                'out: pass component="all" if they are the ones that you have.'
            )

    def _title(self, name: str) -> str:
        values = np.asarray(self.effect if name == "estimate" else self.truth)
        words = f"{name}: mean {np.nanmean(values):.3g}, SD {np.nanstd(values):.3g}"
        if name == "estimate" and self.truth is not None:
            both = np.isfinite(self.effect) & np.isfinite(self.truth)
            first, second = self.effect[both], self.truth[both]
            if first.std() > 0 and second.std() > 0:
                words += f"; correlation with the truth {np.corrcoef(first, second)[0, 1]:.2f}"
        return words.replace("-", "−")

    def _draw_nodes(self, panel: Any, values: Array) -> Any:
        from matplotlib.collections import LineCollection

        if self.edges is not None and len(self.edges):
            opacity = float(np.clip(1000 / len(self.edges), 0.06, 0.4))
            lines = LineCollection(
                list(self.positions[self.edges]), colors=[COLOURS["data"]], linewidths=0.5, alpha=opacity, zorder=1
            )
            panel.add_collection(lines)
        size = float(np.clip(24000 / len(values), 6, 60))
        seen = np.isfinite(values)
        panel.plot(*self.positions[~seen].T, "o", ms=1.5, mew=0, color=COLOURS["data"], ls="none", zorder=2)
        return panel.scatter(*self.positions[seen].T, c=values[seen], s=size, cmap=_colours(), linewidths=0, zorder=3)

    def _draw_hexagons(self, panel: Any, values: Array) -> Any:
        seen = np.isfinite(values)
        x, y = self.positions[seen].T
        options = {"gridsize": int(np.clip(np.sqrt(len(x) / 8), 20, _HEXAGONS)), "mincnt": 1, "linewidths": 0.1}
        counted = panel.hexbin(x, y, **options)
        count = np.asarray(counted.get_array(), dtype=float)
        counted.remove()
        drawn = panel.hexbin(x, y, C=values[seen], cmap=_colours(), **options)
        # Means of few nodes are extreme by chance: they are paler.
        drawn.set_alpha(np.clip(count / np.median(count), _PALEST, 1))
        return drawn

    def _share_colours(self, maps: list[Any]) -> None:
        """One scale for all panels, as far to one side of the centre as to the other."""
        shown = np.concatenate([np.asarray(one.get_array(), dtype=float) for one in maps])
        center = float(np.nanmean(self.effect)) if self.center is None else float(self.center)
        distance = np.abs(shown - center)
        half = float(np.quantile(distance, _COVERED))
        half = half if half > 0 else max(float(distance.max()), 1.0)
        for one in maps:
            one.set_clim(center - half, center + half)
        extend = "both" if (distance > half).any() else "neither"
        self.colorbar_ = self.figure_.colorbar(
            maps[0], ax=list(self.axes_), label=self.label, extend=extend, shrink=0.75, aspect=28, pad=0.02
        )
        self.colorbar_.outline.set_visible(False)


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("causalkit_effect", _SCALE)


def _row_of(nodes: Any, effect: Any, size: int) -> Ints:
    """Node of each row, checked."""
    n = len(check_vector(effect, "effect"))
    if nodes is None:
        if n != size:
            raise ValueError(f"effect has {n} rows, adjacency has {size}: pass nodes= with the node of each row.")
        return np.arange(size)
    rows = np.asarray(nodes)
    if rows.shape != (n,) or rows.dtype.kind not in "iu":
        raise ValueError(f"nodes must hold one row number of adjacency per effect, shape ({n},); got {rows.shape}.")
    if rows.min() < 0 or rows.max() >= size:
        raise ValueError(f"nodes must lie in 0..{size - 1}, the rows of adjacency; got {rows.min()} to {rows.max()}.")
    return rows.astype(np.intp)


def _spread(values: Array, rows: Ints, size: int) -> Array:
    full = np.full(size, np.nan)
    full[rows] = values
    return full


def _largest(matrix: Any) -> Ints:
    from scipy.sparse import csgraph

    labels = csgraph.connected_components(matrix, directed=False)[1]
    return np.flatnonzero(labels == np.bincount(labels).argmax())
