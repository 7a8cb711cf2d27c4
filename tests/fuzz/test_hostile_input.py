"""Every estimator answers hostile input with finite numbers or with an error of the library that names the argument.

A small part of ``python -m benchmarks failures``: each test draws the same changes at every run.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.failures.fuzzing import Attempt, drawn_attempts, run_attempt
from benchmarks.failures.hostile import SAME
from benchmarks.failures.targets import Target, targets
from benchmarks.failures.verdict import answer_problem, judge

QUICK = [
    target
    for target in targets()
    if target.name
    in (
        "linear",
        "tweedie_kde",
        "spline",
        "network_unshrunk",
        "clr",
        "alr_inverse",
        "zero_multiplicative",
        "iv_like_plain",
        "iv_like_analytic",
        "reward_fixed_effects",
        "reward_pairwise",
    )
]
FEW = settings(max_examples=12, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("target", QUICK, ids=lambda target: target.name)
def test_hostile_input_is_answered_or_refused(target: Target) -> None:
    @FEW
    @given(drawn_attempts(target))
    def holds(attempt: Attempt) -> None:
        outcome = run_attempt(target, attempt, seconds=120.0)
        assert outcome.kind != "bad", f"{attempt}: {outcome.detail}"

    holds()


@pytest.mark.parametrize("target", QUICK[:4], ids=lambda target: target.name)
def test_values_in_another_container_give_the_same(target: Target) -> None:
    first = next(iter(target.rows))

    @FEW
    @given(st.sampled_from(sorted(SAME)))
    def holds(change: str) -> None:
        outcome = run_attempt(target, Attempt("fit", ((first, change),)), seconds=120.0)
        assert outcome.kind == "answer", f"{change}: {outcome.detail}"

    holds()


@pytest.mark.parametrize(
    ("name", "argument", "change"),
    [
        ("spillover", "treatment", "other byte order"),
        ("linear", "groups", "other byte order"),
        ("linear", "y", "index of tuples"),
        ("reward_fixed_effects", "confounders", "index of tuples"),
        ("reward_partially_linear", "confounders", "object"),
        ("gnn_classifier", "y", "object"),
        ("iv_like_net_classifier", "y", "object"),
    ],
)
def test_labels_and_indices_that_pandas_compares(name: str, argument: str, change: str) -> None:
    target = next(target for target in targets() if target.name == name)
    outcome = run_attempt(target, Attempt("fit", ((argument, change),)), seconds=120.0)
    assert outcome.kind == "answer", outcome.detail


@pytest.mark.parametrize(
    ("name", "argument", "change"),
    [
        ("linear", "X", "times 1e+160"),
        ("linear", "y", "subnormal"),
        ("spline", "X", "columns from 1e-150 to 1e150"),
        ("tweedie_kde", "sample_weight", "one huge value"),
        ("iv_like_analytic", "X", "times 1e-160"),
        ("iv_like_plain", "y", "one None"),
        ("iv_like_plain", "X", "dictionary"),
        ("iv_like_plain", "X", "ragged"),
        ("hop_features", "X", "ragged"),
        ("gnn_regressor", "y", "one huge value"),
        ("graph_rlearner_constant", "treatment", "one huge value"),
        ("graph_rlearner_constant", "treatment_predictions", "ragged"),
        ("spillover", "exposure_values", "no columns"),
        ("linear_invariance_encoder", "X", "ragged"),
        ("linear_invariance_encoder", "X", "columns named twice"),
        ("linear_invariance_encoder", "actions", "ragged"),
        ("rep4ex", "groups", "words"),
        ("reward_fixed_effects", "X", "one huge value"),
        ("reward_fixed_effects", "confounders", "ragged"),
        ("reward_fixed_effects", "sample_weight", "dictionary"),
        ("reward_pairwise", "X", "times 1e+300"),
        ("reward_pairwise", "X", "columns named twice"),
        ("alr", "X", "columns named by both"),
        ("clr", "X", "columns named twice"),
    ],
)
def test_input_that_broke_computations_is_named(name: str, argument: str, change: str) -> None:
    target = next(target for target in targets() if target.name == name)
    outcome = run_attempt(target, Attempt("fit", ((argument, change),)), seconds=120.0)
    assert outcome.kind == "refused", f"{outcome.kind}: {outcome.detail}"


def test_spreads_in_raw_units_do_not_overflow() -> None:
    target = next(target for target in targets() if target.name == "hop_features_raw")
    outcome = run_attempt(target, Attempt("fit", (("X", "times 1e+20"),)), seconds=120.0)
    assert outcome.kind == "answer", outcome.detail


# ---------------------------------------------------------------------- the verdicts themselves


def test_a_foreign_error_is_bad_and_a_named_one_is_not() -> None:
    from causalkit.validation import check_vector

    assert judge(lambda: check_vector([np.nan], "y"), ("y",)).kind == "refused"
    assert judge(lambda: check_vector([np.nan], "y"), ("predictions",)).kind == "bad"
    for call in (lambda: [][1], lambda: {}["a"], lambda: 1 / 0, lambda: np.linalg.inv(np.zeros((2, 2)))):
        assert judge(call, ("y",)).kind == "bad"
    assert judge(lambda: float("y"), ("y",)).detail.startswith("foreign traceback")


def test_a_call_that_hangs_is_stopped() -> None:
    def hangs() -> None:
        while True:
            pass

    assert judge(hangs, ("y",), seconds=0.05).detail == "no answer within 0.05 s"


def test_numbers_that_are_not_finite_or_of_another_shape_are_bad() -> None:
    assert answer_problem(np.zeros(3), 3) == ""
    assert answer_problem(pd.Series([0.0, np.nan]), 2) == "1 of 2 numbers are not finite"
    assert answer_problem(np.zeros((2, 3)), 3) == "shape (2, 3) for 3 rows"
    assert answer_problem(np.array(["a", "b"]), 2) == ""
