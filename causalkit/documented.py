"""The base of every public estimator: scikit-learn's, with a link from its HTML representation to its own page."""

from __future__ import annotations

import os
from pathlib import Path

from sklearn.base import BaseEstimator

__all__ = ["DocumentedEstimator"]

_ENVIRONMENT = "CAUSALKIT_DOCS"
_BUILT = Path(__file__).resolve().parents[1] / "docs" / "_build" / "html"


def _documentation() -> str:
    """Address of the documentation, without a slash at the end; empty where there is none."""
    given = os.environ.get(_ENVIRONMENT, "")
    if given:
        return given.rstrip("/")
    return _BUILT.as_uri() if _BUILT.is_dir() else ""


class DocumentedEstimator(BaseEstimator):
    """scikit-learn's base class, whose question mark in notebooks opens the page of the estimator.

    The pages are those at the address in the environment variable ``CAUSALKIT_DOCS``, else those that ``make docs`` has
    built in the checkout; without either there is no link.

    Examples
    --------
    >>> import os
    >>> from causalkit import LinearCalibration
    >>> os.environ["CAUSALKIT_DOCS"] = "https://docs.example.org/causalkit/"
    >>> LinearCalibration()._get_doc_link()
    'https://docs.example.org/causalkit/api/generated/causalkit.debiasing.LinearCalibration.html'
    >>> del os.environ["CAUSALKIT_DOCS"]
    """

    def _get_doc_link(self) -> str:
        package, _, rest = type(self).__module__.partition(".")
        address = _documentation()
        if package != __name__.partition(".")[0] or not address:
            return ""
        return f"{address}/api/generated/{package}.{rest.partition('.')[0]}.{type(self).__name__}.html"
