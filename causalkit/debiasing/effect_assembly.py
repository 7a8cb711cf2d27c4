"""From a fitted correction and a downstream estimator to a DebiasedEffect: estimate, parts, band."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.basis import Basis
from causalkit.debiasing.calibration_lines import CalibrationLines
from causalkit.debiasing.confidence_sets import RatioParts
from causalkit.debiasing.downstream import Downstream, TrialRows, sum_of_squares
from causalkit.debiasing.effects import EXCLUSION, RECALIBRATED, SURROGACY, DebiasedEffect
from causalkit.debiasing.fitted import FittedCorrection
from causalkit.exceptions import CalibrationWarning, ExtrapolationWarning
from causalkit.inference import InferenceResult, cluster_sums
from causalkit.validation import Groups

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["assemble_effect", "assemble_from_moments", "check_shared_groups", "union_groups", "warn_off_support"]

Array = NDArray[np.float64]


def warn_off_support(x: Array, support: tuple[float, float], stacklevel: int = 4) -> float:
    """Share of predictions outside the calibration range; warns above 1 %."""
    below, above = float(np.mean(x < support[0])), float(np.mean(x > support[1]))
    if below + above > 0.01:
        side = "both sides" if min(below, above) > 0 else ("below" if below > 0 else "above")
        warnings.warn(
            f"{100 * (below + above):.1f} % of the predictions lie outside the calibration range "
            f"[{support[0]:.4g}, {support[1]:.4g}] ({side}): linear continuation used. Calibrate on rows that cover "
            "the trial.",
            ExtrapolationWarning,
            stacklevel=stacklevel,
        )
    return below + above


def check_shared_groups(rows: TrialRows, fitted: FittedCorrection) -> None:
    """Refuse shared clusters where a side has none; warns where no label is on both sides."""
    lacking = [side for side, held in (("trial", rows.groups), ("calibration sample", fitted.groups)) if held is None]
    if lacking or not fitted.has_rows:
        raise ValueError(
            f"shared_groups=True needs groups on both sides; the {' and the '.join(lacking) or 'calibration rows'} "
            "lack them. Pass groups to fit and to effect."
        )
    if (
        rows.groups is not None
        and fitted.groups is not None
        and not set(rows.groups.labels.tolist()) & set(fitted.groups.labels.tolist())
    ):
        warnings.warn(
            "shared_groups=True, but no label occurs in the groups of both samples, so nothing is shared: check "
            "that both name clusters alike (1 and '1' differ).",
            CalibrationWarning,
            stacklevel=3,
        )


def _cross(first: Array, groups: Groups, second: Array, other: Groups) -> Array:
    """Σ_g (Σ first)(Σ second)' over groups that the two samples share by label."""
    import pandas as pd

    a = cluster_sums(first, groups.codes, groups.n_groups)
    b = cluster_sums(second, other.codes, other.n_groups)
    position = pd.Index(groups.labels).get_indexer(pd.Index(other.labels))
    return np.asarray(a[position[position >= 0]].T @ b[position >= 0])


def union_groups(
    first: Groups | None, n_first: int, second: Groups | None, n_second: int, shared: bool
) -> Groups | None:
    """Clusters of stacked rows of two samples; labels are matched only when they are shared."""
    import pandas as pd

    if first is None and second is None:
        return None
    a = np.arange(n_first) if first is None else first.codes
    b = np.arange(n_second) if second is None else second.codes
    if shared and first is not None and second is not None:
        stacked = np.concatenate([first.labels[a].astype(object), second.labels[b].astype(object)])
        codes, labels = pd.factorize(stacked)
        return Groups(np.asarray(codes, dtype=np.intp), np.asarray(labels))
    offset = int(a.max()) + 1 if n_first else 0
    total = offset + (int(b.max()) + 1 if n_second else 0)
    return Groups(np.concatenate([a, b + offset]).astype(np.intp), np.arange(total))


def _stacked_groups(
    rows: TrialRows, fitted: FittedCorrection, n_calibration: int, n_transport: int, shared: bool
) -> Groups | None:
    """Clusters of the rows of trial, calibration and transport in one line."""
    tail = fitted.groups
    if n_transport:
        tail = union_groups(fitted.groups, n_calibration, None, n_transport, False)
    return union_groups(rows.groups, rows.n, tail, n_calibration + n_transport, shared)


