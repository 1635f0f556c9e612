"""Names from elsewhere as attribute names."""

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data import Data
from nd_data.ingest.attribute_names import attribute_name, class_names, unique_names


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("ry", "ry"),
        ("Spatial_Series2", "Spatial_Series2"),
        ("two  words", "two_words"),
        ("Größe (µm)", "Groe_m"),
        ("a.b/c", "a_b_c"),
        ("__private", "private"),
        ("2p", "x2p"),
        ("class", "class_"),
        ("日本", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_names_become_the_nearest_attribute_name(original, name):
    assert attribute_name(original) == name


@given(st.text())
def test_any_text_becomes_a_public_ascii_identifier_and_then_stays(original):
    name = attribute_name(original)
    assert name.isidentifier()
    assert name.isascii()
    assert not name.startswith("_")
    assert not keyword.iskeyword(name)
    assert attribute_name(name) == name


@given(st.lists(st.text("ab _2", max_size=4)), st.sets(st.sampled_from(["a", "b", "ab", "a_2"])))
def test_names_that_belong_together_never_clash(originals, taken):
    names = unique_names(originals, taken)
    assert len(names) == len(originals)
    assert len({*names, *taken}) == len(names) + len(taken)
    assert all(name.isidentifier() for name in names)


@given(st.permutations(["a b", "a_b", "a-b", "start", "x"]))
def test_a_name_that_is_valid_keeps_it_whatever_the_order(originals):
    named = dict(zip(originals, unique_names(originals, ["start"]), strict=True))
    assert (named["a_b"], named["x"], named["start"]) == ("a_b", "x", "start_2")
    assert {named["a b"], named["a-b"]} == {"a_b_2", "a_b_3"}


def test_the_names_a_recording_needs_for_itself_are_known():
    names = class_names(Data)
    assert {"slice", "keys", "domain", "start", "end", "save"} <= names
    with pytest.raises(AttributeError):
        Data().no_such_name  # noqa: B018
