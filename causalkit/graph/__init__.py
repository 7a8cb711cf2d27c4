"""Effects on networks: graphs, features of neighbourhoods, folds that respect edges, and exposure to others."""

from causalkit.graph.contrast import exposure_contrast
from causalkit.graph.encoders import GNNClassifier, GNNRegressor
from causalkit.graph.exposure import exposure_mapping
from causalkit.graph.folds import GraphKFold
from causalkit.graph.graph import Graph
from causalkit.graph.hops import HopFeatures
from causalkit.graph.rlearner import GraphRLearner
from causalkit.graph.spillover import SpilloverRLearner
from causalkit.graph.store import GraphReport

__all__ = [
    "GNNClassifier",
    "GNNRegressor",
    "Graph",
    "GraphKFold",
    "GraphRLearner",
    "GraphReport",
    "HopFeatures",
    "SpilloverRLearner",
    "exposure_contrast",
    "exposure_mapping",
]
