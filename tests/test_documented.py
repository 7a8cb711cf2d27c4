"""Links from the HTML representation of estimators to their pages."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from sklearn.linear_model import Ridge

from causalkit import LinearCalibration, documented
from tests.contract.registry import CASES

_ADDRESS = "https://docs.example.org/kit"


# Adapters of the contract are classes of the tests; what they adapt is the class before them.
_KINDS = {
    next(kind for kind in type(case.estimator).__mro__ if kind.__module__.startswith("causalkit")) for case in CASES
}


@pytest.mark.parametrize("kind", sorted(_KINDS, key=lambda kind: kind.__name__))
def test_the_link_names_a_page_of_the_reference(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSALKIT_DOCS", _ADDRESS + "/")
    link = kind._get_doc_link(object.__new__(kind))
    page = link.removeprefix(f"{_ADDRESS}/api/generated/").removesuffix(".html")
    module, _, name = page.rpartition(".")
    # The reference has one page for each name in __all__ of a package.
    assert name in import_module(module).__all__
    assert getattr(import_module(module), name) is kind


def test_the_representation_carries_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSALKIT_DOCS", _ADDRESS)
    assert f'href="{LinearCalibration()._get_doc_link()}"' in LinearCalibration()._repr_html_()


def test_no_address_no_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CAUSALKIT_DOCS", raising=False)
    monkeypatch.setattr(documented, "_BUILT", tmp_path / "html")
    assert LinearCalibration()._get_doc_link() == ""
    (tmp_path / "html").mkdir()
    assert LinearCalibration()._get_doc_link().startswith((tmp_path / "html").as_uri())


def test_classes_of_others_have_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(LinearCalibration):
        pass

    monkeypatch.setenv("CAUSALKIT_DOCS", _ADDRESS)
    assert Mine()._get_doc_link() == ""
    assert "scikit-learn.org" in Ridge()._get_doc_link()
