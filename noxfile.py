"""Every check and chore of this repository. `nox -l` lists them; a bare `nox` runs what a change must pass.

Packages, their siblings and their test requirements are read from packages/*/pyproject.toml: a sixth package needs no
line here.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).parent
CONSTRAINTS = ROOT / "constraints" / "checks.txt"
PEERS = ("torch-brain==0.1.2", "temporaldata==0.1.6")
EVALUATORS = ("nlb-tools==0.0.4", "falcon-challenge==1.0.2", "ibl-bwb-eval==0.1.0", "edit-distance==1.0.9")
TOOLS = nox.project.load_toml(ROOT / "pyproject.toml")

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "contracts", "types", "unit", "integration", "docs"]
nox.options.error_on_missing_interpreters = True


@dataclass(frozen=True)
class Package:
    """One folder of packages/, as its pyproject.toml describes it."""

    path: Path
    project: dict
    test_requirements: tuple[str, ...]

    @property
    def module(self) -> str:
        return self.project["name"].replace("-", "_")

    @property
    def requirements(self) -> list[Requirement]:
        return [Requirement(line) for line in self.project.get("dependencies", [])]


def read_packages() -> dict[str, Package]:
    packages = {}
    for file in sorted(ROOT.glob("packages/*/pyproject.toml")):
        content = nox.project.load_toml(file)
        test = tuple(nox.project.dependency_groups(content, "test"))
        packages[content["project"]["name"]] = Package(file.parent, content["project"], test)
    return packages


PACKAGES = read_packages()


def with_siblings(name: str) -> list[str]:
    """The package and every package of this repository that it needs, directly or not."""
    found = [name]
    for wanted in found:
        found += [r.name for r in PACKAGES[wanted].requirements if r.name in PACKAGES and r.name not in found]
    return found


def group(name: str) -> list[str]:
    """The requirements of one tool group of the root pyproject.toml."""
    return list(nox.project.dependency_groups(TOOLS, name))


WHEELS: dict[str, Path] = {}


def built_wheel(session: nox.Session, name: str) -> Path:
    """One package's wheel, built once a run."""
    if name not in WHEELS:
        folder = ROOT / ".nox" / "wheels" / name
        shutil.rmtree(folder, ignore_errors=True)
        command = ("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(PACKAGES[name].path))
        session.run(*command, silent=True)
        (WHEELS[name],) = folder.glob("*.whl")
    return WHEELS[name]


def install_wheels(
    session: nox.Session,
    names: list[str],
    *more: str,
    extras: dict[str, str] | None = None,
    constraints: Path = CONSTRAINTS,
) -> None:
    """Install the built wheels of `names` with their declared requirements, and `more`, within `constraints`."""
    wheels = [str(built_wheel(session, name)) for name in names]
    wanted = [
        f"{name}[{extras[name]}] @ file://{wheel}" if extras and name in extras else wheel
        for name, wheel in zip(names, wheels, strict=True)
    ]
    session.install("-c", str(constraints), *wanted, *more)
    # A reused environment already holds this version: put today's wheel in its place.
    session.install("--no-deps", "--force-reinstall", *wheels)


# Test files on a few processes at once; one thread each, or they would wait for each other.
PARALLEL = ("-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

EVERYTHING = {"nd-train": "report,tensorboard,tables", "nd-eval": "plot,export", "nd-data": "nwb,pandas"}


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint and spelling."""
    session.install("-c", str(CONSTRAINTS), *group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("codespell")


@nox.session
def contracts(session: nox.Session) -> None:
    """Imports run one way between the packages, and only nd-train imports lightning."""
    session.install("-c", str(CONSTRAINTS), *group("contracts"))
    session.install("--no-deps", *(argument for p in PACKAGES.values() for argument in ("-e", str(p.path))))
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, over every package."""
    install_wheels(session, list(PACKAGES), *group("types"), extras=EVERYTHING)
    session.run("mypy", *(str((p.path / "src").relative_to(ROOT)) for p in PACKAGES.values()))


@nox.session
@nox.parametrize("package", list(PACKAGES), ids=list(PACKAGES))
def unit(session: nox.Session, package: str) -> None:
    """One package's tests and doctests on its built wheel, with nothing but what it declares."""
    install_wheels(session, with_siblings(package), *PACKAGES[package].test_requirements)
    run_package_tests(session, package)


@nox.session
@nox.parametrize("package", list(PACKAGES), ids=list(PACKAGES))
def lowest(session: nox.Session, package: str) -> None:
    """One package's tests with the lowest version of everything it declares."""
    names = with_siblings(package)
    bounds = {
        requirement.name: specifier.version
        for name in names
        for requirement in PACKAGES[name].requirements
        for specifier in requirement.specifier
        if specifier.operator == ">=" and requirement.name not in PACKAGES
    }
    # The test group of nd-optim and nd-eval brings NumPy, which the package itself does not declare.
    pins = [f"{name}=={version}" for name, version in sorted(bounds.items())]
    pinned = Path(session.create_tmp()) / "lowest.txt"
    pinned.write_text("\n".join(pins) + "\n")
    session.log("lowest versions: %s", ", ".join(pins))
    install_wheels(session, names, *PACKAGES[package].test_requirements, constraints=pinned)
    run_package_tests(session, package)


def run_package_tests(session: nox.Session, package: str) -> None:
    tests = PACKAGES[package].path.relative_to(ROOT) / "tests"
    arguments = ["--doctest-modules", "-m", "not gpu and not compat", *PARALLEL, *session.posargs]
    session.run("python", "-m", "pytest", str(tests), "--pyargs", PACKAGES[package].module, *arguments, env=ONE_THREAD)


@nox.session
def integration(session: nox.Session) -> None:
    """What crosses packages: the training guide, the command line, real recordings."""
    install_wheels(session, list(PACKAGES), *group("integration"), extras=EVERYTHING)
    # In the order of the files as tests-integration/conftest.py puts them.
    arguments = ["-m", "not gpu and not compat", *PARALLEL, "--no-loadscope-reorder", *session.posargs]
    session.run("python", "-m", "pytest", "tests-integration", *arguments, env=ONE_THREAD)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings as errors, and run every code block of it and of the READMEs."""
    install_wheels(session, list(PACKAGES), *group("docs"), extras=EVERYTHING)
    output = ROOT / "docs" / "_build" / "html"
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-E", "-b", "html", "docs", str(output))
    pages = [
        "docs",
        "README.md",
        "CONTRIBUTING.md",
        *(f"{p.path.relative_to(ROOT)}/README.md" for p in PACKAGES.values()),
    ]
    arguments = ["-p", "run_code_blocks", *pages, *PARALLEL, *session.posargs]
    session.run("python", "-m", "pytest", *arguments, env={"PYTHONPATH": str(ROOT / "docs"), **ONE_THREAD})
    session.log(f"open {output / 'index.html'}")


@nox.session
def compat(session: nox.Session) -> None:
    """Against temporaldata 0.1.6 and torch_brain 0.1.2, installed beside."""
    install_wheels(session, list(PACKAGES), *group("integration"), *PEERS, extras=EVERYTHING)
    # A second, independent LAMB, and the evaluators that we export to: what else they declare has no part in it, or is
    # pinned to versions of long ago.
    session.install("--no-deps", "timm==1.0.20", *EVALUATORS)
    # The peers' own deprecation warnings are theirs.
    arguments = ["-W", "default", "-m", "compat", *PARALLEL, *session.posargs]
    session.run("python", "-m", "pytest", "tests-integration/compat", *arguments, env=ONE_THREAD)


@nox.session
def compat_torch_brain_02(session: nox.Session) -> None:
    """Files against torch_brain 0.2.1, which has containers of its own; it cannot stand beside 0.1.2."""
    install_wheels(session, list(PACKAGES), *group("integration"), "torch-brain==0.2.1")
    arguments = ["-W", "default", "-m", "compat", *session.posargs]
    session.run("python", "-m", "pytest", "tests-integration/compat/test_peer_files.py", *arguments)


@nox.session
def build(session: nox.Session) -> None:
    """Each package: sdist, wheel from that sdist, clean environment, `py.typed` inside."""
    session.install("-c", str(CONSTRAINTS), *group("build"))
    output = ROOT / "dist"
    shutil.rmtree(output, ignore_errors=True)
    wheels = []
    for package in PACKAGES.values():
        session.run("python", "-m", "build", "--outdir", str(output), str(package.path), silent=True)
        (wheel,) = output.glob(f"{package.module}-*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        if f"{package.module}/py.typed" not in names:
            session.error(f"{wheel.name} holds no {package.module}/py.typed")
        if not list(output.glob(f"{package.module}-*.tar.gz")):
            session.error(f"no sdist of {package.module}")
        wheels.append(str(wheel))
    session.install("-c", str(CONSTRAINTS), *wheels)
    for package in PACKAGES.values():
        check = f"import {package.module} as m; print(m.__name__, m.__version__)"
        session.run("python", "-W", "error", "-c", check)


@nox.session
def release(session: nox.Session) -> None:
    """`-- nd-optim 0.1.1`: checks, version, changelog, known-good set, sdist and wheel, commit, tag. Pushes nothing."""
    if len(session.posargs) != 2:
        session.error("expected a package and its new version: nox -s release -- nd-optim 0.1.1")
    name, version = session.posargs
    session.install("-c", str(CONSTRAINTS), *group("build"), "nox", "packaging")
    session.run("python", ".ci/release.py", "check", name, version)
    checks = ("lint", "contracts", "types", *(f"unit({sibling})" for sibling in with_siblings(name)), "docs")
    session.run("nox", "--reuse-existing-virtualenvs", "--sessions", *checks)
    session.run("python", ".ci/release.py", "write", name, version)
    try:
        output = ROOT / "dist"
        shutil.rmtree(output, ignore_errors=True)
        session.run("python", "-m", "build", "--outdir", str(output), str(PACKAGES[name].path), silent=True)
        (wheel,) = output.glob(f"*-{version}-*.whl")
        write_known_good(session, name, version, wheel)
        session.run("python", ".ci/release.py", "record", name, version)
    except BaseException:
        session.run("python", ".ci/release.py", "undo", name, version)
        raise


def write_known_good(session: nox.Session, name: str, version: str, wheel: Path) -> None:
    """Install the wheel into an environment of its own, try it, and write down every version beside it."""
    folder = Path(session.create_tmp()) / "known-good"
    session.run("python", "-m", "venv", "--clear", str(folder))
    python = str(folder / "bin" / "python")
    siblings = [str(built_wheel(session, sibling)) for sibling in with_siblings(name) if sibling != name]
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    session.run(*pip, "install", "--quiet", "-c", str(CONSTRAINTS), str(wheel), *siblings, external=True)
    check = f"import {PACKAGES[name].module} as m; assert m.__version__ == {version!r}, m.__version__"
    # Without -W error: torch alone warns where NumPy is absent.
    session.run(python, "-c", check, external=True)
    listed = str(session.run(*pip, "list", "--format=freeze", external=True, silent=True))
    # What comes with every environment says nothing of the release, and a build's suffix is not on every index.
    pinned = [line.partition("+")[0] for line in listed.splitlines() if "==" in line]
    lines = [line for line in pinned if not line.startswith(("pip==", "setuptools=="))]
    heading = f"# {name} {version} was tested with these: pip install {name}=={version} -c this file.\n"
    (ROOT / "constraints" / f"{name}-v{version}.txt").write_text(heading + "\n".join(lines) + "\n")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure ours against the peer in one run and print ratios. Names of benchmarks as arguments choose some."""
    install_wheels(session, list(PACKAGES), *PEERS)
    chosen = session.posargs or sorted(f.stem for f in (ROOT / "benchmarks").glob("*.py"))
    for name in chosen:
        session.run("python", f"benchmarks/{name}.py")


@nox.session
def gpu(session: nox.Session) -> None:
    """What is marked `gpu`; says so plainly where there is no CUDA device."""
    if shutil.which("nvidia-smi") is None:
        session.warn("No CUDA device here (no nvidia-smi): the GPU checks ran nothing.")
        return
    install_wheels(session, list(PACKAGES), *group("integration"), extras=EVERYTHING)
    available = session.run("python", "-c", "import torch; print(torch.cuda.is_available())", silent=True)
    if "True" not in str(available):
        session.warn("torch sees no CUDA device: the GPU checks ran nothing.")
        return
    tests = [str(p.path.relative_to(ROOT) / "tests") for p in PACKAGES.values()]
    session.run("python", "-m", "pytest", "-m", "gpu", *tests, "tests-integration", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """The report card in headless Chromium (Debian: `apt-get install chromium`; ND_BROWSER names another)."""
    install_wheels(session, list(PACKAGES), *PACKAGES["nd-train"].test_requirements, "playwright", extras=EVERYTHING)
    session.run("python", "-m", "pytest", "packages/nd-train/tests/report", *session.posargs)


@nox.session
def quickstart(session: nox.Session) -> None:
    """Simulate, train and evaluate a decoder; `-- --data PATH --config FILE` trains on your own recordings."""
    install_wheels(session, list(PACKAGES), extras=EVERYTHING)
    session.run("nd-train", "quickstart", *session.posargs)


@nox.session
def dev(session: nox.Session) -> None:
    """An environment to work in: every package editable, every tool."""
    editable = []
    for name, package in PACKAGES.items():
        extra = f"[{EVERYTHING[name]}]" if name in EVERYTHING else ""
        editable += ["-e", f"{package.path}{extra}"]
    groups = ("lint", "contracts", "types", "integration", "docs", "build")
    tools = [line for name in groups for line in group(name)]
    tests = [line for package in PACKAGES.values() for line in package.test_requirements]
    session.install("-c", str(CONSTRAINTS), *editable, *tools, *tests)
    session.log(f"activate with: source {session.virtualenv.location}/bin/activate")
