"""Loaders of real data: the Cora network, a map of household income, a small map from patient data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from causalkit.datasets.data_files import data_override, find_shipped
from causalkit.datasets.simulated_map import as_generator
from causalkit.datasets.tilting import tilt_arms
from causalkit.exceptions import DataNotFoundError

__all__ = ["load_cora", "load_diabetes_map", "load_income_map"]

INCOME_MAP_FILE = "us_income_map_91377.csv.gz"
INCOME_MAP_COLUMNS = ("income", "prediction", "lon", "lat", "test")

CORA_DESCRIPTION = """Cora citation network: 2708 machine-learning papers, 5278 undirected citation links.

nodes: node (0 to 2707), subject (7 classes), pc01 to pc20 (principal components of the binary words).
edges: source, target; each edge once, source < target.
Origin: github.com/kimiyoung/planetoid, MIT, Copyright (c) 2016 Zhilin Yang (Yang, Cohen and
Salakhutdinov 2016, arXiv:1603.08861); corpus McCallum et al. 2000, graph version Sen et al. 2008.
It holds no treatment and no outcome: every causal use of it is semi-synthetic.
"""

INCOME_MAP_DESCRIPTION = """Household income and its prediction from satellite images, contiguous United States.

91 377 points. income: US dollars, top-coded at 250 001 (American Community Survey). prediction: US
dollars, out of sample for the model on every row; 71 rows are exactly 0. lon, lat: degrees, 4 decimals.
test: 0 for 73 102 rows (used as calibration sample), 1 for 18 275 rows (used as trial).
The map is that of Rolf et al. 2021, Nature Communications 12:4392; the two columns come from the GitHub
repository Earth-Intelligence-Lab/ppi_regression, folder data/MOSAIKS, which states no licence.
It holds no treatment: arms are either made by tilting on income (the treatment then moves the prediction
only through income), or are regions (then it need not).
"""

DIABETES_DESCRIPTION = """Disease progression of 442 patients and its out-of-fold linear prediction.

