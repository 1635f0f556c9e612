"""The command nd-data."""

import re
import subprocess
import sys

import numpy as np
import pytest

from nd_data import Data, Interval, RegularTimeSeries
from nd_data.__about__ import __version__
from nd_data.cli import main


def test_simulate_writes_recordings_and_prints_a_table_of_them(tmp_path, capsys):
    options = ["--sessions", "2", "--minutes", "0.5", "--units", "12", "--seed", "7", "--brainset", "toy"]
    assert main(["simulate", str(tmp_path), *options]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["recording", "units", "spikes", "minutes", "ceiling", "R2", "file"]
    assert len(rows) == 2
    for number, row in enumerate(rows):
        recording, units, spikes, minutes, ceiling, path = row.split()
        data = Data.load(path)
        assert recording == f"toy/session_{number:02d}"
        assert (int(units), int(spikes), float(minutes)) == (12, len(data.spikes), 0.5)
        assert float(ceiling) == pytest.approx(data.simulation.ideal_r2, abs=5e-4)
        assert data.simulation.seed == 7


def test_inspect_tells_shapes_rates_and_durations(tmp_path, capsys):
    path = tmp_path / "recording.h5"
    Data(
        cursor=RegularTimeSeries(sampling_rate=50.0, domain_start=1.0, vel=np.zeros((100, 2))),
        trials=Interval([0.0, 2.0], [1.0, 2.5], kind=["reach", "hold"]),
        session=Data(id="monday", number=3),
        domain=Interval(0.0, 3.0),
    ).save(path)
    assert main(["inspect", str(path)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == str(path)
    for expected in (
        "domain: 1 interval, 3.000 s from 0.000 to 3.000 s",
        "cursor: 100 samples at 50 Hz, 1 interval, 2.000 s from 1.000 to 3.000 s",
        "vel: (100, 2) float64",
        "trials: 2 intervals, 1.500 s from 0.000 to 2.500 s",
        "kind: (2,) <U5",
        "id: 'monday'",
        "number: 3",
    ):
        assert expected in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nothing.h5"], "nd-data inspect: no recording at .*nothing.h5"),
        (["simulate", "OUT", "--minutes", "-1"], "nd-data simulate: minutes and mean_rate must be positive"),
    ],
)
def test_a_bad_argument_ends_in_one_line_and_status_one(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.match(message, captured.err)
    assert captured.err.count("\n") == 1


def test_without_a_command_it_says_which_there_are(capsys):
    assert main([]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: nd-data")
    assert all(command in printed.out for command in ("simulate", "convert", "inspect", "validate"))
    assert printed.err == ""


@pytest.mark.parametrize("arguments", [["simulat"], ["simulate"], ["simulate", "OUT", "--units", "many"]])
def test_a_misspelt_command_shows_how_it_is_used(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: nd-data" in capsys.readouterr().err


def test_the_module_runs_as_a_command():
    found = subprocess.run(
        [sys.executable, "-m", "nd_data.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == __version__
