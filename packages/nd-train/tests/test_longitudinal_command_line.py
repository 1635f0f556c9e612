"""Which command line is meant, and how its module is put together; whole runs are in tests-integration."""

import pytest
import yaml

from nd_train.commands.decoder_command_line import DecoderCommandLine
from nd_train.commands.lightning_commands import command_line_of
from nd_train.commands.ready_configurations import ready_configurations
from nd_train.longitudinal import LongitudinalSettings
from nd_train.longitudinal.command_line import LongitudinalCommandLine, configured_forecaster, scores_table

READY = ready_configurations()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit"], DecoderCommandLine),
        (["fit", "--config", str(READY["poyo_small"])], DecoderCommandLine),
        (["fit", "--config", str(READY["longitudinal"])], LongitudinalCommandLine),
        (["fit", "-c", str(READY["longitudinal"])], LongitudinalCommandLine),
        (["fit", f"--config={READY['longitudinal']}"], LongitudinalCommandLine),
        (["fit", "--config", "{system: longitudinal}"], LongitudinalCommandLine),
        (["fit", "--system", "longitudinal"], LongitudinalCommandLine),
        (["fit", f"--config={READY['longitudinal']}", "--system=decoding"], DecoderCommandLine),
        # A later configuration that does not say leaves it as it was.
        (
            ["fit", "--config", str(READY["longitudinal"]), "--config", "{trainer: {max_epochs: 1}}"],
            LongitudinalCommandLine,
        ),
        (["fit", "--config", "{not: [yaml"], DecoderCommandLine),
    ],
)
def test_the_last_configuration_that_names_a_system_decides(words, expected):
    assert command_line_of(words) is expected


def test_the_ready_configuration_holds_only_arguments_that_exist():
    content = yaml.safe_load(READY["longitudinal"].read_text())
    settings = LongitudinalSettings.from_args(content["model"]["args"])
    module = configured_forecaster(content["model"]["network"], settings, {"embeddings": 5}, 2)
    assert (module.model.num_features, module.model.num_outcomes, module.settings.num_outcomes) == (5, 2, 2)


def test_what_the_data_say_completes_the_network():
    module = configured_forecaster(
        {"architecture": "Recurrent", "inputs": ["embeddings", "seq_embeddings_person"], "hidden_size": 4},
        LongitudinalSettings(num_classes=3),
        {"embeddings": 5, "embeddings_mood": 2, "seq_embeddings_person": 3},
        4,
    )
    assert (module.model.num_features, module.model.num_outcomes, module.model.num_classes) == (8, 4, 3)


def test_a_network_for_other_data_is_one_clear_error():
    with pytest.raises(ValueError, match="num_outcomes: the data have 2, the network is made for 1"):
        configured_forecaster({"num_outcomes": 1}, LongitudinalSettings(), {"embeddings": 5}, 2)
    with pytest.raises(KeyError, match="the data have 'embeddings'"):
        configured_forecaster({"inputs": "embed"}, LongitudinalSettings(), {"embeddings": 5}, 2)


def test_the_table_has_one_line_a_subset_with_points_and_a_dash_for_what_is_undefined():
    scores = {
        "test_oots_loss": 1.0,
        "test_oots_mse": 2.0,
        "test_oots_count": 1234,
        "test_oots_ooss_loss": 3.0,
        "test_oots_ooss_mse": 4.0,
        "test_oots_ooss_mae": 5.0,
        "test_oots_ooss_count": 7,
        "test_ws_wt_count": 0,
    }
    table = scores_table(scores, "test")
    assert [column.header for column in table.columns] == ["subset", "what", "loss", "mse", "mae", "points"]
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["oots_ooss", "oots"]
    assert cells[4] == ["5.000", "-"]
    assert cells[5] == ["7", "1,234"]
