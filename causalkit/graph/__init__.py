"""Effects on networks: graphs, features of neighbourhoods, folds that respect edges, and exposure to others."""

from causalkit.graph.contrast import exposure_contrast
from causalkit.graph.exposure import exposure_mapping
from causalkit.graph.folds import GraphKFold
from causalkit.graph.graph import Graph
from causalkit.graph.hops import HopFeatures
from causalkit.graph.rlearner import GraphRLearner
from causalkit.graph.store import GraphReport

__all__ = [
    "Graph",
    "GraphKFold",
    "GraphRLearner",
    "GraphReport",
    "HopFeatures",
    "exposure_contrast",
    "exposure_mapping",
]
