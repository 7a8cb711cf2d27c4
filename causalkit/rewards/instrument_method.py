"""The method "instrument": confounders that are mismeasured, or caused by what is not observed, are instrumented."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.inference.covariance import influence_covariance
from causalkit.rewards.anderson_rubin import anderson_rubin_set
from causalkit.rewards.confounders import Confounders
from causalkit.rewards.effects import LinearEffect
from causalkit.rewards.instrument import two_stage_fit
from causalkit.rewards.instrument_diagnostics import endogeneity_test, first_stage_frame
from causalkit.rewards.nuisances import ConfounderBasis
from causalkit.rewards.orthogonal import gram, refuse_unidentified, transposed_times
from causalkit.rewards.records import LoggedRows, RewardParts

__all__ = ["EndogenousBasis", "instrument_parts"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EndogenousBasis:
    """Columns of the other confounders (splines, levels without the first), then the endogenous ones as they are.

    Attributes
    ----------
    others : ConfounderBasis
        Fitted to the other columns.
    other_columns, endogenous_columns : ndarray of int
        Positions in the matrix of confounders.
    """

    others: ConfounderBasis
    other_columns: NDArray[np.intp]
    endogenous_columns: NDArray[np.intp]

    def transform(self, C: Array) -> Array:
        """Columns (W, C), shape (n, q + m)."""
        return np.hstack([self.others.transform(C[:, self.other_columns]), C[:, self.endogenous_columns]])


def _basis(estimator: Any, confounders: Confounders, weight: Array | None) -> EndogenousBasis:
    roles = confounders.roles
    named = estimator.endogenous
    endogenous = list(roles.numeric) if named is None else [named] if isinstance(named, str) else list(named)
    for name in endogenous:
        if name not in roles.numeric:
            raise ValueError(
                f"endogenous names {name!r}, which is no numeric column of confounders; available: "
                f"{list(roles.numeric)}."
            )
    if not endogenous:
        raise ValueError(
            'method="instrument" needs a numeric confounder to instrument, and all of them are levels: use '
            'method="fixed_effects".'
        )
    others = tuple(name for name in roles.numeric if name not in endogenous)
    left = replace(roles, numeric=others)
    positions = [roles.numeric.index(name) for name in others]
    factors = range(len(roles.numeric), len(roles.numeric) + len(confounders.factors))
    columns = np.asarray([*positions, *factors], dtype=np.intp)
    basis = ConfounderBasis(left, tuple(f.n_levels for f in confounders.factors), drop_first=True)
    basis.fit(confounders.matrix()[:, columns], sample_weight=weight)
    return EndogenousBasis(basis, columns, np.asarray([roles.numeric.index(n) for n in endogenous], dtype=np.intp))


def instrument_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """Two-stage least squares of y on features, other confounders and instrumented confounders."""
    confounders = rows.confounders
    if confounders is None or rows.instruments is None:
        raise ValueError(
            'instruments is missing, which method="instrument" needs: pass columns that move the confounder and have '
            "no effect on the outcome of their own."
        )
    basis = _basis(estimator, confounders, rows.weight)
    table = basis.transform(confounders.matrix())
    m = len(basis.endogenous_columns)
    W, C = table[:, :-m], table[:, -m:]
    names = [confounders.roles.numeric[j] for j in basis.endogenous_columns]
    if rows.instruments.shape[1] < m:
        raise ValueError(
            f"instruments has {rows.instruments.shape[1]} columns for {m} endogenous confounders {names}: pass at "
            "least one instrument per endogenous column, or name fewer in `endogenous`."
        )
    left = _given_confounders(rows, table)
    refuse_unidentified(left, rows.feature_moment, rows.names, rows.n)
    fit = two_stage_fit(
        rows.X,
        W,
        C,
        rows.instruments,
        rows.y,
        rows.weight,
        feature_names=rows.names,
        endogenous_names=names,
        instrument_names=rows.instrument_names,
    )
    kind, groups = estimator._kind_for(rows)
    robust = "HC1" if kind == "HC0" else kind
    gamma = np.concatenate([fit.delta, fit.gamma])
    influence = np.hstack([fit.delta_influence, fit.gamma_influence])
    covariance = influence_covariance(influence, groups=groups if kind == "cluster" else None)
    columns = np.arange(len(gamma), dtype=np.intp)
    effect = LinearEffect(
        basis, columns, gamma, covariance, rows.mean(table), rows.feature_mean, float(rows.mean(rows.y))
    )
    test = endogeneity_test(fit, covariance=robust, groups=groups)
    first_stage = first_stage_frame(fit, covariance=robust, groups=groups, stacklevel=5)
    w = 1.0 if rows.weight is None else rows.weight
    freedom = rows.n - fit.n_partialled - m
    return RewardParts(
        coef=fit.theta,
        adjusted=rows.y - fit.confounder_effect,
        effect_rows=fit.confounder_effect,
        effect=effect,
        fits=[],
        influence=np.asarray(fit.influence, dtype=np.float64),
        residuals=fit.residuals,
        residual_variance=float(np.sum(w * fit.residuals**2) / freedom),
        degrees_of_freedom=freedom,
        informative=np.ones(rows.n, dtype=bool),
        second_moment=left,
        extras={
            "first_stage_": first_stage.join(test.to_frame().rename(columns={"pvalue": "endogeneity_pvalue"})),
            "anderson_rubin_": anderson_rubin_set(fit, covariance=robust, groups=groups) if m == 1 else None,
        },
    )


def _given_confounders(rows: LoggedRows, table: Array) -> Array:
    """Σ_U: covariance of the features less their linear fit by the columns of the confounders."""
    centred = table - rows.mean(table)
    weighted = centred if rows.weight is None else centred * rows.weight[:, None]
    cross = (transposed_times(rows.X, weighted) - np.outer(rows.feature_mean, weighted.sum(axis=0))) / rows.n
    inverse = np.linalg.pinv(gram(centred, rows.weight) / rows.n, hermitian=True)
    return np.asarray(rows.feature_moment - cross @ inverse @ cross.T)
