"""Failure table of networks."""

from benchmarks.failures.register import row

L, F, S = "rlearner_failures", "failures", "spillover"
TABLE = (
    row(
        "graph missing, or something else than a Graph",
        "TypeError",
        f"{F}::something_else_than_a_graph",
        f"{L}::something_else_than_a_graph",
    ),
    row(
        "rows that match no nodes by position",
        "AlignmentError",
        f"{L}::rows_that_match_no_nodes",
        "alignment::a_guess_is_refused",
    ),
    row("unknown, repeated or too few node ids", "AlignmentError", "alignment::nodes_that_do_not_fit_are_refused"),
    row(
        "index in another order than the nodes",
        "AlignmentError",
        f"{L}::rows_that_match_no_nodes",
        "alignment::a_series_of_nodes_in_another_order_than_the_rows_is_refused",
    ),
    row("edges that make no graph", "GraphError", f"{F}::edges_that_make_no_graph"),
    row("weights that are not finite, negative or two for one pair", "GraphError", f"{F}::edges_that_make_no_graph"),
    row("matrix that is not square or not symmetric", "GraphError", f"{F}::matrices_that_make_no_graph"),
    row(
        "no edges at all",
        "GraphError GraphCoverageWarning",
        f"{F}::edges_that_make_no_graph[edges19",
        "builders::graph_without_edges_needs_its_nodes_listed",
        f"{L}::graphs_with_few_links_between_the_rows",
    ),
    row(
        "columns that are no numbers",
        "ValueError",
        f"{F}::covariates_that_cannot_be_passed_along_edges",
        f"{L}::values_that_are_no_numbers",
    ),
    row("NaN or infinity", "ValueError", f"{L}::values_that_are_no_numbers"),
    row("rows of neighbours missing", "GraphCoverageWarning", f"{L}::graphs_with_few_links_between_the_rows"),
    row(
        "treatment of one level, rare levels, folds without a level",
        "ValueError FoldError",
        f"{L}::treatments_without_levels_to_compare",
    ),
    row("more than ten levels", "ValueError", f"{L}::treatments_without_levels_to_compare"),
    row("exposure equal to the own treatment", "IdentificationError", f"{L}::exposures_that_are_the_treatment"),
    row("exposure among the covariates", "LeakageWarning", f"{L}::exposures_among_the_covariates"),
    row(
        "exposure matrix with a diagonal or of another shape",
        "GraphError",
        "exposure::failures_of_the_mapping",
        f"{S}::bad_options",
    ),
    row("exposures without variation", "IdentificationError", f"{S}::exposures_that_identify_nothing"),
    row("predictions that are no probabilities", "ValueError", f"{L}::probabilities_that_are_none"),
    row("some of the given exposures missing", "ValueError", f"{S}::given_exposures_that_do_not_fit"),
    row("clipped propensities, thin arms", "OverlapWarning", f"{L}::clipped_propensities_and_thin_arms"),
    row("treatment determined by the features", "IdentificationError", f"{L}::treatment_that_the_features_determine"),
    row(
        "buffer that leaves too little",
        "FoldError",
        f"{L}::buffers_that_leave_too_little",
        f"{F}::a_buffer_that_leaves_too_little",
    ),
    row("folds that are no partition", "FoldError", f"{L}::folds_that_are_no_partition"),
    row("groups that the folds divide", "LeakageWarning", f"{L}::groups_that_the_folds_divide"),
    row("bandwidth that is negative or no integer", "ValueError", f"{L}::averages_of_what_there_is_not"),
    row(
        "bandwidth beyond the network; few or cut clusters",
        "NetworkDependenceWarning",
        f"{L}::bandwidths_beyond_the_network_and_few_clusters",
    ),
    row("final model that takes neither weights nor treatment", "TypeError", f"{L}::models_that_do_not_fit_their_slot"),
    row("trees with several effects", "ValueError", f"{L}::trees_with_several_effects"),
    row("networks that diverge", "ConvergenceWarning", f"{L}::networks_that_diverge"),
    row(
        "prediction on another kind of graph or features",
        "ValueError GraphError AlignmentError",
        f"{L}::prediction_for_rows_that_do_not_fit",
    ),
    row("device or package that is not there", "ImportError", f"{L}::devices_and_packages_that_are_not_there"),
    row("policy or budget out of range", "ValueError", f"{L}::policies_and_budgets_out_of_range"),
    row("use before fit", "NotFittedError", f"{L}::nothing_before_fit"),
)
