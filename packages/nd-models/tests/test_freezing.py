"""Which parts learn, and when."""

import pytest
import torch

from nd_models import UnfreezingSchedule, gradual_unfreezing, model_from_config, set_trainable


def learning(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def step(model, batch) -> dict[str, torch.Tensor]:
    """One step of training; returns the parameters from before."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    outputs = model(**batch["model_inputs"])
    values = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs.values())
    sum(value.square().sum() for value in values).backward()
    optimizer.step()
    return before


@pytest.mark.parametrize("train_readout", [True, False])
def test_a_frozen_backbone_stays_as_it_is(any_model, train_readout, make_model, make_window, make_batch):
    model = make_model(any_model)
    batch = make_batch(model, [make_window(), make_window(seed=1)])
    model.freeze_backbone(train_readout=train_readout)
    parts = model.embedding_parts + (model.readout_parts if train_readout else ())
    before = step(model, batch)
    for name, parameter in model.named_parameters():
        expected = name.startswith(tuple(f"{part}." for part in parts))
        assert parameter.requires_grad == expected, name
        assert (parameter.grad is not None) == expected, name
        assert torch.equal(parameter, before[name]) != expected, name


def test_freezing_sets_what_was_set_before(any_model, make_model):
    model = make_model(any_model)
    everything = learning(model)
    model.freeze_backbone(train_readout=False)
    model.freeze_backbone()
    assert learning(model) == {
        name
        for name in everything
        if name.startswith(tuple(f"{p}." for p in model.embedding_parts + model.readout_parts))
    }
    model.unfreeze()
    assert learning(model) == everything


def test_a_model_without_vocabularies_can_be_frozen_and_remembers_it(any_model, make_model):
    model = model_from_config(make_model(any_model).to_config())
    model.freeze_backbone()
    set_trainable(model, ["session_emb"])
    model.unit_emb.initialize_vocab(["a"])
    model.session_emb.initialize_vocab(["b"])
    assert learning(model) == {"session_emb.weight"}


def test_new_units_of_a_frozen_model_learn_and_old_ones_stay(make_model, make_window, make_batch):
    model = make_model("POYOPlus")
    model.freeze_backbone(train_readout=False)
    model.unit_emb.extend_vocab(["new/1/unit_0", "new/1/unit_1"])
    model.session_emb.extend_vocab(["new/1"])
    data = make_window(units=2)
    data.units.id, data.session.id = ["new/1/unit_0", "new/1/unit_1"], "new/1"
    before = step(model, make_batch(model, [data]))
    moved = (model.unit_emb.weight != before["unit_emb.weight"]).any(dim=1)
    assert moved.tolist() == [False] * 8 + [True] * 2
    assert learning(model) == {"unit_emb.weight", "session_emb.weight"}


def test_parts_may_be_modules_or_parameters_and_nothing_like_them(make_model):
    model = make_model("POYOPlus", depth=2)
    set_trainable(model, ["proc_layers.1", "readout.projections.cursor_velocity_2d.bias"])
    assert {name.split(".")[0] for name in learning(model)} == {"proc_layers", "readout"}
    assert "proc_layers.0.0.to_qkv.weight" not in learning(model)
    assert "readout.projections.cursor_velocity_2d.weight" not in learning(model)


def test_an_unknown_part_changes_nothing(make_model):
    model = make_model("POYO")
    before = learning(model)
    with pytest.raises(KeyError, match=r"POYO has no part 'unit_embb'; did you mean 'unit_emb'"):
        set_trainable(model, ["readout", "unit_embb"])
    assert learning(model) == before


def test_gradual_unfreezing_ends_with_everything_and_only_ever_adds(any_model, make_model):
    model = make_model(any_model)
    everything = learning(model)
    schedule = gradual_unfreezing(model, every=2, first=3)
    assert learning(model) == everything  # nothing happens before it is applied
    before: set[str] = set()
    for epoch in range(schedule.last_change + 3):
        changed = schedule.apply(model, epoch)
        assert before <= learning(model)
        assert changed == (learning(model) != before) or epoch == 0
        before = learning(model)
        if epoch < 3:
            assert before == {
                name
                for name in everything
                if name.startswith(tuple(f"{part}." for part in model.embedding_parts + model.readout_parts))
            }
    assert learning(model) == everything


def test_the_schedule_depends_on_the_epoch_alone(make_model):
    model, other = make_model("POYOPlus"), make_model("POYOPlus")
    schedule = gradual_unfreezing(model, every=1)
    for epoch in range(4):
        schedule.apply(model, epoch)
    schedule.apply(other, 3)
    assert learning(model) == learning(other)
    schedule.apply(model, 0)
    assert learning(model) < learning(other)
    assert not any(name.startswith(("dec_", "proc_", "enc_")) for name in learning(model))


def test_groups_can_be_chosen(make_model):
    schedule = gradual_unfreezing(
        make_model("POYO"), every=5, first=0, groups=[["dec_atn", "dec_ffn"], ["proc_layers"]]
    )
    assert schedule.stages == (
        (0, ("unit_emb", "session_emb", "readout", "dec_atn", "dec_ffn")),
        (5, ("proc_layers",)),
    )


@pytest.mark.parametrize("stages", [(), ((3, ("a",)), (3, ("b",))), ((-1, ("a",)),), ((5, ()), (2, ()))])
def test_epochs_must_rise(stages):
    with pytest.raises(ValueError, match="stages at rising epochs from 0 on"):
        UnfreezingSchedule(stages)


@pytest.mark.parametrize(("every", "first"), [(0, None), (1, -1)])
def test_steps_that_cannot_be_are_refused(make_model, every, first):
    with pytest.raises(ValueError, match="expected every >= 1 and first >= 0"):
        gradual_unfreezing(make_model("POYO"), every=every, first=first)
