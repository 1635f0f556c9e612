"""What every longitudinal model promises, whatever its architecture (SPEC sections 1, 3 and 5)."""

import copy
import json

import pytest
import torch
from torch import nn

from nd_data.longitudinal import LongitudinalDataset, collate_sequences
from nd_models.longitudinal import last_valid_index, model_from_config, selectable_steps

LENGTHS = [7, 3, 9, 1]


@pytest.mark.parametrize(("num_classes", "num_outcomes"), [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2)])
@pytest.mark.parametrize("lengths", [[1], [6], [4, 4, 4, 4], [7, 3, 9, 1]])
def test_every_step_gets_every_outcome_and_no_axis_is_squeezed(build, make_batch, num_classes, num_outcomes, lengths):
    model = build(4, num_outcomes, num_classes=num_classes)
    batch = make_batch(lengths)
    classes = (num_classes,) if num_classes > 2 else ()
    output = model(**batch)
    assert output.shape == (len(lengths), max(lengths), num_outcomes, *classes)
    last = model(**batch, predict_last_valid_hidden_state=True)
    assert last.shape == (len(lengths), num_outcomes, *classes)
    assert output.isfinite().all()
    assert last.isfinite().all()


def test_no_output_depends_on_a_later_input(build, make_batch):
    model, batch = build(), make_batch([8, 8, 8], missing=0.2)
    generator = torch.Generator().manual_seed(9)
    before = model(**batch)
    for step in range(8):
        changed = {
            **batch,
            "embeddings": batch["embeddings"].clone(),
            "mask": batch["mask"].clone(),
            "time_ids": batch["time_ids"].clone(),
        }
        changed["embeddings"][:, step + 1 :] = 50 * torch.randn(3, 7 - step, 4, generator=generator)
        changed["mask"][:, step + 1 :] = ~changed["mask"][:, step + 1 :]
        changed["time_ids"][:, step + 1 :] += 3
        torch.testing.assert_close(model(**changed)[:, : step + 1], before[:, : step + 1], rtol=0, atol=2e-6)


def test_the_gradient_of_an_output_with_respect_to_later_inputs_is_exactly_zero(build, make_batch):
    model, batch = build(), make_batch([6, 6], missing=0.0)
    reached = torch.zeros(6, 6, dtype=torch.bool)
    for step in range(6):
        embeddings = batch["embeddings"].clone().requires_grad_()
        model(**{**batch, "embeddings": embeddings})[:, step].sum().backward()
        reached[step] = (embeddings.grad != 0).any(dim=2).any(dim=0)
    assert not reached.triu(1).any()
    assert reached.diagonal().all()


def test_more_padding_changes_nothing(build, make_batch):
    model = build()
    short, long = make_batch(LENGTHS), make_batch(LENGTHS, longest=14)
    for key in ("embeddings", "mask", "time_ids"):
        long[key][:, :9] = short[key]
    real = ~short["pad_mask"]
    torch.testing.assert_close(model(**long)[:, :9][real], model(**short)[real], rtol=1e-5, atol=1e-6)
    last = [model(**batch, predict_last_valid_hidden_state=True) for batch in (short, long)]
    torch.testing.assert_close(*last, rtol=1e-5, atol=1e-6)


def test_what_stands_in_the_padding_is_never_read(build, make_batch):
    model, batch = build(), make_batch(LENGTHS)
    real = ~batch["pad_mask"]
    spoiled = {**batch, "embeddings": batch["embeddings"].masked_fill(batch["pad_mask"][..., None], 1e4)}
    torch.testing.assert_close(model(**spoiled)[real], model(**batch)[real], rtol=1e-5, atol=1e-6)
    last = [model(**one, predict_last_valid_hidden_state=True) for one in (spoiled, batch)]
    torch.testing.assert_close(*last, rtol=1e-5, atol=1e-6)


def test_a_sequence_alone_is_predicted_as_in_a_batch(build, make_batch):
    model, batch = build(), make_batch(LENGTHS)
    together = model(**batch)
    for row, length in enumerate(LENGTHS):
        alone = {key: value[row : row + 1, :length] for key, value in batch.items()}
        torch.testing.assert_close(model(**alone)[0], together[row, :length], rtol=1e-5, atol=1e-6)


