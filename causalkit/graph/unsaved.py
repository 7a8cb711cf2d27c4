"""What stands in a loaded learner where a function of the user's was: a file holds no code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from causalkit.exceptions import MethodNotApplicableError

__all__ = ["UnsavedFunction", "function_name", "without_functions"]


@dataclass(frozen=True)
class UnsavedFunction:
    """Place of an exposure function that a saved file does not hold; to call it is an error that says so.

    Attributes
    ----------
    name : str
        Name of the function.
    """

    name: str

    def __call__(self, *_: Any) -> NoReturn:
        """Say how the function is handed in.

        Raises
        ------
        MethodNotApplicableError
            Always.
        """
        raise MethodNotApplicableError(
            f"this needs the exposure function {self.name}, which a saved file does not hold, because it is code: hand "
            f"it in after loading with attach_exposure({self.name}), or before a new fit with "
            f"set_params(exposure={self.name})."
        )


def function_name(function: Any) -> str:
    """How a function is called in names of effects and in messages."""
    if isinstance(function, UnsavedFunction):
        return function.name
    return str(getattr(function, "__name__", type(function).__name__)).strip("<>")


def without_functions(exposure: Any) -> Any:
    """An exposure, or a list of them, with functions replaced by their names."""
    if isinstance(exposure, list):
        return [without_functions(one) for one in exposure]
    return UnsavedFunction(function_name(exposure)) if callable(exposure) else exposure
