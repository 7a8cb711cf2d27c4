"""Section 3: what can be tested, and which deviations no test could see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from sklearn.decomposition import PCA

from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.extrapolation.study import Study
from causalkit.extrapolation import Rep4Ex
from causalkit.plotting import VisibleShareDisplay

__all__ = ["section"]


def section(study: Study) -> Section:
    """Diagnostics of our encoder and of a principal component, on the strong doses."""
    sample = study.strong
    plain = Rep4Ex(encoder=PCA(1), calibration=0.0, random_state=study.random_state)
    plain.fit(sample.actions, sample.y, features=sample.features)
    models = {"linear-invariance encoder": study.strong_fit, "first principal component": plain}
    table = pd.DataFrame([{"representation": name, **_row(model)} for name, model in models.items()])
    return Section(
        title="What the tests can see",
        text=(
            "Inside the support the curve must agree with a regression on the dose; the mean of the coordinates given "
            "the dose must be a line; what is left must not depend on the dose. The same curve on the first principal "
            "component is there for comparison."
        ),
        tables=(
            Table("Diagnostics", table, "off inside: root mean square in sd(y), limit 0.1; p: values of two tests."),
        ),
        figures=(_figure(study.strong_fit),),
        readings=tuple(_readings(table, study.strong_fit)),
    )


def _row(model: Any) -> dict[str, Any]:
    found = model.diagnostics()
    return {
        "off inside": float(found.calibration["root"].iloc[0]),
        "p, invariance": found.invariance.pvalue,
        "p, independence": found.independence,
        "ok": found.ok,
    }


def _figure(model: Any) -> Figure:
    def draw(canvas: Any) -> None:
        VisibleShareDisplay.from_estimator(model, ax=canvas.subplots())

    return Figure(
        "extrapolation-visible",
        "Share of each deviation from an affine representation that the doses make visible, with the noise line.",
        draw,
        (6.8, 4.0),
    )


def _readings(table: pd.DataFrame, model: Any) -> Iterator[str]:
    ours, plain = table.iloc[0], table.iloc[1]
    yield (
        f"The curve of the encoder is off by {ours['off inside']:.3f} sd(y) inside the support, that of the principal "
        f"component by {plain['off inside']:.3f}; invariance: p = {ours['p, invariance']:.2f} and "
        f"{plain['p, invariance']:.3f}."
    )
    spectrum = model.diagnostics().visible_share
    yield (
        f"Only {spectrum.n_visible} of {len(spectrum.shares)} directions of deviation are visible at this sample size: "
        "a pass is no evidence that the representation is affine."
    )
