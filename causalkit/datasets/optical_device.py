"""Images, a photodiode, and an LED that confounds both: a reader of the real data, and a simulation."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets.augmentation_designs import ConfoundedLinearSample
from causalkit.datasets.simulated_map import as_generator, check_number
from causalkit.exceptions import DatasetNotFoundError
from causalkit.validation import check_integer

__all__ = ["OpticalSample", "load_optical_device", "make_optical_like"]

Array = NDArray[np.float64]

# First eight hexadecimal digits of the SHA-256 of each experiment's file.
_KNOWN = {
    69: "a3d8408c",
    70: "1c772681",
    71: "f280b0d1",
    72: "77625b9e",
    73: "b9a5d1b1",
    74: "be91e906",
    75: "3801d9f5",
    77: "b7e5f5f4",
    78: "32457fab",
    79: "f7679972",
    80: "9a5cf51c",
    82: "9fc92ecf",
}
_NAME = re.compile(r"exp_no_(?P<number>\d+)_brfactor_(?P<brightness>\d+(?:\.\d+)?)_")
_COLUMNS = [f"pixel_{j}" for j in range(1, 10)] + ["led", "voltage"]
_ORIGIN = (
    "The data do not ship with the library and are not downloaded. Their owner, Dominik Janzing, keeps them in folder "
    "code/data_from_optical_device of the GitHub repository janzing/janzing.github.io, for any scientific purpose "
    "without asking (README there). Save the text files under their own names in one folder and pass its path."
)

# The LED sits in one corner of the 3 x 3 image, so that flips move its light.
_LED_PATTERN = 1 - np.add.outer(np.arange(3), np.arange(3)).ravel() / 4
_SCENE_SD, _TEXTURE_SD = 1.0, 0.5
_NOISE_SD = 0.1


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class OpticalSample(ConfoundedLinearSample):
    """Simulated 3 x 3 images, a photodiode, and an LED that reaches both.

    Attributes
    ----------
    X, y, coef, covariance, confounding_vector
        As in :class:`ConfoundedLinearSample`; the features are pixels, row by row.
    led : ndarray, shape (n,)
        Brightness of the LED, the confounder that an analyst would not have.
    image_shape : tuple of int
        (1, 3, 3), as the image augmenters take it.
    """

    led: Array
    image_shape: tuple[int, int, int] = (1, 3, 3)


def load_optical_device(path: str | os.PathLike[str], *, experiments: Sequence[int] | None = None) -> dict[str, Any]:
    r"""Read the optical device data from text files that you provide; never downloads.

    A screen shows an image of nine pixels and a photodiode in front of it measures the light. In each experiment the
    brightness of an LED that shines on the camera and on the photodiode is drawn at random: a confounder that was
    measured, so that the effect of the pixels is known up to the noise of a regression that includes it.

    There are 13 files. Experiment 81, whose image is a random section and which has no LED, is left out.

    Parameters
    ----------
    path : str or path
        Folder of the files. Their order in it plays no part: the number of an experiment is read from the file name.
    experiments : sequence of int, optional
        Numbers of the experiments to read; default all twelve, 69 to 75, 77 to 80 and 82.

    Returns
    -------
    dict of str to DataFrame
        Sorted by number. Keys such as ``"experiment_69_brightness_80"`` name the experiment and the factor of the
        LED's brightness. Frames have 1000 rows and the columns ``pixel_1`` to ``pixel_9`` (0 to 255), ``led`` (its
        brightness, 0 to 255) and ``voltage`` (of the photodiode, the outcome); ``attrs`` holds ``experiment``,
        ``brightness`` and ``path``.

    Raises
    ------
    DatasetNotFoundError
        A ``FileNotFoundError``: the folder or a file is missing. The message says where the data are and on what terms.
    ValueError
        If ``experiments`` names an unknown one, two files have the same number, or a file is not a table of 11 columns
        of finite numbers.

    Warns
    -----
    UserWarning
        If the content of a file is not that of the published one.

    References
    ----------
    Janzing and Schölkopf (2018), Detecting non-causal artifacts in multivariate linear regression models,
    arXiv:1803.00810. Used by Akbar, Kilbertus, Shen, Muandet and Dai (2025), arXiv:2510.25128.

    Examples
    --------
    >>> from causalkit.datasets import load_optical_device
    >>> frames = load_optical_device("folder/of/the/files")  # doctest: +SKIP
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be the folder of the files, a string or path; got {path!r}.")
    numbers = _check_experiments(experiments)
    files = _find_files(Path(path).expanduser(), numbers)
    frames: dict[str, Any] = {}
    altered = []
    for number in numbers:
        file, brightness = files[number]
        content = file.read_bytes()
        if not hashlib.sha256(content).hexdigest().startswith(_KNOWN[number]):
            altered.append(number)
        frame = _read_table(file)
        frame.attrs.update(experiment=number, brightness=float(brightness), path=str(file))
        frames[f"experiment_{number}_brightness_{float(brightness):g}"] = frame
    if altered:
        warnings.warn(
            f"The content of experiments {', '.join(map(str, altered))} in {path} is not that of the published files "
            "(SHA-256 differs): published results need not be reproduced. Get the files from their origin again.",
            UserWarning,
            stacklevel=2,
        )
    return frames


