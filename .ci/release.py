"""The parts of a release that `nox -s release` puts together: what must hold, what is written, commit and tag.

    python .ci/release.py check nd-optim 0.1.1     # says what stands in the way; changes nothing
    python .ci/release.py write nd-optim 0.1.1     # version, changelog
    python .ci/release.py record nd-optim 0.1.1    # commit and tag what was written

Nothing is pushed or uploaded.
"""

import argparse
import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
UNRELEASED = "## Unreleased"


class ReleaseError(ValueError):
    """What stands in the way of a release, and what to do about it."""


def packages(root: Path) -> list[str]:
    """Names of the packages under `root`."""
    return sorted(file.parent.name for file in root.glob("packages/*/pyproject.toml"))


def tag_of(name: str, version: str) -> str:
    """The tag of one package's release."""
    return f"{name}-v{version}"


def version_file(root: Path, name: str) -> Path:
    """The file that holds a package's version."""
    return root / "packages" / name / "src" / name.replace("-", "_") / "__about__.py"


def version_in_tree(root: Path, name: str) -> str:
    """A package's version as its `__about__.py` says."""
    text = version_file(root, name).read_text()
    found = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    if found is None:
        raise ReleaseError(f'{version_file(root, name)}: expected a line __version__ = "…", found none')
    return found.group(1)


def siblings_of(root: Path, name: str) -> dict[str, Requirement]:
    """What a package declares of this repository's other packages."""
    import tomllib

    project = tomllib.loads((root / "packages" / name / "pyproject.toml").read_text())["project"]
    declared = [Requirement(line) for line in project.get("dependencies", [])]
    return {requirement.name: requirement for requirement in declared if requirement.name in packages(root)}


def released_changelog(text: str, version: str, day: dt.date) -> str:
    """The changelog with what was unreleased under `version`, and an empty section above it.

    Raises:
        ReleaseError: there is no such section, or nothing in it.
    """
    before, heading, after = text.partition(f"{UNRELEASED}\n")
    if not heading:
        raise ReleaseError(f"the changelog has no section {UNRELEASED!r}: expected one, with what is new in it")
    unreleased = re.split(r"^## ", after, maxsplit=1, flags=re.MULTILINE)[0]
    if not re.search(r"^[-*] ", unreleased, flags=re.MULTILINE):
        raise ReleaseError(f"the changelog's section {UNRELEASED!r} lists nothing: expected what is new in {version}")
    return f"{before}{UNRELEASED}\n\n## {version} ({day.isoformat()})\n{after}"


def check(root: Path, name: str, version: str) -> None:
    """Hold a release against what it must meet.

    Raises:
        ReleaseError: the first thing that stands in its way.
    """
    if name not in packages(root):
        raise ReleaseError(f"{name!r} is no package of this repository; they are {', '.join(packages(root))}")
    try:
        new = Version(version)
    except InvalidVersion as error:
        raise ReleaseError(f"{version!r} is no version: expected one such as 0.2.0") from error
    if changed := git(root, "status", "--porcelain"):
        raise ReleaseError(f"the tree is not clean; commit or remove first:\n{changed}")
    branch = git(root, "rev-parse", "--abbrev-ref", "HEAD")
    if branch != "main":
        raise ReleaseError(f"releases are made on main, and this is {branch}")
    tags = git(root, "tag", "--list", tag_of(name, "*")).split()
    released = sorted(Version(tag.removeprefix(tag_of(name, ""))) for tag in tags)
    if released and new <= released[-1]:
        raise ReleaseError(f"{name} {released[-1]} was released before: {version} is not above it")
    if new < Version(version_in_tree(root, name)):
        raise ReleaseError(f"{version_file(root, name)} says {version_in_tree(root, name)}: {version} is below it")
    for sibling, requirement in siblings_of(root, name).items():
        check_sibling(root, name, sibling, requirement)
    for dependent in packages(root):
        asked = siblings_of(root, dependent).get(name)
        if asked is not None and not asked.specifier.contains(new, prereleases=True):
            raise ReleaseError(
                f"{dependent} asks for {asked}, which {version} does not meet: "
                f"widen or raise the range in packages/{dependent}/pyproject.toml first"
            )
    released_changelog(changelog_file(root, name).read_text(), version, today())


def check_sibling(root: Path, name: str, sibling: str, requirement: Requirement) -> None:
    """A package is released on siblings that are released: else what was tested is not what a user gets."""
    version = version_in_tree(root, sibling)
    if not requirement.specifier.contains(version, prereleases=True):
        raise ReleaseError(f"{name} asks for {requirement}, and the tree holds {sibling} {version}")
    tag = tag_of(sibling, version)
    if not git(root, "tag", "--list", tag):
        raise ReleaseError(f"{name} needs {sibling}, whose {version} has no tag {tag}: release {sibling} first")
    if git(root, "diff", "--name-only", tag, "HEAD", "--", f"packages/{sibling}/src"):
        raise ReleaseError(
            f"{sibling} has changed since {tag}: release it first, or {name} is tested on what is not out"
        )


def write(root: Path, name: str, version: str) -> None:
    """Put the version into `__about__.py` and date the changelog."""
    changelog = changelog_file(root, name)
    changelog.write_text(released_changelog(changelog.read_text(), version, today()))
    about = version_file(root, name)
    about.write_text(about.read_text().replace(f'"{version_in_tree(root, name)}"', f'"{version}"'))


def record(root: Path, name: str, version: str) -> str:
    """Commit what `write` and the known-good set changed, and tag it. Returns the tag."""
    tag = tag_of(name, version)
    files = [changelog_file(root, name), version_file(root, name), known_good_file(root, name, version)]
    git(root, "add", *(str(file) for file in files))
    git(root, "commit", "--quiet", "--message", f"Release {name} {version}")
    git(root, "tag", "--annotate", tag, "--message", f"{name} {version}")
    return tag


def undo(root: Path, name: str, version: str) -> None:
    """Take back what `write` did, after a failure."""
    git(root, "checkout", "--quiet", "--", str(changelog_file(root, name)), str(version_file(root, name)))
    known_good_file(root, name, version).unlink(missing_ok=True)


def changelog_file(root: Path, name: str) -> Path:
    """A package's changelog."""
    return root / "packages" / name / "CHANGELOG.md"


def known_good_file(root: Path, name: str, version: str) -> Path:
    """The versions with which a release was tested."""
    return root / "constraints" / f"{tag_of(name, version)}.txt"


def today() -> dt.date:
    """The day of a release, the same in every time zone."""
    return dt.datetime.now(tz=dt.UTC).date()


def git(root: Path, *arguments: str) -> str:
    """What a git command printed; an error where it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"git {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> int:
    """Run one step; an error is one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("check", "write", "record", "undo"))
    parser.add_argument("package")
    parser.add_argument("version")
    chosen = parser.parse_args()
    steps = {"check": check, "write": write, "record": record, "undo": undo}
    try:
        tag = steps[chosen.step](ROOT, chosen.package, chosen.version)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if tag:
        print(f"committed and tagged {tag}; `git push --follow-tags` and the upload of dist/ are yours")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
