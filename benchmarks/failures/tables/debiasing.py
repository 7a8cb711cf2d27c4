"""Failure table of debiasing."""

from benchmarks.failures.register import row

TABLE = (
    row(
        "NaN, infinity, other lengths, several prediction columns, bad weights",
        "ValueError",
        "failures::malformed_rows",
    ),
    row("constant outcome or predictions", "CalibrationError", "failures::constants"),
    row("more knots than distinct values", "CalibrationError", "failures::singular_gram"),
    row("predictions that fall as the outcome rises", "CalibrationError", "failures::slope_that_is_not_positive"),
    row("fewer than 10 rows, or than 100", "CalibrationError CalibrationWarning", "failures::rows_needed"),
    row("slope less than 5 standard errors from zero", "WeakInstrumentWarning", "failures::weak_slope"),
    row(
        "predictions that vary more than the truth; over-dispersed ones",
        "LeakageWarning CalibrationWarning",
        "failures::leakage_and_over_dispersion",
    ),
    row("predictions with atoms for a score", "DiscretePredictionsError", "failures::atoms"),
    row("binary outcome for a curved correction", "CalibrationError", "failures::binary_outcome"),
    row("residuals that are not normal", "CalibrationWarning", "failures::residuals_that_are_not_normal"),
    row("correction that does not increase", "CalibrationWarning", "failures::correction_that_falls"),
    row("first stage below 10 for a number of knots", "WeakInstrumentWarning", "failures::weak_instruments"),
    row("trial predictions off the support", "ExtrapolationWarning", "failures::predictions_off_support"),
    row("score of one's own without bootstrap", "CalibrationWarning", "failures::custom_score_without_bootstrap"),
    row(
        "treatment of one level or of more than 20; weighted estimators without propensity or confounders; propensity "
        "of 0 or 1; shared groups that are not there",
        "ValueError",
        "failures::trial_that_does_not_fit",
        "failures::shared_groups_that_the_trial_lacks",
    ),
    row("propensity near 0 or 1", "OverlapWarning", "failures::extreme_propensity"),
    row(
        "difference in differences with a slope of levels",
        "CalibrationWarning",
        "failures::level_slope_in_a_difference_in_differences",
    ),
    row(
        "level of variation without level or period, or with cells of one row",
        "ValueError",
        "failures::levels_of_variation",
    ),
    row("fewer than 10 clusters", "CalibrationWarning", "failures::few_clusters"),
    row("nonlinear correction, or nonlinear model, in correct_vcov", "TypeError ValueError", "failures::regressions"),
    row("prediction column on the right-hand side", "CalibrationWarning", "failures::regressions"),
    row("differential fit without treatment", "ValueError", "failures::differential_without_treatment"),
    row(
        "fewer than 3 sites, small or constant sites, unknown sites",
        "CalibrationError CalibrationWarning",
        "failures::sites",
    ),
    row("Pyro is not installed", "ImportError", "failures::pyro"),
    row("chains that have not mixed", "ConvergenceWarning", "failures::chains_that_have_not_mixed"),
    row("an arm without labels, or with few", "ValueError CalibrationWarning", "failures::labels_in_the_trial"),
    row("coefficients that cannot be", "ValueError", "failures::coefficients_that_cannot_be"),
    row("use before fit", "NotFittedError", "failures::use_before_fit"),
)
