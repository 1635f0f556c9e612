"""The vocabulary that grows, shrinks, and travels in the state."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nd_models.nn import InfiniteVocabEmbedding

NAMES = [f"brainset/session_{i // 10}/unit_{i}" for i in range(40)]


def make(names=NAMES, width: int = 4) -> InfiniteVocabEmbedding:
    torch.manual_seed(0)
    embedding = InfiniteVocabEmbedding(width, kind="unit")
    embedding.initialize_vocab(names)
    return embedding


def rows_by_name(embedding: InfiniteVocabEmbedding) -> dict[str, list[float]]:
    return {name: embedding.weight[row].tolist() for name, row in embedding.vocab.items()}


class TestVocabulary:
    def test_names_are_numbered_from_one_in_their_order(self):
        embedding = make(["c", "a", "b"])
        assert embedding.vocab == OrderedDict([("NA", 0), ("c", 1), ("a", 2), ("b", 3)])
        assert embedding.weight.shape == (4, 4)

    def test_the_padding_row_is_zero_and_stays_without_gradient(self):
        embedding = make()
        embedding(torch.tensor([[0, 1, 2]])).sum().backward()
        assert torch.all(embedding.weight[0] == 0)
        assert torch.all(embedding.weight.grad[0] == 0)
        assert torch.all(embedding.weight.grad[1] == 1)

    def test_first_weights_have_the_scale_that_was_asked_for(self):
        torch.manual_seed(0)
        embedding = InfiniteVocabEmbedding(200, init_scale=0.5)
        embedding.initialize_vocab(NAMES)
        assert float(embedding.weight[1:].detach().std()) == pytest.approx(0.5, rel=0.05)

    def test_extending_keeps_the_rows_that_exist(self):
        embedding = make()
        before = rows_by_name(embedding)
        embedding.extend_vocab(["new/1", "new/2"])
        after = rows_by_name(embedding)
        assert {name: after[name] for name in before} == before
        assert embedding.tokenizer("new/2") == len(NAMES) + 2
        assert any(after["new/1"])

    def test_extending_by_a_known_name_is_refused_unless_allowed(self):
        embedding = make()
        with pytest.raises(ValueError, match=r"1 of 2 unit names.*'brainset/session_0/unit_0'.*exist_ok=True"):
            embedding.extend_vocab([NAMES[0], "new"])
        assert "new" not in embedding.vocab
        embedding.extend_vocab([NAMES[0], "new"], exist_ok=True)
        assert list(embedding.vocab)[-1] == "new"
        weight = embedding.weight
        embedding.extend_vocab(NAMES, exist_ok=True)
        assert embedding.weight is weight

    @pytest.mark.parametrize("inplace", [True, False])
    def test_a_subset_keeps_its_rows_and_is_numbered_anew(self, inplace):
        embedding = make()
        before = rows_by_name(embedding)
        kept = [NAMES[7], NAMES[2]]
        subset = embedding.subset_vocab(kept, inplace=inplace)
        assert (subset is embedding) == inplace
        assert rows_by_name(subset) == {name: before[name] for name in ["NA", *kept]}
        assert subset.tokenizer(kept) == [1, 2]
        if not inplace:
            assert rows_by_name(embedding) == before
            with torch.no_grad():
                subset.weight.zero_()
            assert rows_by_name(embedding) == before

    def test_a_frozen_weight_stays_frozen_when_the_vocabulary_changes(self):
        embedding = make()
        embedding.weight.requires_grad_(False)
        assert not embedding.extend_vocab(["new"]).weight.requires_grad
        assert not embedding.subset_vocab(["new"], inplace=False).weight.requires_grad
        assert not embedding.subset_vocab(["new"]).weight.requires_grad

    def test_dtype_survives_initialisation_and_extension(self):
        embedding = InfiniteVocabEmbedding(4).double()
        embedding.initialize_vocab(["a"])
        assert embedding.weight.dtype == torch.float64
        assert embedding.extend_vocab(["b"]).weight.dtype == torch.float64

    @pytest.mark.parametrize(
        ("names", "error", "message"),
        [
            ("abc", ValueError, "single string 'abc'"),
            (["a", "b", "a"], ValueError, "'a' comes twice"),
            (["a", "NA"], ValueError, "'NA' is reserved"),
            (["a", 3], TypeError, "strings, got 3"),
        ],
    )
    def test_unfit_names_are_refused(self, names, error, message):
        with pytest.raises(error, match=message):
            InfiniteVocabEmbedding(4).initialize_vocab(names)
        with pytest.raises(error, match=message):
            make(["x"]).extend_vocab(names)

    def test_a_second_initialisation_is_refused(self):
        with pytest.raises(ValueError, match=r"already initialised, with 40 names; use extend_vocab"):
            make().initialize_vocab(["a"])

    @pytest.mark.parametrize(
        "use",
        [
            lambda e: e.tokenizer("a"),
            lambda e: e.tokenizer(np.array(["a"])),
            lambda e: e.detokenizer(0),
            lambda e: e.extend_vocab(["a"]),
            lambda e: e.subset_vocab(["a"]),
            lambda e: e(torch.tensor([0])),
        ],
    )
    def test_an_uninitialised_vocabulary_says_what_to_do(self, use):
        embedding = InfiniteVocabEmbedding(4, kind="session")
        assert embedding.is_lazy()
        with pytest.raises(ValueError, match=r"session vocabulary is not initialised; call initialize_vocab"):
            use(embedding)


class TestTokenizer:
    @given(st.lists(st.sampled_from([*NAMES, "NA"]), max_size=60))
    def test_every_form_of_input_gives_the_rows_of_the_names(self, names):
        embedding = make()
        expected = [embedding.vocab[name] for name in names]
        assert embedding.tokenizer(names) == expected
        for array in (np.array(names, dtype=str), np.array(names, dtype=object)):
            for _ in range(2):  # the second time it is remembered
                rows = embedding.tokenizer(array)
                assert rows.dtype == np.int64
                assert rows.tolist() == expected
        assert [embedding.detokenizer(row) for row in expected] == names

    def test_two_dimensional_and_strided_arrays_work(self):
        embedding = make()
        names = np.array(NAMES).reshape(8, 5)
        assert embedding.tokenizer(names).tolist() == (np.arange(40).reshape(8, 5) + 1).tolist()
        assert embedding.tokenizer(np.array(NAMES)[::3]).tolist() == list(range(1, 41, 3))

    def test_an_array_changed_in_place_is_not_taken_for_the_old_one(self):
        embedding = make()
        names = np.array(NAMES[:5])
        embedding.tokenizer(names)
        names[2] = NAMES[9]
        assert embedding.tokenizer(names).tolist() == [1, 2, 10, 4, 5]

    def test_a_result_may_be_written_into(self):
        embedding = make()
        names = np.array(NAMES[:3])
        for _ in range(3):
            rows = embedding.tokenizer(names)
            assert rows.tolist() == [1, 2, 3]
            rows[:] = -1

    def test_a_changed_vocabulary_forgets_what_it_remembered(self):
        embedding = make()
        names = np.array(NAMES[3:5])
        assert embedding.tokenizer(names).tolist() == [4, 5]
        embedding.subset_vocab(NAMES[4:2:-1])
        assert embedding.tokenizer(names).tolist() == [2, 1]

    def test_more_recordings_than_are_remembered_still_tokenize(self):
        embedding = make([str(i) for i in range(300)])
        for _ in range(2):
            for i in range(299):
                assert embedding.tokenizer(np.array([str(i), str(i + 1)])).tolist() == [i + 1, i + 2]

    @pytest.mark.parametrize("form", [lambda names: names, np.array, lambda names: np.array(names, dtype=object)])
    def test_an_unknown_name_is_named_with_the_nearest_and_the_number_known(self, form):
        with pytest.raises(KeyError) as error:
            make().tokenizer(form([NAMES[0], "brainset/session_0/unit_3x"]))
        message = str(error.value)
        assert "unit 'brainset/session_0/unit_3x' is not in the vocabulary of 40 unit names" in message
        assert "nearest: 'brainset/session_0/unit_3'" in message
        assert "extend_vocab" in message

    def test_names_that_are_no_strings_are_refused(self):
        with pytest.raises(TypeError, match="strings, got 3"):
            make().tokenizer(np.array([3]))

    @pytest.mark.parametrize("index", [-1, 41])
    def test_a_row_that_does_not_exist_is_refused(self, index):
        with pytest.raises(IndexError, match="0 to 40"):
            make().detokenizer(index)


class TestState:
    def test_a_lazy_module_takes_the_vocabulary_over(self):
        source, target = make(), InfiniteVocabEmbedding(4)
        target.load_state_dict(source.state_dict())
        assert not target.is_lazy()
        assert rows_by_name(target) == rows_by_name(source)

    def test_loading_moves_rows_to_where_the_module_has_their_names(self):
        source, target = make(), make(NAMES[::-1])
        target.load_state_dict(source.state_dict())
        assert list(target.vocab) == ["NA", *NAMES[::-1]]
        assert rows_by_name(target) == rows_by_name(source)

    @pytest.mark.parametrize("names", [NAMES, NAMES[::-1], None])
    def test_the_loaded_state_is_not_altered(self, names):
        state = make().state_dict()
        before = copy.deepcopy(state)
        target = InfiniteVocabEmbedding(4) if names is None else make(names)
        target.load_state_dict(state)
        assert state.keys() == before.keys()
        assert state["vocab"] == before["vocab"]
        assert torch.equal(state["weight"], before["weight"])
        target.extend_vocab(["new"])
        with torch.no_grad():
            target.weight.zero_()
        assert state["vocab"] == before["vocab"]
        assert torch.equal(state["weight"], before["weight"])

    def test_other_names_are_refused_by_name(self):
        with pytest.raises(ValueError, match=r"vocab: 1 unit names of this module are not in the state, first 'x'"):
            make([*NAMES, "x"]).load_state_dict(make().state_dict())
        with pytest.raises(ValueError, match=r"holds 1 unit names that this module does not know, first 'x'"):
            make().load_state_dict(make([*NAMES, "x"]).state_dict())

    def test_a_damaged_vocabulary_is_refused(self):
        state = make(["a", "b"]).state_dict()
        state["vocab"]["b"] = 7
        with pytest.raises(ValueError, match="rows 0 to 2"):
            InfiniteVocabEmbedding(4).load_state_dict(state)

    def test_a_state_without_its_parts_is_reported_as_missing(self):
        state = make(["a"]).state_dict()
        with pytest.raises(RuntimeError, match="vocab"):
            make(["a"]).load_state_dict({"weight": state["weight"]})
        with pytest.raises(RuntimeError, match="weight"):
            make(["a"]).load_state_dict({"vocab": state["vocab"]})

    def test_lazy_states_load_into_lazy_modules_only(self):
        state = InfiniteVocabEmbedding(4).state_dict()
        assert InfiniteVocabEmbedding(4).load_state_dict(state).missing_keys == []
        with pytest.raises(RuntimeError, match="no unit vocabulary"):
            make().load_state_dict(state)

    def test_a_width_that_differs_is_reported(self):
        with pytest.raises(RuntimeError, match="size mismatch"):
            make(width=5).load_state_dict(make().state_dict())

    def test_the_state_survives_a_file_read_without_pickle(self, tmp_path):
        source = nn.ModuleDict({"unit_emb": make()})
        torch.save(source.state_dict(), tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        target = nn.ModuleDict({"unit_emb": InfiniteVocabEmbedding(4)})
        target.load_state_dict(state, strict=True)
        assert rows_by_name(target["unit_emb"]) == rows_by_name(source["unit_emb"])

    def test_a_reset_draws_new_rows_and_keeps_the_names(self):
        embedding = make()
        before = embedding.weight.clone()
        embedding.reset_parameters()
        assert not torch.isclose(embedding.weight[1:], before[1:]).any(dim=1).all()
        assert torch.all(embedding.weight[0] == 0)
        assert embedding.tokenizer(NAMES[3]) == 4

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])  # noqa: S301
    def test_copies_are_equal_and_independent(self, copied):
        embedding = make()
        embedding.tokenizer(np.array(NAMES))
        other = copied(embedding)
        assert rows_by_name(other) == rows_by_name(embedding)
        other.extend_vocab(["new"])
        assert "new" not in embedding.vocab
        assert copied(InfiniteVocabEmbedding(4)).is_lazy()

    def test_its_name_shows_its_size(self):
        assert repr(make()) == "InfiniteVocabEmbedding(embedding_dim=4, num_embeddings=41)"
        assert repr(InfiniteVocabEmbedding(4)) == "InfiniteVocabEmbedding(embedding_dim=4, num_embeddings=0)"
