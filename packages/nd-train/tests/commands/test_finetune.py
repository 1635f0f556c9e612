"""``nd-train finetune``: a pretrained model on a recording that it has never seen."""

import json

import pytest
import torch

from nd_models import read_checkpoint, save_pretrained
from nd_train import NeuralDecoder
from nd_train.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
NEW = "simulated/session_02"
VELOCITY = "cursor_velocity_2d"


@pytest.fixture
def finetune(nd_train, pretrained, three_recordings, tmp_path):
    """Adapt the pretrained model to the third recording; returns the run's folder."""

    def run(*words, start=pretrained, steps=30, name="tuned", **configuration):
        config = nd_train.configuration(["session_02"], **configuration)
        nd_train(
            *("finetune", start, f"--data.root={three_recordings}", f"--data.config={config}"),
            *(f"--trainer.max_steps={steps}", f"--trainer.default_root_dir={tmp_path / name}", *nd_train.quiet, *words),
        )
        return tmp_path / name

    return run


def changed(before, after, beginning):
    """Whether any weight whose name begins so is another now."""
    names = [name for name in before if name.startswith(beginning) and isinstance(before[name], torch.Tensor)]
    assert names
    return any(not torch.equal(before[name], after[name]) for name in names)


def test_a_new_recording_is_decoded_better_than_by_a_model_from_scratch_with_the_same_budget(
    finetune, nd_train, three_recordings, tmp_path, capsys
):
    folder = finetune()
    printed = capsys.readouterr().out
    assert "unit names: 0 mapped, 30 new ('simulated/session_02/" in printed
    assert "session names: 0 mapped, 1 new ('simulated/session_02')" in printed
    nd_train(
        *("fit", f"--model.network={json.dumps(nd_train.network)}", f"--data.root={three_recordings}"),
        *(f"--data.config={nd_train.configuration(['session_02'])}", "--trainer.max_steps=30"),
        *("--trainer.val_check_interval=3", "--trainer.check_val_every_n_epoch=null", "--model.optimizer=adamw"),
        *("--model.lr=5e-3", f"--trainer.default_root_dir={tmp_path / 'scratch'}", *nd_train.quiet),
    )
    assert nd_train.score(folder) > 0.6
    assert nd_train.score(folder) > nd_train.score(tmp_path / "scratch") + 0.1
    # The same outcome as of fit.
    (log,) = (folder / "lightning_logs").iterdir()
    found = {file.name for file in log.iterdir()}
    assert {"config.yaml", "metrics.csv", "run.json", "test_scores.json", "test_traces.h5", "checkpoints"} <= found
    assert json.loads((log / "run.json").read_text())["command"][:2] == ["nd-train", "finetune"]


def test_the_model_still_knows_the_recordings_that_it_was_pretrained_on(finetune, pretrained, nd_train):
    folder = finetune(steps=8)
    _, before = read_checkpoint(pretrained)
    _, after = read_checkpoint(nd_train.best(folder))
    known = before["unit_emb.vocab"]
    assert len(after["unit_emb.vocab"]) == len(known) + 30
    assert all(after["unit_emb.vocab"][name] == row for name, row in known.items())
    # No batch held them, and they have no weight decay.
    assert torch.equal(after["unit_emb.weight"][: len(known)], before["unit_emb.weight"])


def test_units_of_other_recordings_can_be_forgotten(finetune, nd_train):
    _, after = read_checkpoint(nd_train.best(finetune("--keep_other_units=false", steps=4)))
    assert set(after["session_emb.vocab"]) == {"NA", NEW}
    assert len(after["unit_emb.vocab"]) == 31


def test_the_backbone_is_frozen_and_then_released_part_by_part(finetune, pretrained, nd_train):
    _, before = read_checkpoint(pretrained)
    frozen = finetune("--freeze_steps=4", steps=4, name="frozen")
    _, after = read_checkpoint(nd_train.best(frozen))
    assert changed(before, after, "readout.")
    for part in ("enc_atn.", "proc_layers.", "dec_atn.", "dec_ffn.", "latent_emb.", "token_type_emb."):
        assert not changed(before, after, part)
    released = finetune("--freeze_steps=2", "--unfreeze_every=4", steps=6, name="released")
    (last,) = released.rglob("last.ckpt")
    _, after = read_checkpoint(last)
    assert changed(before, after, "dec_ffn.")
    assert not changed(before, after, "dec_atn.")  # due at step 6
    whole = finetune("--freeze_steps=2", steps=4, name="whole")
    (last,) = whole.rglob("last.ckpt")
    _, after = read_checkpoint(last)
    assert changed(before, after, "enc_atn.")


def test_low_rank_changes_leave_the_backbone_as_it_is(finetune, pretrained, nd_train):
    folder = finetune("--lora=2", steps=10)
    _, before = read_checkpoint(pretrained)
    config, after = read_checkpoint(nd_train.best(folder))
    assert config["lora"]["rank"] == 2
    assert not changed(before, after, "enc_")
    assert float(after["enc_atn.to_q.lora_up"].abs().max()) > 0
    module = NeuralDecoder.load_from_checkpoint(nd_train.best(folder))
    assert torch.equal(module.model.state_dict()["enc_atn.to_q.lora_up"], after["enc_atn.to_q.lora_up"])
    # And once more, from there: the changes are part of the weights then.
    again = finetune(start=nd_train.best(folder), steps=4, name="again")
    config, _ = read_checkpoint(nd_train.best(again))
    assert "lora" not in config


