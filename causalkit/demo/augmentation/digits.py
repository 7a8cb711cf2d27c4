"""Section 4: real images whose colour misleads; all colourings of an image against one draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.kernel_approximation import Nystroem

from causalkit.augmentation import IVLikeRegressor
from causalkit.augmentation.augmenters import ChannelPermutation
from causalkit.datasets import make_colored_digits
from causalkit.datasets.colored_digits import ColoredDigits, ColoredImages
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.plotting._axes import COLOURS, tidy

__all__ = ["section"]

Array = NDArray[np.float64]

_MOST = 3
_SHOWN = 4
_PLAIN, _ONE, _PENALISED = "least squares", "one draw", "one draw, α = 0.1"
_ORBIT, _GREY = "both colourings (orbit)", "grey images (oracle)"


def section(settings: Settings) -> Section:
    """Accuracy at three colour rates of five fits, averaged over splits."""
    repetitions = min(settings.repetitions, _MOST)
    drawn = [make_colored_digits(random_state=settings.random_state + draw) for draw in range(repetitions)]
    scores = np.mean([_scores(digits) for digits in drawn], axis=0)
    rates = drawn[0].test_rates
    columns = [*(f"colour misleads {100 * rate:.0f} %" for rate in rates), f"true label, {100 * rates[-1]:.0f} %"]
    table = pd.DataFrame(scores, columns=columns)
    table.insert(0, "fit", [_PLAIN, _ONE, _PENALISED, _ORBIT, _GREY])
    return Section(
        title="Coloured digits",
        text=(
            "Images of handwritten digits; the outcome is whether the digit is below five, wrong in a quarter of the "
            "rows. We colour each image so that colour agrees with the outcome in 85 % of the training rows, more "
            "often than shape does. Swapping the two colours leaves the outcome alone exactly, because the colour "
            "was put on. There are only two colourings, so the fit can average over both instead of drawing one. Fits "
            "are linear in a kernel map of 300 columns."
        ),
        tables=(
            Table(
                f"Accuracy on held-out images, mean of {repetitions} splits",
                table,
                "75 % is the most that can be reached on the noisy outcome without the colour. The last column is "
                "about the digit itself.",
            ),
        ),
        figures=(_figure(drawn[0], table, rates),),
        readings=tuple(_readings(table)),
    )


def _scores(digits: ColoredDigits) -> Array:
    """Accuracy of each fit on each test set, then on the true label of the last, shape (5, 4)."""
    train = digits.train
    swap = ChannelPermutation(train.image_shape)
    options: dict[str, dict[str, Any]] = {
        _PLAIN: {},
        _ONE: {"augmentation": swap, "alpha": np.inf},
        _PENALISED: {"augmentation": swap, "alpha": 0.1},
        _ORBIT: {"augmentation": swap, "alpha": np.inf, "n_draws": "orbit"},
    }
    rows = [_accuracies(_fit(train.X, train.y, chosen), digits, grey=False) for chosen in options.values()]
    rows.append(_accuracies(_fit(_grey(train), train.y, {}), digits, grey=True))
    return np.array(rows)


def _fit(X: Array, y: NDArray[np.int64], options: dict[str, Any]) -> IVLikeRegressor:
    kernel = Nystroem(gamma=0.02, n_components=300, random_state=0)
    return IVLikeRegressor(feature_map=kernel, ridge=1 / len(y), random_state=0, **options).fit(X, y - 0.5)


def _grey(images: ColoredImages) -> Array:
    return np.asarray(images.X.reshape(len(images.X), 2, -1).mean(axis=1))


def _accuracies(model: IVLikeRegressor, digits: ColoredDigits, *, grey: bool) -> list[float]:
    predicted = [model.predict(_grey(test) if grey else test.X) > 0 for test in digits.tests]
    last = float((predicted[-1] == digits.tests[-1].true_label).mean())
    return [*(float((p == test.y).mean()) for p, test in zip(predicted, digits.tests, strict=True)), last]


def _figure(digits: ColoredDigits, table: pd.DataFrame, rates: tuple[float, ...]) -> Figure:
    styles = {
        _PLAIN: ("naive", "-"),
        _ONE: ("accent", "--"),
        _PENALISED: ("accent", "-"),
        _ORBIT: ("corrected", "-"),
        _GREY: ("data", ":"),
    }

    def draw(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2, gridspec_kw={"width_ratios": (1.2, 1.4)})
        left.imshow(_picture(digits.train), interpolation="nearest")
        left.set_title("above: training images, below: colours swapped", fontsize="medium")
        left.set_axis_off()
        for name, scores in zip(table["fit"], table.iloc[:, 1 : 1 + len(rates)].to_numpy(), strict=True):
            colour, style = styles[name]
            right.plot(rates, scores, "o", ls=style, ms=4, color=COLOURS[colour], lw=1.6, label=name)
        right.set(xlabel="share of images whose colour misleads", ylabel="accuracy", ylim=(0, 1))
        right.legend(frameon=False, fontsize="small", loc="lower left")
        tidy(right)

    return Figure(
        "augmentation-digits",
        "Coloured digits and their swapped twins; accuracy as the colour turns against the outcome. The colour is "
        "exactly exchangeable only because it was put on.",
        draw,
        (9.6, 3.8),
    )


def _picture(images: ColoredImages) -> Array:
    """Images above, the same with their channels swapped below, on white, shape (2·8 + 1, 4·9 - 1, 3)."""
    from matplotlib.colors import to_rgb

    first = images.X[:_SHOWN]
    swapped = ChannelPermutation(images.image_shape).apply(first, np.ones((_SHOWN, 1)))
    channels, height, width = images.image_shape
    ink = 1.0 - np.array([to_rgb(COLOURS[name]) for name in ("naive", "corrected")])
    rows = []
    for block in (first, swapped):
        tiles = np.ones((_SHOWN, height, width + 1, 3))
        tiles[:, :, :width] -= np.einsum("nchw,cr->nhwr", block.reshape(_SHOWN, channels, height, width), ink)
        rows.append(np.concatenate(list(tiles), axis=1)[:, :-1])
    return np.concatenate([rows[0], np.ones((1, *rows[0].shape[1:])), rows[1]])


def _readings(table: pd.DataFrame) -> Iterator[str]:
    scores = dict(zip(table["fit"], table.iloc[:, 1:].to_numpy(dtype=float), strict=True))
    plain, orbit = scores[_PLAIN], scores[_ORBIT]
    yield (
        f"As the colour turns against the outcome, least squares goes from {plain[0]:.2f} to {plain[-2]:.2f}, and the "
        f"fit to both colourings from {orbit[0]:.2f} to {orbit[-2]:.2f}."
    )
    yield (
        f"On the true label where colour misleads: one draw {scores[_ONE][-1]:.3f}, with the penalty "
        f"{scores[_PENALISED][-1]:.3f}, both colourings {orbit[-1]:.3f}, grey images {scores[_GREY][-1]:.3f}. Where "
        "all elements can be listed, listing them needs neither an α nor luck with the draw."
    )
