"""Data of the chapter, and the fits that its steps share."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from causalkit.datasets import GraphSample, load_cora, make_graph_heterogeneity
from causalkit.graph import Graph, GraphRLearner

__all__ = ["Study"]

_FEATURES = 10


class Study:
    """Cora with a simulated treatment and outcome; fits are made when a step first asks for them.

    Parameters
    ----------
    random_state : int
        Seed of the simulation and of the fits.

    Attributes
    ----------
    graph : Graph
    subject : ndarray of str, shape (n,)
        Subject of each paper.
    sample : GraphSample
        Covariates, treatment, outcome and truth.
    """

    def __init__(self, random_state: int) -> None:
        self.random_state = random_state
        cora = load_cora()
        self.graph = Graph.from_pandas(cora.edges, nodes=cora.nodes["node"])
        self.subject: NDArray[Any] = cora.nodes["subject"].to_numpy(dtype=str)
        words = cora.nodes[cora.feature_names[:_FEATURES]].to_numpy(dtype=float)
        self.sample: GraphSample = make_graph_heterogeneity(
            graph=self.graph.to_scipy(), X=(words - words.mean(axis=0)) / words.std(axis=0), random_state=random_state
        )

    @cached_property
    def own(self) -> Any:
        """The learner that sees own covariates only, in nuisances and in the final stage."""
        return self._fit("own")

    @cached_property
    def network(self) -> Any:
        """The learner that sees neighbours' covariates as well."""
        return self._fit("graph")

    def final_stage(self, final_model: str, features: str) -> Any:
        """Another final stage on the residuals of :attr:`network`."""
        return self._fit_rows(
            GraphRLearner(final_model=final_model, final_features=features, random_state=self.random_state),
            outcome_predictions=self.network.outcome_prediction_,
            treatment_predictions=self.network.treatment_prediction_,
        )

    def _fit(self, features: str) -> Any:
        # Named models instead of the pools that are the default: seconds instead of a minute.
        learner = GraphRLearner(
            outcome_model=HistGradientBoostingRegressor(max_leaf_nodes=15, random_state=0),
            treatment_model=LogisticRegression(C=0.1, max_iter=500),
            final_model="boosting",
            nuisance_features=features,
            final_features=features,
            random_state=self.random_state,
        )
        return self._fit_rows(learner)

    def _fit_rows(self, learner: GraphRLearner, **options: Any) -> GraphRLearner:
        sample = self.sample
        return learner.fit(
            sample.X, sample.y, treatment=sample.treatment, graph=self.graph, nodes=self.graph.nodes, **options
        )

    def relative_error(self, learner: Any) -> float:
        """Mean squared error of the out-of-fold effects over the variance of the truth: a constant has 1."""
        truth = self.sample.effect
        return float(np.mean((learner.effect_ - truth) ** 2) / truth.var())
