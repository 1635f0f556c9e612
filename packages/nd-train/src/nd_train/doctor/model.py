"""Checks of the model against the data and a checkpoint: sizes in time, readouts, vocabulary, and one window read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nd_data import DatasetIndex
from nd_data.nearest_names import name_hint
from nd_models import DecoderModel, ModalitySpec, MultitaskDecoderModel, read_checkpoint
from nd_train.data_module import NeuralDataModule
from nd_train.doctor.findings import Findings
from nd_train.doctor.recordings import Recording, each_split

MOST_PERIODS = 4.0
"""Windows may be as many times as long as the longest rotary period."""
_ERRORS = (ValueError, KeyError, TypeError, AttributeError, IndexError)


def readout_specs(model: DecoderModel, recordings: list[Recording]) -> Mapping[str, ModalitySpec]:
    """What the model reads out, by the names that the data's configuration uses."""
    if isinstance(model, MultitaskDecoderModel):
        return model.readout_specs
    names = {str(entry["readout_id"]) for one in recordings for entry in one.readouts(single=True)}
    spec: Any = model.readout_spec
    return dict.fromkeys(names, spec)


def check_times(model: DecoderModel, eval_step: float | None, findings: Findings) -> None:
    """Lengths that have to suit each other: window, latent step, rotary periods, evaluation step."""
    window = model.sequence_length
    step = getattr(model, "latent_step", None)
    if step is not None and step > window:
        advice = "choose a latent_step that divides sequence_length, such as an eighth of it"
        what = f"latent_step is {step:g} s, longer than the window of {window:g} s"
        findings.problem("model times", what, where="model.network.latent_step", advice=advice)
    elif step is not None and abs(window / step - round(window / step)) > 1e-6:
        findings.warning(
            "model times",
            f"a window of {window:g} s is no multiple of latent_step {step:g} s: its last latents lie past its end",
            where="model.network.latent_step",
            advice=f"choose latent_step {window / max(round(window / step), 1):g}",
        )
    longest = model.to_config().get("t_max")
    if longest is not None and window > MOST_PERIODS * longest:
        findings.warning(
            "model times",
            f"windows last {window:g} s, the longest rotary period is {longest:g} s: times that far apart look alike",
            where="model.network.t_max",
            advice=f"set model.network.t_max to {2 * window:g}, and t_min to the finest time that means something",
        )
    if eval_step is not None and eval_step > window:
        what = f"evaluation windows begin every {eval_step:g} s and last {window:g} s: times between are never scored"
        advice = f"set data.eval_step to {window / 2:g} or less"
        findings.problem("model times", what, where="data.eval_step", advice=advice)
    findings.settle("model times", f"windows of {window:g} s" + (f", latents every {step:g} s" if step else ""))


def check_readouts(model: DecoderModel, recordings: list[Recording], findings: Findings) -> None:
    """Whether model and data's configuration mean the same readouts."""
    single = not isinstance(model, MultitaskDecoderModel)
    key = "readout" if single else "multitask_readout"
    specs = readout_specs(model, recordings)
    asked: set[str] = set()
    for recording in recordings:
        entries = recording.readouts(single=single)
        if not entries:
            advice = f"a {type(model).__name__} reads out what stands under config/{key}"
            found = ", ".join(map(repr, recording.config)) or "nothing"
            what = f"its configuration has no {key!r}; found {found}"
            findings.problem("model readouts", what, where=recording.name, advice=advice)
        for entry in entries:
            name = str(entry["readout_id"])
            asked.add(name)
            if name not in specs:
                hint = name_hint(name, specs, noun="it has")
                what = f"the model has no readout {name!r}"
                findings.problem("model readouts", what, where=recording.name, advice=hint)
    idle = sorted(set(specs) - asked)
    if idle and not single:
        what = (
            f"no recording has {', '.join(idle[:5])}{' …' if len(idle) > 5 else ''}: {len(idle)} readouts learn nothing"
        )
        advice = "name the readouts that are wanted in model.network.readout_specs, or leave it out"
        findings.warning("model readouts", what, advice=advice)
    findings.settle("model readouts", ", ".join(f"{name} ({specs[name].dim})" for name in sorted(asked & set(specs))))


def check_vocabulary(checkpoint: Path, unit_ids: list[str], session_ids: list[str], findings: Findings) -> None:
    """Whether a checkpoint that the run is to go on from knows the units and sessions of the data."""
    try:
        _, state = read_checkpoint(checkpoint)
    except (OSError, ValueError) as error:
        findings.problem("model vocabulary", str(error), where=str(checkpoint), advice="give another --ckpt_path")
        return
    for kind, names in (("unit", unit_ids), ("session", session_ids)):
        vocab = state.get(f"{kind}_emb.vocab") or {}
        new = [name for name in names if name not in vocab]
        if new:
            shown = ", ".join(repr(name) for name in new[:3])
            findings.problem(
                "model vocabulary",
                f"{len(new)} of {len(names)} {kind}s of the data are not in the checkpoint, such as {shown}",
                where=str(checkpoint),
                advice="nd-train finetune CHECKPOINT --data.… adds them; fit --ckpt_path only resumes the same run",
            )
    findings.settle("model vocabulary", f"{checkpoint.name} knows all units and sessions of the data")


def initialize_vocabularies(model: DecoderModel, unit_ids: list[str], session_ids: list[str]) -> None:
    """Give a fresh model its vocabularies, as a run does when it begins."""
    if model.unit_emb.is_lazy():
        model.unit_emb.initialize_vocab(unit_ids)
    if model.session_emb.is_lazy():
        model.session_emb.initialize_vocab(session_ids)


def check_one_window(datamodule: NeuralDataModule, recording: Recording, length: float, findings: Findings) -> None:
    """Read and tokenize one window of each split: the run would do just that.

    Args:
        datamodule: It has the model.
        recording: Whose window.
        length: Seconds.
        findings: Where to note.
    """
    for split, intervals in each_split(recording):
        lengths = np.asarray(intervals.end - intervals.start)
        if not len(lengths) or lengths.max() < length:
            continue
        start = float(intervals.start[int(lengths.argmax())])
        try:
            datamodule.dataset(split)[DatasetIndex(recording.name, start, start + length)]
        except _ERRORS as error:
            message = error.args[0] if isinstance(error, KeyError) and error.args else error
            advice = "mend the data's configuration, or the recording"
            findings.problem("windows", f"cannot be read ({split}): {message}", where=recording.name, advice=advice)
            return


def check_metrics(datamodule: NeuralDataModule, splits: list[str], findings: Findings) -> None:
    """Whether all metrics of the configuration exist and suit their readouts."""
    try:
        for split in splits:
            datamodule.get_metrics(split)
    except _ERRORS as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        findings.problem("model metrics", str(message), advice="correct metrics: in the data's configuration")
    findings.settle("model metrics", "all exist and suit their readouts")
