"""What `nox -s release` checks and writes, on small repositories made for it."""

import datetime as dt
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("packaging")
DAY = dt.date(2026, 11, 22)


@pytest.fixture(scope="module")
def release() -> ModuleType:
    file = Path(__file__).parents[1] / ".ci" / "release.py"
    specification = importlib.util.spec_from_file_location("release_steps", file)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def add_package(root: Path, name: str, *needs: str) -> None:
    folder = root / "packages" / name
    source = folder / "src" / name.replace("-", "_")
    source.mkdir(parents=True)
    (source / "__about__.py").write_text('"""Version."""\n\n__version__ = "0.1.0"\n')
    lines = ", ".join(f'"{need}"' for need in needs)
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\ndependencies = [{lines}]\n')
    (folder / "CHANGELOG.md").write_text(f"# Changelog of {name}\n\n## Unreleased\n\n### Added\n\n- Everything.\n")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    add_package(tmp_path, "base")
    add_package(tmp_path, "top", "base>=0.1,<0.2", "numpy>=2")
    (tmp_path / "constraints").mkdir()
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "config", "user.name", "A")
    git(tmp_path, "config", "user.email", "a@example.org")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Start")
    return tmp_path


def release_package(release: ModuleType, root: Path, name: str, version: str) -> str:
    release.check(root, name, version)
    release.write(root, name, version)
    release.known_good_file(root, name, version).write_text("numpy==2.0\n")
    return release.record(root, name, version)


def test_a_release_is_one_commit_with_version_changelog_known_good_set_and_tag(release, repository):
    assert release_package(release, repository, "base", "0.1.1") == "base-v0.1.1"
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "describe", "--exact-match") == "base-v0.1.1"
    changed = git(repository, "diff", "--name-only", "HEAD~1", "HEAD").split()
    assert changed == [
        "constraints/base-v0.1.1.txt",
        "packages/base/CHANGELOG.md",
        "packages/base/src/base/__about__.py",
    ]
    assert release.version_in_tree(repository, "base") == "0.1.1"


def test_a_changelog_keeps_every_line_and_gets_an_empty_section_for_what_comes(release):
    text = "# Changelog\n\n## Unreleased\n\n- New.\n\n## 0.1.0 (2026-01-01)\n\n- Old.\n"
    released = release.released_changelog(text, "0.1.1", DAY)
    expected = "# Changelog\n\n## Unreleased\n\n## 0.1.1 (2026-11-22)\n\n- New.\n\n## 0.1.0 (2026-01-01)\n\n- Old.\n"
    assert released == expected


@pytest.mark.parametrize("text", ["# Changelog\n", "## Unreleased\n\n### Added\n\n## 0.1.0\n\n- Old.\n"])
def test_a_release_without_anything_new_is_refused(release, text):
    with pytest.raises(release.ReleaseError, match="Unreleased"):
        release.released_changelog(text, "0.1.1", DAY)


def test_a_changed_tree_is_refused(release, repository):
    (repository / "left_over.txt").write_text("x")
    with pytest.raises(release.ReleaseError, match=r"not clean.*\n.*left_over.txt"):
        release.check(repository, "base", "0.1.1")


def test_another_branch_is_refused(release, repository):
    git(repository, "checkout", "--quiet", "-b", "experiment")
    with pytest.raises(release.ReleaseError, match="main, and this is experiment"):
        release.check(repository, "base", "0.1.1")


@pytest.mark.parametrize(("version", "reason"), [("0.1.1", "not above"), ("0.1.0", "not above"), ("one", "no version")])
def test_a_version_must_be_one_and_above_the_last(release, repository, version, reason):
    release_package(release, repository, "base", "0.1.1")
    with pytest.raises(release.ReleaseError, match=reason):
        release.check(repository, "base", version)


def test_an_unknown_package_is_answered_with_the_known_ones(release, repository):
    with pytest.raises(release.ReleaseError, match="base, top"):
        release.check(repository, "bsae", "0.1.1")


def test_a_package_waits_for_the_release_of_what_it_needs(release, repository):
    with pytest.raises(release.ReleaseError, match="release base first"):
        release.check(repository, "top", "0.1.0")
    release_package(release, repository, "base", "0.1.0")
    release.check(repository, "top", "0.1.0")
    source = repository / "packages" / "base" / "src" / "base" / "new.py"
    source.write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "More")
    with pytest.raises(release.ReleaseError, match=r"changed since base-v0\.1\.0"):
        release.check(repository, "top", "0.1.0")


def test_a_version_outside_a_dependents_range_is_refused(release, repository):
    with pytest.raises(release.ReleaseError, match=r"top asks for base.*<0\.2.*does not meet"):
        release.check(repository, "base", "0.2.0")


def test_a_failed_release_leaves_the_tree_as_it_was(release, repository):
    release.check(repository, "base", "0.1.1")
    release.write(repository, "base", "0.1.1")
    release.known_good_file(repository, "base", "0.1.1").write_text("numpy==2.0\n")
    release.undo(repository, "base", "0.1.1")
    assert git(repository, "status", "--porcelain") == ""
    assert release.version_in_tree(repository, "base") == "0.1.0"
