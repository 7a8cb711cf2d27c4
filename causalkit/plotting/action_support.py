"""SupportDisplay: how many rows carry the answer, along a line of actions or over a grid of two."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting._action_rays import action_ray, shade_flags
from causalkit.plotting._axes import COLOURS, axes_of, tidy
from causalkit.validation import check_matrix

__all__ = ["SupportDisplay"]

Array = NDArray[np.float64]

_REACHABLE, _THIN = 100.0, 30.0
_FEWEST = 1.0  # below one effective row there is nothing to tell apart


class SupportDisplay:
    """Effective rows behind the answer to each action, on a log scale.

    The effective sample size is that of rows reweighted to the law of the features under the action; 100 and 30 are
    where :meth:`causalkit.extrapolation.Rep4Ex.support` stops to call an action reachable and thin. Along a line, the
    line is the smaller of two estimates, the thin line that of a classifier. On a grid of two actions the colour is the
    same, the outline encloses the actions that were tried.

    Parameters
    ----------
    position : ndarray, shape (m,), or tuple of two ndarray
        Positions along a line, or the values of both actions of a grid.
    ess : ndarray, shape (m,) or (m2, m1)
        Effective rows; of a grid with the second action along the rows.
    flags : sequence of str, optional
        Along a line, one per position.
    ess_classifier : ndarray, shape (m,), optional
        Second estimate.
    n_rows : int, optional
        Rows of the fit.
    observed : ndarray, optional
        Whether each point of a grid lies inside the support of the actions.
    labels : tuple of str
        Words for the axes.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        Not a fitted Rep4Ex; several actions that are neither a grid nor have a direction.

    Examples
    --------
    >>> from causalkit.datasets import make_intervention_curve
    >>> from causalkit.extrapolation import LinearInvarianceEncoder, Rep4Ex
    >>> from causalkit.plotting import SupportDisplay
    >>> sample = make_intervention_curve(800, random_state=0)
    >>> encoder = LinearInvarianceEncoder(n_components=1, n_basis=20, ridge=1e-2)
    >>> model = Rep4Ex(encoder=encoder, calibration=0.0, random_state=0)
    >>> model = model.fit(sample.actions, sample.y, features=sample.features)
    >>> display = SupportDisplay.from_estimator(model, [0.0, 1.0, 3.0])
    >>> bool(display.ess[0] > display.ess[1] > display.ess[2])
    True
    """

    def __init__(
        self,
        *,
        position: Any,
        ess: Array,
        flags: Any = None,
        ess_classifier: Array | None = None,
        n_rows: int | None = None,
        observed: NDArray[np.bool_] | None = None,
        labels: tuple[str, str] = ("action", ""),
    ) -> None:
        self.position, self.ess, self.flags = position, ess, flags
        self.ess_classifier, self.n_rows, self.observed, self.labels = ess_classifier, n_rows, observed, labels

    @classmethod
    def from_estimator(
        cls, estimator: Any, actions: Any, *, direction: Any = None, origin: Any = None, ax: Any = None
    ) -> SupportDisplay:
        """Compute and draw from a fitted :class:`~causalkit.extrapolation.Rep4Ex`.

        Parameters
        ----------
        estimator : Rep4Ex
            Fitted.
        actions : array-like, shape (m,), (m, 1) or (m, 2)
            Actions, positions t along ``origin + t · direction``, or every point of a grid of two actions.
        direction, origin : array-like, shape (k,), optional
            The line, for several actions; it starts at 0 by default.
        ax : Axes, optional
            New ones by default.
        """
        if direction is None and np.ndim(actions) == 2 and np.shape(actions)[1] == 2:
            return cls._of_grid(estimator, actions).plot(ax=ax)
        ray = action_ray(estimator, actions, direction, origin, "SupportDisplay")
        table = estimator.support(ray.actions)
        display = cls(
            position=ray.position,
            ess=table["ess"].to_numpy(),
            flags=list(table["flag"]),
            ess_classifier=table["ess_classifier"].to_numpy(),
            n_rows=len(estimator.representation_),
            labels=(ray.label, ""),
        )
        return display.plot(ax=ax)

    @classmethod
    def _of_grid(cls, estimator: Any, actions: Any) -> SupportDisplay:
        if not (hasattr(estimator, "support") and hasattr(estimator, "action_names_")):
            raise ValueError(f"SupportDisplay needs a fitted Rep4Ex; got {type(estimator).__name__}. Call fit first.")
        if len(estimator.action_names_) != 2:
            raise ValueError(
                f"actions has two columns, the estimator {len(estimator.action_names_)} actions: a grid needs two. "
                "Pass positions t and direction= instead."
            )
        points = check_matrix(actions, "actions")[0]
        first, second = np.unique(points[:, 0]), np.unique(points[:, 1])
        place = np.lexsort((points[:, 0], points[:, 1]))
        if len(points) != len(first) * len(second) or len(np.unique(points, axis=0)) != len(points):
            raise ValueError(
                f"actions must hold every point of a grid once: {len(first)} and {len(second)} values make "
                f"{len(first) * len(second)} points; got {len(points)}. Build it with numpy.meshgrid."
            )
        table = estimator.support(points[place])
        shape = (len(second), len(first))
        return cls(
            position=(first, second),
            ess=table["ess"].to_numpy().reshape(shape),
            n_rows=len(estimator.representation_),
            observed=table["in_action_support"].to_numpy().reshape(shape),
            labels=(str(estimator.action_names_[0]), str(estimator.action_names_[1])),
        )

    def plot(self, ax: Any = None) -> SupportDisplay:
        """Draw on one axes.

        Parameters
        ----------
        ax : Axes, optional
            New ones by default.

        Returns
        -------
        SupportDisplay
        """
        grid = isinstance(self.position, tuple)
        self.ax_ = axes_of(ax, figsize=(6.2, 4.8) if grid else (8.2, 4.0))
        self.figure_ = self.ax_.figure
        if grid:
            self._draw_grid()
        else:
            self._draw_line()
        tidy(self.ax_)
        return self

    def _draw_line(self) -> None:
        ax, t = self.ax_, np.asarray(self.position)
        if self.flags is not None:
            shade_flags(ax, t, self.flags)
        if self.ess_classifier is not None:
            values = np.maximum(self.ess_classifier, _FEWEST)
            ax.plot(t, values, color=COLOURS["corrected"], lw=0.9, ls="--", label="by a classifier")
        ax.plot(t, np.maximum(self.ess, _FEWEST), color=COLOURS["corrected"], lw=2, label="effective rows")
        for level, words in ((_REACHABLE, "100: reachable"), (_THIN, "30: thin")):
            ax.axhline(level, color=COLOURS["naive"], lw=1, ls="-" if level == _THIN else "-.", label=words)
        ax.set_yscale("log")
        top = float(self.ess.max()) if self.n_rows is None else float(self.n_rows)
        ax.set(xlim=(t[0], t[-1]), ylim=(_FEWEST, 1.6 * max(top, _REACHABLE)), xlabel=self.labels[0])
        ax.set_ylabel("effective rows" + ("" if self.n_rows is None else f", of {self.n_rows}"))
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))

    def _draw_grid(self) -> None:
        from matplotlib.colors import LogNorm

        ax, (first, second) = self.ax_, self.position
        values = np.maximum(self.ess, _FEWEST)
        top = float(values.max()) if self.n_rows is None else float(self.n_rows)
        mesh = ax.pcolormesh(
            first, second, values, norm=LogNorm(_FEWEST, max(top, 2.0)), cmap="cividis", shading="nearest"
        )
        self.figure_.colorbar(mesh, ax=ax, label="effective rows" + ("" if self.n_rows is None else f", of {top:.0f}"))
        inside = [level for level in (_THIN, _REACHABLE) if values.min() < level < values.max()]
        if inside:
            lines = ax.contour(first, second, values, levels=inside, colors="white", linewidths=1.2)
            ax.clabel(lines, fontsize="small", fmt="%g")
        if self.observed is not None and self.observed.any() and not self.observed.all():
            edge = self.observed.astype(float)
            ax.contour(first, second, edge, levels=[0.5], colors=[COLOURS["naive"]], linewidths=1.6)
            ax.plot([], [], color=COLOURS["naive"], lw=1.6, label="actions of the fit")
            ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.13))
        ax.set(xlabel=self.labels[0], ylabel=self.labels[1])
