"""Failure table of augmentation."""

from benchmarks.failures.register import row

E = "linear_failures::error"
TABLE = (
    row("alpha that is negative, NaN or no number", "ValueError", f"{E}[alpha", "net_failures::bad_alpha"),
    row(
        "a penalty with nothing to penalise",
        "AugmentationError",
        f"{E}[nothing_to_penalise",
        "arguments::refused[nothing to",
    ),
    row(
        "several kinds of knowledge at once",
        "AugmentationError",
        f"{E}[both_augmentations",
        f"{E}[instruments_and_augment",
        "arguments::refused[instruments and",
    ),
    row(
        "augmented rows of another shape, not finite, or X changed in place",
        "AugmentationError",
        f"{E}[augment",
        "arguments::refused[infinite",
        "draws::what_an_augmentation_must_not_return",
    ),
    row(
        "penalty that needs parameters, without any",
        "AugmentationError",
        f"{E}[paired_without",
        f"{E}[projected_function",
    ),
    row("sparse X that an augmenter fills", "AugmentationError", f"{E}[sparse_filled"),
    row("analytic penalty without a known covariance", "MethodNotApplicableError", f"{E}[analytic"),
    row("orbit that does not exist, or is large", "MethodNotApplicableError", f"{E}[no_orbit", f"{E}[large_orbit"),
    row(
        "some constant or collinear instruments or parameters",
        "WeakInstrumentWarning",
        "linear_failures::redundant_columns",
    ),
    row(
        "instruments or parameters that are all constant",
        "AugmentationError",
        f"{E}[constant_parameters",
        f"{E}[constant_instruments",
    ),
    row(
        "as many instruments as rows",
        "UnderIdentifiedError",
        f"{E}[as_many_instruments",
        "net_failures::bad_input_is_named[params24",
    ),
    row(
        "collinear features, or more than rows, without ridge",
        "RankError",
        f"{E}[more_features",
        f"{E}[duplicate_columns",
        f"{E}[constant_column",
        f"{E}[feature_within",
    ),
    row("augmentation that moves every direction", "NoInvariantDirectionError", f"{E}[all_moved"),
    row(
        "fewer instruments than features",
        "UnderIdentifiedError",
        f"{E}[too_few_instruments",
        "anderson_rubin::fewer_instruments_than_features",
    ),
    row(
        "tests of instruments for an augmentation",
        "MethodNotApplicableError",
        "instruments::estimators_without_instruments_are_refused",
    ),
    row(
        "rule of selection that does not apply",
        "MethodNotApplicableError ValueError",
        f"{E}[gcv",
        f"{E}[tolerance",
        f"{E}[level",
    ),
    row(
        "inference without the rows of the fit, or with others",
        "InferenceUnavailableError",
        f"{E}[inference_a",
        f"{E}[inference_of",
    ),
    row("merge of other parameters or features", "ValueError", f"{E}[merge"),
    row("r2_max outside [0, 1)", "ValueError", f"{E}[r2_max"),
    row("missing controls in predict", "ValueError", f"{E}[missing_controls", f"{E}[fewer_controls"),
    row(
        "leak, weak relevance, alpha chosen by prediction",
        "LeakageWarning WeakInstrumentWarning PredictiveSelectionWarning",
        "linear_failures::each_warning_has_its_class",
    ),
    row(
        "weights, rows or labels that do not fit",
        "ValueError",
        f"{E}[weight",
        f"{E}[y_rows",
        f"{E}[order_of_labels",
        f"{E}[groups",
    ),
    row("use before fit", "NotFittedError", f"{E}[unfitted"),
)
