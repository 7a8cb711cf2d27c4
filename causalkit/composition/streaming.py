"""Fits of a compositional network from chunks of rows: partial_fit and Dask arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import validate_data

from causalkit.composition.fitting import fit_moments, require_degrees_of_freedom, resolve_shrinkage
from causalkit.composition.moments import CompositionMoments
from causalkit.composition.network import FittedNetwork
from causalkit.composition.rows import refuse_repeated_names
from causalkit.exceptions import DegreesOfFreedomError, InferenceUnavailableError
from causalkit.validation import check_composition

__all__ = ["StreamedFitMixin"]


class StreamedFitMixin:
    """Fits of :class:`CompositionalPartialCorrelation` through mergeable cross-moments."""

    shrinkage: Any
    test: str | None
    robust: str | None
    zero_replacement: Any
    reference: Any
    _moments: CompositionMoments | None
    _network: FittedNetwork

    if TYPE_CHECKING:

        def _check_parameters(self) -> None: ...
        def _make_network(self, *arguments: Any) -> FittedNetwork: ...
        def _set_fitted(self, network: FittedNetwork, X: Any, rule: Any) -> None: ...
        def __sklearn_is_fitted__(self) -> bool: ...

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Add a chunk of rows to mergeable cross-moments (D×D of memory, whatever n).

        The fit is that of all rows so far, available as soon as they suffice; the rows of an earlier ``fit``
        are kept and added to. Tests that need the rows ("influence", "permutation", "bootstrap") are refused.

        Parameters
        ----------
        X : array-like, shape (n, D)
            Positive amounts of the chunk.
        y : ignored

        Returns
        -------
        CompositionalPartialCorrelation
        """
        self._check_parameters()
        self._refuse_streaming()
        refuse_repeated_names(X)
        held = self._held_moments()
        if held is not None and held.shift is not None:
            self._check_same_parts(X, len(held.shift))
        values, names = check_composition(X, min_parts=3)
        moments = CompositionMoments(self._moments_of_clr())
        if held is not None:
            if held.use_clr != moments.use_clr:
                raise ValueError(
                    f"shrinkage={self.shrinkage!r} needs other cross-moments than those of the earlier chunks: start a "
                    "new estimator."
                )
            moments.merge(held)
        moments.update(np.log(values, order="C"))
        self._from_moments(moments, names, X)
        return self

    def _moments_of_clr(self) -> bool:
        """Whether the cross-moments are those of CLR columns: for methods that are free of units."""
        return isinstance(self.shrinkage, str) and self.shrinkage not in ("auto", "basis")

    def _held_moments(self) -> CompositionMoments | None:
        """Moments of the rows seen so far, those of an earlier fit included."""
        held = getattr(self, "_moments", None)
        data = self._network.data if held is None and self.__sklearn_is_fitted__() else None
        if data is None:
            return held
        weighted = bool((data.weight != data.weight[0]).any())
        if weighted or data.n_confounders or self._network.groups is not None or hasattr(self, "zero_replacement_"):
            raise ValueError(
                "partial_fit cannot add to a fit with sample_weight, confounders, groups or zero_replacement: start a "
                "new estimator."
            )
        held = CompositionMoments(self._moments_of_clr())
        held.update(data.logs + data.mean)
        return held

    def _check_same_parts(self, X: Any, n_parts: int) -> None:
        if self.__sklearn_is_fitted__():
            validate_data(self, X, reset=False, skip_check_array=True)
        elif check_composition(X)[0].shape[1] != n_parts:
            raise ValueError(f"X has other parts than the {n_parts} of earlier chunks.")

    def _refuse_streaming(self) -> None:
        if self.robust is not None or self.zero_replacement is not None or self.reference is not None:
            raise ValueError("partial_fit cannot be combined with robust, zero_replacement or reference: use fit.")
        if self.test in ("influence", "permutation", "bootstrap"):
            raise InferenceUnavailableError(
                f"test={self.test!r} needs the rows, which partial_fit does not keep: use 't', 'fisher' or fit."
            )

    def _from_moments(self, moments: CompositionMoments, names: list[str], X: Any) -> None:
        n, d = moments.n, len(names)
        method, intensity = resolve_shrinkage(self.shrinkage, float(n), d, 0)
        enough = n >= 3 and (method != "none" or n >= d or self.shrinkage is not None)
        if enough and not (method == "none" and n < d):
            fitted = fit_moments(moments, names, method, intensity)
            mean = moments.central()[0]
            network = self._make_network(fitted, None, names, method, None, float(n), mean - mean.mean())
            self._set_fitted(network, X, None)
        self._moments = moments

    def _fit_blocks(self, X: Any, confounders: Any, sample_weight: Any, groups: Any) -> Self:
        if confounders is not None or sample_weight is not None or groups is not None:
            raise ValueError(
                "Dask arrays are read as a stream: confounders, sample_weight and groups need fit in memory."
            )
        self._refuse_streaming()
        blocks = X.to_delayed()
        if getattr(blocks, "ndim", 1) == 2:
            if blocks.shape[1] > 1:
                blocks = X.rechunk({1: -1}).to_delayed()
            blocks = blocks[:, 0]
        refuse_repeated_names(X)
        moments = CompositionMoments(self._moments_of_clr())
        names: list[str] = []
        for block in blocks:
            chunk = block.compute()
            if len(chunk) == 0:  # a partition may be left empty by a filter
                continue
            values, names = check_composition(chunk, min_parts=3)
            moments.update(np.log(values, order="C"))
        if moments.n < 3:
            raise DegreesOfFreedomError(f"X has {moments.n} sample(s): a minimum of 3 is required.")
        if resolve_shrinkage(self.shrinkage, float(moments.n), len(names), 0)[0] == "none":
            require_degrees_of_freedom(float(moments.n), len(names), 0)
        self._from_moments(moments, names, X)
        return self
