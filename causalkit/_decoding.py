"""A tree of JSON nodes back to objects (written by ``causalkit._encoding``), without running any code."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit._encoding import (
    NOT_LIBRARY,
    PACKAGES,
    PANDAS_DTYPES,
    SPARSE_FORMATS,
    SPARSE_PARTS,
    Node,
    class_is_allowed,
)
from causalkit.exceptions import PersistenceError


def find_class(name: Any) -> type:
    """Resolve ``package.module:Class`` within the two packages, else refuse before importing anything."""
    refused = PersistenceError(
        f"the file names the class {name!r}: expected an estimator or record of causalkit or scikit-learn. "
        "It was not built; do not use this file unless you know its author."
    )
    parts = name.split(":") if isinstance(name, str) else []
    if len(parts) != 2 or not parts[1].isidentifier():
        raise refused
    path = parts[0].split(".")
    if path[0] not in PACKAGES or not all(p.isidentifier() for p in path) or NOT_LIBRARY.intersection(path):
        raise refused
    try:
        module = import_module(parts[0])
    except ImportError:
        raise PersistenceError(
            f"the file names the class {name!r}, which this installation does not have: "
            "load it with the versions that wrote it."
        ) from None
    found = vars(module).get(parts[1])
    if not isinstance(found, type) or found.__module__ != parts[0] or not class_is_allowed(found):
        raise refused
    return found


class Decoder:
    """Build the object from nodes; ``read_array`` returns a verified array by number."""

    def __init__(self, read_array: Callable[[int], NDArray[Any]]) -> None:
        self._read_array = read_array
        self._built: dict[int, Any] = {}
        self._readers: dict[str, Callable[[dict[str, Node]], Any]] = {
            "float": lambda n: float(n["value"]) if n["value"] in ("inf", "-inf", "nan") else _malformed(n),
            "complex": lambda n: complex(self.decode(n["real"]), self.decode(n["imag"])),
            "bytes": lambda n: bytes.fromhex(n["hex"]),
            "numpy_scalar": lambda n: np.frombuffer(bytes.fromhex(n["hex"]), plain_dtype(n["dtype"]), 1)[0],
            "dtype": lambda n: plain_dtype(n["dtype"]),
            "scalar_type": lambda n: plain_dtype(n["dtype"]).type,
            "tuple": lambda n: tuple(self._all(n)),
            "slice": lambda n: slice(*self._all(n)),
            "range": lambda n: range(*self._all(n)),
            "set": lambda n: set(self._all(n)),
            "frozenset": lambda n: frozenset(self._all(n)),
            "token": lambda n: object(),
            "ref": lambda n: self._built[n["id"]],
            "list": self._list,
            "dict": self._dict,
            "array": self._array,
            "masked_array": lambda n: np.ma.MaskedArray(self.decode(n["data"]), self.decode(n["mask"])),
            "object_array": self._object_array,
            "instance": self._instance,
            "spline": self._spline,
            "sparse": self._sparse,
            "frame": self._frame,
            "series": self._series,
            "index": self._index,
            "range_index": self._range_index,
            "multi_index": self._multi_index,
            "categorical": self._categorical,
            "extension": self._extension,
        }

    def decode(self, node: Node) -> Any:
        """Build one node's value."""
        if node is None or isinstance(node, bool | str | int | float):
            return node
        if not isinstance(node, dict) or node.get("type") not in self._readers:
            return _malformed(node)
        value = self._readers[node["type"]](node)
        if "id" in node and node["type"] != "ref":
            self._built[node["id"]] = value
        return value

    def _all(self, node: dict[str, Node]) -> list[Any]:
        return [self.decode(item) for item in node["items"]]

    # Containers are registered before they are filled: their content may refer back to them.
    def _list(self, node: dict[str, Node]) -> list[Any]:
        value: list[Any] = []
        self._built[node["id"]] = value
        value.extend(self._all(node))
        return value

    def _dict(self, node: dict[str, Node]) -> dict[Any, Any]:
        value: dict[Any, Any] = {}
        self._built[node["id"]] = value
        value.update((self.decode(key), self.decode(item)) for key, item in node["items"])
        return value

    def _instance(self, node: dict[str, Node]) -> Any:
        cls = find_class(node["class"])
        state = node["state"]
        if not all(key.isidentifier() and not key.startswith("__") for key in state):
            return _malformed(sorted(state))
        # object.__new__ and not the class's own: no constructor of any kind runs.
        value: Any = object.__new__(cls)
        self._built[node["id"]] = value
        for key, item in state.items():
            built = self.decode(item)
            if hasattr(value, "__dict__"):
                vars(value)[key] = built  # no __setattr__, property or slot of the class takes part
            elif key in {f.name for f in dataclasses.fields(cls)}:
                object.__setattr__(value, key, built)
            else:
                return _malformed(key)
        return value

    def _array(self, node: dict[str, Node]) -> NDArray[Any]:
        array = self._read_array(node["number"]).transpose(np.argsort(node["axes"]).astype(int))
        array.flags.writeable = bool(node["writeable"])
        return array

    def _spline(self, node: dict[str, Node]) -> Any:
        from scipy.interpolate import BSpline

        knots, coefficients = self.decode(node["knots"]), self.decode(node["coefficients"])
        return BSpline(
            knots, coefficients, int(node["degree"]), extrapolate=node["extrapolate"], axis=int(node["axis"])
        )

    def _sparse(self, node: dict[str, Node]) -> Any:
        parts = tuple(self.decode(node[part]) for part in SPARSE_PARTS)
        if not all(type(part) is np.ndarray and part.ndim == 1 for part in parts):
            return _malformed(node)
        kinds = SPARSE_FORMATS[node["format"]]
        value = kinds[bool(node["is_array"])](parts, shape=tuple(map(int, node["shape"])), copy=False)
        value.check_format(full_check=True)  # positions beyond the ends would be read by compiled code
        return value

    def _object_array(self, node: dict[str, Node]) -> NDArray[Any]:
        items = self._all(node)
        if math.prod(node["shape"]) != len(items):
            return _malformed(node["shape"])
        array = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):  # one by one: tuples would be taken for further dimensions
            array[i] = item
        return array.reshape(node["shape"])

    def _column(self, node: Node, index: Any, name: Any = None) -> Any:
        import pandas as pd

        values = self.decode(node)
        # A scalar would be spread over an index of any declared length.
        if not hasattr(values, "dtype") or len(values) != len(index):
            return _malformed(node)
        return pd.Series(values, index=index, name=name, dtype=values.dtype)

    def _frame(self, node: dict[str, Node]) -> Any:
        import pandas as pd

        index = self.decode(node["index"])
        frame = pd.DataFrame({j: self._column(part, index) for j, part in enumerate(node["values"])}, index=index)
        frame.columns = self.decode(node["columns"])
        frame.attrs.update(self.decode(node["attrs"]))
        return frame

    def _series(self, node: dict[str, Node]) -> Any:
        series = self._column(node["values"], self.decode(node["index"]), self.decode(node["name"]))
        series.attrs.update(self.decode(node["attrs"]))
        return series

    def _index(self, node: dict[str, Node]) -> Any:
        import pandas as pd

        values = self.decode(node["values"])
        return pd.Index(values, name=self.decode(node["name"]), dtype=getattr(values, "dtype", None))

    def _range_index(self, node: dict[str, Node]) -> Any:
        import pandas as pd

        start, stop, step = map(int, node["bounds"])
        return pd.RangeIndex(start, stop, step, name=self.decode(node["name"]))

    def _multi_index(self, node: dict[str, Node]) -> Any:
        import pandas as pd

        levels, codes = ([self.decode(part) for part in node[key]] for key in ("levels", "codes"))
        return pd.MultiIndex(levels=levels, codes=codes, names=self.decode(node["names"]))

    def _categorical(self, node: dict[str, Node]) -> Any:
        import pandas as pd

        codes, categories = self.decode(node["codes"]), self.decode(node["categories"])
        return pd.Categorical.from_codes(codes, categories=categories, ordered=bool(node["ordered"]))

    def _extension(self, node: dict[str, Node]) -> Any:
        import pandas as pd

        if not PANDAS_DTYPES.fullmatch(node["dtype"]):
            return _malformed(node["dtype"])
        return pd.array(self._all(node), dtype=node["dtype"])


def plain_dtype(name: Any) -> np.dtype[Any]:
    """A numpy type by its short name, such as ``<f8``; records and objects are refused."""
    if not isinstance(name, str) or not re.fullmatch(r"[<>|=]?[biufcSUmM]\d+(\[\w+\])?", name):
        return _malformed(name)
    return np.dtype(name)


def _malformed(node: Any) -> Any:
    raise PersistenceError(f"the file does not follow the format at {str(node)[:120]!r}: it was altered or damaged.")
