"""Longitudinal models from configurations and back."""

import inspect

import pytest

from nd_models.longitudinal import ARCHITECTURES, model_from_config


def test_every_constructor_argument_is_in_the_configuration(build):
    model = build()
    assert set(inspect.signature(type(model)).parameters) == set(model.to_config()) - {"architecture"}


def test_every_architecture_is_tried_by_the_contract_suite(all_settings):
    assert {one["architecture"] for one in all_settings.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"num_features": 3}, ValueError, "names no architecture; known: AutoRegressiveLinear, "),
        ({"architecture": "Recurrnt"}, KeyError, "architecture 'Recurrnt' does not exist; did you mean 'Recurrent'"),
        ({"_target_": "os.system"}, KeyError, "architecture 'system' does not exist"),
        ({"architecture": "Recurrent"}, ValueError, "the configuration of Recurrent lacks 'num_features'"),
        (
            {"architecture": "Recurrent", "num_features": 3, "hiden_size": 4},
            ValueError,
            "Recurrent has no argument 'hiden_size'; did you mean 'hidden_size'",
        ),
        ("Recurrent", TypeError, "a model's configuration is a mapping, got 'Recurrent'"),
    ],
)
def test_unfit_configurations_are_refused(config, error, message):
    with pytest.raises(error, match=message):
        model_from_config(config)
