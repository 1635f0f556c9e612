"""Weights for models that know partly other units and sessions."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nd_models import VocabularyReport, adapt_vocabularies, load_overlapping_state, model_from_config
from nd_models.nn import InfiniteVocabEmbedding

NAMES = st.lists(st.sampled_from([f"u{i}" for i in range(12)]), unique=True, min_size=1)


def rows(embedding: InfiniteVocabEmbedding) -> dict[str, np.ndarray]:
    return {name: embedding.weight[row].detach().numpy().copy() for name, row in embedding.vocab.items()}


def same(state, other) -> bool:
    return all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in state.items()
    )


def other_model(model, units, sessions):
    fresh = model_from_config(model.to_config())
    fresh.unit_emb.initialize_vocab(units)
    fresh.session_emb.initialize_vocab(sessions)
    return fresh


@given(theirs=NAMES, ours=NAMES)
def test_rows_go_by_name_and_the_report_accounts_for_every_name(theirs, ours):
    source, target = torch.nn.Sequential(InfiniteVocabEmbedding(3)), torch.nn.Sequential(InfiniteVocabEmbedding(3))
    source[0].initialize_vocab(theirs)
    target[0].initialize_vocab(ours)
    state = source.state_dict()
    before, fresh = copy.deepcopy(state), rows(target[0])
    report = load_overlapping_state(target, state)["0"]
    assert same(state, before)
    assert same(source.state_dict(), before)
    assert set(report.mapped) == set(theirs) & set(ours)
    assert set(report.new) == set(ours) - set(theirs)
    assert set(report.dropped) == set(theirs) - set(ours)
    assert list(target[0].vocab) == ["NA", *ours]
    found = rows(target[0])
    for name in ours:
        np.testing.assert_array_equal(found[name], rows(source[0])[name] if name in theirs else fresh[name])
    np.testing.assert_array_equal(found["NA"], np.zeros(3))


def test_a_model_takes_all_weights_and_the_rows_it_knows(any_model, make_model, make_window, make_batch):
    source = make_model(any_model)
    known = source.unit_emb.detokenizer
    units = ["new/unit_0", known(7), known(2)]
    target = other_model(source, units, ["perich/c_2", "new/1"])
    before = copy.deepcopy(source.state_dict())
    reports = load_overlapping_state(target, source.state_dict())
    assert same(source.state_dict(), before)
    assert reports["unit_emb"].mapped == (known(7), known(2))
    assert reports["unit_emb"].new == ("new/unit_0",)
    assert len(reports["unit_emb"].dropped) == 5
    assert reports["session_emb"] == VocabularyReport("session", ("perich/c_2",), ("new/1",), ("perich/c_1",))
    for key, value in target.state_dict().items():
        if not key.startswith(("unit_emb", "session_emb")):
            assert torch.equal(value, before[key]), key
    data = make_window(units=2, seed=1)
    data.units.id = np.array(units[1:])
    expected = source.eval()(**make_batch(source, [data])["model_inputs"], unpack_output=True)[0]
    found = target.eval()(**make_batch(target, [data])["model_inputs"], unpack_output=True)[0]
    for key in expected if isinstance(expected, dict) else [slice(None)]:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-5, atol=1e-6)


def test_weights_of_another_size_or_name_are_refused_and_nothing_changes(make_model):
    source, target = make_model("POYOPlus"), make_model("POYOPlus")
    before = copy.deepcopy(target.state_dict())
    state = source.state_dict()
    for wrong, message in (
        ({**state, "extra": torch.zeros(1)}, r"missing \[\], not known \['extra'\]"),
        (
            {key: value for key, value in state.items() if key != "enc_atn.to_q.weight"},
            r"missing \['enc_atn.to_q.weight'\]",
        ),
        (
            {**state, "enc_atn.to_q.weight": torch.zeros(2, 2)},
            r"enc_atn.to_q.weight has shape \(2, 2\) in the",
        ),
        (
            {**state, "unit_emb.weight": torch.zeros(8, 5)},
            r"has rows of shape \(5,\) in the state and \(24,\)",
        ),
        ({**state, "unit_emb.weight": torch.zeros(5, 24)}, "unit_emb.vocab: expected a mapping from 5 names"),
        ({**state, "unit_emb.vocab": None}, "the state has no unit vocabulary"),
    ):
        with pytest.raises(ValueError, match=message):
            load_overlapping_state(target, wrong)
        assert same(target.state_dict(), before)


def test_parts_can_be_skipped(make_model):
    source, target = make_model("POYOPlus"), make_model("POYOPlus")
    readout = copy.deepcopy(target.readout.state_dict())
    load_overlapping_state(target, source.state_dict(), skip=["readout.", "session_emb."])
    assert same(target.readout.state_dict(), readout)
    assert torch.equal(target.unit_emb.weight, source.unit_emb.weight)
    assert not torch.equal(target.session_emb.weight, source.session_emb.weight)
    state = {key: value for key, value in source.state_dict().items() if not key.startswith("readout.")}
    load_overlapping_state(target, state, skip=["readout."])
    assert same(target.readout.state_dict(), readout)


def test_a_model_without_vocabulary_takes_the_states(make_model):
    source = make_model("GRUDecoder")
    target = model_from_config(source.to_config())
    reports = load_overlapping_state(target, source.state_dict())
    assert len(reports["unit_emb"].mapped) == 7
    assert reports["unit_emb"].new == reports["unit_emb"].dropped == ()
    assert same(target.state_dict(), source.state_dict())


@pytest.mark.parametrize("keep_others", [True, False])
def test_a_pretrained_model_learns_the_names_of_new_recordings(any_model, keep_others, make_model):
    model = make_model(any_model)
    before = {name: rows(getattr(model, name)) for name in ("unit_emb", "session_emb")}
    units = ["perich/c_1/unit_3", "new/1/unit_0", "perich/c_1/unit_0"]
    reports = adapt_vocabularies(model, unit_ids=units, session_ids=["new/1"], keep_others=keep_others)
    assert reports["unit_emb"].mapped == (units[0], units[2])
    assert reports["unit_emb"].new == (units[1],)
    assert len(reports["unit_emb"].dropped) == (0 if keep_others else 5)
    assert reports["session_emb"].new == ("new/1",)
    found = rows(model.unit_emb)
    assert set(found) == {"NA", *units} | (set(before["unit_emb"]) if keep_others else set())
    for name, row in found.items():
        if name in before["unit_emb"]:
            np.testing.assert_array_equal(row, before["unit_emb"][name])
        else:
            assert np.abs(row).max() > 0


def test_adapting_refuses_before_it_changes_anything(make_model):
    model = make_model("POYO")
    with pytest.raises(ValueError, match="session names hold one twice"):
        adapt_vocabularies(model, unit_ids=["new"], session_ids=["a", "a"])
    assert "new" not in model.unit_emb.vocab
    fresh = model_from_config(model.to_config())
    with pytest.raises(ValueError, match=r"the vocabulary of unit_emb is not initialised.*initialize_vocab"):
        adapt_vocabularies(fresh, unit_ids=["a"], session_ids=["b"])


def test_the_report_reads_well():
    report = VocabularyReport("unit", ("a", "b", "c", "d", "e"), (), ("x",))
    assert str(report) == "unit names: 5 mapped ('a', 'b', 'c', … 2 more), 1 dropped ('x')"
    assert str(VocabularyReport("session", (), ("n",), ())) == "session names: 0 mapped, 1 new ('n')"


def test_loading_strictly_points_to_the_way_that_maps(make_model):
    source = make_model("POYO")
    target = other_model(source, ["new"], ["perich/c_1", "perich/c_2"])
    with pytest.raises(ValueError, match=r"nd_models.load_overlapping_state\(model, state\)"):
        target.load_state_dict(source.state_dict())
