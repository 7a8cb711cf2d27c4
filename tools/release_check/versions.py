"""The oldest versions that pyproject.toml promises, and the pre-releases that are to come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tools.release_check.environments import Environment, run, torch_release
from tools.release_check.project import FAST_SUITE, LEFT_OUT, OLDEST_EXTRAS, Project
from tools.release_check.report import Line

if TYPE_CHECKING:
    from tools.release_check.steps import Check

__all__ = ["newest", "oldest", "oldest_pins"]

# The oldest Python that pyproject.toml allows: old releases of numpy and scipy have no wheels for later ones.
PYTHON = "3.11"
# The package's own requirements decide; of these, pre-releases are tried.
MOVING = ("numpy", "scipy", "scikit-learn", "pandas")


def oldest_pins(project: Project, tools: Environment, folder: Path) -> Path:
    """A file of exact versions: every bound of pyproject.toml at its lowest, what they bring at its newest.

    torch is dropped from the resolution by a marker that is never true: its old releases come with gigabytes of CUDA
    libraries where no CPU build is on the index, so the release of the constraints file is installed instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "overrides.txt").write_text('torch ; sys_platform == "never"\n')
    (folder / "tools.in").write_text("\n".join(project.test_tools()) + "\n")
    pins = folder / "oldest.txt"
    extras = [word for extra in OLDEST_EXTRAS for word in ("--extra", extra)]
    command: list[str | Path] = [tools.python, "-m", "uv", "pip", "compile", "-q", "--no-header", "--no-annotate"]
    command += ["--resolution", "lowest-direct", "--python-version", PYTHON, "--override", folder / "overrides.txt"]
    command += [*extras, "--output-file", pins, project.root / "pyproject.toml", folder / "tools.in"]
    pins.unlink(missing_ok=True)
    done = run(command, folder, tools.log)
    if done.status:
        raise RuntimeError(f"the lower bounds cannot be resolved: {done.tail()}")
    release = torch_release(project.constraints.read_text())
    pins.write_text(f"{pins.read_text()}torch=={release}\n")
    return pins


def _install_oldest(check: Check, environment: Environment, line: Line) -> None:
    pins = oldest_pins(check.project, check.tools(), check.folder / "work" / "pins")
    key, wheel = check.project.key(pins.read_text()), check.wheel()
    kept = environment.prepare(key)
    version = run([environment.python, "-c", "import sys; print(*sys.version_info[:2])"], check.folder, environment.log)
    if version.output.split() != PYTHON.split("."):
        found = version.output.strip().replace(" ", ".")
        line.problems.append(
            f"the oldest versions are tried on Python {PYTHON}, and this is {found}: name one by --python"
        )
        return
    if kept:
        done = environment.pip("--no-deps", "--force-reinstall", wheel)
    else:
        done = environment.torch(torch_release(check.project.constraints.read_text()), pins)
        if done.status == 0:
            wanted = f"{wheel}[{','.join(OLDEST_EXTRAS)}]"
            done = environment.pip("-c", pins, wanted, *check.project.test_tools())
    if done.status:
        line.problems.append(done.tail())
        return
    environment.finish(key)
    wanted_versions = [row for row in pins.read_text().splitlines() if row.partition("==")[0] in (*MOVING, "torch")]
    line.counts = f"{environment.contents()}: {', '.join(wanted_versions)}"


def oldest(check: Check) -> None:
    """Install the lower bounds on this Python, and run the fast suite of the sdist with them."""
    environment = check.environment("oldest")
    with check.report.part("oldest", "install") as line:
        _install_oldest(check, environment, line)
    if not line.problems:
        with check.report.part("oldest", "suite") as line:
            folder = check.unpack()
            check.project.copy_hooks(folder)
            ignored = [f"--ignore={path}" for paths in LEFT_OUT.values() for path in paths]
            check.pytest(line, environment, folder, (*FAST_SUITE, *ignored))
            line.counts += f"; {len(ignored)} paths left out"
            with environment.log.open("a") as log:
                log.write(f"left out: {json.dumps(LEFT_OUT, indent=1)}\n")
    check.leave(environment)


def newest(check: Check) -> None:
    """Pre-releases of the core's requirements: what happens is reported and never short."""
    environment = check.environment("prerelease")
    with check.report.part("prerelease", "install", only_reported=True) as line:
        environment.remove()
        check.install(environment, "", False, line)
        if not line.problems:
            # No constraints file here: it would hold these four back.
            done = environment.pip("--pre", "--upgrade", *MOVING)
            line.problems += [done.tail()] if done.status else []
            line.counts = ", ".join(row for row in environment.frozen() if row.partition("==")[0] in MOVING)
    if not line.problems:
        check.names_and_examples("prerelease", environment, only_reported=True)
        check.contract("prerelease", environment, only_reported=True)
    # What is in it depends on the day.
    environment.remove()
