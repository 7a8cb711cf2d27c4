"""scikit-learn's common checks on every registered estimator, through its adapter."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.contract import test_contract
from tests.contract.registry import CASES

pytestmark = [
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.CalibrationWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.LeakageWarning"),
]

_FAILURES = {repr(case.adapter): case.expected_failures for case in CASES}


def _expected(estimator: Any) -> dict[str, str]:
    return _FAILURES[repr(estimator)]


# Expected failures are strict by the project's configuration: one that passes fails the suite.
@parametrize_with_checks([case.adapter for case in CASES], expected_failed_checks=_expected)
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    check(estimator)


def test_every_expected_failure_is_a_check_and_has_a_reason() -> None:
    from sklearn.utils.estimator_checks import estimator_checks_generator

    for case in CASES:
        names = {
            getattr(check, "func", check).__name__ for _, check in estimator_checks_generator(case.adapter, legacy=True)
        }
        names.update(name for name in vars(test_contract) if name.startswith("test_"))
        assert set(case.expected_failures) <= names
        assert all(len(reason) > 20 for reason in case.expected_failures.values())
