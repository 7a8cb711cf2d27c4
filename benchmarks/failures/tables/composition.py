"""Failure table of compositions."""

from benchmarks.failures.register import row

ZERO = "zero_replacement_failures"
TABLE = (
    row("NaN or infinity", "NonFiniteError", "failures::amounts[auto-nan", "failures::amounts[auto-infinity"),
    row("negative amount", "NonPositiveError", "failures::amounts[auto-negative"),
    row(
        "zero without a rule",
        "NonPositiveError",
        "failures::amounts[auto-zero",
        "transforms::zeros_are_refused_where_a_logarithm_is_taken",
    ),
    row("row or column of zeros", "NonPositiveError", "failures::empty_rows_and_parts_have_no_rule"),
    row("two parts", "TooFewPartsError", "failures::amounts[auto-two parts", "transforms::one_part_is_too_few"),
    row(
        "fewer than three rows",
        "DegreesOfFreedomError",
        "failures::amounts[auto-one row",
        "failures::amounts[auto-two rows",
    ),
    row("unshrunk fit with fewer rows than parts", "DegreesOfFreedomError", "failures::an_unshrunk_fit_needs_rows"),
    row(
        "Fisher test or interval with one degree of freedom",
        "DegreesOfFreedomError",
        "failures::one_degree_of_freedom_allows_t_only",
    ),
    row(
        "no shrinkage of a singular covariance",
        "DegreesOfFreedomError",
        "failures::no_shrinkage_of_a_singular_covariance",
        "failures::an_estimated_zero_is_refused_too",
    ),
    row(
        "proportional, repeated or constant parts",
        "DegenerateLogRatioError",
        "failures::proportional_parts_are_named",
        "failures::one_composition_in_every_row",
    ),
    row(
        "another log-contrast that does not vary",
        "DegenerateLogRatioError",
        "failures::other_null_contrasts_name_their_parts",
        "failures::a_part_of_constant_share_cannot_be_standardised",
    ),
    row(
        "tests and intervals that do not exist for the fit",
        "InferenceUnavailableError",
        "failures::invalid_combinations_name_a_valid_one",
        "failures::groups_need_a_test_that_knows_them",
        "failures::shrunken_fits_have_no_interval_and_some_have_no_test",
    ),
    row(
        "unknown part, a part with itself, nothing given",
        "ValueError",
        "failures::conditional_independence_questions",
        "failures::read_outs_refuse_unknown_parts_and_sizes",
    ),
    row("contrasts that are not orthonormal, sign rows of one sign", "ValueError", "transforms::bases_are_checked"),
    row("count methods on fractions", "ZeroReplacementError", f"{ZERO}::count_methods_refuse_fractions"),
    row("part seen in one row only", "ZeroReplacementError", f"{ZERO}::a_part_seen_in_one_row_has_no_prior_there"),
    row("part of mostly zeros", "ZeroReplacementError", f"{ZERO}::parts_of_mostly_zeros_are_named"),
    row("more mass replaced than there is", "ZeroReplacementError", f"{ZERO}::replaced_mass_must_leave_something"),
    row(
        "lrem without a whole part, or with few rows",
        "ZeroReplacementError",
        f"{ZERO}::lrem_needs_a_whole_part_and_enough_rows",
    ),
    row("detection limit of zero or of another shape", "ZeroReplacementError", f"{ZERO}::limits_are_checked"),
    row("weights, groups or confounders that do not fit", "ValueError", "failures::rows_of_other_arguments"),
    row(
        "an iteration that stops early",
        "ConvergenceWarning",
        f"{ZERO}::a_stopped_iteration_is_reported",
        "graphical_lasso::stopping_early_warns_and_keeps_a_usable_matrix",
        "robust::slow_convergence_warns",
    ),
    row(
        "row of mostly replaced mass; value below its detection limit",
        "ZeroReplacementWarning",
        f"{ZERO}::a_row_of_mostly_replaced_mass_is_reported",
        f"{ZERO}::an_observed_value_below_its_limit_is_reported",
    ),
    row("full shrinkage", "ShrinkageWarning", "null_distribution::full_shrinkage_leaves_nothing_to_find"),
)
