"""Bad input as a user meets it: one clear error that says what was expected, what was found, and where."""

# ruff: noqa: PT011  # `messages` checks what each error says

import subprocess
import sys

import pytest
import torch
import yaml
from torch.utils.data import DataLoader

from nd_data import Data, Dataset, DatasetIndex, Interval, collate
from nd_data.samplers import RandomFixedWindowSampler, SequentialFixedWindowSampler
from nd_models import POYO, POYOPlus, model_from_config
from nd_train import NeuralDecoder

NETWORK = {
    "architecture": "POYOPlus",
    "sequence_length": 1.0,
    "latent_step": 0.5,
    "num_latents_per_step": 2,
    "dim": 16,
    "depth": 1,
    "dim_head": 8,
    "readout_specs": ["cursor_velocity_2d"],
}
READOUTS = {"multitask_readout": [{"readout_id": "cursor_velocity_2d"}]}
SESSION = "simulated/session_00"


def written(path, content):
    path.write_text(yaml.safe_dump(content))
    return path


def selecting(**selection):
    return [{"selection": [selection], "config": READOUTS}]


def tokenizing(processed, config, *, vocabularies=True, **keywords):
    """A model and the dataset that it tokenizes."""
    model = model_from_config(NETWORK)
    dataset = Dataset(processed, config=config, split="train", transform=model.tokenize, **keywords)
    if vocabularies:
        model.unit_emb.initialize_vocab(dataset.get_unit_ids())
        model.session_emb.initialize_vocab(dataset.get_session_ids())
    return model, dataset


def first_batch(dataset):
    sampler = RandomFixedWindowSampler(dataset.get_sampling_intervals(), window_length=1.0)
    return next(iter(DataLoader(dataset, sampler=sampler, batch_size=4, collate_fn=collate)))


@pytest.fixture
def one_recording(tmp_path, processed):
    """A copy of one recording, changed as a test needs it."""

    def make(change):
        recording = Data.load(processed / f"{SESSION}.h5").materialize()
        change(recording)
        root = tmp_path / "changed"
        (root / "simulated").mkdir(parents=True)
        recording.save(root / f"{SESSION}.h5")
        return root

    return make


def messages(error, *parts):
    text = " ".join([str(error.value), *getattr(error.value, "__notes__", [])])
    assert "\n" not in str(error.value).strip(), f"more than one line: {text}"
    for part in parts:
        assert part in text, f"{part!r} is not in: {text}"


