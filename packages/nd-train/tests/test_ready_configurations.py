"""Every ready configuration is understood, builds its model at full size, and takes two steps."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries
from nd_models import model_from_config
from nd_train.cli import main
from nd_train.commands.ready_configurations import ready_configurations, with_ready_configurations

READY = ready_configurations()
LARGE = {"poyo_1", "poyo_plus", "calcium_poyo_plus"}
DECODERS = sorted(name for name in READY if name != "longitudinal")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def network_of(name):
    network = yaml.safe_load(READY[name].read_text())["model"]["network"]
    single = network["architecture"] == "POYO"
    key, readouts = ("readout_spec", "cursor_velocity_2d") if single else ("readout_specs", ["cursor_velocity_2d"])
    return {**network, key: readouts}


def shared_weights(model):
    """How many weights there are besides the vectors of units and sessions."""
    named = [
        parameter for name, parameter in model.named_parameters() if not name.startswith(("unit_emb", "session_emb"))
    ]
    return sum(parameter.numel() for parameter in named)


def test_the_configurations_of_the_guide_are_there():
    assert {"poyo_small", "poyo_1", "poyo_plus_small", "poyo_plus", "longitudinal", "quickstart"} <= set(READY)


@pytest.mark.parametrize("name", DECODERS)
def test_a_model_is_built_at_full_size(name):
    with torch.device("meta"):
        model = model_from_config(network_of(name))
    assert type(model).__name__ == yaml.safe_load(READY[name].read_text())["model"]["network"]["architecture"]


@pytest.mark.parametrize("name", ["poyo_1", "poyo_plus"])
def test_the_large_models_have_the_published_number_of_weights(name):
    with torch.device("meta"):
        model = model_from_config(network_of(name))
    # "11.8 million", some of them the vectors of units and sessions.
    assert shared_weights(model) == pytest.approx(11.8e6, rel=0.02)


@pytest.mark.parametrize("name", sorted(READY))
def test_a_configuration_begins_with_what_it_is_for(name):
    first, *_ = READY[name].read_text().splitlines()
    assert first.startswith("# ")
    assert len(first) > 40


def words_for(name, recordings, tmp_path):
    single = name != "longitudinal" and network_of(name)["architecture"] == "POYO"
    readout = {"readout_id": "cursor_velocity_2d"}
    config = tmp_path / "data.yaml"
    config.write_text(yaml.safe_dump({"config": {"readout": readout} if single else {"multitask_readout": [readout]}}))
    return [f"--config={name}", f"--data.root={recordings}", f"--data.config={config}"]


@pytest.mark.parametrize(
    "words", [["--config", "poyo_plus_smal"], ["--config=poyo_plus_smal"], ["-c", "poyo_plus_smal"]]
)
def test_a_misspelt_name_says_what_was_meant(words):
    meant = r"nor a ready configuration \(did you mean poyo_plus_small\?\); ready are .*poyo_1, "
    with pytest.raises(FileNotFoundError, match=meant):
        with_ready_configurations(["fit", *words])
    with pytest.raises(FileNotFoundError, match="nor a ready configuration; ready are "):
        with_ready_configurations(["fit", "--config", "mine/run_7.yaml"])


@pytest.mark.parametrize("name", sorted(LARGE & set(READY)))
def test_a_large_configuration_is_understood(name, recordings, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", *words_for(name, recordings, tmp_path), "--print_config"])
    assert end.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    given = yaml.safe_load(READY[name].read_text())
    assert printed["model"]["network"]["depth"] == given["model"]["network"]["depth"]
    assert printed["data"]["batch_size"] == given["data"]["batch_size"]
    assert printed["data"]["root"] == str(recordings)


@pytest.mark.parametrize("name", [name for name in DECODERS if name not in LARGE and not name.startswith("calcium")])
def test_a_small_configuration_takes_two_steps_and_validates(name, recordings, tmp_path, capsys):
    quick = ["--trainer.fast_dev_run=2", "--data.batch_size=2", "--data.eval_batch_size=2", "--trainer.accelerator=cpu"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    where = [f"--trainer.default_root_dir={tmp_path / 'run'}"]
    assert main(["fit", *words_for(name, recordings, tmp_path), *quick, *quiet, *where]) == 0
    assert "2 steps" in capsys.readouterr().out


def test_forecasting_takes_two_steps_and_validates(tmp_path, capsys):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"person": np.repeat(np.arange(20), 8), "day": np.tile(np.arange(8), 20)})
    table["mood"], table["sleep"] = rng.normal(size=160), rng.normal(size=160)
    table.to_csv(tmp_path / "panel.csv", index=False)
    columns = ["--data.sequence=person", "--data.time=day", "--data.outcomes=mood"]
    quick = ["--trainer.fast_dev_run=2", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    where = [f"--data.table={tmp_path / 'panel.csv'}", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    assert main(["fit", "--config=longitudinal", *columns, *quick, *where]) == 0


def test_the_published_poyo_learns_from_a_window(recordings):
    """The architecture at full width and depth, on two windows."""
    model = model_from_config(network_of("poyo_1"))
    model.unit_emb.initialize_vocab(["lab/day/a", "lab/day/b"])
    model.session_emb.initialize_vocab(["lab/day"])
    rng = np.random.default_rng(0)
    times = np.arange(20) * 0.05
    window = Data(
        units=ArrayDict(id=np.array(["lab/day/a", "lab/day/b"])),
        spikes=IrregularTimeSeries(
            timestamps=np.sort(rng.uniform(0, 1, 30)), unit_index=rng.integers(0, 2, 30), domain=Interval(0.0, 1.0)
        ),
        cursor=IrregularTimeSeries(timestamps=times, vel=rng.normal(size=(20, 2)), domain=Interval(0.0, 1.0)),
        session=Data(id="lab/day", domain=Interval(0.0, 1.0)),
        domain=Interval(0.0, 1.0),
    )
    window.config = {"readout": {"readout_id": "cursor_velocity_2d"}}
    from nd_data import collate

    batch = collate([model.tokenize(window)] * 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    model.eval()
    losses = []
    for _ in range(2):
        loss = ((model(**batch["model_inputs"]) - batch["target_values"]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]
