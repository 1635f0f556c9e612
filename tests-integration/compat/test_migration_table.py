"""The migration page promises that each old name exists in the peer and each new one in ours."""

import importlib
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.compat

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "migrate-from-torch-brain.md"
ROWS = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", PAGE.read_text(), flags=re.MULTILINE)


def resolve(dotted: str) -> object:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_the_page_has_its_table():
    assert len(ROWS) > 50


@pytest.mark.parametrize(("old", "new"), ROWS)
def test_old_and_new_name_exist(old, new):
    pytest.importorskip("torch_brain")
    peer, ours = resolve(old), resolve(new)
    assert callable(peer) == callable(ours)
