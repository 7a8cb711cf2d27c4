"""Effects on networks: graphs, features of neighbourhoods and folds that respect edges."""

from causalkit.graph.folds import GraphKFold
from causalkit.graph.graph import Graph, GraphReport
from causalkit.graph.hops import HopFeatures

__all__ = ["Graph", "GraphKFold", "GraphReport", "HopFeatures"]
