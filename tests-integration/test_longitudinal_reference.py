"""The documented table of arguments says what the settings are."""

import dataclasses
import re
from pathlib import Path

from nd_train.longitudinal import LongitudinalSettings
from nd_train.longitudinal.settings import READ_ELSEWHERE

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "longitudinal_arguments.md"


def test_the_table_of_arguments_has_every_argument_with_its_default_and_meaning():
    text = PAGE.read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| `(.*?)` \| (.*) \|$", text, re.MULTILINE)
    documented = {name: (default, about) for name, _, default, about in rows}
    fields = dataclasses.fields(LongitudinalSettings)
    assert list(documented) == [spec.name for spec in fields]
    for spec in fields:
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        assert documented[spec.name] == (str(default), spec.metadata["about"])
    assert all(f"`{name}`" in text for name in READ_ELSEWHERE)
