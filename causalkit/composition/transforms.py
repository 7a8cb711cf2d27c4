"""Closure and the log-ratio transformers: CLR, ALR, ILR."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.contrasts import contrast_matrix
from causalkit.composition.log_ratios import (
    additive_log_ratios,
    centred_log_ratios,
    group_log_ratios,
    isometric_log_ratios,
)
from causalkit.composition.parts import PartsMixin, check_total, closed, closed_exp, part_position
from causalkit.documented import DocumentedEstimator

__all__ = ["ALR", "CLR", "ILR", "Closure"]

Array = NDArray[np.float64]


class Closure(PartsMixin, DocumentedEstimator):
    r"""Rows scaled to a common total.

    .. math:: x_{ij} \mapsto \kappa\, x_{ij} / \textstyle\sum_k x_{ik}

    The row totals are lost, so there is no inverse. Zeros stay zeros.

    Parameters
    ----------
    total : float, default=1.0
        Sum κ of every row: 1 for proportions, 100 for percentages.

    Attributes
    ----------
    n_features_in_ : int
        Number of parts, D.
    feature_names_in_ : ndarray of str, shape (D,)
        Part names, where ``fit`` saw a frame.

    Raises
    ------
    NonFiniteError, NonPositiveError
        NaN or infinity; a negative amount, a row or a column of zeros.

    References
    ----------
    Aitchison 1986, The Statistical Analysis of Compositional Data, Chapman & Hall.

    Examples
    --------
    >>> from causalkit.composition import Closure
    >>> Closure(total=100).fit_transform([[1, 1, 2], [3, 0, 1]])
    array([[25., 25., 50.],
           [75.,  0., 25.]])
    """

    _zeros = "allow"
    _min_parts = 1

    def __init__(self, *, total: float = 1.0) -> None:
        self.total = total

    def fit(self, X: Any, y: Any = None) -> Closure:
        """Check the amounts X, shape (n, D); y is ignored."""
        check_total(self.total)
        self._check_training(X)
        self._remember(X)
        return self

    def transform(self, X: Any) -> Array:
        """Scale the rows of X, shape (n, D)."""
        return closed(self._check_new(X), check_total(self.total))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Part names."""
        return self._part_names(input_features)


class CLR(PartsMixin, DocumentedEstimator):
    r"""Centred log-ratios.

    .. math:: c_{ij} = \log x_{ij} - \frac1D \textstyle\sum_k \log x_{ik}

    Rows of the result sum to zero, so their covariance is singular: do not invert it, and do not regress
    one column on all the others.

    Parameters
    ----------
    total : float, default=1.0
        Sum of the rows that ``inverse_transform`` returns.

    Attributes
    ----------
    n_features_in_ : int
        Number of parts, D.
    feature_names_in_ : ndarray of str, shape (D,)
        Part names, where ``fit`` saw a frame.

    Raises
    ------
    NonFiniteError, NonPositiveError
        NaN or infinity; a negative amount or a zero.
    TooFewPartsError
        One column.

    References
    ----------
    Aitchison 1986, The Statistical Analysis of Compositional Data, Chapman & Hall.

    Examples
    --------
    >>> from causalkit.composition import CLR
    >>> clr = CLR().fit([[1, 2, 4], [3, 3, 3]])
    >>> clr.transform([[1, 2, 4]]).round(3)
    array([[-0.693,  0.   ,  0.693]])
    >>> clr.inverse_transform([[0, 0, 0]]).round(3)
    array([[0.333, 0.333, 0.333]])
    """

    def __init__(self, *, total: float = 1.0) -> None:
        self.total = total

    def fit(self, X: Any, y: Any = None) -> CLR:
        """Check the amounts X, shape (n, D); y is ignored."""
        check_total(self.total)
        self._check_training(X)
        self._remember(X)
        return self

    def transform(self, X: Any) -> Array:
        """Centred log-ratios of X, shape (n, D)."""
        return centred_log_ratios(self._check_new(X))

    def inverse_transform(self, X: Any) -> Array:
        """Compositions with the centred log-ratios X, shape (n, D)."""
        return closed_exp(self._check_coordinates(X, self._n_parts), check_total(self.total))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``clr(part)`` for every part."""
        return np.array([f"clr({part})" for part in self._part_names(input_features)], dtype=object)


class ALR(PartsMixin, DocumentedEstimator):
    r"""Additive log-ratios: log-ratios to one part, or to the geometric mean of a group of parts.

    .. math:: y_{ij} = \log x_{ij} - \frac1{|b|} \textstyle\sum_{k \in b} \log x_{ik}

    Parameters
    ----------
    reference : int, str or list of int or str, default=-1
        The part b, by position or name; its column is left out. A list is a group of parts, and then all
        D columns are kept, because no part of the group is the reference itself.
    total : float, default=1.0
        Sum of the rows that ``inverse_transform`` returns.

    Attributes
    ----------
    reference_ : int or ndarray of int, shape (number of parts in b,)
        Position of the reference, or positions of the group.
    n_features_in_ : int
        Number of parts, D.
    feature_names_in_ : ndarray of str, shape (D,)
        Part names, where ``fit`` saw a frame.

    Raises
    ------
    NonFiniteError, NonPositiveError
        NaN or infinity; a negative amount or a zero.
    TooFewPartsError
        One column.
    ValueError
        An unknown part in ``reference``.

    References
    ----------
    Aitchison 1986, The Statistical Analysis of Compositional Data, Chapman & Hall.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalkit.composition import ALR
    >>> alr = ALR(reference="Sb").fit(pd.DataFrame({"Si": [4, 1], "Al": [2, 1], "Sb": [1, 1]}))
    >>> list(alr.get_feature_names_out())
    ['log(Si/Sb)', 'log(Al/Sb)']
    """

    def __init__(self, *, reference: int | str | list[int | str] = -1, total: float = 1.0) -> None:
        self.reference = reference
        self.total = total

    def fit(self, X: Any, y: Any = None) -> ALR:
        """Find the reference among the parts of X, shape (n, D); y is ignored."""
        check_total(self.total)
        _, names = self._check_training(X)
        if isinstance(self.reference, list | tuple | np.ndarray):
            group = [part_position(part, names, "reference") for part in self.reference]
            if not group or len(set(group)) < len(group):
                raise ValueError(f"reference must list different parts, at least one; got {list(self.reference)!r}.")
            self.reference_: Any = np.array(group, dtype=np.intp)
        else:
            self.reference_ = part_position(self.reference, names, "reference")
        self._remember(X)
        return self

    def transform(self, X: Any) -> Array:
        """Log-ratios of X, shape (n, D-1), or (n, D) for a group."""
        amounts = self._check_new(X)
        if isinstance(self.reference_, int):
            return additive_log_ratios(amounts, self.reference_)
        return group_log_ratios(amounts, self.reference_)

    def inverse_transform(self, X: Any) -> Array:
        """Compositions with the log-ratios X, shape (n, D)."""
        n_parts = self._n_parts
        if not isinstance(self.reference_, int):
            return closed_exp(self._check_coordinates(X, n_parts), check_total(self.total))
        logs = np.insert(self._check_coordinates(X, n_parts - 1), self.reference_, 0.0, axis=1)
        return closed_exp(logs, check_total(self.total))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``log(part/reference)``; a group is written gm(...), its geometric mean."""
        parts = self._part_names(input_features)
        if isinstance(self.reference_, int):
            base = parts[self.reference_]
            kept = np.delete(parts, self.reference_)
        else:
            group = [str(part) for part in parts[self.reference_]]
            base = f"gm({','.join(group if len(group) <= 4 else [*group[:2], '...', group[-1]])})"
            kept = parts
        return np.array([f"log({part}/{base})" for part in kept], dtype=object)


