"""Failure table of interventions beyond the data."""

from benchmarks.failures.register import row

F = "failures"
TABLE = (
    row("arms or one-hot actions", "IdentificationError", f"{F}::arms_identify_nothing"),
    row("actions on a lattice", "ExtrapolationWarning", f"{F}::lattices_are_warned_of_once_and_at_the_caller"),
    row("more components than actions or features", "ValueError", f"{F}::more_components_than_the_actions_can_move"),
    row("constant or collinear actions", "IdentificationError", f"{F}::constant_and_collinear_actions_are_named"),
    row(
        "actions that hardly move a direction, or none",
        "WeakInstrumentWarning IdentificationError",
        f"{F}::actions_that_move_one_direction_or_none",
    ),
    row("arguments of other lengths", "ValueError", f"{F}::tables_that_do_not_fit"),
    row("NaN, infinity, words", "ValueError TypeError", f"{F}::values_that_are_not_finite_numbers"),
    row("one-dimensional actions; fewer than 50 rows", "ValueError", f"{F}::tables_that_do_not_fit"),
    row(
        "features of more axes without a module",
        "ValueError",
        f"{F}::features_that_tell_nothing",
        "autoencoders::images_need_modules",
    ),
    row(
        "modules that return another shape, or values that are not finite",
        "ValueError",
        "autoencoders::features_and_codes_of_another_shape",
        "autoencoders::outputs_that_are_not_finite",
    ),
    row("inverse_transform of a sieve", "MethodNotApplicableError", f"{F}::methods_that_need_more"),
    row("constant features", "ValueError", f"{F}::features_that_tell_nothing"),
    row(
        "parameters out of range",
        "ValueError",
        f"{F}::parameters_of_the_encoder",
        f"{F}::parameters_of_the_curve",
        "neural_stage::parameters_are_checked",
    ),
    row(
        "small batches take the two-batch form (no error)",
        "",
        "autoencoders::small_batches_and_large_penalties_take_two_batches",
    ),
    row(
        "a curve that misses the data; an encoder that was not trained for invariance",
        "ExtrapolationWarning",
        f"{F}::a_curve_that_misses_the_data_is_said_at_fit_and_beyond_the_support",
    ),
    row(
        "prediction where few rows carry the answer",
        "ExtrapolationWarning UnsupportedActionError",
        f"{F}::actions_without_rows_are_warned_of_or_refused",
    ),
    row(
        "residuals that depend on the action",
        "ExtrapolationWarning",
        f"{F}::residuals_that_depend_on_the_action_are_said",
    ),
    row("questions of another shape", "ValueError", f"{F}::questions_of_the_wrong_shape"),
    row("influence values of a network", "ValueError", f"{F}::influence_of_a_network_names_the_bootstrap"),
    row(
        "action_features that change the rows or cannot be saved",
        "ValueError PersistenceError",
        f"{F}::action_features_that_change_the_rows_or_cannot_be_saved",
    ),
    row(
        "torch or pyro absent",
        "MissingDependencyError",
        f"{F}::networks_without_torch_name_the_extra",
        "autoencoders::missing_packages_name_the_extra",
    ),
    row(
        "use before fit; interrupted fit",
        "NotFittedError KeyboardInterrupt",
        f"{F}::nothing_fitted_and_interrupts_leave_nothing",
    ),
)
