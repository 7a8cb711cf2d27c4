"""The value of an augmenter: equality, how it is shown, its JSON form, and building one from its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from causalkit.exceptions import AugmentationError

if TYPE_CHECKING:
    from causalkit.augmentation.augmenters.base import Augmenter

__all__ = ["build", "from_tree", "same", "shown", "to_tree"]


def build(cls: type[Augmenter], params: dict[str, Any]) -> Augmenter:
    """Call the constructor with named arguments; those after a star go in order."""
    parameters = inspect.signature(cls).parameters
    starred = [name for name, p in parameters.items() if p.kind is p.VAR_POSITIONAL]
    positional = [item for name in starred for item in params[name]]
    return cls(*positional, **{name: value for name, value in params.items() if name not in starred})


def same(a: Any, b: Any) -> bool:
    """Equality that looks into arrays, tuples and dicts."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def shown(value: Any) -> str:
    """Short form of an argument."""
    if isinstance(value, np.ndarray):
        return str(value.tolist()) if value.size <= 16 else f"<array of shape {value.shape}>"
    if isinstance(value, tuple) and len(value) > 16:
        return f"<{len(value)} values>"
    return repr(value)


def to_tree(value: Any) -> Any:
    """What JSON can hold of an argument; an augmenter becomes its class name and arguments."""
    if hasattr(value, "to_json"):
        return {"augmenter": type(value).__name__, "params": {k: to_tree(v) for k, v in value.get_params().items()}}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_tree(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise AugmentationError(f"a {type(value).__name__} has no JSON form: code is never stored. Keep it in your script.")


def from_tree(tree: Any) -> Any:
    """The inverse of ``to_tree``; only public classes of this package are built."""
    if isinstance(tree, list):
        return [from_tree(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    name = tree.get("augmenter")
    home = import_module("causalkit.augmentation.augmenters")
    cls = vars(home).get(name) if isinstance(name, str) and name in home.__all__ else None
    if not isinstance(cls, type) or inspect.isabstract(cls):
        raise AugmentationError(
            f"the JSON form names the augmenter {name!r}: expected a class of causalkit.augmentation.augmenters."
        )
    params = tree.get("params")
    expected = set(inspect.signature(cls).parameters)
    if not isinstance(params, dict) or not set(params) == expected:
        raise AugmentationError(f"the JSON form of {name} must have the params {sorted(expected)}; got {params!r:.80}.")
    return build(cls, {key: from_tree(item) for key, item in params.items()})
