"""The last valid step: its index, and what is gathered there (case H01; defects MO:72-74,261 of the original)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nd_models.longitudinal import Recurrent, gather_last_valid, last_valid_index, selectable_steps


def test_the_index_is_that_of_the_specification(case):
    one = case("H01_last_valid_step")
    for dtype in (torch.bool, torch.int64, torch.float32):
        valid = torch.tensor(one["inputs"]["valid"], dtype=dtype)
        assert last_valid_index(valid).tolist() == one["expected"]["index"]


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5))
def test_the_index_is_the_largest_valid_one_with_holes_before_it_or_none(rows):
    expected = [max((step for step, valid in enumerate(row) if valid), default=-1) for row in rows]
    assert last_valid_index(torch.tensor(rows)).tolist() == expected


def test_outputs_labels_and_masks_are_gathered_at_the_same_step():
    index = torch.tensor([2, -1, 0])
    levels = torch.arange(24.0).view(3, 4, 2)
    assert gather_last_valid(levels, index).tolist() == [[4.0, 5.0], [0.0, 0.0], [16.0, 17.0]]
    assert gather_last_valid(levels, index, fill=-1).tolist()[1] == [-1.0, -1.0]
    observed = torch.ones(3, 4, 2, dtype=torch.bool)
    assert gather_last_valid(observed, index).tolist() == [[True, True], [False, False], [True, True]]
    assert gather_last_valid(torch.arange(12).view(3, 4), index).tolist() == [2, 0, 8]


def test_gathering_changes_nothing_and_lets_gradients_through():
    values = torch.randn(2, 3, 1, requires_grad=True)
    gather_last_valid(values, torch.tensor([1, -1])).sum().backward()
    assert values.grad.flatten().tolist() == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_a_step_can_be_chosen_if_it_is_neither_missing_nor_padding():
    missing, padding = torch.tensor([[0, 1, 0]]), torch.tensor([[False, False, True]])
    assert selectable_steps(missing, padding).tolist() == [[True, False, False]]
    assert selectable_steps(missing).tolist() == [[True, False, True]]
    assert selectable_steps(pad_mask=padding).tolist() == [[True, True, False]]
    with pytest.raises(ValueError, match="needs mask, pad_mask or both"):
        selectable_steps()


def test_the_last_step_needs_no_mask_and_takes_a_boolean_one():
    model = Recurrent(2, 1, hidden_size=3).eval()
    embeddings = torch.randn(2, 4, 2)
    last = model(embeddings, predict_last_valid_hidden_state=True)
    torch.testing.assert_close(last, model(embeddings)[:, -1])
    mask = torch.tensor([[False, False, True, True]] * 2)
    last = model(embeddings, mask, predict_last_valid_hidden_state=True)
    torch.testing.assert_close(last, model(embeddings, mask)[:, 1])
