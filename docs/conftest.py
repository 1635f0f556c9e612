"""Run the code blocks of the documentation: Python ones in one namespace a page, shell ones in one folder a page."""

import os
import subprocess
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser


def run_shell(example: Example) -> str | None:
    """Run a shell block in the page's folder; the block fails where its command does."""
    environment = {**os.environ, "TERM": "dumb", "COLUMNS": "120"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed], check=False, capture_output=True, text=True, env=environment
    )
    return None if done.returncode == 0 else f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory):
    """An empty working folder that a page's blocks share."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("page"))
    yield
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser(language="bash", evaluator=run_shell), SkipParser()],
    patterns=["*.md"],
    fixtures=["page_folder"],
).pytest()
