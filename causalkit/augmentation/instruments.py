"""Strength of real instruments and the k-class numbers that go with them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causalkit.augmentation.instrument_inputs import InstrumentRows, resolve_moments
from causalkit.augmentation.instrument_moments import (
    InstrumentMoments,
    fuller_kappa,
    liml_kappa,
    odds,
    projected_products,
    smallest_canonical_correlation,
)
from causalkit.exceptions import WeakInstrumentWarning

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["effective_f", "first_stage", "instrument_diagnostics", "rank_statistic", "warn_if_weak"]

Array = NDArray[np.float64]

WEAK_F = 10.0
WEAK_LEVEL = 0.05


def instrument_diagnostics(
    X: Any, y: Any = None, *, instruments: Any = None, exogenous: Any = None, sample_weight: Any = None
) -> pd.DataFrame:
    r"""Strength of real instruments and the k-class numbers that go with them, as one frame.

    Everything after [1, W] was partialled out; P projects on Z of rank k, p is the number of columns of X,
    :math:`\nu = n - k - \mathrm{rank}[1, W]`, and :math:`\lambda_{\min}` is the smallest squared canonical correlation
    of X and Z.

    ================== ==============================================================================================
    ``partial_r2``     :math:`x_j'Px_j / x_j'x_j`, per column
    ``first_stage_f``  :math:`(x_j'Px_j/k) / (x_j'(I-P)x_j/\nu)`, F(k, ν), per column
    ``effective_f``    one column only: :math:`x'Px / \mathrm{tr}[(Z'Z)^{-1}\sum_i v_i^2 z_iz_i']`, :math:`v = x - Px`
    ``cragg_donald``   :math:`(\nu/k)\,\lambda_{\min}/(1-\lambda_{\min})`
    ``rank_test``      :math:`\nu\,\lambda_{\min}/(1-\lambda_{\min})`, χ²(k - p + 1) if Z moves only p - 1 directions
    ``kappa_liml``     smallest eigenvalue of :math:`(M, M - P_{yX})`, :math:`M = [y\ X]'[y\ X]`,
                       :math:`P_{yX} = [y\ X]'P[y\ X]`
    ``kappa_fuller``   :math:`\hat\kappa_{LIML} - 1/\nu`
    ================== ==============================================================================================

    Least squares is κ = 0, two-stage least squares κ = 1, and ``IVLikeRegressor`` κ = 1/(1 + α). A κ above one would
    need a negative α, so LIML and Fuller's estimator are not fits of that class.

    Parameters
    ----------
    X : array-like, shape (n, p), or fitted IVLikeRegressor
        Features, or an estimator that was fitted with instruments; then nothing else is passed.
    y : array-like, shape (n,), optional
        Outcome; the κ are NaN without it.
    instruments : array-like, shape (n, k)
        Real instruments Z.
    exogenous : array-like, shape (n, e), optional
        Controls W.
    sample_weight : array-like, shape (n,), optional
        Weights of the rows; a row stays one unit.

    Returns
    -------
    DataFrame
        Index (quantity, feature), columns ``value``, ``df_num``, ``df_den``, ``pvalue``, ``note``. The feature is
        empty where a quantity is about all columns. Where a number does not exist it is NaN and the note says why.

    Raises
    ------
    MethodNotApplicableError
        The estimator was fitted by augmentation, without instruments or to several outcomes.
    AugmentationError
        No instrument varies.
    UnderIdentifiedError
        ν < 1.
    RankError
        Collinear features, or an outcome that is an exact linear function of them.
    ValueError
        Bad data.

    Warns
    -----
    WeakInstrumentWarning
        An F below 10 (with one column the effective F, where rows are known), a rank test that is not rejected at
        5 %, or instruments that are constant or collinear.

    References
    ----------
    Cragg, Donald 1993, doi 10.1017/S0266466600007519. Staiger, Stock 1997, doi 10.2307/2171753 (the rule of ten).
    Montiel Olea, Pflueger 2013, doi 10.1080/00401706.2013.806694 (effective F). Fuller 1977, doi 10.2307/1912683.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.instruments import instrument_diagnostics
    >>> rng = np.random.default_rng(0)
    >>> z, hidden, noise = rng.standard_normal((3, 400))
    >>> x = z + hidden
    >>> frame = instrument_diagnostics(x, 2 * x - hidden + noise, instruments=z)
    >>> bool(frame.loc[("first_stage_f", "X0"), "value"] > 10)
    True
    >>> float(frame.loc[("kappa_liml", ""), "value"])
    1.0
    """
    import pandas as pd

    moments, rows = resolve_moments(X, y, instruments, exogenous, sample_weight, caller="instrument_diagnostics")
    records = [*_first_stage(moments), _effective_f_row(moments, rows), *_joint(moments), *_k_class(moments)]
    index = pd.MultiIndex.from_tuples([record[:2] for record in records], names=["quantity", "feature"])
    frame = pd.DataFrame(
        [record[2:] for record in records], index=index, columns=["value", "df_num", "df_den", "pvalue", "note"]
    )
    warn_if_weak(moments, rows, stacklevel=3)
    return frame


Row = tuple[str, str, float, float, float, float, str]


def _row(
    quantity: str,
    feature: str,
    value: float,
    *,
    df: tuple[float, float] = (np.nan, np.nan),
    pvalue: float = np.nan,
    note: str = "",
) -> Row:
    return quantity, feature, value, df[0], df[1], pvalue, note


def _features_only(moments: InstrumentMoments) -> Array:
    """X'PX, shape (p, p)."""
    projected = projected_products(moments)
    return projected if moments.Zy is None else projected[1:, 1:]


