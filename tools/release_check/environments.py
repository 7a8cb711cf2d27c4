"""Virtual environments of the check: made, reused while their requirements stay the same, measured, removed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Environment", "Outcome", "clean_variables", "run", "torch_release"]

# What would let a run see the checkout, another environment or the data of this machine.
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CAUSALKIT_DATA", "CAUSALKIT_CACHE", "MAKEFLAGS", "PYTEST_ADDOPTS")
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CPU_INDEX = os.environ.get("TORCH_CPU_INDEX", "https://download.pytorch.org/whl/cpu")


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of a command."""

    status: int
    output: str

    def tail(self, lines: int = 3) -> str:
        """The last lines with text, on one line."""
        return " | ".join([line.strip() for line in self.output.splitlines() if line.strip()][-lines:])[-400:]


def clean_variables() -> dict[str, str]:
    """This process's variables without those that lead back to the checkout; one thread for linear algebra."""
    variables = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    return {**variables, "PYTHONNOUSERSITE": "1", **dict.fromkeys(ONE_THREAD, "1")}


def run(command: Sequence[str | Path], folder: Path, log: Path, timeout: float = 3600) -> Outcome:
    """Run a command in a folder with clean variables; its output also goes to the end of a log."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=clean_variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        outcome = Outcome(done.returncode, done.stdout)
    except subprocess.TimeoutExpired:
        outcome = Outcome(124, f"stopped after {timeout:.0f} s: {' '.join(words)}")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"$ {' '.join(words)}\n{outcome.output}\n-> {outcome.status}\n")
    return outcome


def torch_release(constraints: str) -> str:
    """The release of torch in a constraints file, without a local build tag.

    Raises
    ------
    ValueError
        If the file has none: without it pip takes the newest build, with several GB of CUDA libraries on Linux.
    """
    found = re.search(r"^torch==([\w.]+)", constraints, flags=re.MULTILINE)
    if found is None:
        raise ValueError("constraints.txt has no line torch==VERSION; add one, so that the CPU build can be asked for.")
    return found.group(1)


@dataclass(frozen=True)
class Environment:
    """A virtual environment in a folder, with the Python that made it."""

    folder: Path
    base_python: str
    log: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def prepare(self, key: str) -> bool:
        """Make it, unless it was finished for the same key; True if it is there already."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        mark = self.folder / "made-for"
        if mark.exists() and mark.read_text() == digest:
            return True
        self.remove()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        made = run([self.base_python, "-m", "venv", "--without-pip", self.folder], self.folder.parent, self.log)
        if made.status:
            raise RuntimeError(f"{self.base_python} -m venv failed: {made.tail()}")
        return False

    def finish(self, key: str) -> None:
        """Note for which key it was made, so that it can be reused."""
        (self.folder / "made-for").write_text(hashlib.sha256(key.encode()).hexdigest())

    def pip(self, *arguments: str | Path) -> Outcome:
        """Install into it, by the pip of the Python that made it: it holds nothing that was not asked for."""
        return self._pip("install", "-q", "--no-compile", *arguments)

    def _pip(self, *arguments: str | Path) -> Outcome:
        command: list[str | Path] = [self.base_python, "-m", "pip", "--python", self.python]
        return run([*command, "--disable-pip-version-check", *arguments], self.folder, self.log)

    def torch(self, release: str, constraints: Path) -> Outcome:
        """Install torch: where there is no GPU on Linux the CPU build, which is a tenth of the other."""
        if platform.system() != "Linux" or shutil.which("nvidia-smi"):
            return self.pip("-c", constraints, f"torch=={release}")
        cpu = f"torch=={release}+cpu"
        outcome = self.pip("-c", constraints, cpu)
        if outcome.status == 0:
            return outcome
        return self.pip("--retries", "1", "--timeout", "30", "--extra-index-url", CPU_INDEX, "-c", constraints, cpu)

    def frozen(self) -> list[str]:
        """Its packages with their versions."""
        return [line for line in self._pip("list", "--format=freeze").output.splitlines() if "==" in line]

    def contents(self) -> str:
        """How many packages it has and how large they are."""
        size = sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file()) / 1e6
        return f"{len(self.frozen())} packages, {size:.0f} MB"

    def remove(self) -> None:
        """Delete its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
