"""Checks of what users pass in: the only place that words "bad input".

Every check names the argument, says what was expected and what was got, and what to do about it.
Each returns the checked value as a plain numpy array, so that numeric code never sees a frame.
"""

from causalkit.validation.arrays import as_array, check_matrix, check_vector, column_name, unboxed
from causalkit.validation.options import check_choice, check_integer
from causalkit.validation.parts_of_a_whole import check_composition
from causalkit.validation.rows import (
    Groups,
    Treatment,
    check_groups,
    check_probability,
    check_same_index,
    check_sample_weight,
    check_treatment,
)
from causalkit.validation.tables import check_column_names, check_fit_table, check_magnitude, check_numeric_columns

__all__ = [
    "Groups",
    "Treatment",
    "as_array",
    "check_choice",
    "check_column_names",
    "check_composition",
    "check_fit_table",
    "check_groups",
    "check_integer",
    "check_magnitude",
    "check_matrix",
    "check_numeric_columns",
    "check_probability",
    "check_same_index",
    "check_sample_weight",
    "check_treatment",
    "check_vector",
    "column_name",
    "unboxed",
]