def test_a_missing_root_names_the_folder_and_what_belongs_there(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        Dataset(tmp_path / "nowhere", config={"config": READOUTS})
    messages(error, str(tmp_path / "nowhere"), "<brainset>/<session>.h5")


def test_a_root_without_recordings_says_what_was_expected(tmp_path):
    with pytest.raises(ValueError) as error:
        Dataset(tmp_path, config={"config": READOUTS})
    messages(error, "no recordings under", str(tmp_path), "<brainset>/<session>.h5")


def test_a_missing_recording_names_its_file_and_the_nearest(processed):
    with pytest.raises(FileNotFoundError) as error:
        Dataset(processed, recording_id="simulated/sesion_00")
    messages(error, str(processed / "simulated" / "sesion_00.h5"), "did you mean 'simulated/session_00'", "session_01")


def test_a_missing_configuration_names_the_file_and_its_neighbours(processed, tmp_path):
    written(tmp_path / "config.yaml", {"config": READOUTS})
    with pytest.raises(FileNotFoundError) as error:
        Dataset(processed, config=tmp_path / "configuration.yaml")
    messages(error, str(tmp_path / "configuration.yaml"), "config.yaml")


def test_a_file_that_is_no_recording_is_named(tmp_path):
    (tmp_path / "simulated").mkdir()
    path = tmp_path / "simulated" / "session_00.h5"
    path.write_text("this is no HDF5")
    with pytest.raises((OSError, ValueError)) as error:
        Dataset(tmp_path, split="train").get_sampling_intervals()
    messages(error, str(path))


def test_an_unknown_session_comes_with_place_existing_sessions_and_the_nearest(processed, tmp_path):
    config = written(tmp_path / "config.yaml", selecting(brainset="simulated", sessions=["session_00", "session_7"]))
    with pytest.raises(ValueError) as error:
        Dataset(processed, config=config)
    messages(
        error,
        f"{config}, line ",
        "unknown session 'session_7' in brainset 'simulated'",
        "did you mean",
        "existing sessions: 'session_00', 'session_01'",
    )


def test_an_unknown_brainset_comes_with_folder_existing_brainsets_and_the_nearest(processed, tmp_path):
    config = written(tmp_path / "config.yaml", selecting(brainset="simulate"))
    with pytest.raises(ValueError) as error:
        Dataset(processed, config=config)
    messages(error, f"{config}, line ", "brainset 'simulate'", str(processed), "did you mean 'simulated'")


def test_an_unknown_readout_comes_with_recording_known_readouts_and_the_nearest(processed):
    config = {"config": {"multitask_readout": [{"readout_id": "cursor_velocty_2d"}]}}
    _, dataset = tokenizing(processed, config)
    with pytest.raises(KeyError) as error:
        first_batch(dataset)
    messages(
        error, "simulated/session_0", "readout 'cursor_velocty_2d'", "did you mean 'cursor_velocity_2d'", "known: "
    )


def test_an_unknown_readout_of_a_model_comes_with_known_readouts_and_the_nearest():
    with pytest.raises(KeyError) as error:
        NeuralDecoder({**NETWORK, "readout_specs": ["cursor_velocity"]})
    messages(error, "readout 'cursor_velocity'", "did you mean 'cursor_velocity_2d'", "'arm_velocity_2d'")


def test_an_unknown_split_comes_with_recording_file_existing_splits_and_the_nearest(processed):
    with pytest.raises(ValueError) as error:
        Dataset(processed, split="vald").get_sampling_intervals()
    messages(
        error,
        f"recording '{SESSION}'",
        "unknown split 'vald'",
        "did you mean 'valid'",
        "'test', 'train', 'valid'",
        str(processed / f"{SESSION}.h5"),
    )


def test_an_empty_split_says_which_split_of_which_recordings(one_recording):
    def empty(recording):
        recording.valid_domain = Interval([], [])

    root = one_recording(empty)
    with pytest.raises(ValueError) as error:
        Dataset(root, split="valid").get_sampling_intervals()
    messages(error, "split 'valid' is empty in every recording", SESSION)


def test_a_window_longer_than_every_interval_comes_with_both_lengths_and_the_place(processed):
    intervals = Dataset(processed, split="valid").get_sampling_intervals()
    for sampler in (RandomFixedWindowSampler, SequentialFixedWindowSampler):
        with pytest.raises(ValueError) as error:
            sampler(intervals, window_length=9.0)
        messages(error, "9 s", "longer than every sampling interval", "the longest is 6 s", "simulated/session_0")


def test_a_window_outside_its_split_names_recording_split_and_nearest_interval(processed):
    dataset = Dataset(processed, split="train")
    with pytest.raises(ValueError) as error:
        dataset[DatasetIndex(SESSION, 41.5, 42.5)]
    messages(error, f"recording '{SESSION}'", "[41.5, 42.5)", "leaves the 'train' split", "[0, 42)")


def test_an_uninitialised_vocabulary_says_what_to_call(processed):
    model, dataset = tokenizing(processed, {"config": READOUTS}, vocabularies=False)
    with pytest.raises(ValueError) as error:
        first_batch(dataset)
    messages(error, "the unit vocabulary is not initialised", "initialize_vocab(")
    with pytest.raises(ValueError) as error:
        NeuralDecoder(model).configure_optimizers()
    messages(error, "vocabulary of model.unit_emb is not initialised", "initialize_vocab(dataset.get_unit_ids())")


def test_a_unit_that_is_not_in_the_vocabulary_is_named_with_the_nearest(processed):
    model = model_from_config(NETWORK)
    known = Dataset(processed, recording_id="simulated/session_01")
    model.unit_emb.initialize_vocab(known.get_unit_ids())
    model.session_emb.initialize_vocab([SESSION, "simulated/session_01"])
    dataset = Dataset(processed, config=selecting(brainset="simulated", session="session_00"), transform=model.tokenize)
    with pytest.raises(KeyError) as error:
        first_batch(dataset)
    messages(
        error,
        f"unit '{SESSION}/unit_00_000' is not in the vocabulary of 30 unit names",
        "nearest: 'simulated/session_01/unit_00_00",
        "extend_vocab()",
    )


def test_a_session_that_is_not_in_the_vocabulary_is_named(processed):
    model, dataset = tokenizing(processed, {"config": READOUTS}, vocabularies=False)
    model.unit_emb.initialize_vocab(dataset.get_unit_ids())
    model.session_emb.initialize_vocab(["simulated/session_10"])
    with pytest.raises(KeyError) as error:
        first_batch(dataset)
    messages(error, "session 'simulated/session_0", "is not in the vocabulary of 1 session names", "session_10")


def test_weights_on_intervals_that_do_not_exist_come_with_existing_paths_and_the_nearest(processed):
    weights = {"movement_phases.reach_periods": 5.0}
    config = {"config": {"multitask_readout": [{"readout_id": "cursor_velocity_2d", "weights": weights}]}}
    _, dataset = tokenizing(processed, config)
    with pytest.raises(ValueError) as error:
        first_batch(dataset)
    messages(
        error,
        "no intervals 'movement_phases.reach_periods' in recording 'simulated/session_0",
        "did you mean 'movement_phases.reach_period'",
        "'movement_phases.hold_period'",
    )


def test_a_recording_without_the_readouts_values_says_which_key_is_missing(one_recording):
    def without_cursor(recording):
        del recording.cursor

    _, dataset = tokenizing(one_recording(without_cursor), {"config": READOUTS})
    with pytest.raises(KeyError) as error:
        first_batch(dataset)
    messages(error, SESSION, "cursor_velocity_2d", "cursor.timestamps")


def test_code_in_a_configuration_is_refused_with_what_to_write_instead(processed, tmp_path):
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w')"
    config = written(tmp_path / "config.yaml", [{"config": READOUTS, "sampling_intervals_modifier": code}])
    with pytest.raises(ValueError) as error:
        Dataset(processed, config=config)
    messages(error, f"{config}, line ", "holds code, which is never run", "'sampling_intervals'", "{intersect: path}")
    assert not mark.exists()


def test_a_readout_without_its_id_is_refused_with_the_line(processed, tmp_path):
    config = written(tmp_path / "config.yaml", {"config": {"multitask_readout": [{"weigths": {}}]}})
    with pytest.raises(ValueError) as error:
        Dataset(processed, config=config)
    for part in (f"{config}, line ", "needs the key 'readout_id'", "did you mean 'weights'"):
        assert part in str(error.value)


@pytest.mark.parametrize("content", [b"this is no checkpoint", b"", b"PK\x03\x04 and no more"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    for architecture in (POYO, POYOPlus):
        with pytest.raises(ValueError) as error:
            architecture.load_pretrained(path)
        messages(error, f"{path}: not a readable PyTorch checkpoint")


def test_a_checkpoint_of_something_else_says_what_is_missing(tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(ValueError) as error:
        POYOPlus.load_pretrained(path)
    messages(error, str(path), "not a Lightning checkpoint", "'state_dict'")


def nd_train(*arguments):
    command = [sys.executable, "-m", "nd_train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


FIT = [
    *("fit", "--config", "poyo_plus_small"),
    *("--model.network.dim=16", "--model.network.depth=1", "--model.network.dim_head=8"),
    *("--trainer.max_steps=2", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"),
]


def a_root_that_is_not_there(processed, tmp_path):
    return [f"--data.root={tmp_path / 'nowhere'}"], ["no folder", str(tmp_path / "nowhere"), "<brainset>/<session>.h5"]


def an_unknown_readout(processed, tmp_path):
    readout = {"readout_id": "cursor_velocty_2d"}
    config = written(tmp_path / "bad.yaml", {"config": {"multitask_readout": [readout]}})
    return [f"--data.config={config}"], ["'cursor_velocty_2d' does not exist", "did you mean 'cursor_velocity_2d'"]


def an_unknown_session(processed, tmp_path):
    config = written(tmp_path / "bad.yaml", selecting(brainset="simulated", session="session_7"))
    return [f"--data.config={config}"], [f"{config}, line ", "unknown session 'session_7'", "'session_00'"]


def windows_that_are_too_long(processed, tmp_path):
    return ["--model.network.sequence_length=9.0"], ["9 s, longer than every sampling interval: the longest is 6 s"]


def a_file_that_is_no_checkpoint(processed, tmp_path):
    path = tmp_path / "junk.ckpt"
    path.write_text("junk")
    return [f"--ckpt_path={path}"], [f"{path}: not a readable PyTorch checkpoint"]


def a_checkpoint_that_is_not_there(processed, tmp_path):
    return [f"--ckpt_path={tmp_path / 'nowhere.ckpt'}"], ["not found", str(tmp_path / "nowhere.ckpt")]


@pytest.mark.parametrize(
    "wrong",
    [
        a_root_that_is_not_there,
        an_unknown_readout,
        an_unknown_session,
        windows_that_are_too_long,
        a_file_that_is_no_checkpoint,
        a_checkpoint_that_is_not_there,
    ],
)
def test_on_the_command_line_bad_input_is_one_line_and_leaves_no_checkpoint(processed, tmp_path, wrong):
    arguments, parts = wrong(processed, tmp_path)
    config = written(tmp_path / "data.yaml", {"config": READOUTS})
    run = tmp_path / "run"
    sane = [f"--data.root={processed}", f"--data.config={config}", f"--trainer.default_root_dir={run}"]
    done = nd_train(*FIT, *sane, *arguments)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for part in parts:
        assert part in line
    # Nothing that a later run could take for a result.
    left = {path.name for path in run.rglob("*") if path.is_file()} if run.exists() else set()
    left.discard("run.json")  # the record of what was tried
    assert not [name for name in left if name.endswith((".ckpt", ".json", ".tmp", ".part"))]
    assert "metrics.csv" not in left


def test_a_configuration_that_is_not_there_lists_the_ready_ones(tmp_path):
    done = nd_train("fit", "--config", "poyo_plus_smal")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "poyo_plus_smal: no such file, nor a ready configuration (did you mean poyo_plus_small?); " in done.stderr
    assert all(name in done.stderr for name in ("longitudinal", "poyo_plus_small", "poyo_small", "quickstart"))
    assert list(tmp_path.iterdir()) == []
