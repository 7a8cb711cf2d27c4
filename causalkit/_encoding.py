"""Objects to a tree of JSON nodes plus plain arrays (read back by ``causalkit._decoding``).

A node is a JSON scalar or a JSON object with a ``type``. Arrays are kept aside and referred to by
number. Objects that may be shared (arrays, lists, dicts, instances) carry an ``id``, and later
occurrences are ``{"type": "ref", "id": ...}``, so that identity inside a file survives.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator

from causalkit.exceptions import PersistenceError

Node = Any
PACKAGES = ("causalkit", "sklearn")
# Parts of the two packages that are programs or tests, never the home of an estimator.
NOT_LIBRARY = {"tests", "conftest", "externals", "__main__", "demo", "setup"}
# Kinds of numpy data that are bytes and nothing else: no objects, no records.
PLAIN_KINDS = "biufcSUmM"
PANDAS_DTYPES = re.compile(r"(str|string|boolean|U?Int(8|16|32|64)|Float(32|64))")
SPARSE_FORMATS = {"csr": (sparse.csr_matrix, sparse.csr_array), "csc": (sparse.csc_matrix, sparse.csc_array)}
SPARSE_PARTS = ("data", "indices", "indptr")
_MAX_DEPTH = 150
_MAX_INT_BITS = 10_000


def class_is_allowed(cls: type) -> bool:
    """Whether instances may be stored: causalkit's own classes, scikit-learn's estimators and splitters."""
    package = cls.__module__.partition(".")[0]
    if package not in PACKAGES or NOT_LIBRARY.intersection(cls.__module__.split(".")):
        return False
    if issubclass(cls, BaseEstimator):
        return True
    if package == "causalkit":
        # object.__new__ builds these without running anything of theirs.
        plain = not cls.__name__.startswith("_") and not issubclass(cls, BaseException) and not hasattr(cls, "__del__")
        return plain or dataclasses.is_dataclass(cls)
    from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit

    # Requests for metadata sit on an estimator after set_fit_request; they hold names and flags only.
    request = cls.__module__ == "sklearn.utils._metadata_requests" and cls.__name__.endswith("MetadataRequest")
    return request or issubclass(cls, BaseCrossValidator | BaseShuffleSplit)


def _pandas() -> ModuleType | None:
    # An object can only be a frame if pandas was imported already.
    return sys.modules.get("pandas")


class Encoder:
    """Turn one object into nodes; ``arrays`` and ``classes`` collect what it refers to."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []
        self.classes: set[str] = set()
        self._ids: dict[int, int] = {}
        self._keep_alive: list[Any] = []

    def encode(self, value: Any, path: str = "object", depth: int = 0) -> Node:
        """Encode a value; ``path`` is how a user would reach it, for error messages."""
        if depth > _MAX_DEPTH:
            raise PersistenceError(f"{path[:80]}... is nested more than {_MAX_DEPTH} levels deep.")
        if value is None or type(value) in (bool, str):
            return value
        if type(value) in (int, float, complex, bytes):
            return _encode_scalar(value, path)
        if isinstance(value, np.generic) and not isinstance(value, np.void | np.object_):
            array = np.asarray(value)
            return {"type": "numpy_scalar", "dtype": array.dtype.str, "hex": array.tobytes().hex(), "shown": str(value)}
        if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
            return self._encode_dtype(value, path)
        if type(value) in (tuple, slice, range):
            parts = value if isinstance(value, tuple) else (value.start, value.stop, value.step)
            return {"type": type(value).__name__, "items": self._encode_all(parts, path, depth)}
        if id(value) in self._ids:
            return {"type": "ref", "id": self._ids[id(value)]}
        return self._encode_shared(value, path, depth)

    def _encode_all(self, values: Sequence[Any], path: str, depth: int) -> list[Node]:
        return [self.encode(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(values)]

    def _encode_shared(self, value: Any, path: str, depth: int) -> Node:
        identity = len(self._ids)
        self._ids[id(value)] = identity
        self._keep_alive.append(value)  # a temporary's id could be used again otherwise
        if type(value) is list:
            body: dict[str, Node] = {"type": "list", "items": self._encode_all(value, path, depth)}
        elif type(value) in (set, frozenset):
            body = {"type": type(value).__name__, "items": self._encode_all(sorted(value, key=repr), path, depth)}
        elif type(value) is dict:
            items = [
                [self.encode(k, f"key of {path}", depth + 1), self.encode(v, f"{path}[{k!r}]", depth + 1)]
                for k, v in value.items()
            ]
            body = {"type": "dict", "items": items}
        elif type(value) is object:
            body = {"type": "token"}  # an identity and nothing else
        elif isinstance(value, np.ndarray):
            body = self._encode_array(value, path, depth)
        elif type(value).__name__ == "BSpline" and type(value).__module__.startswith("scipy.interpolate"):
            body = self._encode_spline(value, path, depth)
        elif sparse.issparse(value) and value.format in SPARSE_FORMATS:
            body = self._encode_sparse(value, path, depth)
        elif (pd := _pandas()) is not None and isinstance(value, pd.Series | pd.DataFrame | pd.Index):
            body = self._encode_pandas(value, pd, path, depth)
        else:
            body = self._encode_instance(value, path, depth)
        return {"id": identity, **body}

    def _encode_dtype(self, value: Any, path: str) -> Node:
        dtype = np.dtype(value)
        if dtype.kind not in PLAIN_KINDS or dtype.names is not None:
            raise PersistenceError(f"{path} is the type {value!r}: expected a plain numeric, string or date type.")
        return {"type": "dtype" if isinstance(value, np.dtype) else "scalar_type", "dtype": dtype.str}

    def _encode_array(self, value: NDArray[Any], path: str, depth: int) -> dict[str, Node]:
        if isinstance(value, np.ma.MaskedArray):
            data, mask = np.asarray(value.data), np.ma.getmaskarray(value)
            parts = [self.encode(data, path, depth + 1), self.encode(mask, path, depth + 1)]
            return {"type": "masked_array", "data": parts[0], "mask": parts[1]}
        if type(value) is not np.ndarray and not isinstance(value, np.memmap):
            raise PersistenceError(f"{path} is a {type(value).__name__}: expected a plain array; use numpy.asarray.")
        if value.dtype.hasobject and value.dtype.names is None:
            for i, item in enumerate(value.ravel()):
                inner: Sequence[Any] = item if type(item) is tuple else (item,)
                if not all(part is None or isinstance(part, str | bool | int | float | np.generic) for part in inner):
                    raise PersistenceError(
                        f"{path} is an object array that holds a {type(item).__name__} (entry {i}): expected str, "
                        "int, float, bool, None or tuples of them. Convert it to a plain array before saving."
                    )
            items = self._encode_all(value.ravel().tolist(), path, depth)
            return {"type": "object_array", "shape": list(value.shape), "dtype": "object", "items": items}
        if value.dtype.kind not in PLAIN_KINDS or value.dtype.names is not None:
            raise PersistenceError(f"{path} is an array of {value.dtype}: expected numbers, bools, strings or dates.")
        # Axes are stored from the slowest to the fastest: a sum over memory in another order would differ
        # in its last bits after loading (test_memory_order_is_kept).
        axes = sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis]))
        self.arrays.append(np.asarray(value).transpose(axes))
        number = len(self.arrays) - 1
        return {"type": "array", "number": number, "axes": axes, "writeable": bool(value.flags.writeable)}

    def _encode_spline(self, value: Any, path: str, depth: int) -> dict[str, Node]:
        """A spline is its knots and coefficients."""
        knots, coefficients = (np.array(part) for part in (value.t, value.c))
        return {
            "type": "spline",
            "knots": self.encode(knots, f"{path}.t", depth + 1),
            "coefficients": self.encode(coefficients, f"{path}.c", depth + 1),
            "degree": int(value.k),
            "extrapolate": value.extrapolate if isinstance(value.extrapolate, str) else bool(value.extrapolate),
            "axis": int(value.axis),
        }

    def _encode_sparse(self, value: Any, path: str, depth: int) -> dict[str, Node]:
        """A compressed sparse matrix is its three arrays and its shape."""
        parts = {part: self.encode(getattr(value, part), f"{path}.{part}", depth + 1) for part in SPARSE_PARTS}
        is_array = isinstance(value, sparse.sparray)
        shape = [int(n) for n in value.shape]
        return {"type": "sparse", "format": value.format, "is_array": is_array, "shape": shape, **parts}

    def _encode_pandas(self, value: Any, pd: Any, path: str, depth: int) -> dict[str, Node]:
        def inner(part: Any, what: str) -> Node:
            return self.encode(part, f"{path}.{what}", depth + 1)

        if isinstance(value, pd.DataFrame):
            columns = [
                self._encode_column(value.iloc[:, j], f"{path}.iloc[:, {j}]", depth) for j in range(value.shape[1])
            ]
            parts = {"columns": inner(value.columns, "columns"), "index": inner(value.index, "index")}
            return {"type": "frame", **parts, "values": columns, "attrs": inner(value.attrs, "attrs")}
        if isinstance(value, pd.Series):
            parts = {"name": inner(value.name, "name"), "index": inner(value.index, "index")}
            parts["attrs"] = inner(value.attrs, "attrs")
            return {"type": "series", **parts, "values": self._encode_column(value, path, depth)}
        if isinstance(value, pd.RangeIndex):
            bounds = [value.start, value.stop, value.step]
            return {"type": "range_index", "bounds": bounds, "name": inner(value.name, "name")}
        if isinstance(value, pd.MultiIndex):
            levels = self._encode_all(list(value.levels), f"{path}.levels", depth)
            codes = self._encode_all([np.asarray(c) for c in value.codes], f"{path}.codes", depth)
            return {"type": "multi_index", "levels": levels, "codes": codes, "names": inner(list(value.names), "names")}
        return {"type": "index", "name": inner(value.name, "name"), "values": self._encode_column(value, path, depth)}

    def _encode_column(self, column: Any, path: str, depth: int) -> Node:
        pd: Any = _pandas()
        dtype = column.dtype
        if isinstance(dtype, np.dtype):
            return self.encode(np.array(column.to_numpy()), path, depth + 1)
        if isinstance(dtype, pd.CategoricalDtype):
            array = column.array if isinstance(column, pd.Series) else column.values
            codes = self.encode(np.array(array.codes), path, depth + 1)
            categories = self.encode(dtype.categories, f"{path}.categories", depth + 1)
            return {"type": "categorical", "codes": codes, "categories": categories, "ordered": bool(dtype.ordered)}
        name = str(dtype)
        if not PANDAS_DTYPES.fullmatch(name):
            raise PersistenceError(f"{path} has the pandas type {name}: convert it to a numpy type before saving.")
        values = [None if pd.isna(v) else v for v in column.tolist()]
        return {"type": "extension", "dtype": name, "items": self._encode_all(values, path, depth)}

    def _encode_instance(self, value: Any, path: str, depth: int) -> dict[str, Node]:
        cls = type(value)
        if not class_is_allowed(cls) or "<locals>" in cls.__qualname__:
            raise PersistenceError(f"{path} is {_describe(value)}.")
        name = f"{cls.__module__}:{cls.__qualname__}"
        self.classes.add(name)
        state = {key: self.encode(item, f"{path}.{key}", depth + 1) for key, item in _state(value).items()}
        return {"type": "instance", "class": name, "state": state}


