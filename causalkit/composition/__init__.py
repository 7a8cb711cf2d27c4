"""Composition: columns that are parts of a whole, their transforms, zeros and direct relations."""

from causalkit.composition.covariance import (
    log_ratio_covariance,
    proportionality,
    symmetric_balance_correlation,
    variation_matrix,
)
from causalkit.composition.independence import ConditionalIndependence, compositional_ci_test
from causalkit.composition.partial_correlation import CompositionalPartialCorrelation
from causalkit.composition.shrinkage import closure_null, shrink_covariance

__all__ = [
    "CompositionalPartialCorrelation",
    "ConditionalIndependence",
    "closure_null",
    "compositional_ci_test",
    "log_ratio_covariance",
    "proportionality",
    "shrink_covariance",
    "symmetric_balance_correlation",
    "variation_matrix",
]
