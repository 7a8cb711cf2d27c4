"""One page of the API reference per module, from the names in its ``__all__``."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

from jinja2 import pass_context

# The order of the reference. A new public module joins by one line: name, title, what it is for.
MODULES = [
    (
        "causalkit.debiasing",
        "Debiasing",
        "Outcomes that are predictions of a model: calibrate them on a labelled sample, correct the effect, and "
        "carry the noise of the calibration into the interval.",
    ),
    (
        "causalkit.composition",
        "Composition",
        "Columns that are parts of a whole: transforms, zeros, partial correlations of log-ratios with tests, and "
        "sparse networks.",
    ),
    (
        "causalkit.augmentation",
        "Augmentation",
        "Transformations that leave the outcome alone, and hidden confounding: IV-like regression, diagnostics and "
        "bounds, real instruments.",
    ),
    (
        "causalkit.augmentation.augmenters",
        "Augmenters",
        "Transformations of rows as objects, for tables, sparse rows and images.",
    ),
    (
        "causalkit.rewards",
        "Rewards",
        "What logged content is worth, net of the known confounders of its outcome: adjusted rewards with intervals, "
        "diagnostics, sensitivity, preference pairs, reward functions.",
    ),
    (
        "causalkit.graph",
        "Graphs",
        "Units that are nodes of a network: effects for each node and on average, of own and of neighbours' "
        "treatments; graphs with ids, features of neighbourhoods, networks that pass messages, folds that respect "
        "edges, exposure mappings and contrasts of network experiments.",
    ),
    (
        "causalkit.extrapolation",
        "Extrapolation",
        "Interventions beyond the data: coordinates of the features on which actions act linearly, control functions, "
        "dose curves with intervals, and how far the data reach.",
    ),
    (
        "causalkit.selection",
        "Selection",
        "Measures that rank estimates, scores and models by what they are used for.",
    ),
    (
        "causalkit.inference",
        "Inference",
        "Results that outlive their estimator, and covariances that respect dependence between rows.",
    ),
    ("causalkit.plotting", "Displays", "Figures of estimators and results; matplotlib is loaded when one is drawn."),
    ("causalkit.datasets", "Data sets", "Shipped data, fetchers, and simulated designs that return their truth."),
    ("causalkit.crossfit", "Cross-fitting", "Out-of-fold predictions for any nuisance model."),
    (
        "causalkit.nn",
        "Networks",
        "What the neural estimators share: one training loop, devices, seeds; torch is loaded when one is fitted.",
    ),
    ("causalkit.linear", "Linear fits", "Weighted least squares and linear moment equations with influence values."),
    ("causalkit.persistence", "Saving and loading", "Files without pickle: reading one never runs code."),
    ("causalkit.validation", "Validation", "The checks that every estimator runs on its input before any work."),
    ("causalkit.exceptions", "Errors and warnings", "Every named error and warning."),
]

# Methods of scikit-learn that a class may override without saying anything new about them.
_SKLEARN_METHODS = {
    "get_metadata_routing",
    "get_params",
    "set_params",
    "set_output",
    "fit_transform",
}


@pass_context
def is_own_method(context: Any, name: str) -> bool:
    """Tell the methods that a class of this package documents from those that scikit-learn supplies.

    The docstrings of the latter link to pages of scikit-learn, which do not exist here.
    """
    routed = name.startswith("set_") and name.endswith("_request")
    if name.startswith("_") or routed or name in _SKLEARN_METHODS:
        return False
    documented = getattr(import_module(context["module"]), context["objname"])
    origin = next((base for base in documented.__mro__ if name in vars(base)), documented)
    return not origin.__module__.startswith("sklearn.")


def _public_names(module_name: str) -> tuple[list[str], list[str]]:
    """Classes and functions of a module, in the order of its ``__all__``."""
    module = import_module(module_name)
    classes: list[str] = []
    functions: list[str] = []
    for name in getattr(module, "__all__", []):
        value = getattr(module, name)
        if inspect.isclass(value):
            classes.append(name)
        elif callable(value):
            functions.append(name)
    return classes, functions


def _block(title: str, names: list[str]) -> str:
    if not names:
        return ""
    listing = "\n".join(f"   {name}" for name in names)
    return f"{title}\n{'-' * len(title)}\n\n.. autosummary::\n   :toctree: .\n   :nosignatures:\n\n{listing}\n\n"


def _page(module_name: str, title: str, purpose: str) -> str:
    classes, functions = _public_names(module_name)
    kind = "By name" if module_name.endswith("exceptions") else "Classes"
    head = f"{title}\n{'=' * len(title)}\n\n``{module_name}``: {purpose[0].lower()}{purpose[1:]}\n\n"
    return f"{head}.. currentmodule:: {module_name}\n\n{_block(kind, classes)}{_block('Functions', functions)}"


def write_api_pages(folder: Path) -> list[str]:
    """Write the module pages and their overview; files whose text is unchanged keep their time stamp.

    Returns the paths of the module pages, relative to the documentation's root.
    """
    folder.mkdir(parents=True, exist_ok=True)
    toctree = ".. toctree::\n   :hidden:\n\n"
    overview = ""
    pages: list[str] = []
    kept: set[str] = set()
    for module_name, title, purpose in MODULES:
        _write(folder / f"module.{module_name}.rst", _page(module_name, title, purpose))
        pages.append(f"api/generated/module.{module_name}.rst")
        document = f"generated/module.{module_name}"
        names = [name for kind in _public_names(module_name) for name in kind]
        links = ", ".join(f":obj:`~{module_name}.{name}`" for name in names)
        toctree += f"   {document}\n"
        overview += f":doc:`{title} <{document}>`\n    {purpose}\n\n    {links}\n\n"
        kept |= {f"module.{module_name}.rst", *(f"{module_name}.{name}.rst" for name in names)}
    _write(folder / "modules.txt", f"{toctree}\n{overview}")
    # A page whose name is gone would stand outside every table of contents, which is a warning.
    for stale in {path.name for path in folder.glob("*.rst")} - kept:
        (folder / stale).unlink()
    return pages


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