def test_a_shared_folder_is_as_good_a_start_as_the_checkpoint(finetune, pretrained, nd_train, tmp_path):
    save_pretrained(NeuralDecoder.load_from_checkpoint(pretrained).model, tmp_path / "shared")
    of_folder = read_checkpoint(nd_train.best(finetune(start=tmp_path / "shared", steps=4, name="one")))[1]
    of_checkpoint = read_checkpoint(nd_train.best(finetune(steps=4, name="two")))[1]
    assert set(of_folder) == set(of_checkpoint)
    for name, value in of_checkpoint.items():
        assert torch.equal(of_folder[name], value) if isinstance(value, torch.Tensor) else of_folder[name] == value


def test_a_readout_that_the_model_does_not_have_begins_anew_beside_its_own(finetune, pretrained, nd_train, capsys):
    folder = finetune(steps=30, readouts=("cursor_position_2d",))
    assert "readouts that begin anew: cursor_position_2d" in capsys.readouterr().out
    config, after = read_checkpoint(nd_train.best(folder))
    assert list(config["readout_specs"]) == ["cursor_velocity_2d", "cursor_position_2d"]
    _, before = read_checkpoint(pretrained)
    # What nobody asked for stays.
    assert not changed(before, after, "readout.projections.cursor_velocity_2d")
    assert isinstance(nd_train.score(folder, task="cursor_position_2d"), float)


def test_a_readout_can_begin_anew_though_it_is_known(finetune, nd_train, capsys):
    finetune("--fresh_readouts=[cursor_velocity_2d]", "--model.lr=0", steps=2)
    assert "begin anew: cursor_velocity_2d" in capsys.readouterr().out


def test_a_run_that_was_interrupted_is_taken_up_to_the_same_end(finetune, nd_train, three_recordings, tmp_path):
    whole = finetune("--freeze_steps=3", "--model.schedule=constant", steps=8, name="whole")
    begun = finetune("--freeze_steps=3", "--model.schedule=constant", steps=5, name="begun")
    (last,) = begun.rglob("last.ckpt")
    nd_train(
        *("finetune", f"--ckpt_path={last}", f"--data.root={three_recordings}", "--trainer.max_steps=8"),
        *(f"--data.config={nd_train.configuration(['session_02'])}", "--model.schedule=constant"),
        *(f"--trainer.default_root_dir={tmp_path / 'resumed'}", *nd_train.quiet),
    )
    ends = [next(folder.rglob("last.ckpt")) for folder in (whole, tmp_path / "resumed")]
    states = [torch.load(path, weights_only=True) for path in ends]
    assert [state["global_step"] for state in states] == [8, 8]
    for name, value in states[0]["state_dict"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(states[1]["state_dict"][name], value), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "finetune needs a pretrained model: nd-train finetune CHECKPOINT"),
        (["nowhere.ckpt"], "'nowhere.ckpt' does not exist"),
        (["PRETRAINED", "--lora=2", "--freeze_steps=3"], "--lora keeps the backbone frozen"),
        (["PRETRAINED", "--freeze_steps=-3"], "--freeze_steps: expected 0 steps or more, found -3"),
        (["PRETRAINED", "--fresh_readouts=[cursor_velocty_2d]"], "did you mean 'cursor_velocity_2d'?"),
        (["PRETRAINED", "--lora=1000"], "rank must be a whole number from 1 to"),
    ],
)
def test_what_makes_no_sense_is_one_error(words, message, nd_train, pretrained, three_recordings, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["nd-train"])
    data = [f"--data.root={three_recordings}", f"--data.config={nd_train.configuration(['session_02'])}"]
    given = [str(pretrained) if word == "PRETRAINED" else word for word in words]
    assert main(["finetune", *given, *data, *nd_train.quiet]) == 1
    assert message in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([], True),
        (["--data.normalize=train"], True),
        ([f"--fresh_readouts=[{VELOCITY}]"], False),
        (['--data.normalize={"cursor_velocity_2d": {"mean": [9.0, 9.0], "std": [7.0, 7.0]}}'], False),
    ],
    ids=["as it was", "would be measured", "anew", "given"],
)
@pytest.mark.parametrize("shared", [False, True], ids=["checkpoint", "folder"])
def test_targets_are_scaled_as_those_of_the_pretrained_readouts_were(
    shared, finetune, nd_train, pretrained, tmp_path, words, kept
):
    scale = {"mean": [1.5, -2.0], "std": [4.0, 0.5]}
    checkpoint = torch.load(pretrained, weights_only=True)
    checkpoint["NeuralDataModule"] = {"target_statistics": {VELOCITY: scale}}
    torch.save(checkpoint, tmp_path / "scaled.ckpt")
    start = tmp_path / "scaled.ckpt"
    if shared:
        nd_train("export", start, "--output", tmp_path / "shared")
        start = tmp_path / "shared"
    folder = finetune(*words, "--trainer.limit_val_batches=0", start=start, steps=1)
    (last,) = folder.rglob("last.ckpt")
    found = torch.load(last, weights_only=True)["NeuralDataModule"]["target_statistics"]
    assert (found == {VELOCITY: scale}) is kept
    if "normalize" in "".join(words) and not kept:
        assert found[VELOCITY]["mean"] == [9.0, 9.0]
