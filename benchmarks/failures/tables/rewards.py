"""Failure table of rewards."""

from benchmarks.failures.register import row

R, A, W = "failures::refused_in_fit", "failures::refused_after_the_fit", "failures::warned_of_at_the_line_of_the_caller"
TABLE = (
    row("confounders missing", "ValueError", f"{R}[confounders missing"),
    row("arguments of other lengths or in another order", "ValueError", f"{R}[length of", f"{R}[order of index"),
    row("NaN or infinity", "ValueError", f"{R}[nan in", f"{R}[infinity in"),
    row(
        "texts without an encoder, encoders that return something else",
        "TypeError ValueError",
        f"{R}[texts without",
        f"{R}[encoder of",
    ),
    row("unknown column in categorical, cyclic, interactions, timing", "ValueError", f"{R}[name in"),
    row("datetime confounder", "TypeError", f"{R}[datetime"),
    row(
        "integer codes that are not declared (reported)",
        "",
        "diagnostics::integer_codes_are_pointed_out_and_not_when_named",
    ),
    row(
        "features without variation of their own, no penalty",
        "IdentificationError",
        f"{R}[a feature that the confounder is",
        f"{R}[a feature constant within levels",
        f"{R}[a constant feature",
        f"{R}[more features than rows",
    ),
    row("little variation left by the confounders", "OverlapWarning", f"{W}[overlap]"),
    row(
        "level rarer than the folds, groups equal to a level",
        "ValueError",
        f"{R}[a rare level",
        f"{R}[groups are the levels",
    ),
    row(
        "several factors where one is needed",
        "ValueError",
        f"{R}[mixed with",
        f"{R}[mundlak with",
        f"{R}[leave one out",
    ),
    row(
        "a method without the kind of confounder it needs",
        "ValueError",
        f"{R}[fixed_effects without",
        f"{R}[weighting with numbers",
    ),
    row(
        "unseen level",
        "UnseenLevelError",
        f"{A}[unseen level",
        "estimator_methods::unseen_levels_are_refused_elsewhere",
    ),
    row(
        "row across connected sets",
        "UnseenLevelError",
        "estimator_methods::rows_across_connected_sets_are_not_comparable",
    ),
    row(
        "instruments missing, too few, or without variation of their own",
        "ValueError IdentificationError",
        f"{R}[instruments missing",
        f"{R}[too few instruments",
        f"{R}[instrument without variation",
    ),
    row("weak instruments", "WeakInstrumentWarning", f"{W}[weak instrument"),
    row("levels of small probability", "OverlapWarning", f"{W}[overlap of levels"),
    row("invariance that leaves no direction", "IdentificationError", f"{R}[invariance without a direction"),
    row("confounder settled afterwards, or that follows the text", "BadControlError", f"{R}[settled afterwards"),
    row("confounder that follows the text", "BadControlWarning", f"{W}[bad control"),
    row("nuisance models that leave a pattern", "NuisanceFitWarning", f"{W}[nuisance fit"),
    row("rewards that differ over confounders", "AdditivityWarning", f"{W}[additivity"),
    row("backfitting that does not settle", "ConvergenceWarning", f"{W}[backfitting"),
    row(
        "errors of a reward that has none",
        "ValueError",
        f"{A}[intervals of a curved",
        f"{A}[pairs of a curved",
        "reward_function::non_linear_rewards_have_no_errors",
    ),
    row(
        "sensitivity parameters out of range",
        "ValueError",
        f"{A}[cf_",
        f"{A}[rho",
        "sensitivity::risk_ratios_are_positive",
    ),
    row(
        "scope without what it needs, no pair left",
        "ValueError",
        "pairs::bad_input_is_named",
        "pairwise::no_pair_is_left",
    ),
    row("other features in predict", "ValueError", f"{A}[other features", f"{A}[fewer features"),
    row("use before fit", "NotFittedError", "failures::not_fitted"),
    row(
        "completions missing or of another length or type", "TypeError ValueError", "reward_function::calls_are_checked"
    ),
    row("package or data file absent", "ImportError", "encoders::absent_packages_are_named"),
)