def _state(value: Any) -> dict[str, Any]:
    if hasattr(type(value), "_saved_state"):  # another form than the one in memory, such as arrays for compiled trees
        return dict(value._saved_state())
    if hasattr(value, "__dict__"):
        left_out = getattr(type(value), "_not_saved", ())  # such as references to the rows of a fit
        return {key: item for key, item in vars(value).items() if key not in left_out}
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}  # slots


def _encode_scalar(value: Any, path: str) -> Node:
    if isinstance(value, float):
        return value if math.isfinite(value) else {"type": "float", "value": str(value)}
    if isinstance(value, int):
        if value.bit_length() > _MAX_INT_BITS:
            raise PersistenceError(f"{path} is an integer of {value.bit_length()} bits: at most {_MAX_INT_BITS}.")
        return value
    if isinstance(value, bytes):
        return {"type": "bytes", "hex": value.hex()}
    return {"type": "complex", "real": _encode_scalar(value.real, path), "imag": _encode_scalar(value.imag, path)}


def _describe(value: Any) -> str:
    """What an object is that cannot be stored, and what to do about it."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, np.random.RandomState | np.random.Generator | np.random.BitGenerator):
        return f"a random number generator ({kind}); use an integer seed, so that the file says what it means"
    if kind.startswith(("torch.", "torch_geometric.")) or any(
        c.__module__.startswith("torch.") for c in type(value).__mro__
    ):
        return f"a torch object ({kind}); save its state_dict with safetensors, or set this attribute to None"
    if callable(value) and not isinstance(value, BaseEstimator):
        return f"a callable ({kind}); code is never stored: set it to None before saving and again after loading"
    if sparse.issparse(value):
        return f"a sparse matrix ({kind}); only compressed rows or columns are stored: use .tocsr() before saving"
    if kind.startswith("sklearn."):
        return f"a compiled or internal part of a scikit-learn model ({kind}); refit it after loading or save it apart"
    return f"of class {kind}, which is not part of causalkit or a scikit-learn estimator; drop or convert it"