def _check_experiments(experiments: Sequence[int] | None) -> list[int]:
    numbers = list(_KNOWN) if experiments is None else list(experiments)
    unknown = [number for number in numbers if number not in _KNOWN]
    if unknown or not numbers:
        raise ValueError(f"experiments must be numbers among {', '.join(map(str, _KNOWN))}; got {experiments!r}.")
    return sorted({int(number) for number in numbers})


def _find_files(folder: Path, numbers: list[int]) -> dict[int, tuple[Path, str]]:
    """File and brightness of each experiment, by the number in its name."""
    if not folder.is_dir():
        raise DatasetNotFoundError(f"path must be a folder; {folder} is not one. {_ORIGIN}")
    found: dict[int, tuple[Path, str]] = {}
    for file in sorted(folder.glob("*.txt")):
        match = _NAME.search(file.name)
        if match is None or int(match["number"]) not in numbers:
            continue
        number = int(match["number"])
        if number in found:
            raise ValueError(
                f"Experiment {number} has two files in {folder}: {found[number][0].name} and {file.name}. "
                "Remove the one that is not meant."
            )
        found[number] = (file, match["brightness"])
    missing = [number for number in numbers if number not in found]
    if missing:
        raise DatasetNotFoundError(
            f"{folder} has no file of experiments {', '.join(map(str, missing))}: expected names that contain "
            f"exp_no_<number>_brfactor_<brightness>_. {_ORIGIN}"
        )
    return found


def _read_table(file: Path) -> Any:
    import pandas as pd

    try:
        table = pd.read_csv(file, sep=r"\s+", header=None)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} must be a table of numbers separated by spaces; got: {error}.") from None
    if table.shape[1] != len(_COLUMNS):
        raise ValueError(
            f"{file} must have 11 columns (nine pixels, LED, voltage); got {table.shape[1]}. Get it again."
        )
    numeric = all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes)
    if not numeric or not np.isfinite(table.to_numpy()).all():
        raise ValueError(f"{file} must hold finite numbers only; got text or missing values. Get it again.")
    return table.astype("float64").set_axis(_COLUMNS, axis=1)


def make_optical_like(n_samples: int = 1000, *, brightness: float = 1.0, random_state: Any = None) -> OpticalSample:
    r"""Simulate the optical device: small images, a photodiode behind the screen, an LED that confounds both.

    Pixel j is :math:`x_j = s + .5N_j + \beta b_jC` with the scene's brightness s, texture :math:`N_j` and LED C, all
    standard normal; b falls from 1 in one corner of the image to 0 in the opposite one. The photodiode adds up the
    pixels with equal weight and sees the LED directly, :math:`y = \tfrac13\sum_j x_j + \beta C + .1N_Y`. So
    :math:`\Sigma_X = 11' + .25I + \beta^2bb'` and :math:`v = \mathrm{Cov}(X, \xi) = \beta^2b`. Means are 0: brightness
    is measured from its mean.

    Flips, rotations by 90 degrees and all permutations of the pixels leave the outcome alone exactly. Averaging over
    all permutations takes the confounding out of the contrasts between pixels and leaves that of their sum. Pixel
    noise does not leave the outcome alone: every pixel matters, so noise moves it and acts as shrinkage.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows.
    brightness : float, default=1.0
        β, of the LED. With 0 there is no confounding.
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal: n for C, n for s, n·9 for the texture, n for N_Y.

    Returns
    -------
    OpticalSample

    Raises
    ------
    ValueError
        If the size is below 1 or the brightness is not a finite number.

    References
    ----------
    Janzing and Schölkopf (2018), arXiv:1803.00810, whose device it is like; Akbar, Kilbertus, Shen, Muandet and Dai
    (2025), arXiv:2510.25128, who augment its images. The simulation is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_optical_like
    >>> sample = make_optical_like(n_samples=50, random_state=0)
    >>> sample.X.shape, sample.least_squares_coef[[0, -1]].round(2).tolist()
    ((50, 9), [0.82, -0.13])
    """
    n = check_integer(n_samples, "n_samples", low=1)
    beta = check_number(brightness, "brightness")
    rng = as_generator(random_state)
    led, scene = rng.standard_normal(n), rng.standard_normal(n)
    X = _SCENE_SD * scene[:, None] + _TEXTURE_SD * rng.standard_normal((n, 9)) + beta * np.outer(led, _LED_PATTERN)
    coef = np.full(9, 1 / 3)
    own = _SCENE_SD**2 * np.ones((9, 9)) + _TEXTURE_SD**2 * np.eye(9)
    return OpticalSample(
        X=X,
        y=X @ coef + beta * led + _NOISE_SD * rng.standard_normal(n),
        coef=coef,
        covariance=own + beta**2 * np.outer(_LED_PATTERN, _LED_PATTERN),
        confounding_vector=beta**2 * _LED_PATTERN,
        led=led,
    )
