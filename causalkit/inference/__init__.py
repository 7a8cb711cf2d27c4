"""Results that outlive their estimator, and covariances that respect dependence between rows."""

from causalkit.inference.covariance import cluster_sums, finite_sample_factor, influence_covariance
from causalkit.inference.network import network_covariance
from causalkit.inference.network_bandwidth import NetworkBandwidth, degree_strata, suggest_bandwidth
from causalkit.inference.network_clusters import NetworkClusters, conductance, network_clusters
from causalkit.inference.network_distance import Skeleton, mean_path_length, network_skeleton
from causalkit.inference.network_forms import NetworkCovariance
from causalkit.inference.network_moran import CovariateAssociation, MoranTest, covariate_association, moran
from causalkit.inference.result import InferenceResult
from causalkit.inference.summary import FitSummary

__all__ = [
    "CovariateAssociation",
    "FitSummary",
    "InferenceResult",
    "MoranTest",
    "NetworkBandwidth",
    "NetworkClusters",
    "NetworkCovariance",
    "Skeleton",
    "cluster_sums",
    "conductance",
    "covariate_association",
    "degree_strata",
    "finite_sample_factor",
    "influence_covariance",
    "mean_path_length",
    "moran",
    "network_clusters",
    "network_covariance",
    "network_skeleton",
    "suggest_bandwidth",
]