def assemble_effect(
    fitted: FittedCorrection,
    downstream: Downstream,
    x: Array,
    rows: TrialRows,
    *,
    cells: NDArray[np.intp] | None = None,
    shared_groups: bool = False,
    correction: str,
    is_contrast: bool = True,
    off_support_share: float = 0.0,
) -> DebiasedEffect:
    """Put together estimate, variance parts, naive estimate and band of one downstream estimator."""
    names, line = downstream.names, Basis()
    delta = downstream.project(fitted.basis, x, cells)
    plain = delta[:2] if fitted.basis.starts_with_line else downstream.project(line, x, None)
    estimate = delta.T @ fitted.coef
    weights = downstream.weights if fitted.kernel is not None else np.empty((0, len(names)))
    calibration = fitted.calibration_parts(x, weights, delta)
    transport = np.empty((0, len(names))) if fitted.transport_noise is None else fitted.transport_noise @ delta
    # One array holds the parts of every row; the trial's are written into it.
    stacked = np.empty((rows.n + len(calibration) + len(transport), len(names)))
    trial = downstream.contributions(fitted.basis, x, fitted.coef, cells, out=stacked[: rows.n])
    stacked[rows.n :] = np.concatenate([calibration, transport])
    raw = downstream.contributions(line, x, np.array([0.0, 1.0]), None)
    parts = {
        "sampling": sum_of_squares(trial, rows.groups),
        "calibration": sum_of_squares(calibration, fitted.groups),
        "transport": transport.T @ transport,
    }
    lcc_cov = downstream.covariance(line, x, fitted.lines.theta, None)
    joint = _joint_covariance(sum_of_squares(raw, rows.groups), fitted)
    cross = np.zeros((len(names), len(names) + 1))
    if shared_groups and rows.groups is not None and fitted.groups is not None and fitted.line_groups is not None:
        slope_noise = np.zeros(len(calibration)) if fitted.slope_noise is None else fitted.slope_noise
        cross = _cross(trial, rows.groups, np.column_stack([calibration, slope_noise]), fitted.groups)
        parts["shared"] = cross[:, :-1] + cross[:, :-1].T
        lcc = downstream.contributions(line, x, fitted.lines.theta, None)
        gradient = plain.T @ fitted.lines.theta_jacobian
        of_line = _cross(lcc, rows.groups, fitted.line_noise[:, :2], fitted.line_groups) @ gradient.T
        lcc_cov = lcc_cov + of_line + of_line.T
        q = len(names)
        joint[:q, q:] = _cross(raw, rows.groups, fitted.line_noise, fitted.line_groups)
        joint[q:, :q] = joint[:q, q:].T
    groups = _stacked_groups(rows, fitted, len(calibration), len(transport), shared_groups)
    stacked *= len(stacked)
    raw *= rows.n
    return _build(
        fitted,
        names,
        estimate,
        parts,
        plain,
        joint,
        lcc_cov,
        naive=InferenceResult.from_influence(plain[1], raw, names=names, groups=rows.groups),
        ratio=_ratio(fitted, estimate, parts["sampling"], calibration, transport, cross),
        trial_groups=rows.groups,
        n_obs=rows.n,
        influence_values=stacked,
        groups=None if groups is None else groups.codes,
        dependence=_dependence(rows.groups, fitted.groups, shared_groups),
        correction=correction,
        is_contrast=is_contrast,
        off_support_share=off_support_share,
    )


def assemble_from_moments(
    fitted: FittedCorrection,
    names: tuple[str, ...],
    delta: Array,
    arm_covariances: Array,
    n_obs: int,
    *,
    correction: str,
    off_support_share: float,
) -> DebiasedEffect:
    """The effect of a difference in means from arm moments alone.

    Parameters
    ----------
    fitted : FittedCorrection
        Its basis starts with the columns (1, x).
    names : tuple of str, length q
    delta : ndarray, shape (J, q)
        Differences of arm means of each column from the reference arm.
    arm_covariances : ndarray, shape (q + 1, J, J)
        Covariance of the column means in each arm, reference first.
    n_obs : int
        Trial rows.
    """
    n_columns = len(fitted.coef)

    def contrast_cov(coef: Array) -> Array:
        variances = np.einsum("j,ajk,k->a", coef, arm_covariances, coef)
        return np.asarray(np.diag(variances[1:]) + variances[0])

    line = np.zeros((2, n_columns))
    line[0, 1] = 1.0
    line[1, :2] = fitted.lines.theta
    naive_cov = contrast_cov(line[0])
    estimate = delta.T @ fitted.coef
    calibration = fitted.noise @ delta
    sampling = contrast_cov(fitted.coef)
    parts = {"sampling": sampling, "calibration": sum_of_squares(calibration, fitted.groups)}
    parts["transport"] = np.zeros_like(sampling)
    nothing = np.zeros((len(names), len(names) + 1))
    ratio = _ratio(fitted, estimate, sampling, calibration, np.empty((0, len(names))), nothing)
    return _build(
        fitted,
        names,
        estimate,
        parts,
        delta[:2],
        _joint_covariance(naive_cov, fitted),
        contrast_cov(line[1]),
        naive=InferenceResult(estimate=delta[1], cov=naive_cov, names=names, n_obs=n_obs),
        ratio=ratio,
        trial_groups=None,
        n_obs=n_obs,
        dependence=_dependence(None, fitted.groups, False),
        correction=correction,
        off_support_share=off_support_share,
    )


