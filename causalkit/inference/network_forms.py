"""Forms of a covariance under dependence along a network, with words that say which one was used."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import InferenceUnavailableError, NetworkDependenceWarning
from causalkit.inference.network_clusters import (
    CONDUCTANCE_LIMIT,
    cluster_covariance,
    code_conductance,
    row_positions,
)
from causalkit.inference.network_distance import Skeleton
from causalkit.inference.network_kernels import KernelSum, common_ball_sum, uniform_sum
from causalkit.inference.result import InferenceResult
from causalkit.validation import Groups

__all__ = ["KernelPlan", "NetworkCovariance", "clustered_rows", "independent_rows", "kernel_rows"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

_FEW_CLUSTERS = 10


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class NetworkCovariance:
    """A covariance of averages and how dependence was treated.

    Attributes
    ----------
    cov : ndarray, shape (q, q)
        Covariance of the averages.
    method : {"iid", "uniform", "psd", "wild", "cluster", "degree"}
        Form that was used in the end.
    dependence : str
        The same in words, with what was changed on the way.
    bandwidth : int or None
        Distance up to which nodes count as dependent.
    radius : int or None
        Radius of the balls of the forms that are never negative.
    mean_ball : float or None
        Mean number of nodes in the balls that were used.
    df : float or None
        Degrees of freedom of the t reference (clusters); None for the normal.
    influence_values : ndarray, shape (N, q), or None
        Values whose plain (or clustered) covariance is ``cov``, N rows or nodes. The uniform kernel has none.
    groups : ndarray of int, shape (n,), or None
        Cluster of each row.
    conductance : ndarray, shape (C,), or None
        Share of the links of each cluster that leave it, in the order of ``groups``.
    vanished : ndarray of bool, shape (q,), or None
        Averages whose values vary but cancel within the kernel: their variance of 0 says nothing about them.
    """

    cov: Array
    method: str
    dependence: str
    bandwidth: int | None = None
    radius: int | None = None
    mean_ball: float | None = None
    df: float | None = None
    influence_values: Array | None = field(default=None)
    groups: Codes | None = field(default=None)
    conductance: Array | None = field(default=None)
    vanished: NDArray[np.bool_] | None = field(default=None)

    @property
    def std_error(self) -> Array:
        """Standard errors, shape (q,)."""
        return np.sqrt(np.maximum(np.diag(self.cov), 0.0))

    def to_result(self, estimate: Any, names: Any, *, n_obs: int, sample: object = None) -> InferenceResult:
        """Join the covariance to the averages it belongs to.

        Parameters
        ----------
        estimate : array-like, shape (q,)
            The averages.
        names : sequence of str, length q
            Their names.
        n_obs : int
            Rows behind them.
        sample : object, optional
            Token of the rows, see :class:`InferenceResult`.

        Returns
        -------
        InferenceResult

        Raises
        ------
        InferenceUnavailableError
            Values that vary, and cancel within the kernel.
        """
        self.require_variance(tuple(map(str, names)))
        return InferenceResult(
            estimate=np.asarray(estimate, dtype=float),
            cov=self.cov,
            names=tuple(names),
            n_obs=n_obs,
            influence_values=self.influence_values,
            groups=self.groups,
            df=self.df,
            dependence=self.dependence,
            sample=sample,
        )

    def require_variance(self, names: tuple[str, ...]) -> None:
        """Refuse averages that have no standard error, rather than give one of 0 with a p-value."""
        if self.vanished is None or not self.vanished.any():
            return
        lost = [name for name, gone in zip(names, self.vanished, strict=True) if gone]
        raise InferenceUnavailableError(
            f"{', '.join(lost)}: no standard error along this network ({self.dependence}), because nearly every row is "
            "within reach of every other and centred values cancel. Pass groups that are nearly without links between "
            'them, a smaller bandwidth, or dependence="iid" if rows are independent given covariates.'
        )

    def __repr__(self) -> str:
        return f"NetworkCovariance(std_error={self.std_error.round(6).tolist()}, dependence={self.dependence!r})"


@dataclass(frozen=True)
class KernelPlan:
    """What kernel to sum over which distances, and what has been changed on the way."""

    bandwidth: int
    kernel: str
    radius: int | None = None
    note: str = ""


def independent_rows(values: Array) -> NetworkCovariance:
    """Covariance ψ'ψ/n² of n centred influence values (n, q) of independent rows."""
    cov = values.T @ values / len(values) ** 2
    return NetworkCovariance(cov=cov, method="iid", dependence="independent rows", bandwidth=0, influence_values=values)


