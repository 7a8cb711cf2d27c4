"""Section 2: stronger doses make the encoder better and the reach shorter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.extrapolation.study import Study
from causalkit.plotting import SupportDisplay

__all__ = ["section"]


def section(study: Study) -> Section:
    """Effective rows by dose for both strengths."""
    table = pd.DataFrame([_row(study, 1), _row(study, 2)])
    return Section(
        title="How far the data reach",
        text=(
            "A far dose is answered by rows that noise has brought there. The effective number of such rows falls with "
            "the dose, faster where doses are strong for the noise. On the other hand strong doses show more of the "
            "curvature that a wrong encoder would have."
        ),
        tables=(
            Table(
                "Two strengths of the same dose",
                table,
                "reach: the largest dose drawn with at least 100 effective rows, half of its points among known ones.",
            ),
        ),
        figures=(_figure(study),),
        readings=tuple(_readings(table)),
    )


def _row(study: Study, strength: int) -> dict[str, Any]:
    sample, model, result = (
        (study.weak, study.weak_fit, study.weak_curve)
        if strength == 1
        else (study.strong, study.strong_fit, study.strong_curve)
    )
    support = result.support if result.support is not None else pd.DataFrame({"flag": [], "ess": []})
    dose = study.grid(strength)[:, 0]
    good = support["flag"].isin(["observed", "reachable"]).to_numpy()
    rows = model.support(np.array([[1.5]]))["ess"].iloc[0]
    return {
        "strength": strength,
        "R² of the hidden variable": _r2(model.representation_[:, 0], sample.latent[:, 0]),
        "visible directions": model.diagnostics().visible_share.n_visible,
        "effective rows at 1.5": float(rows),
        "reach": float(np.abs(dose[good]).max()),
    }


def _r2(first: Any, second: Any) -> float:
    return float(np.corrcoef(first, second)[0, 1] ** 2)


def _figure(study: Study) -> Figure:
    def draw(canvas: Any) -> None:
        axes = canvas.subplots(2, 1)
        for ax, strength, result in zip(axes, (1, 2), (study.weak_curve, study.strong_curve), strict=True):
            support = result.support
            if support is None:
                continue
            SupportDisplay(
                position=study.grid(strength)[:, 0],
                ess=support["ess"].to_numpy(),
                flags=list(support["flag"]),
                n_rows=result.n_obs,
                labels=("dose", ""),
            ).plot(ax=ax)
            ax.set_title(f"strength {strength}", loc="left", fontsize="medium")

    return Figure(
        "extrapolation-support",
        "Effective rows behind every dose, for weak and for strong doses, with the limits of 100 and 30 rows.",
        draw,
        (8.2, 5.6),
    )


def _readings(table: pd.DataFrame) -> Iterator[str]:
    weak, strong = table.iloc[0], table.iloc[1]
    yield (
        f"At a dose of 1.5 {weak['effective rows at 1.5']:.0f} effective rows are left with weak doses and "
        f"{strong['effective rows at 1.5']:.0f} with strong ones."
    )
    yield (
        f"The coordinate explains {weak['R² of the hidden variable']:.1%} and "
        f"{strong['R² of the hidden variable']:.1%} of the hidden variable; such a number does not rank curves, "
        "because errors in the tails hardly show in it."
    )
