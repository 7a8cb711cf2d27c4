"""Real compositions: two small ones that come with statsmodels, five that the user provides as files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from causalkit.datasets.data_files import find_provided

__all__ = [
    "fetch_american_gut",
    "fetch_gemas_soil",
    "fetch_roman_glass_cups",
    "fetch_soil_otu",
    "fetch_yeast_absolute",
    "load_expenditure_shares",
    "load_school_shares",
]

DataHome = str | os.PathLike[str] | None


@dataclass(frozen=True)
class _ProvidedFile:
    filename: str
    sha256: str
    origin: str

    def read(self, data_home: DataHome, **options: Any) -> tuple[Any, str]:
        """Return the table and the path it was read from."""
        import pandas as pd

        path = find_provided(self.filename, sha256=self.sha256, origin=self.origin, data_home=data_home)
        return pd.read_csv(path, **options), str(path)


CUPS = _ProvidedFile(
    "roman_glass_cups.csv",
    "4eb387107785ab8fe02d669abecb8f45e0414eed28798f2d49a74b738190748d",
    "Origin: object cups of the R package easyCODA (0.40.2, GPL), exported with "
    'write.csv(cups, "roman_glass_cups.csv", row.names = FALSE, quote = FALSE).',
)
SOIL_COUNTS = _ProvidedFile(
    "soil_otu_89x116_counts.csv",
    "e9861a925cffa71a1e418dc5a5f162ab5c4fc747b17ca25f8d46fa0e90105f27",
    "Origin: the counts in folder data/soil/processed of the GitHub repository Vlasovets/GGLasso (MIT), with the "
    "pseudo-count of 1 that its authors added; no R package has it in this form.",
)
SOIL_PH = _ProvidedFile(
    "soil_otu_89_ph.csv",
    "33276b495273ccd7aa20ba09a791d6a3f40c7148cade38ce2a834df380d4ba44",
    "Origin: the pH table in folder data/soil/processed of the GitHub repository Vlasovets/GGLasso (MIT).",
)
AMERICAN_GUT = _ProvidedFile(
    "american_gut_289x127_counts.csv.gz",
    "8ae239ba9d724e76f6efa7f7339e8af0f656ec6d0fedcc520ac2219c3b413781",
    "Origin: object amgut1.filt of the R package SpiecEasi (GPL 3 or later), exported without row names, column names "
    "prefixed by otu.",
)
GEMAS = _ProvidedFile(
    "gemas_soil_2108x18.csv.gz",
    "cf543ef8219f7e22ce9096c4c0f4c33fa3d91c9e7bf97aa74fcda8d065e1b28e",
    "Origin: object gemas of the R package robCompositions (2.4.1, GPL 2 or later), columns COUNTRY and the 18 "
    "elements, without row names.",
)
YEAST = _ProvidedFile(
    "yeast_absolute_16x3031.csv.gz",
    "e39145db066354c968ebe8a09b9976fd5ac0f61f2364fa845453eff76732a94c",
    "Origin: object marg.abs of the R package propr (5.1.8, GPL 2), exported without row names and with 7 significant "
    "digits.",
)


def _bunch(parts: Any, path: str, description: str, **more: Any) -> Any:
    from sklearn.utils import Bunch

    return Bunch(parts=parts, part_names=list(parts.columns), path=path, DESCR=description, **more)


def fetch_roman_glass_cups(data_home: DataHome = None) -> Any:
    """Read the oxide percentages of 47 Roman glass cups, from a file that you provide; never downloads.

    Parameters
    ----------
    data_home : str or path, optional
        Folder of ``roman_glass_cups.csv``. Then the folder named by ``CAUSALKIT_DATA`` and ``shared/data``
        beside a checkout are tried.

    Returns
    -------
    sklearn.utils.Bunch
        ``parts``: frame (47, 11), Si Al Fe Mg Ca Na K Ti P Mn Sb, no zeros; Mn takes three values only, all at
        the detection limit. ``part_names``, ``path``, ``DESCR``.

    Raises
    ------
    DatasetNotFoundError
        If there is no such file, or another version of it.

    References
    ----------
    Baxter, Beardah, Cool and Jackson (2005), Mathematical Geology 37:183-196.

    Examples
    --------
    >>> from causalkit.datasets import fetch_roman_glass_cups
    >>> cups = fetch_roman_glass_cups()  # doctest: +SKIP
    """
    parts, path = CUPS.read(data_home)
    return _bunch(
        parts,
        path,
        "Oxide percentages of 47 Roman glass cups found at a site in eastern England: 11 parts, no zeros "
        "(Baxter, Beardah, Cool and Jackson 2005).",
    )


def fetch_soil_otu(data_home: DataHome = None) -> Any:
    """Read counts of 116 bacterial groups in 89 soils with the pH of each; never downloads.

    The file has a pseudo-count of 1 in every cell; it is subtracted here, which leaves 67 % zeros. Sample
    103.BB1 then has a single read: it is kept, and dropping it is left to the analyst. The pH file has
    another order of rows and is joined by sample.

    Parameters
    ----------
    data_home : str or path, optional
        Folder of ``soil_otu_89x116_counts.csv`` and ``soil_otu_89_ph.csv``. Then the folder named by
        ``CAUSALKIT_DATA`` and ``shared/data`` beside a checkout are tried.

    Returns
    -------
    sklearn.utils.Bunch
        ``parts``: frame (89, 116) of integers, indexed by sample. ``ph``: series (89,) with the same index.
        ``part_names``, ``path``, ``DESCR``.

    Raises
    ------
    DatasetNotFoundError
        If one of the files is missing or another version.

    References
    ----------
    Schaipp, Vlasovets and Müller (2021), Journal of Open Source Software 6:3865, doi:10.21105/joss.03865.

    Examples
    --------
    >>> from causalkit.datasets import fetch_soil_otu
    >>> soil = fetch_soil_otu()  # doctest: +SKIP
    """
    inflated, path = SOIL_COUNTS.read(data_home, index_col=0)
    ph, _ = SOIL_PH.read(data_home, index_col=0)
    parts = (inflated - 1).astype("int64").rename_axis("sample")
    return _bunch(
        parts,
        path,
        "16S read counts of 116 bacterial groups in 89 soils, and pH (Vlasovets/GGLasso, MIT; Schaipp, Vlasovets and "
        "Müller 2021). The pseudo-count of the file is taken out: 67 % zeros.",
        ph=ph["ph"].reindex(parts.index),
    )


def fetch_american_gut(data_home: DataHome = None) -> Any:
    """Read counts of 127 bacterial groups in 289 people, from a file that you provide; never downloads.

    Parameters
    ----------
    data_home : str or path, optional
        Folder of ``american_gut_289x127_counts.csv.gz``. Then the folder named by ``CAUSALKIT_DATA`` and
        ``shared/data`` beside a checkout are tried.

    Returns
    -------
    sklearn.utils.Bunch
        ``parts``: frame (289, 127) of integers, 31 % zeros. ``part_names``, ``path``, ``DESCR``.

    Raises
    ------
    DatasetNotFoundError
        If there is no such file, or another version of it.

    References
    ----------
    Kurtz et al. (2015), PLoS Computational Biology 11:e1004226.

    Examples
    --------
    >>> from causalkit.datasets import fetch_american_gut
    >>> gut = fetch_american_gut()  # doctest: +SKIP
    """
    parts, path = AMERICAN_GUT.read(data_home)
    return _bunch(
        parts,
        path,
        "Filtered read counts of 127 bacterial groups in 289 people of the American Gut project (Kurtz et al. 2015); "
        "31 % zeros.",
    )


def fetch_gemas_soil(data_home: DataHome = None) -> Any:
    """Read concentrations of 18 elements in 2108 European soils, from a file that you provide; never downloads.

    Parameters
    ----------
    data_home : str or path, optional
        Folder of ``gemas_soil_2108x18.csv.gz``. Then the folder named by ``CAUSALKIT_DATA`` and
        ``shared/data`` beside a checkout are tried.

    Returns
    -------
    sklearn.utils.Bunch
        ``parts``: frame (2108, 18), mg/kg, no zeros; the rows do not add up to a constant, because other elements
        were left out. ``country``: series (2108,), 33 codes, the natural clusters. ``part_names``, ``path``,
        ``DESCR``.

    Raises
    ------
    DatasetNotFoundError
        If there is no such file, or another version of it.

    References
    ----------
    Reimann, Birke, Demetriades, Filzmoser and O'Connor (2014), Chemistry of Europe's Agricultural Soils.

    Examples
    --------
    >>> from causalkit.datasets import fetch_gemas_soil
    >>> soil = fetch_gemas_soil()  # doctest: +SKIP
    """
    table, path = GEMAS.read(data_home)
    return _bunch(
        table.drop(columns="COUNTRY"),
        path,
        "Concentrations (mg/kg) of 18 elements in 2108 agricultural soils of 33 countries (GEMAS); no zeros.",
        country=table["COUNTRY"].rename("country"),
    )


def fetch_yeast_absolute(data_home: DataHome = None) -> Any:
    """Read absolute amounts of 3031 yeast transcripts in 16 samples, from a file that you provide; never downloads.

    The amounts are not closed, so what closing them changes can be seen.

    Parameters
    ----------
    data_home : str or path, optional
        Folder of ``yeast_absolute_16x3031.csv.gz``. Then the folder named by ``CAUSALKIT_DATA`` and
        ``shared/data`` beside a checkout are tried.

    Returns
    -------
    sklearn.utils.Bunch
        ``parts``: frame (16, 3031) of copies per cell, no zeros. ``part_names``, ``path``, ``DESCR``.

    Raises
    ------
    DatasetNotFoundError
        If there is no such file, or another version of it.

    References
    ----------
    Marguerat et al. (2012), Cell 151:671-683, doi:10.1016/j.cell.2012.09.019.

    Examples
    --------
    >>> from causalkit.datasets import fetch_yeast_absolute
    >>> yeast = fetch_yeast_absolute()  # doctest: +SKIP
    """
    parts, path = YEAST.read(data_home)
    return _bunch(
        parts, path, "Absolute amounts of 3031 transcripts of fission yeast in 16 samples (Marguerat et al. 2012)."
    )


def load_school_shares() -> Any:
    """Load enrolment shares by ethnicity in 303 Californian counties and districts; needs no file.

    Three of the shares are recorded, and the fourth is what is missing to 100 %. Nine rows hold a zero
    (five in ``asian``, five in ``black``), which makes them a small example of a rule for zeros;
    ``parts[(parts > 0).all(axis=1)]`` keeps the other 294.

    Returns
    -------
    sklearn.utils.Bunch
        ``parts``: frame (303, 4) of percentages, asian, black, hispanic, other. ``covariates``: frame (303, 3),
        low_income (percentage of pupils), pupil_teacher_ratio, spending (thousand dollars per pupil).
        ``part_names``, ``path`` (the data set in statsmodels), ``DESCR``.

    References
    ----------
    Gill (2000), Generalized Linear Models: A Unified Approach; ``statsmodels.datasets.star98``, public domain.

    Examples
    --------
    >>> from causalkit.datasets import load_school_shares
    >>> schools = load_school_shares()
    >>> schools.parts.shape, int((schools.parts == 0).any(axis=1).sum())
    ((303, 4), 9)
    """
    from statsmodels.datasets import star98

    table = star98.load_pandas().data
    parts = table[["PERASIAN", "PERBLACK", "PERHISP"]].set_axis(["asian", "black", "hispanic"], axis=1)
    parts = parts.assign(other=100 - parts.sum(axis=1))
    covariates = table[["LOWINC", "PTRATIO", "PERSPENK"]].set_axis(
        ["low_income", "pupil_teacher_ratio", "spending"], axis=1
    )
    return _bunch(
        parts,
        "statsmodels.datasets.star98",
        "Percentages of Asian, Black, Hispanic and other pupils in 303 Californian counties and districts, 1998.",
        covariates=covariates,
    )


def load_expenditure_shares() -> Any:
    """Load the quarterly shares of consumption, investment and government in US expenditure; needs no file.

    The three are divided by their sum, not by the gross domestic product, which also holds net exports. The
    rows are a time series, so tests for independent rows do not hold on them.

    Returns
    -------
    sklearn.utils.Bunch
        ``parts``: frame (203, 3) of shares, consumption, investment, government, indexed by quarter from
        1959Q1. ``part_names``, ``path`` (the data set in statsmodels), ``DESCR``.

    References
    ----------
    ``statsmodels.datasets.macrodata``, public domain; Federal Reserve Bank of St. Louis.

    Examples
    --------
    >>> from causalkit.datasets import load_expenditure_shares
    >>> load_expenditure_shares().parts.sum(axis=1).round(12).unique().tolist()
    [1.0]
    """
    import pandas as pd
    from statsmodels.datasets import macrodata

    table = macrodata.load_pandas().data
    amounts = table[["realcons", "realinv", "realgovt"]].set_axis(["consumption", "investment", "government"], axis=1)
    labels = [f"{int(year)}Q{int(quarter)}" for year, quarter in zip(table["year"], table["quarter"], strict=True)]
    quarters = pd.PeriodIndex(labels, freq="Q", name="quarter")
    return _bunch(
        amounts.div(amounts.sum(axis=1), axis=0).set_index(quarters),
        "statsmodels.datasets.macrodata",
        "Shares of real consumption, investment and government spending in their sum, United States, 203 quarters.",
    )
