"""Section 5: the regression table that one already has, corrected afterwards or fitted anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalkit.debiasing import LinearCalibration, correct_vcov
from causalkit.demo.content import Section, Settings, Table
from causalkit.demo.debiasing.estimates import amount, yes
from causalkit.demo.debiasing.real_map import RealMap
from causalkit.demo.debiasing.tilted import tilted_trial

__all__ = ["section"]

_Z = 1.959963984540054


def section(data: RealMap, settings: Settings) -> Section:
    """The same formula on predictions, on corrected predictions in two ways, and on the truth."""
    from statsmodels.formula import api

    drawn = tilted_trial(data, "smooth", settings.random_state)
    names = list(drawn.trial.covariates)
    frame = pd.DataFrame(
        {"predicted": drawn.trial.predictions, "truth": drawn.trial.y, "treated": drawn.treatment}
        | drawn.trial.covariates
    )
    right = " + ".join(["treated", *names])
    correction = LinearCalibration().fit(drawn.calibration.predictions, drawn.calibration.y)
    published = api.ols(f"predicted ~ {right}", frame).fit(cov_type="HC1")
    params, vcov = correct_vcov(published, correction=correction)
    fitted = correction.ols(f"predicted ~ {right}", frame)
    true = api.ols(f"truth ~ {right}", frame).fit(cov_type="HC1")
    table = _table(published, params, vcov, fitted, true)
    return Section(
        title="The regression table",
        text=(
            f"A regression of the predictions on treatment and {' and '.join(names)} (standardised), as statsmodels "
            "reports it, is corrected from its coefficients and covariance alone (correct_vcov), and by fitting the "
            "formula with the corrected outcome (.ols, whose .statsmodels holds a results object for tables). The last "
            "columns show what the truth would have given."
        ),
        tables=(Table(f"Coefficients and standard errors, {len(frame):,} trial rows, smooth design", table),),
        readings=tuple(_readings(table, params, fitted)),
    )


def _table(published: Any, params: Any, vcov: Any, fitted: Any, true: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "coefficient": list(params.index),
            "raw": published.params.to_numpy(),
            "s.e. raw": published.bse.to_numpy(),
            "correct_vcov": params.to_numpy(),
            "s.e. correct_vcov": np.sqrt(np.diag(vcov)),
            ".ols": np.asarray(fitted.statsmodels.params),
            "s.e. .ols": np.asarray(fitted.statsmodels.bse),
            "on the truth": true.params.to_numpy(),
            "s.e. truth": true.bse.to_numpy(),
        }
    )


def _readings(table: pd.DataFrame, params: Any, fitted: Any) -> list[str]:
    by_name: Any = table.set_index("coefficient")
    row = by_name.loc["treated"]
    apart = float(np.abs(params.to_numpy() - np.asarray(fitted.statsmodels.params)).max())
    ratio = row["s.e. correct_vcov"] / row["s.e. raw"]
    lower, upper = (row["correct_vcov"] + sign * _Z * row["s.e. correct_vcov"] for sign in (-1, 1))
    others = [name for name in table["coefficient"] if name not in ("treated", "Intercept")]
    covered = {
        name: abs(by_name.loc[name, "correct_vcov"] - by_name.loc[name, "on the truth"])
        <= _Z * np.hypot(by_name.loc[name, "s.e. correct_vcov"], by_name.loc[name, "s.e. truth"])
        for name in others
    }
    return [
        f"Treatment: raw {amount(row['raw'])}, corrected {amount(row['correct_vcov'])} [{amount(lower)}, "
        f"{amount(upper)}], on the truth {amount(row['on the truth'])}; the interval covers it: "
        f"{yes(lower <= row['on the truth'] <= upper)}. Its standard error is {ratio:.2f} times the raw one.",
        f"Largest difference between the coefficients of the two ways: {apart:.1e}.",
        "The arms were made so that exclusion holds for the treatment; nobody promised it for the covariates. "
        "Corrected and true coefficient agree within sampling noise: "
        + ", ".join(f"{name} {yes(bool(ok))}" for name, ok in covered.items())
        + ".",
    ]