class ILR(PartsMixin, DocumentedEstimator):
    r"""Isometric log-ratios: coordinates on an orthonormal basis of log-contrasts.

    .. math:: z_i = V^\top \log x_i, \quad V^\top V = I, \quad V^\top 1 = 0

    Distances, variances and covariances of the coordinates are those of the centred log-ratios, without
    their redundant direction.

    Parameters
    ----------
    basis : {"pivot", "helmert", "hierarchical"} or array-like, default="pivot"
        "pivot": part k against the geometric mean of the parts after it,
        :math:`\sqrt{(D-k)/(D-k+1)}\,\log(x_k/\mathrm{gm}(x_{k+1},\dots,x_D))`. "helmert": the geometric mean
        of the first k parts against the next. "hierarchical": balances of a Ward tree on the square roots
        of the log-ratio variances, learned in ``fit``. An integer matrix (D-1, D) of 1, -1, 0 is a
        sequential binary partition; a matrix (D, D-1) is taken as V.
    total : float, default=1.0
        Sum of the rows that ``inverse_transform`` returns.

    Attributes
    ----------
    contrasts_ : ndarray, shape (D, D-1)
        V.
    n_features_in_ : int
        Number of parts, D.
    feature_names_in_ : ndarray of str, shape (D,)
        Part names, where ``fit`` saw a frame.

    Raises
    ------
    NonFiniteError, NonPositiveError
        NaN or infinity; a negative amount or a zero.
    TooFewPartsError
        One column.
    ValueError
        A basis that is not orthonormal or not made of log-contrasts; the row or column is named.

    References
    ----------
    Egozcue, Pawlowsky-Glahn, Mateu-Figueras & Barceló-Vidal 2003, Mathematical Geology 35:279-300.

    Examples
    --------
    >>> from causalkit.composition import ILR
    >>> ilr = ILR().fit([[1, 2, 4], [3, 3, 1]])
    >>> z = ilr.transform([[4, 2, 1]])
    >>> z.round(3)
    array([[0.849, 0.49 ]])
    >>> ilr.inverse_transform(z).round(3)
    array([[0.571, 0.286, 0.143]])
    """

    def __init__(self, *, basis: Any = "pivot", total: float = 1.0) -> None:
        self.basis = basis
        self.total = total

    def fit(self, X: Any, y: Any = None) -> ILR:
        """Build the basis for the parts of X, shape (n, D); y is ignored."""
        check_total(self.total)
        amounts, _ = self._check_training(X)
        learns = isinstance(self.basis, str) and self.basis == "hierarchical"
        logs = centred_log_ratios(amounts) if learns else amounts[:1]
        self.contrasts_ = contrast_matrix(self.basis, logs)
        self._remember(X)
        return self

    def transform(self, X: Any) -> Array:
        """Coordinates of X, shape (n, D-1)."""
        return isometric_log_ratios(self._check_new(X), self.contrasts_)

    def inverse_transform(self, X: Any) -> Array:
        """Compositions with the coordinates X, shape (n, D)."""
        coordinates = self._check_coordinates(X, self._n_parts - 1)
        return closed_exp(coordinates @ self.contrasts_.T, check_total(self.total))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``pivot(part)`` for the pivot basis, else ``ilr1``, ``ilr2``, ..."""
        parts = self._part_names(input_features)
        if isinstance(self.basis, str) and self.basis == "pivot":
            return np.array([f"pivot({part})" for part in parts[:-1]], dtype=object)
        return np.array([f"ilr{k}" for k in range(1, len(parts))], dtype=object)
