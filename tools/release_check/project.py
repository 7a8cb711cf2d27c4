"""What the checkout says about itself: extras, test tools, files for a run outside, and the fast suite."""

from __future__ import annotations

import re
import shutil
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = [
    "CONTRACT",
    "CONTRACT_OF_EXTRAS",
    "EXTRAS",
    "FAST_SUITE",
    "LEFT_OUT",
    "OLDEST_EXTRAS",
    "WITH_TORCH",
    "Project",
]

# One environment each; "all" brings every one of them but trl.
EXTRAS = ("torch", "graph", "bayes", "econml", "plot", "text", "trl", "all")
# Extras that bring torch, which is installed first and pinned.
WITH_TORCH = {"torch", "graph", "bayes", "text", "trl", "all"}
# What the tests import; the rest of the extra `test` serves style and types.
TEST_TOOLS = ("pytest", "pytest-xdist", "hypothesis", "polars", "pyarrow", "dask", "hatchling")

CONTRACT = ("tests/contract",)
# In the environments of single extras, which have the same versions as the others: scikit-learn's checks and the fresh
# process per estimator take most of the time, and run without extras and with all of them.
CONTRACT_OF_EXTRAS = (
    *CONTRACT,
    "--ignore=tests/contract/test_sklearn_checks.py",
    "-k",
    "not fresh_process",
)
# trl raises the bound of transformers, and what it serves is left out of the fast suite.
OLDEST_EXTRAS = ("torch", "graph", "bayes", "econml", "plot", "text")
FAST_SUITE = ("tests", "-m", "not slow and not gpu")
# What the run with the oldest versions leaves out, by reason: it has to stay short on one core.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "networks are trained, by the one release of torch that every other step has": (
        "tests/nn",
        "tests/augmentation/test_net.py",
        "tests/augmentation/test_net_failures.py",
        "tests/extrapolation/test_autoencoders.py",
        "tests/extrapolation/test_neural_stage.py",
        "tests/graph/test_encoders.py",
        "tests/graph/test_pool.py",
        "tests/rewards/test_trl_trainers.py",
    ),
    "chapters and tables are made of calls that other files try": (
        "tests/test_demo.py",
        "tests/test_demo_augmentation.py",
        "tests/test_demo_composition.py",
        "tests/test_demo_extrapolation.py",
        "tests/test_demo_graph.py",
        "tests/test_demo_rewards.py",
        "tests/test_benchmarks.py",
        "tests/test_benchmarks_augmentation.py",
        "tests/test_benchmarks_extrapolation.py",
        "tests/test_benchmarks_graph.py",
        "tests/test_benchmarks_rewards.py",
    ),
    "the checks, and which of them are expected to fail, are those of the tested scikit-learn": (
        "tests/contract/test_sklearn_checks.py",
    ),
}


@dataclass(frozen=True)
class Project:
    """A checkout (or an unpacked sdist) by its root folder."""

    root: Path

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The content of ``pyproject.toml``."""
        return tomllib.loads((self.root / "pyproject.toml").read_text())

    @cached_property
    def extras(self) -> dict[str, list[str]]:
        """Requirements by extra."""
        return self.settings["project"]["optional-dependencies"]

    @property
    def constraints(self) -> Path:
        """The file of exact versions."""
        return self.root / "constraints.txt"

    def test_tools(self) -> list[str]:
        """Requirements of the tests themselves, with the bounds of the extra ``test``."""
        return [line for line in self.extras["test"] if re.split(r"[<>=\[ ]", line)[0] in TEST_TOOLS]

    def key(self, *more: str) -> str:
        """What an environment depends on."""
        return "\n".join([(self.root / "pyproject.toml").read_text(), self.constraints.read_text(), *more])

    def copy_contract(self, folder: Path) -> None:
        """A folder with the contract tests, the hooks that count, and pytest's settings; without the package."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(self.root / "tests" / "contract", folder / "tests" / "contract", ignore=ignored)
        for name in ("__init__.py", "clusters.py"):
            shutil.copy(self.root / "tests" / name, folder / "tests")
        shutil.copy(self.root / "pyproject.toml", folder)
        self.copy_hooks(folder)

    def copy_hooks(self, folder: Path) -> None:
        """The files that run inside an environment."""
        for name in ("public_api.py", "conftest.py"):
            shutil.copy(Path(__file__).parent / "inside" / name, folder)
