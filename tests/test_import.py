"""What ``import causalkit`` loads and costs, and that its public names exist."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import causalkit

HEAVY = ("torch", "torch_geometric", "econml", "pyro", "matplotlib")

_TIMED = """
import json, sys
from time import perf_counter
start = perf_counter()
import numpy, scipy, scipy.stats, sklearn, sklearn.base
basis = perf_counter()
import causalkit
print(json.dumps({"basis": basis - start, "own": perf_counter() - basis, "modules": sorted(sys.modules)}))
"""


def _run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_is_light_and_quick():
    runs = [json.loads(_run(_TIMED)) for _ in range(3)]
    for run in runs:
        loaded = {name.partition(".")[0] for name in run["modules"]}
        assert "causalkit" in loaded
        assert not loaded.intersection(HEAVY)
    assert min(run["own"] for run in runs) < 0.3


def test_import_alone_is_light():
    """Without scikit-learn loaded beforehand, and with pandas left for its first use."""
    loaded = set(json.loads(_run("import json, sys, causalkit; print(json.dumps(sorted(sys.modules)))")))
    assert not loaded.intersection({*HEAVY, "pandas"})


def test_names_of_every_family_are_light():
    """Using the public names, and not only importing the package, loads no heavy package either."""
    code = (
        "import json, sys, causalkit\nfor name in causalkit.__all__:\n    getattr(causalkit, name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    assert not set(json.loads(_run(code))).intersection(HEAVY)


def test_import_changes_no_settings():
    code = """
import importlib.util, json, logging, random, threading, warnings
import numpy as np, sklearn, sklearn.base, scipy.stats
if importlib.util.find_spec("rich"):  # scikit-learn loads it where it is installed, and it draws from random once
    import rich.style
def state():
    return [repr(warnings.filters), repr(np.random.get_state()), repr(random.getstate()), repr(np.geterr()),
            repr(np.get_printoptions()), repr(sklearn.get_config()), repr(logging.getLogger().handlers),
            sorted(t.name for t in threading.enumerate())]
before = state()
import causalkit
for name in causalkit.__all__:
    getattr(causalkit, name)
print(json.dumps([a == b for a, b in zip(before, state())]))
"""
    assert json.loads(_run(code)) == [True] * 8


@pytest.mark.parametrize("name", causalkit.__all__)
def test_public_name_resolves(name):
    value = getattr(causalkit, name)
    assert name in dir(causalkit)
    assert getattr(value, "__name__", "").rpartition(".")[2] == name
    assert value.__doc__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'causalkit' has no attribute 'nonsense'"):
        causalkit.nonsense  # noqa: B018


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert causalkit.__version__ == version("causalkit")
