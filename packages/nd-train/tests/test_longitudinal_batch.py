"""Step 1: a batch becomes inputs, labels, ids and masks, and is only read."""

import pytest
import torch

from nd_train.longitudinal import batch_masks, check_labels, unpack_batch


def batch(**changes):
    found = {
        "embeddings": torch.zeros(2, 3, 4),
        "outcomes": torch.arange(6.0).view(2, 3, 1),
        "outcomes_mask": torch.ones(2, 3, 1, dtype=torch.bool),
        "mask": torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.bool),
        "pad_mask": torch.tensor([[0, 0, 0], [0, 0, 1]], dtype=torch.bool),
        "oots_mask": torch.tensor([[0, 0, 1], [0, 1, 1]], dtype=torch.bool),
        "ooss_mask": torch.tensor([[0], [1]]),
        "time_ids": torch.tensor([[0, 1, 2], [4, 5, -1]]),
        "query_ids": torch.zeros(2, 3, dtype=torch.int64),
        "seq_id": torch.tensor([[7], [9]]),
    }
    return {name: value for name, value in {**found, **changes}.items() if value is not None}


def test_what_is_no_input_leaves_and_all_the_rest_goes_to_the_model():
    given = batch(seq_embeddings_age=torch.zeros(2, 1), anything=3)
    inputs, labels, ids = unpack_batch(given)
    assert set(given) - set(inputs) == {"outcomes", "query_ids", "seq_id"}
    assert labels is given["outcomes"]
    assert ids.tolist() == [7, 9]
    assert all(inputs[name] is given[name] for name in inputs)


def test_the_infill_mask_of_messages_becomes_the_mask():
    given = batch(infill_lang_mask=torch.ones(2, 3, dtype=torch.bool))
    inputs, _, _ = unpack_batch(given)
    assert inputs["mask"] is given["infill_lang_mask"]
    assert "infill_lang_mask" not in inputs
    assert not given["mask"].all()


def test_older_names_are_understood():
    inputs, labels, ids = unpack_batch(
        batch(labels=torch.ones(2, 3), outcomes=None, seq_idx=torch.tensor([1, 2]), seq_id=None)
    )
    assert labels.shape == (2, 3, 1)
    assert ids.tolist() == [1, 2]
    assert "labels" not in inputs
    with pytest.raises(ValueError, match="both 'outcomes' and 'labels'"):
        unpack_batch(batch(labels=torch.ones(2, 3)))


def test_masks_mean_usable_where_true_and_padding_is_neither_observed_nor_out_of_time():
    masks = batch_masks(batch(), batch()["outcomes"])
    assert masks.real.tolist() == [[True, True, True], [True, True, False]]
    assert masks.observed[..., 0].tolist() == [[True, True, True], [True, True, False]]
    assert masks.out_of_time.tolist() == [[False, False, True], [False, True, False]]
    assert masks.out_of_sequence.tolist() == [False, True]
    assert masks.in_time[..., 0].tolist() == [[True, True, False], [True, False, False]]


def test_out_of_sequence_marks_sequences_also_where_there_are_as_many_steps():
    given = batch(ooss_mask=torch.tensor([0, 1, 1]))
    square = {
        name: value[:1].expand(3, *value.shape[1:])
        if isinstance(value, torch.Tensor) and value.shape[0] == 2
        else value
        for name, value in given.items()
    }
    masks = batch_masks(square, square["outcomes"])
    assert masks.out_of_sequence.tolist() == [False, True, True]


def test_without_padding_masks_time_ids_tell_what_is_real():
    masks = batch_masks(batch(pad_mask=None), batch()["outcomes"])
    assert masks.real.tolist() == [[True, True, True], [True, True, False]]


@pytest.mark.parametrize("name", ["outcomes_mask", "oots_mask", "ooss_mask", "time_ids"])
def test_a_missing_key_is_named_with_who_writes_it(name):
    with pytest.raises(KeyError, match=rf"lacks '{name}', which nd_data.longitudinal.collate_sequences writes"):
        batch_masks(batch(**{name: None}), batch()["outcomes"])


def test_prediction_needs_neither_outcomes_nor_splits():
    masks = batch_masks({"embeddings": torch.zeros(2, 3, 4)}, None, required=False)
    assert masks.real.all()
    assert masks.out_of_sequence.all()
    assert not masks.observed.any()
    named = batch_masks({"embeddings_mood": torch.zeros(2, 5, 4)}, None, required=False)
    assert named.real.shape == (2, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcomes_mask": torch.ones(2, 4)}, r"batch\['outcomes_mask'\]: shape \(2, 4\) does not fit"),
        ({"oots_mask": torch.ones(2, 4)}, r"batch\['oots_mask'\]: expected shape \(2, 3\), found \(2, 4\)"),
        ({"ooss_mask": torch.ones(3)}, r"batch\['ooss_mask'\]: expected shape \(2,\), found \(3,\)"),
    ],
)
def test_a_mask_that_does_not_fit_is_one_clear_error(changes, message):
    with pytest.raises(ValueError, match=message):
        batch_masks(batch(**changes), batch()["outcomes"])


def test_a_batch_of_something_else_is_one_clear_error():
    with pytest.raises(TypeError, match="expected a mapping of tensors, as collate_sequences makes it, found list"):
        unpack_batch([1, 2])
    with pytest.raises(KeyError, match="neither outcomes, time_ids nor embeddings, but 'lengths'"):
        batch_masks({"lengths": torch.zeros(2)}, None, required=False)
    with pytest.raises(ValueError, match=r"expected shape \(B, T, K\), found \(2,\)"):
        unpack_batch({"outcomes": torch.zeros(2)})


def test_labels_that_no_loss_can_be_computed_from_are_named():
    labels = torch.tensor([[[0.0], [1.0], [2.0]]])
    seen = torch.ones_like(labels, dtype=torch.bool)
    check_labels(labels, seen, num_outcomes=1, num_classes=3)
    with pytest.raises(ValueError, match=r"\[0, 2, 0\].*class index from 0 to 1, found 2.0"):
        check_labels(labels, seen, num_outcomes=1, num_classes=2)
    with pytest.raises(ValueError, match=r"expected 2 outcomes .*found 1"):
        check_labels(labels, seen, num_outcomes=2, num_classes=1)
    with pytest.raises(ValueError, match="a finite number, found nan"):
        check_labels(labels * torch.nan, seen, num_outcomes=1, num_classes=1)
    # What was not observed may hold anything.
    check_labels(labels * torch.nan, ~seen, num_outcomes=1, num_classes=3)