def test_the_last_step_mode_gives_what_stands_at_the_last_valid_step(build, make_batch):
    model, batch = build(), make_batch(LENGTHS, missing=0.5)
    batch["mask"][1] = True
    index = last_valid_index(selectable_steps(batch["mask"], batch["pad_mask"]))
    assert index[1] == -1
    output, last = model(**batch), model(**batch, predict_last_valid_hidden_state=True)
    for row, step in enumerate(index.tolist()):
        expected = output[row, step] if step >= 0 else torch.zeros_like(last[row])
        torch.testing.assert_close(last[row], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(model.selectable_steps(**batch), ~batch["mask"])


def test_the_caller_may_say_which_steps_can_be_the_last(build, make_batch):
    model, batch = build(), make_batch([6, 6])
    chosen = torch.zeros(2, 6, dtype=torch.bool)
    chosen[0, 2], chosen[1, 4] = True, True
    last = model(**batch, predict_last_valid_hidden_state=True, valid_steps=chosen)
    output = model(**batch)
    torch.testing.assert_close(last, torch.stack((output[0, 2], output[1, 4])), rtol=1e-5, atol=1e-6)


def test_a_valid_step_is_read_and_the_mask_says_which_one_is_missing(build, make_batch):
    model, batch = build(), make_batch([6, 6], missing=0.0)
    batch["mask"][:, 3] = True
    seen = model(**{**batch, "mask": torch.zeros_like(batch["mask"])})
    hidden = model(**batch)
    torch.testing.assert_close(hidden[:, :3], seen[:, :3], rtol=1e-5, atol=1e-6)
    if getattr(model, "missing_steps", None) != "carry":
        assert not torch.allclose(hidden[:, 3], seen[:, 3], atol=1e-4)
    changed = batch["embeddings"].clone()
    changed[:, 2] += torch.tensor([3.0, -2.0, 5.0, 0.0])
    assert not torch.allclose(model(**{**batch, "embeddings": changed})[:, 2], hidden[:, 2], atol=1e-4)


def test_masks_may_be_left_out(build, make_batch):
    model, batch = build(), make_batch([5, 5], missing=0.0)
    whole = model(**batch)
    bare = {"embeddings": batch["embeddings"], "time_ids": batch["time_ids"]}
    torch.testing.assert_close(model(**bare), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        model(batch["embeddings"], batch["mask"], batch["time_ids"]), whole, rtol=1e-5, atol=1e-6
    )


def test_no_model_changes_its_inputs(build, make_batch):
    model, batch = build(), make_batch(LENGTHS)
    before = copy.deepcopy(batch)
    first = model(**batch)
    model(**batch, predict_last_valid_hidden_state=True)
    assert torch.equal(model(**batch), first)
    assert batch.keys() == before.keys()
    assert all(torch.equal(batch[key], before[key]) for key in before)


def test_a_sequence_without_any_observation_leaves_gradients_finite(build, make_batch):
    model, batch = build().train(), make_batch(LENGTHS)
    batch["mask"][0] = True
    batch["embeddings"][0] = 0.0
    output = model(**batch)
    assert output.isfinite().all()
    if any(True for _ in model.parameters()):
        output.square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_sequence_of_padding_alone_leaves_the_others_as_they_are(build, make_batch):
    model, batch = build(), make_batch([5, 4])
    before = model(**batch)
    batch["pad_mask"][1], batch["mask"][1], batch["time_ids"][1] = True, True, -1
    after = model(**batch)
    assert after.isfinite().all()
    torch.testing.assert_close(after[0], before[0], rtol=1e-5, atol=1e-6)
    assert model(**batch, predict_last_valid_hidden_state=True)[1].eq(0.0).all()


def test_a_first_time_id_of_minus_one_is_a_time_and_no_padding(build, make_batch):
    model, batch = build(), make_batch([5, 5], missing=0.0)
    first, second = ({**batch, "time_ids": torch.arange(5).expand(2, -1) + start} for start in (-1, 40))
    assert model(**first).isfinite().all()
    torch.testing.assert_close(model(**first), model(**second), rtol=1e-5, atol=1e-6)


def test_a_state_loads_into_a_model_built_from_the_configuration(build, make_batch):
    model, batch = build(num_classes=4), make_batch(LENGTHS)
    config = json.loads(json.dumps(model.to_config()))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        again = model_from_config(config).eval()
    assert type(again) is type(model)
    assert again.to_config() == model.to_config() == config
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(**batch), model(**batch))


