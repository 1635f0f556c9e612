"""``nd-train report``: which run, where to, in which format, and what it does where something is missing."""

import dataclasses
import importlib.util
import json
import os

import pytest
import yaml

from nd_data import Data
from nd_models import MODALITY_REGISTRY, DataType, ModalitySpec
from nd_models.loss import MultilabelCrossEntropyLoss
from nd_train.cli import main
from nd_train.report import leave_report, report_card, write_report
from nd_train.report.baselines import CEILING, RIDGE, read_baselines, ridge_baselines, write_baselines
from nd_train.ridge_baseline import ridge_scores

VELOCITY = "cursor_velocity_2d"
POSITION = "cursor_position_2d"


def test_the_command_writes_the_page_into_the_runs_folder_and_says_where(make_run, capsys):
    folder = make_run("lab/day_1", classes=False)
    assert main(["report", str(folder), "--no-baselines"]) == 0
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_of_a_folder_with_several_runs_the_newest_is_taken(make_run, tmp_path, capsys):
    old = make_run("lab/day_1", classes=False)
    new = old.parent / "version_1"
    new.mkdir()
    (new / "test_scores.json").write_text((old / "test_scores.json").read_text())
    for file in old.iterdir():
        os.utime(file, (1, 1))
    assert main(["report", str(tmp_path), "--no-baselines", "--output", str(tmp_path / "out" / "card.html")]) == 0
    assert (tmp_path / "out" / "card.html").is_file()
    assert f"out of {new}" in (tmp_path / "out" / "card.html").read_text()


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_figures_for_a_paper(make_run, tmp_path, kind, capsys):
    folder = make_run("lab/day_1", "lab/day_2")
    assert main(["report", str(folder), "--format", kind, "--output", str(tmp_path / "figures")]) == 0
    begins = {"png": b"\x89PNG", "pdf": b"%PDF"}[kind]
    written = {file.name: file.read_bytes()[:4] for file in (tmp_path / "figures").iterdir()}
    tasks = (VELOCITY, "movement_phase")
    expected = {f"{what}_{task}.{kind}" for what in ("scores", "score_over_time", "traces") for task in tasks}
    expected.add(f"confusion_movement_phase.{kind}")
    assert written == dict.fromkeys({*expected, f"training.{kind}"}, begins)


def test_a_run_without_anything_to_draw_is_an_error(make_run):
    folder = make_run(left_out=("metrics.csv", "test_scores.json"))
    with pytest.raises(ValueError, match="nothing to draw"):
        write_report(folder, format="png", baselines=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "there is no run in it"),
        (["run", "--stage", "val"], "val_scores"),
    ],
)
def test_what_is_not_there_is_one_line(make_run, arguments, message, capsys, monkeypatch, tmp_path):
    make_run("lab/day_1")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty" if arguments == ["."] else tmp_path)
    assert main(["report", *arguments]) == 1
    assert message in capsys.readouterr().err.splitlines()[0]


def test_without_the_extra_the_command_and_the_run_say_so_in_one_line(make_run, monkeypatch, capsys):
    folder = make_run("lab/day_1")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "plotly" else found(name, *a))
    assert main(["report", str(folder)]) == 1
    assert capsys.readouterr().err == "error: it needs plotly: pip install 'nd-train[report]'\n"
    assert leave_report(folder, "test") == "no report card: it needs plotly: pip install 'nd-train[report]'"


def test_a_report_that_fails_never_fails_the_run(make_run, monkeypatch):
    folder = make_run("lab/day_1")

    def fail(*arguments, **keywords):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(report_card, "score_sheet", fail)
    said = leave_report(folder, "test")
    assert said.startswith("no report card: RuntimeError: out of luck")
    assert not (folder / "report.html").exists()


def test_the_reports_of_a_run_that_just_ended_fits_nothing(make_run, monkeypatch):
    monkeypatch.setattr(report_card, "ridge_baselines", lambda settings: pytest.fail("it was fitted"))
    folder = make_run("lab/day_1", classes=False)
    assert leave_report(folder, "test") == f"report: {folder / 'report.html'}"


def test_baselines_of_other_names_stay_and_those_of_another_stage_go(tmp_path):
    one, other = {"a/b": {"t": {"r2": 0.5}}}, {"a/b": {"t": {"r2": 0.9}}}
    write_baselines(tmp_path, "test", {RIDGE: one})
    write_baselines(tmp_path, "test", {CEILING: other})
    assert read_baselines(tmp_path, "test") == {RIDGE: one, CEILING: other}
    assert read_baselines(tmp_path, "val") == {}
    write_baselines(tmp_path, "val", {RIDGE: other})
    assert read_baselines(tmp_path, "val") == {RIDGE: other}


