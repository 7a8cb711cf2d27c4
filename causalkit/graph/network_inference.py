"""What learners on graphs have in common once fitted: covariances along the network, and tests of residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import InferenceUnavailableError
from causalkit.graph.diagnostics import residual_table
from causalkit.graph.warning_place import warnings_at_caller
from causalkit.inference import NetworkCovariance, network_clusters, network_covariance
from causalkit.selection import calibration_test

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.graph.graph import Graph
    from causalkit.graph.row_labels import RowLabels

__all__ = ["NetworkInference"]

Array = NDArray[np.float64]


class NetworkInference:
    """Steps of a fitted learner that know which row is which node."""

    graph_: Graph
    positions_: NDArray[np.intp]
    folds_: NDArray[np.intp]
    exposure_radius_: int
    outcome_residual_: Array
    honest_effect_: Array
    _weight: Array | None
    _groups: NDArray[np.intp] | None
    _positions: NDArray[np.intp] | None
    _row_labels: RowLabels | None

    def _same_rows(self, **others: Any) -> None:
        """Refuse arguments that are labelled like the rows of fit, but in another order."""
        if self._row_labels is not None:
            self._row_labels.check(**others)

    def _network_covariance(
        self, influence: Array, dependence: str = "auto", bandwidth: Any = "auto", reach: int = 0
    ) -> NetworkCovariance:
        """Covariance of means, by clusters or along the network; ``reach`` is how far treatments act at least."""
        groups = self._groups
        if dependence == "cluster" and groups is None:
            groups = network_clusters(self.graph_.distances).codes[self.positions_]
            if np.ptp(groups) == 0:
                raise InferenceUnavailableError(
                    'dependence="cluster" without groups looks for clusters in the network, and found a single one. '
                    'Pass groups to fit, or use dependence="network".'
                )
        with warnings_at_caller():
            return network_covariance(
                influence,
                self.graph_.distances,
                positions=self._positions,
                groups=groups if dependence in ("auto", "cluster") else None,
                dependence=dependence,
                bandwidth=bandwidth,
                exposure_radius=max(reach, self.exposure_radius_),
            )

    def _calibration(self, treatment: Array, bandwidth: Any = "auto") -> pd.DataFrame:
        """The test of calibration with residuals of the treatment, or of all columns of a fit."""
        with warnings_at_caller():
            return calibration_test(
                self.honest_effect_,
                self.outcome_residual_,
                treatment,
                folds=self.folds_[0],
                sample_weight=self._weight,
                adjacency=self.graph_.distances,
                positions=self._positions,
                groups=self._groups,
                bandwidth=bandwidth,
                exposure_radius=self.exposure_radius_,
            )

    def _residual_table(self, residuals: dict[str, Array], columns: Any, names: Any) -> pd.DataFrame:
        """Moran's I of residuals among the rows, and their correlations with columns of the neighbourhood."""
        adjacency = self.graph_.skeleton()
        part = adjacency if self._positions is None else adjacency[self.positions_][:, self.positions_]
        return residual_table(residuals, part, columns, names)