Outcome and ten features: scikit-learn's bundled diabetes data (Efron, Hastie, Johnstone and Tibshirani
2004, Annals of Statistics 32:407-499). prediction: least squares on the ten features, ten folds in file
order, each row predicted by the fit on the other nine folds. Arms are drawn from a probability that
depends on the outcome alone, so the treatment moves the prediction only through the outcome.
"""


def load_cora() -> Any:
    """Load the Cora citation network.

    Returns
    -------
    sklearn.utils.Bunch
        ``nodes``, frame (2708, 22): node, subject, pc01 to pc20. ``edges``, frame (5278, 2): source,
        target. ``feature_names``, list of the twenty component columns. ``DESCR``, str.

    Raises
    ------
    DataNotFoundError
        If the shipped files are missing.

    References
    ----------
    Yang, Cohen and Salakhutdinov (2016), arXiv:1603.08861. Sen et al. (2008), AI Magazine 29(3):93-106.

    Examples
    --------
    >>> from causalkit.datasets import load_cora
    >>> cora = load_cora()
    >>> len(cora.nodes), len(cora.edges)
    (2708, 5278)
    """
    import pandas as pd
    from sklearn.utils import Bunch

    nodes = pd.read_csv(find_shipped("cora_nodes.csv"))
    edges = pd.read_csv(find_shipped("cora_edges.csv"))
    names = [name for name in nodes.columns if name.startswith("pc")]
    return Bunch(nodes=nodes, edges=edges, feature_names=names, DESCR=CORA_DESCRIPTION)


def _income_map_path(path: str | os.PathLike[str] | None) -> Path:
    named = os.environ.get("CAUSALKIT_INCOME_MAP")
    override = data_override()
    if path is not None:
        candidate, origin = Path(path).expanduser(), "path"
    elif named:
        candidate, origin = Path(named).expanduser(), "CAUSALKIT_INCOME_MAP"
    elif override is not None:
        candidate, origin = override / INCOME_MAP_FILE, "CAUSALKIT_DATA"
    else:
        candidate, origin = None, ""
    # What the user named is taken at its word: a wrong path does not fall through to the next place.
    if candidate is not None and candidate.is_file():
        return candidate
    looked = f"{candidate} (from {origin})" if candidate else "nowhere: no path given, no variable set"
    raise DataNotFoundError(
        f"The income map was not found. Looked in: {looked}. It is not shipped, because its origin states no "
        "licence: GitHub Earth-Intelligence-Lab/ppi_regression, folder data/MOSAIKS; the map is that of Rolf et al. "
        f"2021 (Nature Communications 12:4392). Save it as a CSV file with the columns {', '.join(INCOME_MAP_COLUMNS)} "
        f"and pass path=..., or name the file in CAUSALKIT_INCOME_MAP, or call it {INCOME_MAP_FILE} in the folder "
        "named by CAUSALKIT_DATA. load_diabetes_map() needs no file."
    )


def _check_income_map(frame: Any, path: Path) -> None:
    missing = [name for name in INCOME_MAP_COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{path} lacks the columns {missing}: expected {list(INCOME_MAP_COLUMNS)}, got {list(frame.columns)}."
        )
    for name in INCOME_MAP_COLUMNS:
        values = frame[name].to_numpy()
        if not np.issubdtype(values.dtype, np.number) or not np.isfinite(values).all():
            raise ValueError(f"column {name} of {path} must hold finite numbers: got text, NaN or infinity in it.")
    parts = sorted(frame["test"].unique().tolist())
    if parts != [0, 1]:
        raise ValueError(f"column test of {path} must hold both 0 (calibration) and 1 (trial), no more: got {parts}.")


def load_income_map(path: str | os.PathLike[str] | None = None) -> Any:
    """Load a map of household income with its truth, from a file that you provide.

    Parameters
    ----------
    path : str or path, optional
        The CSV file (may be gzipped). Default: the file named by ``CAUSALKIT_INCOME_MAP``, else
        ``us_income_map_91377.csv.gz`` in the folder named by ``CAUSALKIT_DATA``.

    Returns
    -------
    sklearn.utils.Bunch
        ``frame``: all rows, columns income, prediction, lon, lat, test. ``calibration``, ``trial``:
        its rows with test 0 and 1. ``calibration_predictions``, ``calibration_y``, ``predictions``,
        ``y``: the same as arrays. ``outcome_name``: ``"income"``. ``path``, ``DESCR``.

    Raises
    ------
    DataNotFoundError
        If there is no such file; it is not shipped, because its origin states no licence.
    ValueError
        If columns are missing or not numeric.

    References
    ----------
    Rolf et al. (2021), Nature Communications 12:4392.

    Examples
    --------
    >>> from causalkit.datasets import load_income_map
    >>> from causalkit.exceptions import DataNotFoundError
    >>> try:
    ...     load_income_map("no/such/file.csv.gz")
    ... except DataNotFoundError as error:
    ...     print(str(error)[:33])
    The income map was not found. Loo
    """
    import pandas as pd
    from sklearn.utils import Bunch

    found = _income_map_path(path)
    frame = pd.read_csv(found)
    _check_income_map(frame, found)
    frame = frame[list(INCOME_MAP_COLUMNS)]
    calibration = frame[frame["test"] == 0].reset_index(drop=True)
    trial = frame[frame["test"] == 1].reset_index(drop=True)
    return Bunch(
        frame=frame,
        calibration=calibration,
        trial=trial,
        calibration_predictions=calibration["prediction"].to_numpy(dtype=np.float64),
        calibration_y=calibration["income"].to_numpy(dtype=np.float64),
        predictions=trial["prediction"].to_numpy(dtype=np.float64),
        y=trial["income"].to_numpy(dtype=np.float64),
        outcome_name="income",
        path=str(found),
        DESCR=INCOME_MAP_DESCRIPTION,
    )


def load_diabetes_map(*, design: str = "smooth", random_state: Any = 0) -> Any:
    """Load a small map with its truth that needs no file: out-of-fold predictions of disease progression.

    The predictions are least squares fits on ten features, ten unshuffled folds. On these rows the slope
    of prediction on outcome is .507, of outcome on prediction .975, their squared correlation .495.
    Arms are drawn by :func:`tilt_arms`: the treatment depends on the outcome alone, so it moves the
    prediction only through the outcome, and the true contrast is known.

    Parameters
    ----------
    design : {"smooth", "rich", "poor"}, default="smooth"
        How the probability of treatment depends on the outcome; see :func:`tilt_arms`.
    random_state : int, Generator, RandomState or None, default=0
        Source of the arms and then of the split in ``frame["test"]``.

    Returns
    -------
    sklearn.utils.Bunch
        ``predictions``, ``y``, ``treatment``, ``propensity``: arrays (442,), all rows. ``effect``: the
        true contrast of arms. ``frame``: columns progression, prediction, treatment, propensity, test;
        ``test`` splits the rows at random into 221 for calibration (0) and 221 for the trial (1).
        ``features``, frame (442, 10). ``outcome_name``: ``"progression"``. ``DESCR``.

    References
    ----------
    Efron, Hastie, Johnstone and Tibshirani (2004), Annals of Statistics 32:407-499.

    Examples
    --------
    >>> from causalkit.datasets import load_diabetes_map
    >>> patients = load_diabetes_map()
    >>> patients.frame.shape
    (442, 5)
    """
    import pandas as pd
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.utils import Bunch

    source = load_diabetes(as_frame=True)
    y = source.target.to_numpy(dtype=np.float64)
    predictions = cross_val_predict(LinearRegression(), source.data.to_numpy(), y, cv=KFold(10))
    rng = as_generator(random_state)
    arms = tilt_arms(y, design=design, random_state=rng)
    test = rng.permutation(np.arange(len(y)) % 2)
    frame = pd.DataFrame(
        {
            "progression": y,
            "prediction": predictions,
            "treatment": arms.treatment,
            "propensity": arms.propensity,
            "test": test,
        }
    )
    return Bunch(
        predictions=predictions,
        y=y,
        treatment=arms.treatment,
        propensity=arms.propensity,
        effect=arms.effect,
        frame=frame,
        features=source.data,
        outcome_name="progression",
        DESCR=DIABETES_DESCRIPTION,
    )
