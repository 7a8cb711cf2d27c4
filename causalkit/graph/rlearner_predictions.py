"""Effects that a fitted GraphRLearner predicts, for its own rows and for others, and their score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from causalkit.exceptions import MethodNotApplicableError
from causalkit.graph.alignment import check_graph, require_rows, row_positions
from causalkit.graph.features import check_features
from causalkit.graph.final_stage import FinalStage
from causalkit.graph.hops import HopFeatures
from causalkit.graph.inputs import check_exposure, check_same_rows
from causalkit.graph.neighbourhoods import ExposureScale, NodeFeatures, new_features
from causalkit.graph.node_effects import NodeEffects
from causalkit.graph.nuisances import FittedNuisance
from causalkit.graph.rlearner_exposure import is_mapping
from causalkit.graph.scores import clip_probabilities
from causalkit.validation import check_sample_weight, check_vector

__all__ = ["RLearnerPredictions", "squeezed"]

Array = NDArray[np.float64]


class RLearnerPredictions(NodeEffects):
    """Predictions of :class:`GraphRLearner`; everything here reads what ``fit`` stored."""

    if TYPE_CHECKING:
        effect_constant_: float | Array
        hop_features_: HopFeatures
        _exposure_scale: ExposureScale | None
        _final: FinalStage

    # ------------------------------------------------------------------ effects

    def predict(self, X: Any, *, graph: Any = None, nodes: Any = None, exposure: Any = None) -> Array:
        """Conditional effects of rows, new or old, on the graph of ``fit`` or on another one.

        The mean over the models of all folds: for rows of ``fit`` they are not out-of-fold, use ``effect_`` there.

        Parameters
        ----------
        X : array-like or frame, shape (m, p)
            Covariates.
        graph : Graph, optional
            Their network; that of ``fit`` by default.
        nodes : array-like, shape (m,), optional
            Node of each row.
        exposure : array-like, shape (m,) or (m, q), optional
            Exposures, needed if ``fit`` had some.

        Returns
        -------
        ndarray, shape (m,) or (m, L - 1)
        """
        features = self._new_rows(X, graph, nodes, exposure).sets  # says so if there was no fit
        return squeezed(self._final.predict(features))

    def const_marginal_effect(
        self, X: Any = None, *, graph: Any = None, nodes: Any = None, exposure: Any = None
    ) -> Array:
        """Effects of every level against the reference, or of one unit; ``effect_`` without X."""
        check_is_fitted(self)
        require_rows(X, graph=graph, nodes=nodes, exposure=exposure)
        return self.effect_ if X is None else self.predict(X, graph=graph, nodes=nodes, exposure=exposure)

    def effect(
        self, X: Any = None, *, graph: Any = None, nodes: Any = None, exposure: Any = None, T0: Any = 0, T1: Any = 1
    ) -> Array:
        """Effect of going from T0 to T1, shape (m,).

        Parameters
        ----------
        X, graph, nodes, exposure
            As in :meth:`predict`; without X the rows of ``fit``, out-of-fold.
        T0, T1 : scalar, default=0 and 1
            Levels of the treatment, or values of a continuous one; 0 and 1 mean the first and the second level where
            they are not both levels.

        Returns
        -------
        ndarray, shape (m,)
        """
        check_is_fitted(self)
        contrast = self._treatment.contrast(T0, T1)
        values = self.const_marginal_effect(X, graph=graph, nodes=nodes, exposure=exposure)
        return np.asarray(values.reshape(len(values), -1) @ contrast)

    def score(
        self,
        X: Any,
        y: Any,
        *,
        treatment: Any = None,
        graph: Any = None,
        nodes: Any = None,
        exposure: Any = None,
        sample_weight: Any = None,
    ) -> float:
        r"""R-score of other rows, :math:`1 - L(\hat\tau)/L(\hat c)`: above 0 if effects beat the constant.

        Residuals come from the nuisance models of ``fit``, averaged over folds.

        Parameters
        ----------
        X, y, treatment, graph, nodes, exposure, sample_weight
            As in :meth:`fit`; the graph of ``fit`` by default.

        Returns
        -------
        float
        """
        data = self._new_rows(X, graph, nodes, exposure)
        check_same_rows(X, y=y, treatment=treatment, sample_weight=sample_weight)
        n = len(data.values)
        outcome = check_vector(y, "y", n_rows=n, like="X")
        weight = check_sample_weight(sample_weight, n, like="X")
        coded = self._treatment.coded_like(treatment, n)
        models = getattr(self, "_nuisances", None)
        if not models or set(models) != {"outcome", "treatment"}:
            raise MethodNotApplicableError(
                "score() needs the nuisance models of fit, which a saved file and a fit with known predictions do not "
                "have: fit again, or use causalkit.selection.r_loss with residuals of your own."
            )
        m = _mean_prediction(models["outcome"], data)[:, 0]
        e = _mean_prediction(models["treatment"], data)
        residual = coded.residuals(e if coded.levels is None else clip_probabilities(e, self._clip)[0])
        loss, base = (
            np.average((outcome - m - (residual * effect).sum(axis=1)) ** 2, weights=weight)
            for effect in (self._final.predict(data.sets), np.atleast_1d(self.effect_constant_))
        )
        return float(1 - loss / base)

    # ------------------------------------------------------------------ steps

    def _new_rows(self, X: Any, graph: Any, nodes: Any, exposure: Any) -> NodeFeatures:
        check_is_fitted(self)
        used = self.graph_ if graph is None else check_graph(graph)
        values, _ = check_features(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        positions = row_positions(X, used, nodes)
        scale = self._exposure_scale
        given = None
        if is_mapping(exposure):
            raise ValueError(
                "exposure must hold numbers, one row per row of X, because the treatments of these rows are not known; "
                f"got {exposure!r}. Compute them by exposure_mapping(graph, treatment, ...)."
            )
        if scale is not None:
            if exposure is None:
                raise ValueError(
                    "exposure is missing: fit had exposures, and the effect depends on them. Pass exposure= with one "
                    "row per row of X."
                )
            check_same_rows(X, exposure=exposure)
            given = check_exposure(exposure, len(values))
            if given.shape[1] != len(scale.center):
                raise ValueError(f"exposure has {given.shape[1]} columns, expected {len(scale.center)} as in fit.")
        elif exposure is not None:
            raise ValueError("exposure was given, but fit had none: fit again with exposure=, or leave it out.")
        return new_features(X, values, used, used.nodes[positions], self.hop_features_, given, scale)


def squeezed(values: Array) -> Array:
    """Values without their last axis where it has one entry."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _mean_prediction(models: list[list[FittedNuisance]], data: NodeFeatures) -> Array:
    return np.asarray(np.mean([m.predict(data, slice(None)) for repeat in models for m in repeat], axis=0))
