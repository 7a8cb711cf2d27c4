"""Every method side by side on held-out rows, and how strong the measured confounders are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, check_cv

from causalkit.rewards.confounders import confounder_frame
from causalkit.rewards.deconfounder import RewardDeconfounder
from causalkit.rewards.pairwise import PairwiseRewardModel
from causalkit.rewards.parameters import check_parameters
from causalkit.rewards.sensitivity import omitted_variable_bias
from causalkit.selection.ranking import ranking_report
from causalkit.validation import Groups, check_groups, check_integer, check_same_index, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["benchmark_confounders", "compare_rewards"]

Array = NDArray[np.float64]

_METHODS = ("none", "outcome_only", "linear_control", "invariance", "partially_linear", "fixed_effects")
_CANDIDATES = (4, 8)


def compare_rewards(
    X: Any,
    y: Any,
    *,
    confounders: Any,
    methods: Any = _METHODS,
    cv: Any = 5,
    groups: Any = None,
    strata: Any = None,
    truth: Any = None,
    random_state: Any = None,
) -> pd.DataFrame:
    r"""How well the rewards of several methods rank rows that they were not fitted on.

    Every method is fitted anew without each fold (folds keep groups together) and its reward r̂(x) of the held-out rows
    compared with ``truth``, or with y where there is none, by :func:`causalkit.selection.ranking_report`. A reward's
    level is arbitrary, so that of each fold's fit is set to mean 0 over all rows before the folds are pooled.

    The table describes; it selects nothing. Without ``truth`` the yardstick is the confounded outcome: a reward that
    guesses the confounders looks good over all pairs. Read ``within_stratum_accuracy`` first, with the confounders'
    cells as ``strata``.

    Parameters
    ----------
    X : array-like, shape (n, p), or texts
        Features; texts where the estimators in ``methods`` have an encoder.
    y : array-like, shape (n,)
        Outcome.
    confounders : frame or array-like, shape (n, q)
        What moved the outcome besides the content.
    methods : tuple or dict, optional
        Names of methods of :class:`RewardDeconfounder`, unfitted :class:`RewardDeconfounder` or
        :class:`PairwiseRewardModel` (which pairs rows within ``strata``); a dict gives them names of their own.
    cv : int, splitter or iterable of (train, test), default=5
        Folds: by groups where these are given, else shuffled.
    groups : array-like, shape (n,), optional
        Units that folds keep together; also the units of the jackknife behind the standard errors.
    strata : array-like, shape (n,), optional
        Strata of ``within_stratum_accuracy``.
    truth : array-like, shape (n,), optional
        True rewards, in simulations.
    random_state : int, RandomState or None, default=None
        Shuffles the folds and seeds the methods that are given by name.

    Returns
    -------
    DataFrame
        A row per method. Each measure of the report has a column, and one with ``_se`` for its standard error;
        ``correlation`` with the truth where that is given; ``warned``: classes of the warnings of its fits; ``note``:
        why a method does not apply to these data, its measures being NaN.

    Raises
    ------
    ValueError
        Lengths that differ, an unknown method, or no method that applies.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards import compare_rewards
    >>> rng = np.random.default_rng(0)
    >>> C = rng.normal(size=400)
    >>> X = np.outer(C, [0.8, -0.6]) + rng.normal(size=(400, 2))
    >>> reward = X @ [1.0, 0.5]
    >>> y = reward + 2 * C + rng.normal(size=400)
    >>> table = compare_rewards(X, y, confounders=C, methods=("none", "linear_control"), truth=reward, random_state=0)
    >>> bool(table.loc["linear_control", "correlation"] > table.loc["none", "correlation"])
    True
    """
    import pandas as pd

    estimators = _named_estimators(methods, random_state)
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    for name, value in (("y", y), ("confounders", confounders), ("groups", groups), ("truth", truth)):
        check_same_index(X, value, ("X", name))
    outcome = check_vector(y, "y", n_rows=n, like="X")
    frame = confounder_frame(confounders, n)
    units, stratum = check_groups(groups, n, like="X"), check_groups(strata, n, name="strata", like="X")
    yardstick = outcome if truth is None else check_vector(truth, "truth", n_rows=n, like="X")
    codes = None if units is None else units.codes
    folds = _folds(cv, n, codes, random_state)
    rows: dict[str, dict[str, Any]] = {}
    for name, estimator in estimators.items():
        score, warned, note = _held_out(estimator, X, outcome, frame, codes, stratum, folds)
        row: dict[str, Any] = {}
        if score is not None:
            kept = np.isfinite(score)
            report = ranking_report(
                yardstick[kept],
                score[kept],
                prompts=None if codes is None else codes[kept],
                strata=None if stratum is None else stratum.codes[kept],
                n=_CANDIDATES,
            )
            for measure, found in report.iterrows():
                row[str(measure)], row[f"{measure}_se"] = found["estimate"], found["standard_error"]
            if truth is not None:
                row["correlation"] = _correlation(yardstick[kept], score[kept])
        rows[name] = {**row, "warned": warned, "note": note}
    if all(row["note"] for row in rows.values()):
        raise ValueError(
            "methods: none applies to these data. " + " ".join(f"{k}: {r['note']}" for k, r in rows.items())
        )
    table = pd.DataFrame(list(rows.values()), index=list(rows))
    table = table[[*(c for c in table.columns if c not in ("warned", "note")), "warned", "note"]]
    table.index.name = "method"
    table.attrs = {"n_rows": n, "n_folds": len(folds), "yardstick": "y" if truth is None else "truth"}
    return table


def _named_estimators(methods: Any, random_state: Any) -> dict[str, Any]:
    if isinstance(methods, str):
        methods = (methods,)
    given = list(methods.items()) if isinstance(methods, Mapping) else [(None, method) for method in methods]
    estimators: dict[str, Any] = {}
    for label, method in given:
        estimator = RewardDeconfounder(method=method, random_state=random_state) if isinstance(method, str) else method
        if not isinstance(estimator, RewardDeconfounder | PairwiseRewardModel):
            raise TypeError(
                "methods must hold names of methods, RewardDeconfounder or PairwiseRewardModel; got "
                f"{type(method).__name__}."
            )
        if isinstance(estimator, RewardDeconfounder):
            check_parameters(estimator)
        name = label if label is not None else getattr(estimator, "method", "pairwise")
        if name in estimators:
            raise ValueError(f"methods has two entries named {name!r}: pass a dict of name to estimator.")
        estimators[str(name)] = estimator
    if not estimators:
        raise ValueError("methods is empty: expected at least one name or estimator.")
    return estimators


def _folds(cv: Any, n: int, codes: NDArray[np.intp] | None, random_state: Any) -> list[tuple[Any, Any]]:
    splitter: Any
    if isinstance(cv, int | np.integer):
        check_integer(cv, "cv", low=2)
        units = n if codes is None else int(codes.max()) + 1
        if units < cv:
            what = "rows" if codes is None else "groups"
            raise ValueError(f"cv={cv} folds need at least as many {what}; got {units}: pass a smaller cv.")
        splitter = KFold(int(cv), shuffle=True, random_state=random_state) if codes is None else GroupKFold(int(cv))
    else:
        splitter = check_cv(cv)
    return list(splitter.split(np.zeros((n, 1)), groups=codes))


def _take(values: Any, rows: NDArray[np.intp]) -> Any:
    if values is None:
        return None
    if hasattr(values, "iloc"):
        return values.iloc[rows]
    return [values[i] for i in rows] if isinstance(values, list | tuple) else values[rows]


def _held_out(
    estimator: Any,
    X: Any,
    y: Array,
    confounders: pd.DataFrame,
    codes: NDArray[np.intp] | None,
    strata: Groups | None,
    folds: list[Any],
) -> tuple[Array | None, str, str]:
    """Held-out rewards (NaN for rows in no fold), classes of warnings, and why the method does not apply."""
    score = np.full(len(y), np.nan)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for train, test in folds:
            keywords: dict[str, Any] = {} if codes is None else {"groups": codes[train]}
            if isinstance(estimator, PairwiseRewardModel):
                keywords["prompts"] = None if strata is None else strata.codes[train]
            elif estimator.method != "none":
                keywords["confounders"] = confounders.iloc[train]
            try:
                fitted = clone(estimator).fit(_take(X, train), y[train], **keywords)
            except ValueError as error:
                # Some method may not suit these confounders; the others are still worth their row.
                return None, "", str(error)
            reward = np.asarray(fitted.predict(X), dtype=np.float64)
            score[test] = reward[test] - reward.mean()
    return score, ", ".join(sorted({found.category.__name__ for found in caught})), ""


def _correlation(first: Array, second: Array) -> float:
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def benchmark_confounders(
    estimator: Any, X: Any, y: Any, *, confounders: Any, names: Any, **fit_metadata: Any
) -> pd.DataFrame:
    r"""Strength of measured confounders, as a yardstick for unmeasured ones.

    The reward is fitted with all confounders and again without confounder k. What k added gives

    .. math:: cf_y^k = \frac{R^2 - R^2_{-k}}{1 - R^2},\qquad
              cf_{d,q}^k = \frac{1 - \kappa_q}{\kappa_q},\quad \kappa_q = \frac{\nu^2_{q,-k}}{\nu^2_q},

    :math:`\nu_q^2 = q'\Sigma_U^{-1}q` for each feature q. A confounder that is missed and as strong as k would move
    the coefficient by up to ``bound``.

    Parameters
    ----------
    estimator : RewardDeconfounder
        Method from residuals, such as "partially_linear"; cloned.
    X : array-like, shape (n, p), or texts
        Features.
    y : array-like, shape (n,)
        Outcome.
    confounders : frame or array-like, shape (n, q)
        All confounders.
    names : list of str or tuple of str
        Columns left out in turn; the columns of a tuple together.
    **fit_metadata
        Further arguments of ``fit``, such as ``groups``.

    Returns
    -------
    DataFrame
        Index (confounder, feature); columns ``estimate`` with all confounders, ``estimate_without``, ``cf_y``,
        ``cf_d`` (0 where what was left out added nothing), ``bound``, infinite where a strength is 1 or more, and
        ``reading``, which says "unbounded" then.

    Raises
    ------
    ValueError
        A name that is no column, or fits that fail; without its only confounder the reward is that of "none".

    References
    ----------
    Chernozhukov, Cinelli, Newey, Sharma & Syrgkanis, arXiv:2112.13398. Cinelli & Hazlett 2020, JRSS B 82(1).

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from causalkit.rewards import RewardDeconfounder, benchmark_confounders
    >>> rng = np.random.default_rng(0)
    >>> C = pd.DataFrame(rng.normal(size=(500, 2)), columns=["hour", "price"])
    >>> X = 0.5 * C[["hour"]].to_numpy() + rng.normal(size=(500, 1))
    >>> y = X[:, 0] + C["hour"] + 0.1 * C["price"] + rng.normal(size=500)
    >>> model = RewardDeconfounder(timing="before", random_state=0)
    >>> table = benchmark_confounders(model, X, y, confounders=C, names=["hour", "price"])
    >>> bool(table.loc[("hour", "x0"), "cf_y"] > table.loc[("price", "x0"), "cf_y"])
    True
    """
    import pandas as pd

    if not isinstance(estimator, RewardDeconfounder):
        raise TypeError(f"estimator must be a RewardDeconfounder; got {type(estimator).__name__}.")
    frame = confounder_frame(confounders, None)
    left_out = [names] if isinstance(names, str) else list(names)
    dropped = [(name,) if isinstance(name, str) else tuple(name) for name in left_out]
    for group in dropped:
        absent = [name for name in group if name not in frame.columns]
        if absent:
            raise ValueError(f"names has {absent[0]!r}, which is no column of confounders; available: {list(frame)}.")
    if not dropped or not all(dropped):
        raise ValueError(f"names is empty or has an empty entry: expected columns of confounders; got {names!r}.")
    full = clone(estimator).fit(X, y, confounders=frame, **fit_metadata)
    sigma2, nu2 = _strengths(full)
    tables = []
    for group in dropped:
        short = _without(estimator, frame, group, X, y, fit_metadata)
        short_sigma2, short_nu2 = _strengths(short)
        kappa = short_nu2 / nu2
        added = max(0.0, short_sigma2 - sigma2)
        cf_y = added / sigma2 if sigma2 > 0 else (np.inf if added > 0 else 0.0)
        cf_d = np.maximum(0.0, (1 - kappa) / kappa)
        usable = (cf_y < 1) & (cf_d < 1)
        bound = np.full(len(cf_d), np.inf)
        for j in np.flatnonzero(usable):
            bound[j] = omitted_variable_bias(sigma2, nu2[j], cf_y, float(cf_d[j]))
        table = pd.DataFrame(
            {
                "estimate": full.coef_,
                "estimate_without": short.coef_,
                "cf_y": cf_y,
                "cf_d": cf_d,
                "bound": bound,
                "reading": [f"within ±{b:.3g}" if np.isfinite(b) else "unbounded" for b in bound],
            },
            index=pd.Index(full._names, name="feature"),
        )
        tables.append(table)
    return pd.concat(tables, keys=[", ".join(group) for group in dropped], names=["confounder"])


def _strengths(fitted: RewardDeconfounder) -> tuple[float, Array]:
    """Mean squared residual, and ν² of each feature."""
    sigma2 = fitted.residual_variance_ * fitted.degrees_of_freedom_ / len(fitted.adjusted_reward_)
    return float(sigma2), np.diag(np.linalg.pinv(fitted.feature_residual_covariance_, hermitian=True)).copy()


def _without(
    estimator: RewardDeconfounder, frame: pd.DataFrame, group: tuple[str, ...], X: Any, y: Any, metadata: dict[str, Any]
) -> RewardDeconfounder:
    """The fit without some confounders; what names them in the parameters goes too."""
    left = frame.drop(columns=list(group))
    short = clone(estimator)
    if left.shape[1] == 0:
        return short.set_params(method="none", timing=None).fit(X, y, **metadata)
    changes: dict[str, Any] = {}
    for name in ("categorical", "endogenous"):
        value = getattr(estimator, name)
        if value is not None:
            changes[name] = [c for c in ([value] if isinstance(value, str) else value) if c not in group]
    for name in ("cyclic", "timing"):
        value = getattr(estimator, name)
        if isinstance(value, Mapping):
            changes[name] = {c: v for c, v in value.items() if c not in group}
    if estimator.interactions is not None:
        cells = [tuple(c for c in cell if c not in group) for cell in estimator.interactions]
        changes["interactions"] = [cell for cell in cells if cell]
    return short.set_params(**changes).fit(X, y, confounders=left, **metadata)
