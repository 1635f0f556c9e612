"""A pytest plugin that runs the code blocks of Markdown pages: ``python -m pytest -p run_code_blocks PAGE…``.

Python blocks of a page share a namespace, shell blocks its folder. A page's blocks run in order, in an empty folder.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser


def run_shell(example: Example) -> str | None:
    """Run a shell block; the block fails where one of its commands does, and shows what was printed."""
    environment = {**os.environ, "TERM": "dumb", "COLUMNS": "120"}
    command = ["bash", "-euo", "pipefail", "-c", example.parsed]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    return None if done.returncode == 0 else f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty working folder that a page's blocks share."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("page"))
    yield
    os.chdir(before)


pytest_collect_file = Sybil(
    path=str(Path(__file__).parents[1]),
    parsers=[PythonCodeBlockParser(), CodeBlockParser(language="bash", evaluator=run_shell), SkipParser()],
    patterns=["*.md"],
    fixtures=["page_folder"],
).pytest()
