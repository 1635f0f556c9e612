"""The baselines learn to decode simulated movement, of which an ideal decoder explains 93 %."""

import pytest
import torch

from nd_models import GRUDecoder, MLPDecoder, NDTDecoder, WienerDecoder

TIMES = {"sequence_length": 2.0, "bin_size": 0.05, "readout_specs": ["cursor_velocity_2d"]}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("architecture", "arguments", "lr", "expected"),
    [
        (GRUDecoder, {"dim": 48}, 5e-3, 0.85),
        (MLPDecoder, {"dim": 48, "lags": range(-5, 6)}, 3e-3, 0.8),
        (NDTDecoder, {"dim": 48, "depth": 2, "dim_head": 16, "heads": 2}, 3e-3, 0.8),
        (WienerDecoder, {"lags": range(-5, 6)}, 1e-2, 0.8),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_two_sessions_train_one_model(
    architecture, arguments, lr, expected, recordings, know_the_recordings, train, held_out_r2
):
    model = architecture(**TIMES, **arguments)
    know_the_recordings(model)
    losses = train(model, steps=150, lr=lr)
    assert losses[-1] < 0.4 * losses[0]
    ideal = min(recording.ideal_r2 for recording in recordings[1])
    assert expected < held_out_r2(model) < ideal + 0.02


def test_the_closed_form_beats_the_wiener_filter_trained_by_gradients(loader, know_the_recordings, train, held_out_r2):
    torch.manual_seed(0)
    trained, fitted = (WienerDecoder(**TIMES, lags=range(-5, 6)) for _ in range(2))
    for model in (trained, fitted):
        know_the_recordings(model)
    train(trained, steps=100, lr=1e-2)
    fit = fitted.fit(loader(fitted, "train"), loader(fitted, "valid"))
    assert held_out_r2(fitted) > max(held_out_r2(trained), 0.8)
    scores = [score for tasks in fit.validation_r2.values() for score in tasks.values()]
    assert len(scores) == 2
    assert min(scores) > 0.8