def clustered_rows(values: Array, groups: Groups, skeleton: Skeleton | None, positions: Any) -> NetworkCovariance:
    """Covariance of sums within clusters, with their conductance where the network is known."""
    cov, count = cluster_covariance(values, groups), groups.n_groups
    shares = None
    doubts = [f"only {count} clusters, fewer than {_FEW_CLUSTERS}"] if count < _FEW_CLUSTERS else []
    if skeleton is not None:
        nodes = row_positions(positions, len(values), skeleton.n_nodes)
        # Nodes without a row have no cluster: links to them leave the cluster, so they form one more of their own.
        codes = np.full(skeleton.n_nodes, count, dtype=np.intp)
        codes[nodes] = groups.codes
        shares = code_conductance(skeleton, codes, count + 1)[:count]
        worst = int(shares.argmax())
        if shares[worst] > CONDUCTANCE_LIMIT:
            doubts.append(
                f"{int((shares > CONDUCTANCE_LIMIT).sum())} clusters with conductance above {CONDUCTANCE_LIMIT:g}, the "
                f"worst {groups.labels.tolist()[worst]!r} with {shares[worst]:.2g} of its links leaving it"
            )
    if doubts:
        warnings.warn(
            f"Clustered standard errors are in doubt: {'; '.join(doubts)}. Clusters should be many and nearly "
            'without links between them: use coarser ones, or dependence="network".',
            NetworkDependenceWarning,
            stacklevel=3,
        )
    words = f"{count} clusters"
    if shares is not None:
        words += f" (largest conductance {shares.max():.3g})"
    return NetworkCovariance(
        cov=cov,
        method="cluster",
        dependence=words,
        df=count - 1,
        influence_values=values * math.sqrt(count / (count - 1)),
        groups=groups.codes,
        conductance=shares,
    )


def kernel_rows(values: Array, skeleton: Skeleton, nodes: Codes, plan: KernelPlan, reach: int) -> NetworkCovariance:
    """Covariance by the kernel of a plan; rows that are a part of the nodes are put in their places first."""
    on_nodes = values
    if len(nodes) != skeleton.n_nodes or not np.array_equal(nodes, np.arange(len(nodes))):
        on_nodes = np.zeros((skeleton.n_nodes, values.shape[1]))
        on_nodes[nodes] = values
    b, n = plan.bandwidth, len(values)
    independent = np.einsum("ij,ij->j", values, values)
    if b == 0:
        words = "network, bandwidth 0 (independent rows)" + (f", {plan.note}" if plan.note else "")
        return replace(independent_rows(values), method="uniform", dependence=words)
    if plan.kernel in ("auto", "uniform"):
        found = uniform_sum(on_nodes, skeleton, b)
        if plan.kernel == "uniform" or _positive(found.total, independent):
            return _described(found, plan, "uniform", n, independent)
        note = "the uniform kernel has a negative eigenvalue" + (f"; {plan.note}" if plan.note else "")
        plan = replace(plan, note=note)
    if plan.kernel == "wild":
        found = common_ball_sum(on_nodes, skeleton, plan.radius or b, scaling="mean")
        return _described(found, plan, "wild", n, independent)
    radius = plan.radius or max(1, -(-b // 2), reach)
    return _described(common_ball_sum(on_nodes, skeleton, radius), replace(plan, radius=radius), "psd", n, independent)


def _positive(total: Array, independent: Array) -> bool:
    """Whether a kernel sum is a covariance: no eigenvalue below zero on the scale of independent rows."""
    scale = np.sqrt(np.where(independent > 0, independent, 1.0))
    scaled = total / np.outer(scale, scale)
    # A variance of zero where rows vary is as impossible as a negative one.
    vanished = (np.diag(scaled) <= 1e-10) & (independent > 0)
    return bool(np.linalg.eigvalsh(scaled).min() >= -1e-10 and not vanished.any())


def _described(found: KernelSum, plan: KernelPlan, method: str, n: int, independent: Array) -> NetworkCovariance:
    names = {"uniform": "uniform", "psd": "psd", "wild": "wild bootstrap"}
    size = f"radius {found.reached}, " if method != "uniform" else ""
    words = f"network, {names[method]} kernel, {size}bandwidth {plan.bandwidth} (mean ball {found.mean_ball:.4g})"
    asked = plan.bandwidth if method == "uniform" else plan.radius or plan.bandwidth
    notes = [plan.note] if plan.note else []
    if found.reached < asked:
        notes.append(f"{asked} is beyond the largest distance, {found.reached}")
    vanished = (np.diag(found.total) <= 1e-10 * independent) & (independent > 0)
    if vanished.any():
        warnings.warn(
            f"The {names[method]} kernel leaves no positive variance: balls of radius {found.reached} hold "
            f"{found.mean_ball:.4g} of {n} nodes, so centred values cancel. Pass a smaller bandwidth, or groups.",
            NetworkDependenceWarning,
            stacklevel=4,
        )
    smoothed = found.smoothed
    return NetworkCovariance(
        cov=found.total / n**2,
        method=method,
        dependence="; ".join([words, *notes]),
        bandwidth=min(plan.bandwidth, found.reached) if method == "uniform" else plan.bandwidth,
        radius=None if method == "uniform" else found.reached,
        mean_ball=found.mean_ball,
        # Nodes may outnumber rows; values are on the scale of a mean over as many as there are.
        influence_values=None if smoothed is None else smoothed * (len(smoothed) / n),
        vanished=vanished,
    )
