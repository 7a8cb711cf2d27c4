"""A plain function as an augmenter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.augmenters.base import Augmenter
from causalkit.exceptions import AugmentationError, MethodNotApplicableError

__all__ = ["FunctionAugmenter"]

Array = NDArray[np.float64]


class FunctionAugmenter(Augmenter):
    """A plain function as an augmenter.

    The function draws and acts at once, so its draws cannot be repeated in other chunks, it has neither a
    covariance nor an orbit, and it is not saved with a model.

    Parameters
    ----------
    function : callable
        ``(X, rng) -> GX`` or ``(X, rng) -> (GX, G)``; X of shape (n, p) must not be changed in place, GX has
        its shape, G is (n, k) and independent of X and y.

    Raises
    ------
    AugmentationError
        If ``function`` is not callable; on ``to_json``.
    MethodNotApplicableError
        On ``sample`` and ``apply``: only a call is possible.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import FunctionAugmenter
    >>> reverse = FunctionAugmenter(lambda X, rng: X[:, ::-1])
    >>> reverse(np.array([[1.0, 2.0]]), np.random.default_rng(0))
    (array([[2., 1.]]), None)
    """

    function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise AugmentationError(f"function must be callable as function(X, rng); got {function!r}.")
        self._keep(function=function)

    @property
    def name(self) -> str:
        """Name of the function."""
        return str(getattr(self.function, "__qualname__", type(self.function).__qualname__))

    def parameter_names(self, n_features: int) -> list[str]:
        """Refused: only a call tells how many parameters the function returns."""
        raise self._refused("names of its parameters")

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Refused: the function needs X to draw."""
        raise self._refused("parameters without X")

    def apply(self, X: Any, G: Any) -> Any:
        """Refused: the function draws its own parameters."""
        raise self._refused("an action for given parameters")

    def __call__(self, X: Any, rng: np.random.Generator) -> tuple[Any, Array | None]:
        """Call the function: (GX, G), G None if it returns the features alone."""
        result = self.function(X, rng)
        if isinstance(result, tuple) and len(result) == 2:
            return result
        return result, None

    def _refused(self, what: str) -> MethodNotApplicableError:
        return MethodNotApplicableError(
            f"the function {self.name} has no {what}: it draws and acts in one call. Call the augmenter as "
            "augmenter(X, rng), or write a subclass of Augmenter with sample and apply."
        )