def test_ridge_regression_is_fitted_on_the_runs_recordings_and_kept(make_run, recordings, make_model, multitask):
    network = make_model(readout_specs=[VELOCITY]).to_config()
    data = {"config": {"multitask_readout": [{"readout_id": VELOCITY}]}}
    names = ("simulated/session_00", "simulated/session_01")
    folder = make_run(*names, classes=False)
    settings = {"data": {"root": str(recordings), "config": data}, "model": {"network": network}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (spec,) = make_model(readout_specs=[VELOCITY]).readout_specs.values()
    expected = ridge_scores(recordings, data, spec, window_length=network["sequence_length"])
    assert ridge_baselines(settings) == ({RIDGE: {name: {VELOCITY: {"r2": expected[name]}} for name in names}}, [])
    write_report(folder, baselines=False)
    assert f"This fits it: nd-train report {folder}<" in (folder / "report.html").read_text()
    write_report(folder)
    assert "This fits it" not in (folder / "report.html").read_text()
    assert read_baselines(folder, "test")[RIDGE][names[0]][VELOCITY]["r2"] == expected[names[0]]
    assert f"{expected[names[0]]:.3f}" in (folder / "report.html").read_text()


def test_the_baseline_of_a_model_with_one_readout_is_beside_its_score(recordings, make_model, single):
    settings = {
        "data": {"root": str(recordings), "config": single},
        "model": {"network": make_model("POYO").to_config()},
    }
    (found,) = ridge_baselines(settings)[0].values()
    assert {name: set(tasks) for name, tasks in found.items()} == {
        "simulated/session_00": {VELOCITY},
        "simulated/session_01": {VELOCITY},
    }


def test_readouts_that_a_recording_lacks_are_named_and_the_others_are_fitted(
    make_run, recordings, make_model, tmp_path
):
    root = tmp_path / "some" / "simulated"
    root.mkdir(parents=True)
    for name in ("session_00", "session_01"):
        recording = Data.load(recordings / "simulated" / f"{name}.h5").materialize()
        if name == "session_01":
            del recording.cursor.pos
        recording.save(root / f"{name}.h5")
    kind, loss = DataType.MULTILABEL, MultilabelCrossEntropyLoss()
    labels = ModalitySpec(90, 2, kind, "cursor.timestamps", "cursor.labels", loss)
    specs = {VELOCITY: MODALITY_REGISTRY[VELOCITY], POSITION: MODALITY_REGISTRY[POSITION], "labels": labels}
    network = make_model(readout_specs=specs).to_config()
    entries = [{"readout_id": VELOCITY}, {"readout_id": POSITION}]
    selected = [{"selection": [{"brainset": "simulated"}], "config": {"multitask_readout": entries}}]
    folder = make_run("simulated/session_00", "simulated/session_01", classes=False)
    settings = {"data": {"root": str(root.parent), "config": selected}, "model": {"network": network}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    found, problems = ridge_baselines(settings)
    assert {name: set(tasks) for name, tasks in found[RIDGE].items()} == {
        "simulated/session_00": {VELOCITY, POSITION},
        "simulated/session_01": {VELOCITY},
    }
    lacking = "recording 'simulated/session_01': it has no cursor.pos"
    assert problems == [
        f"No ridge regression of {POSITION} in 1 of 2 recordings: {lacking}.",
        "No ridge regression of labels: ridge regression is for numbers and classes, not for MULTILABEL labels.",
    ]
    for _ in range(2):  # computed, and read again
        write_report(folder)
        page = (folder / "report.html").read_text()
        assert f"No ridge regression of {POSITION} in 1 of 2 recordings" in page
        assert f"{found[RIDGE]['simulated/session_01'][VELOCITY]['r2']:.3f}" in page


def test_the_baseline_takes_times_and_values_from_where_the_configuration_has_them(recordings, make_model):
    elsewhere = [{"readout_id": VELOCITY, "value_key": "cursor.pos"}]
    settings = {
        "data": {"root": str(recordings), "config": {"config": {"multitask_readout": elsewhere}}},
        "model": {"network": make_model(readout_specs=[VELOCITY]).to_config()},
    }
    position = dataclasses.replace(MODALITY_REGISTRY[VELOCITY], value_key="cursor.pos")
    expected = ridge_scores(recordings, {"config": {}}, position, window_length=1.0)
    (found,) = ridge_baselines(settings)[0].values()
    assert {name: tasks[VELOCITY]["r2"] for name, tasks in found.items()} == expected


def test_recordings_that_are_gone_are_named_and_the_report_is_written(make_run):
    folder = make_run("lab/day_1", classes=False)
    write_report(folder)
    assert "No ridge regression beside: the recordings are not at" in (folder / "report.html").read_text()


def test_a_stage_can_be_chosen(make_run):
    folder = make_run("lab/day_1", classes=False)
    (folder / "val_scores.json").write_text(json.dumps({"lab/day_1": {VELOCITY: {"r2": 0.123}}}))
    write_report(folder, stage="val", baselines=False)
    page = (folder / "report.html").read_text()
    assert "validation scores" in page
    assert "0.123" in page