def _build(
    fitted: FittedCorrection,
    names: tuple[str, ...],
    estimate: Array,
    parts: dict[str, Array],
    plain: Array,
    joint: Array,
    lcc_cov: Array,
    *,
    naive: InferenceResult,
    trial_groups: Groups | None,
    is_contrast: bool = True,
    **fields: Any,
) -> DebiasedEffect:
    import pandas as pd

    freedoms = [] if trial_groups is None else [trial_groups.n_groups - 1.0]
    if fitted.df is not None:
        freedoms.append(fitted.df)
    df = min(freedoms) if freedoms else None
    return DebiasedEffect(
        estimate=estimate,
        cov=np.sum(list(parts.values()), axis=0),
        names=names,
        df=df,
        naive=naive,
        band=_band(fitted.lines, plain, lcc_cov, naive, joint, df),
        variance_parts=pd.DataFrame({key: np.diag(value) for key, value in parts.items()}, index=list(names)),
        lines=fitted.lines,
        joint_cov=joint,
        new_site=fitted.transport_noise is not None,
        is_contrast=is_contrast,
        constant=plain[0],
        **fields,
    )


def _dependence(trial: Groups | None, calibration: Groups | None, shared: bool) -> str:
    if trial is None and calibration is None:
        return "independent rows"
    sides = [
        f"{'rows' if g is None else g.n_groups} {'independent' if g is None else 'clusters'} in the {name}"
        for g, name in ((trial, "trial"), (calibration, "calibration sample"))
    ]
    return " and ".join(sides) + (", clusters shared" if shared else "")


def _joint_covariance(naive_cov: Array, fitted: FittedCorrection) -> Array:
    """Covariance of (naive estimates, m, k, a, b) of independent samples, shape (q + 4, q + 4)."""
    from scipy.linalg import block_diag

    return np.asarray(block_diag(naive_cov, fitted.lines.cov))


def _ratio(
    fitted: FittedCorrection, estimate: Array, sampling: Array, calibration: Array, transport: Array, cross: Array
) -> RatioParts | None:
    """Numerator N = kτ and slope k: an error u of τ and w of k move N by ku + τw.

    ``cross`` holds Σ_g (Σ trial)(Σ (calibration, w))' over shared clusters, shape (q, q + 1).
    """
    if fitted.slope is None or fitted.slope_noise is None:
        return None
    k, q = fitted.slope, len(estimate)
    moved = np.column_stack([k * calibration + np.outer(fitted.slope_noise, estimate), fitted.slope_noise])
    cov = sum_of_squares(moved, fitted.groups)
    cov[:q, :q] += k * k * sampling
    shared = np.zeros((q + 1, q + 1))
    shared[:q, :q] = k * (k * cross[:, :q] + np.outer(cross[:, q], estimate))
    shared[:q, q] = k * cross[:, q]
    cov += shared + shared.T
    if fitted.transport_slope_noise is not None:
        w = fitted.transport_slope_noise
        third = np.column_stack([k * transport + np.outer(w, estimate), w])
        cov += third.T @ third
    return RatioParts(k * estimate, k, cov)


def _band(
    lines: CalibrationLines,
    plain: Array,
    lcc_cov: Array,
    naive: InferenceResult,
    joint: Array,
    df: float | None,
) -> pd.DataFrame:
    """The rows of the band: naive, linear calibration and, where b differs from 1, the recalibrated naive."""
    import pandas as pd
    from scipy import stats

    q = len(naive.names)
    critical = float((stats.norm if df is None else stats.t(df)).ppf(0.975))
    lcc = plain.T @ lines.theta
    # Errors of (m, k) move Δ'θ by Δ' dθ/d(m, k).
    gradient = plain.T @ lines.theta_jacobian
    cov = lcc_cov + gradient @ lines.cov[:2, :2] @ gradient.T
    a, b = lines.berkson_intercept, lines.berkson_slope
    se_b = float(np.sqrt(lines.cov[3, 3]))
    test_b = abs(b - 1) > 1.959964 * se_b if np.isfinite(b) and se_b > 0 else False
    records = []
    for j, name in enumerate(naive.names):
        entries = [(SURROGACY, float(naive.estimate[j]), float(naive.std_error[j]))]
        entries.append((EXCLUSION, float(lcc[j]), float(np.sqrt(max(cov[j, j], 0.0)))))
        if test_b:
            mass = float(plain[0, j])  # zero up to rounding for contrasts with normalised weights
            jac = np.zeros(q + 4)
            jac[j], jac[q + 2], jac[q + 3] = b, mass, naive.estimate[j]
            variance = float(jac @ joint @ jac)
            entries.append((RECALIBRATED, a * mass + b * float(naive.estimate[j]), float(np.sqrt(max(variance, 0.0)))))
        for assumption, value, se in entries:
            records.append((name, assumption, value, se, value - critical * se, value + critical * se))
    frame = pd.DataFrame(records, columns=["effect", "assumption", "estimate", "se", "lower", "upper"])
    return frame.set_index("effect")
