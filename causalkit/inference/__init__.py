"""Results that outlive their estimator, and covariances that respect dependence between rows."""

from causalkit.inference.covariance import cluster_sums, finite_sample_factor, influence_covariance
from causalkit.inference.result import InferenceResult

__all__ = ["InferenceResult", "cluster_sums", "finite_sample_factor", "influence_covariance"]
