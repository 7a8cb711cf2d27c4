"""What every augmenter is: an immutable pair of a law of parameters and an action on rows."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.augmenters.checks import as_rows
from causalkit.augmentation.augmenters.forms import build, from_tree, same, shown, to_tree
from causalkit.exceptions import AugmentationError, MethodNotApplicableError

__all__ = ["MAX_ORBIT", "Augmenter", "FunctionAugmenter", "Orbit"]

Array = NDArray[np.float64]
Orbit = tuple[Array, Array]

MAX_ORBIT = 1024


class Augmenter(ABC):
    r"""A random transformation of rows that is believed to leave the outcome alone.

    .. math:: G_i \sim P_G \text{ independent of everything},\qquad x_i \mapsto G_i x_i, \qquad f(G_i x) = f(x).

    The law (``sample``) and the action (``apply``) are apart, so that a draw can be stored and repeated.
    Subclasses are immutable, define ``sample``, ``apply`` and ``parameter_names``, and add ``covariance``
    or ``orbit`` where they exist. ``__init__`` checks its arguments and keeps them with ``_keep``.

    Attributes
    ----------
    is_group : bool
        Whether the orbit with its probabilities is a finite group with the uniform law. Averaging over
        it is then a projection on the functions that the group leaves alone.
    preserves_sparsity : bool
        Whether zeros of a sparse matrix stay zeros, so that it is kept sparse.
    is_sequential : bool
        Whether the first m rows of ``sample(n, ...)`` are those of ``sample(m, ...)`` for the same state of
        the generator. Lets a short chunk draw only the rows that it needs.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128, section 3 (outcome-invariant augmentation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import SignFlip
    >>> rows, parameters = SignFlip(columns=[1])(np.ones((3, 2)), np.random.default_rng(0))
    >>> parameters.shape, np.array_equal(rows[:, 1], 1 - 2 * parameters[:, 0])
    ((3, 1), True)
    """

    is_sequential: bool = False

    @property
    def is_group(self) -> bool:
        """Whether the orbit is a finite group with the uniform law."""
        return False

    @property
    def preserves_sparsity(self) -> bool:
        """Whether a sparse matrix stays sparse."""
        return False

    @abstractmethod
    def parameter_names(self, n_features: int) -> list[str]:
        """Names of the k parameters."""

    @abstractmethod
    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Draw the parameters of n rows, shape (n, k)."""

    @abstractmethod
    def apply(self, X: Any, G: Any) -> Any:
        """Transform each row of X, shape (n, p), by its row of G, shape (n, k). X is not changed."""

    def __call__(self, X: Any, rng: np.random.Generator) -> tuple[Any, Array | None]:
        """Draw parameters and transform: (GX, G)."""
        rows = as_rows(X)
        G = self.sample(rows.shape[0], rows.shape[1], rng)
        return self.apply(rows, G), G

    def covariance(self, n_features: int) -> Array | None:
        """E[DD'], shape (p, p), if D = GX - X has mean zero and is independent of X; else None."""
        return None

    def orbit_size(self, n_features: int) -> int | None:
        """Number of elements of a finite augmenter, else None."""
        return None

    def orbit(self, n_features: int) -> Orbit | None:
        """Parameters (m, k) and probabilities (m,) of all elements; None if not finite or m > 1024."""
        return None

    # ------------------------------------------------------------------ an immutable value

    def _keep(self, **arguments: Any) -> None:
        # Past __setattr__, which refuses: this is the one place where attributes come from.
        vars(self).update(arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: build a new one instead of setting {name}.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be deleted.")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments by name; ``deep`` has no effect and is there for scikit-learn."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def to_json(self) -> str:
        """JSON form: the class and its arguments, arrays as lists.

        Raises
        ------
        AugmentationError
            If an argument is a function.
        """
        return json.dumps(to_tree(self))

    @staticmethod
    def from_json(text: str) -> Augmenter:
        """Build the augmenter that ``to_json`` wrote.

        Raises
        ------
        AugmentationError
            If the text is not such a form, or names a class that is not in ``causalkit.augmentation.augmenters``.
        """
        try:
            tree = json.loads(text)
        except (TypeError, ValueError) as error:
            raise AugmentationError(f"text must be the JSON form of an augmenter: {error}.") from None
        built = from_tree(tree)
        if not isinstance(built, Augmenter):
            raise AugmentationError(f"text must be the JSON form of an augmenter; got {text[:80]!r}.")
        return built

    def __repr__(self) -> str:
        parts = []
        params = self.get_params()
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = params[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                parts += [repr(item) for item in value]
            elif parameter.default is parameter.empty or not same(value, parameter.default):
                parts.append(f"{name}={shown(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return same(self.get_params(), other.get_params())

    def __hash__(self) -> int:
        return hash(repr(self))

    def __copy__(self) -> Augmenter:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Augmenter:
        return self

    def __sklearn_clone__(self) -> Augmenter:
        return self  # immutable: a copy would be the same thing

    def __reduce__(self) -> tuple[Callable[..., Augmenter], tuple[Any, ...]]:
        # Through the constructor, because a pickled array comes back writeable.
        return build, (type(self), self.get_params())


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
