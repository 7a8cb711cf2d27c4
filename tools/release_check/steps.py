"""The steps: build, one environment without and one with each extra, oldest versions, pre-releases."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.release_check.archives import different_entries, sdist_problems, wheel_problems
from tools.release_check.environments import Environment, Outcome, run, torch_release
from tools.release_check.project import CONTRACT, CONTRACT_OF_EXTRAS, EXTRAS, WITH_TORCH, Project
from tools.release_check.report import Line, Report, describe_api, describe_tests
from tools.release_check.versions import newest, oldest

__all__ = ["STEPS", "Check"]

STEPS = ("build", "core", *EXTRAS, "oldest", "prerelease")
WITH_WHOLE_CONTRACT = {"core", "all", "prerelease"}


@dataclass
class Check:
    """A run of the steps: where the checkout is, where to work, and what to keep.

    Attributes
    ----------
    project : Project
        The checkout.
    folder : Path
        Outside the checkout: environments, archives, logs.
    base_python : str
        The Python that makes the environments.
    keep : bool
        Keep environments for the next run instead of removing each when its step is over.
    quick : bool
        Leave out the contract tests in the environments of single extras.
    report : Report
        Lines so far.
    """

    project: Project
    folder: Path
    base_python: str
    keep: bool
    quick: bool
    report: Report

    def step(self, name: str) -> None:
        """Run one step by its name."""
        actions: dict[str, Callable[[], None]] = {
            "build": self.build,
            "oldest": lambda: oldest(self),
            "prerelease": lambda: newest(self),
        }
        actions.get(name, lambda: self.extra(name))()

    def log(self, step: str) -> Path:
        """The file that gets all output of a step."""
        return self.folder / "logs" / f"{step}.txt"

    def environment(self, name: str) -> Environment:
        """The environment of a step."""
        return Environment(self.folder / "environments" / name, self.base_python, self.log(name))

    def leave(self, environment: Environment) -> None:
        """Remove an environment unless environments are kept."""
        if not self.keep:
            environment.remove()

    # ------------------------------------------------------------------ build

    @property
    def archives(self) -> Path:
        """Where wheel and sdist are built."""
        return self.folder / "dist"

    def wheel(self) -> Path:
        """The wheel of the step ``build``."""
        found = sorted(self.archives.glob("*.whl"))
        if not found:
            raise RuntimeError(f"there is no wheel in {self.archives}: run the step build, too")
        return found[0]

    def tools(self) -> Environment:
        """The environment with what builds and resolves: the extra ``release``."""
        environment, key = self.environment("tools"), self.project.key("tools")
        if not environment.prepare(key):
            required = environment.pip("-c", self.project.constraints, *self.project.extras["release"])
            if required.status:
                raise RuntimeError(f"the extra release could not be installed: {required.tail()}")
            environment.finish(key)
        return environment

    def unpack(self) -> Path:
        """The sdist as a folder."""
        target = self.folder / "sdist"
        shutil.rmtree(target, ignore_errors=True)
        with tarfile.open(next(self.archives.glob("*.tar.gz"))) as archive:
            archive.extractall(target, filter="data")
        return next(target.iterdir())

    def build(self) -> None:
        """Wheel and sdist of the checkout, their contents, and the wheel that the sdist builds."""
        log = self.log("build")
        with self.report.part("build", "archives") as line:
            shutil.rmtree(self.archives, ignore_errors=True)
            python = self.tools().python
            for kind in ("--wheel", "--sdist"):
                command: list[str | Path] = [python, "-m", "build", kind, "--outdir", self.archives, self.project.root]
                done = run(command, self.folder, log)
                line.problems += [f"build {kind}: {done.tail()}"] if done.status else []
            names = sorted(path.name for path in self.archives.glob("causalkit-*"))
            sizes = [f"{name} {(self.archives / name).stat().st_size / 1e6:.1f} MB" for name in names]
            line.counts = ", ".join(sizes)
        if line.problems:
            return
        with self.report.part("build", "contents") as line:
            sdist = next(self.archives.glob("*.tar.gz"))
            line.problems += wheel_problems(self.wheel(), self.project.root, set(self.project.extras))
            line.problems += sdist_problems(sdist, self.project.root)
        with self.report.part("build", "rebuild") as line:
            again = self.folder / "dist-of-sdist"
            shutil.rmtree(again, ignore_errors=True)
            done = run([python, "-m", "build", "--wheel", "--outdir", again, self.unpack()], self.folder, log)
            if done.status:
                line.problems.append(f"the sdist does not build: {done.tail()}")
            else:
                different = different_entries(self.wheel(), next(again.glob("*.whl")))
                line.problems += [f"differs in the wheel of the sdist: {name}" for name in different]
                line.counts = "the sdist builds the same wheel" if not different else ""

    # ------------------------------------------------------------------ environments at the tested versions

    def extra(self, name: str) -> None:
        """The wheel with one extra (none for ``core``), at the versions of the constraints file."""
        environment = self.environment(name)
        with self.report.part(name, "install") as line:
            self.install(environment, "" if name == "core" else f"[{name}]", name in WITH_TORCH, line)
        if not line.problems:
            self.names_and_examples(name, environment)
            if name in WITH_WHOLE_CONTRACT or not self.quick:
                self.contract(name, environment)
        self.leave(environment)

    def install(self, environment: Environment, extra: str, torch: bool, line: Line) -> None:
        """Make the environment, or put the new wheel into a kept one."""
        constraints, key = self.project.constraints, self.project.key(extra)
        wheel = self.wheel()
        if environment.prepare(key):
            done = environment.pip("--no-deps", "--force-reinstall", wheel)
            line.counts = "kept environment, "
        else:
            done = Outcome(0, "")
            if torch:
                done = environment.torch(torch_release(constraints.read_text()), constraints)
            if done.status == 0:
                done = environment.pip("-c", constraints, f"{wheel}{extra}")
        if done.status:
            line.problems.append(done.tail())
            return
        line.counts += environment.contents()
        if any(package.startswith("nvidia-") for package in environment.frozen()):
            line.problems.append("CUDA libraries came along: torch was not the build that the constraints name")
        environment.finish(key)

    def names_and_examples(self, step: str, environment: Environment, only_reported: bool = False) -> None:
        """Import every public name and run the docstring examples."""
        with self.report.part(step, "examples", only_reported) as line:
            folder = self.folder / "work" / f"{step}-examples"
            folder.mkdir(parents=True, exist_ok=True)
            self.project.copy_hooks(folder)
            done = run([environment.python, "public_api.py", self.project.root], folder, self.log(step))
            last = done.output.strip().splitlines()[-1:] or [""]
            if done.status or not last[0].startswith("{"):
                line.problems.append(done.tail())
                return
            found = json.loads(last[0])
            line.counts, line.problems = describe_api(found), found["failures"]
            if not found["examples"]:
                line.problems.append("no example was run")

    def contract(self, step: str, environment: Environment, only_reported: bool = False) -> None:
        """The contract tests in a folder of their own, with the test tools added."""
        with self.report.part(step, "contract", only_reported) as line:
            tools = environment.pip("-c", self.project.constraints, *self.project.test_tools())
            if tools.status:
                line.problems.append(tools.tail())
                return
            folder = self.folder / "work" / step
            self.project.copy_contract(folder)
            selection = CONTRACT if step in WITH_WHOLE_CONTRACT else CONTRACT_OF_EXTRAS
            self.pytest(line, environment, folder, selection)

    def pytest(self, line: Line, environment: Environment, folder: Path, selection: tuple[str, ...]) -> None:
        """Run pytest in a folder that has the hooks that count, and put the counts into a line."""
        command = [str(environment.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=15"]
        counts = folder / "counts.json"
        counts.unlink(missing_ok=True)
        done = run([*command, *selection], folder, environment.log)
        if not counts.exists():
            line.problems.append(done.tail())
            return
        found = json.loads(counts.read_text())
        line.counts = describe_tests(found["outcomes"], found["deselected"])
        line.problems += [f"failed: {name}" for name in found["failures"]]
        if done.status and not line.problems:
            line.problems.append(done.tail())