def first_stage(moments: InstrumentMoments) -> tuple[Array, Array]:
    """Partial R² and F of the regression of each column of X on Z, both of shape (p,)."""
    share = np.clip(np.diag(_features_only(moments)) / np.diag(moments.XX), 0.0, 1.0)
    ratio = np.array([odds(float(s)) for s in share])
    return share, ratio * moments.nu / moments.n_instruments


def _first_stage(moments: InstrumentMoments) -> list[Row]:
    share, statistic = first_stage(moments)
    k, nu, names = moments.n_instruments, moments.nu, moments.x_names
    rows = [_row("partial_r2", name, float(s)) for name, s in zip(names, share, strict=True)]
    pvalues = stats.f.sf(statistic, k, nu)
    return rows + [
        _row("first_stage_f", name, float(f), df=(k, nu), pvalue=float(pvalue))
        for name, f, pvalue in zip(names, statistic, pvalues, strict=True)
    ]


def effective_f(Z: Array, x: Array) -> float:
    """Effective F of one feature, x'Px / tr[(Z'Z)⁻¹ Σ_i v_i² z_i z_i'] with v = x - Px.

    Parameters
    ----------
    Z : ndarray, shape (n, k)
        Instruments of full rank, [1, W] partialled out.
    x : ndarray, shape (n,)
        The feature, likewise.

    Returns
    -------
    float
        Infinite if Z determines x.

    Notes
    -----
    Montiel Olea and Pflueger 2013. With Q an orthonormal basis of Z the trace is Σ_i v_i²|q_i|².
    """
    q, _ = np.linalg.qr(Z / np.sqrt(np.einsum("ij,ij->j", Z, Z)))
    inside = q.T @ x
    v = x - q @ inside
    noise = float(v**2 @ np.einsum("ij,ij->i", q, q))
    return float(inside @ inside) / noise if noise > 0 else np.inf


def _effective_f_row(moments: InstrumentMoments, rows: InstrumentRows | None) -> Row:
    if moments.n_features > 1:
        return _row("effective_f", "", np.nan, note=f"defined for one column of X, got {moments.n_features}")
    name = moments.x_names[0]
    if rows is None:
        return _row("effective_f", name, np.nan, note="needs rows: pass X and instruments instead of an estimator")
    note = "allows for unequal error variances; no p-value, compare with 10"
    return _row("effective_f", name, effective_f(rows.Z, rows.X[:, 0]), note=note)


def rank_statistic(moments: InstrumentMoments) -> float:
    """ν·λ_min/(1 - λ_min), λ_min the smallest squared canonical correlation of X and Z; zero if k < p."""
    if moments.n_instruments < moments.n_features:
        return 0.0
    return moments.nu * odds(smallest_canonical_correlation(moments.XX, _features_only(moments)))


def _rank_pvalue(moments: InstrumentMoments) -> float:
    df = moments.n_instruments - moments.n_features + 1
    return float(stats.chi2.sf(rank_statistic(moments), df)) if df > 0 else np.nan


def _joint(moments: InstrumentMoments) -> list[Row]:
    k, p = moments.n_instruments, moments.n_features
    statistic = rank_statistic(moments)
    note = f"rank {k} of the instruments is below the {p} columns of X: not identified" if k < p else ""
    cragg_donald = _row("cragg_donald", "", statistic / k, note=note)
    if k < p:
        return [cragg_donald, _row("rank_test", "", np.nan, note=note)]
    note = f"null hypothesis: the instruments move only {p - 1} of {p} directions of X"
    df = (float(k - p + 1), np.nan)
    return [cragg_donald, _row("rank_test", "", statistic, df=df, pvalue=_rank_pvalue(moments), note=note)]


def _k_class(moments: InstrumentMoments) -> list[Row]:
    if moments.Zy is None:
        note = "needs the outcome: pass y"
        return [_row("kappa_liml", "", np.nan, note=note), _row("kappa_fuller", "", np.nan, note=note)]
    return [
        _row("kappa_liml", "", liml_kappa(moments), note="two-stage least squares is 1"),
        _row("kappa_fuller", "", fuller_kappa(moments), note="constant 1: kappa_liml - 1/nu"),
    ]


def warn_if_weak(moments: InstrumentMoments, rows: InstrumentRows | None, *, stacklevel: int) -> None:
    """Warn by the rule of ten and the rank test; ``stacklevel`` 2 is the caller of this function."""
    names = moments.x_names
    if moments.n_instruments < moments.n_features:
        reasons = [f"their rank {moments.n_instruments} is below the {moments.n_features} columns of X"]
    else:
        statistic, label = first_stage(moments)[1], "F"
        if rows is not None and len(names) == 1:
            statistic, label = np.array([effective_f(rows.Z, rows.X[:, 0])]), "effective F"
        reasons = [f"{label} of {n} is {f:.3g}" for n, f in zip(names, statistic, strict=True) if not f >= WEAK_F]
        pvalue = _rank_pvalue(moments)
        if not pvalue <= WEAK_LEVEL:
            reasons.append(f"the rank test has p = {pvalue:.3g}")
    if reasons:
        warnings.warn(
            f"weak instruments: {'; '.join(reasons)}. Expected an F of at least {WEAK_F:g} and a rank test rejected at "
            "5 %. Two-stage least squares and its errors cannot be relied on: use anderson_rubin, or a larger alpha.",
            WeakInstrumentWarning,
            stacklevel=stacklevel,
        )