def test_a_training_step_lowers_the_loss(build, make_batch):
    model, batch = build(), make_batch([8, 8, 8], missing=0.0)
    parameters = list(model.parameters())
    target = 0.3 * batch["embeddings"][..., :2].cumsum(dim=1) + 1.0
    if not parameters:
        assert not model(**batch).requires_grad
        return
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(**batch), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


def test_double_precision_is_kept(build, make_batch):
    model, batch = build().double(), make_batch([5, 5])
    batch["embeddings"] = batch["embeddings"].double()
    assert model(**batch).dtype == torch.float64
    torch.testing.assert_close(
        model.float()(**{**batch, "embeddings": batch["embeddings"].float()}).double(),
        model.double()(**batch),
        rtol=1e-4,
        atol=1e-5,
    )


def test_batches_of_the_longitudinal_dataset_are_what_models_take(build):
    generator = torch.Generator().manual_seed(2)
    features = [
        {
            "embeddings": torch.randn(steps, 4, generator=generator),
            "outcomes": torch.randn(steps, 2, generator=generator),
        }
        for steps in (5, 2, 8)
    ]
    dataset = LongitudinalDataset(features)
    model = build(dataset.num_features, dataset.num_outcomes)
    items = [dataset[row] for row in range(3)]
    for partition in ("train", "val"):
        for last in (False, True):
            batch = collate_sequences(items, partition=partition, predict_last_valid_timestep=last)
            output = model(**{key: value for key, value in batch.items() if key != "outcomes"})
            assert output.shape == ((3, 2) if last else (3, 8, 2))


def test_several_groups_of_features_are_joined_each_with_its_mask(build, make_batch):
    model = build(4 + 3 + 2, inputs=["embeddings", "embeddings_mood", "seq_embeddings_person"])
    batch = make_batch([5, 5], missing=0.0)
    generator = torch.Generator().manual_seed(3)
    batch["embeddings_mood"] = torch.randn(2, 5, 3, generator=generator)
    batch["mask_mood"] = torch.tensor([[0, 0, 1, 0, 0], [1, 0, 0, 0, 1]], dtype=torch.bool)
    batch["seq_embeddings_person"] = torch.randn(2, 2, generator=generator)
    before = model(**batch)
    assert before.shape == (2, 5, 2)
    assert model.selectable_steps(**batch).all()
    if getattr(model, "missing_steps", None) == "zero" and getattr(model, "input_norm", "none") == "none":
        spoiled = batch["embeddings_mood"].masked_fill(batch["mask_mood"][..., None], 77.0)
        torch.testing.assert_close(model(**{**batch, "embeddings_mood": spoiled}), before)
    assert model.to_config()["inputs"] == ["embeddings", "embeddings_mood", "seq_embeddings_person"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"embeddings": None}, KeyError, "the batch has no 'embeddings'"),
        ({"embeddings": torch.zeros(2, 5)}, ValueError, r"'embeddings' has shape \(2, 5\)"),
        ({"embeddings": torch.zeros(2, 5, 3)}, ValueError, "3 features, the model was built for 4"),
        ({"mask": torch.zeros(2, 4)}, ValueError, r"'mask' has shape \(2, 4\), expected \(2, 5\)"),
        ({"pad_mask": torch.tensor([[1, 0, 0, 0, 0]] * 2)}, ValueError, "padding before a step of the sequence"),
    ],
)
def test_batches_that_do_not_fit_are_refused(build, make_batch, change, error, message):
    with pytest.raises(error, match=message):
        build()(**{**make_batch([5, 5]), **change})


@pytest.mark.slow
# Recurrent layers stay outside of the graph, and torch itself looks at the gradients of what it hands over to them.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_models_predict_and_learn_the_same(build, make_batch):
    model, batch = build(), make_batch([6, 4])
    real = ~batch["pad_mask"]
    torch.compiler.reset()
    gradients = []
    for run in (model, torch.compile(model, backend="aot_eager")):
        output = run(**batch)[real]
        for parameter in model.parameters():
            parameter.grad = None
        if output.requires_grad:
            output.square().sum().backward()
        gradients.append([output, *(parameter.grad for parameter in model.parameters())])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
