"""Sphinx configuration. The build is offline: no intersphinx, no remote fonts or scripts, MathJax from a package."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from api_pages import is_own_method, write_api_pages  # noqa: E402

import causalkit  # noqa: E402

if TYPE_CHECKING:
    from sphinx.application import Sphinx

matplotlib.use("Agg")

project = "causalkit"
author = "The causalkit developers"
copyright = author
version = release = causalkit.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
]
templates_path = ["_templates"]
# The gallery's tables of run times load scripts from the network.
exclude_patterns = ["_build", "**/sg_execution_times.rst", "sg_execution_times.rst"]
# The gallery's configuration holds values that Sphinx cannot compare between two builds.
suppress_warnings = ["config.cache"]
toc_object_entries_show_parents = "hide"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
python_maximum_signature_line_length = 88

# --- API reference ---
# The pages are named, because a build that continues an earlier one would not look into new ones.
autosummary_generate = write_api_pages(HERE / "api" / "generated")
autosummary_context = {"is_own_method": is_own_method}
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

# --- gallery: every tutorial is executed by the build and offered as a script and as a notebook ---
sphinx_gallery_conf = {
    "examples_dirs": [str(HERE.parent / "tutorials")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/[a-z].*\.py",
    "ignore_pattern": r"__init__\.py|/_.*\.py",
    "doc_module": ("causalkit",),
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "min_reported_time": 5,
    "image_scrapers": ("matplotlib",),
    "image_srcset": ["2x"],
    "ignore_repr_types": r"matplotlib\..*",
}

# --- appearance ---
html_theme = "pydata_sphinx_theme"
html_title = "causalkit"
html_static_path = ["_static"]
html_css_files = ["causalkit.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options: dict[str, Any] = {
    "logo": {"text": "causalkit"},
    "navbar_align": "left",
    "navbar_center": ["navbar-nav"],
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc", "sg_download_links"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"start": [], "changelog": []}

# --- maths: one script file; SVG output carries its glyphs with it and takes the colour of the text ---
MATHJAX_FILE = "tex-svg.js"
mathjax_path = f"mathjax/{MATHJAX_FILE}"
mathjax3_config = {
    "options": {"enableMenu": False},
    "svg": {"fontCache": "global"},
}


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy the one MathJax file that the pages load; the package holds 24 MB of others."""
    if exception is not None or app.builder.format != "html":
        return
    spec = find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("The documentation needs sphinx-mathjax-offline: pip install -e '.[docs]'.")
    target = Path(app.outdir) / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy2(Path(spec.origin).parent / "static" / "mathjax" / MATHJAX_FILE, target)


def setup(app: Sphinx) -> None:
    """Join the copying of MathJax to the end of the build."""
    app.connect("build-finished", copy_mathjax)
