"""Section 1: the slope of prediction on truth, and of truth on prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalkit.debiasing import LinearCalibration, required_calibration_size
from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.debiasing.estimates import amount
from causalkit.demo.debiasing.real_map import RealMap
from causalkit.plotting import CalibrationDisplay

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["section"]


def section(data: RealMap) -> Section:
    """Fit the calibration line and look at it on the trial rows."""
    rows = data.calibration
    fitted = LinearCalibration().fit(rows.predictions, rows.y)
    clustered = None if rows.cells is None else LinearCalibration().fit(rows.predictions, rows.y, groups=rows.cells)

    def draw(canvas: Any) -> None:
        CalibrationDisplay.from_estimator(fitted, data.trial.predictions, data.trial.y, ax=canvas.subplots(1, 2))

    figure = Figure(
        "calibration",
        f"Predicted and true {data.name} on the trial rows, which took no part in the fit. Left: mean prediction by "
        "tenth of the truth. Right: mean error by tenth of the truth, before and after linear calibration.",
        draw,
        (10.0, 4.2),
    )
    return Section(
        title="A map and its two slopes",
        text=(
            "A model that minimises squared error predicts too little where the truth is high and too much where it "
            "is low. Read as truth on prediction such a map looks right (slope b near 1), and still the prediction "
            "moves by only k when the truth moves by 1. A treatment effect on the prediction is that share of the "
            "effect on the truth, if the treatment moves the prediction only through the truth."
        ),
        tables=(Table("Slopes on the calibration sample", _table(fitted, clustered)),),
        figures=(figure,),
        readings=tuple(_readings(fitted, clustered)),
    )


def _table(fitted: LinearCalibration, clustered: LinearCalibration | None) -> pd.DataFrame:
    import pandas as pd

    wanted = ["slope k (prediction on truth)", "slope b (truth on prediction)", "squared correlation"]
    frame = fitted.diagnostics().set_index("quantity").loc[wanted]
    out = pd.DataFrame(
        {"quantity": wanted, "value": frame["value"].to_numpy(), "std. error, rows": frame["se"].to_numpy()}
    )
    if clustered is not None:
        errors = clustered.diagnostics().set_index("quantity").loc[wanted, "se"]
        out["std. error, 1° cells"] = errors.to_numpy()
    return out


def _readings(fitted: LinearCalibration, clustered: LinearCalibration | None) -> list[str]:
    k, rho2 = fitted.slope_, fitted.r_squared_
    needed = required_calibration_size(rho2)
    lines = [
        f"k = {k:.3f}: an effect measured on the predictions is {100 * k:.0f} % of the effect on the truth under "
        f"exclusion, so it has to be divided by {k:.3f}.",
        f"With a squared correlation of {rho2:.2f}, {needed:,} calibration rows would hold the relative noise of the "
        f"correction at 5 %; there are {fitted.n_calibration_:,}.",
    ]
    if clustered is not None:
        ratio = float((clustered.cov_[0, 0] / fitted.cov_[0, 0]) ** 0.5)
        lines.append(
            f"The standard error of k is {amount(ratio)} times as large when 1° cells, not rows, are taken to be "
            "independent."
        )
    return lines
