"""All the checks of ``nd-train doctor``, in order."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from nd_models import DecoderModel, ModalitySpec
from nd_train.commands.lightning_commands import command_line_of
from nd_train.commands.ready_configurations import with_ready_configurations
from nd_train.data_module import NeuralDataModule
from nd_train.doctor.classes import ClassCounts, check_classes
from nd_train.doctor.cost import check_cost
from nd_train.doctor.findings import Findings
from nd_train.doctor.model import (
    check_metrics,
    check_one_window,
    check_readouts,
    check_times,
    check_vocabulary,
    initialize_vocabularies,
    readout_specs,
)
from nd_train.doctor.recordings import SPLITS, Recording, read_recordings, spread
from nd_train.doctor.splits import check_splits
from nd_train.doctor.targets import check_presence, check_targets
from nd_train.doctor.units import check_spikes, check_unit_ids
from nd_train.neural_decoder import NeuralDecoder

# Lightning 2.6 calls what jsonargparse 4.49 deprecates, and so must we while older ones are allowed.
_OF_JSONARGPARSE = r"(?s)\s*(By default only one JsonargparseDeprecationWarning|.{1,200} deprecated in v4\.)"

_ERRORS = (ValueError, KeyError, TypeError, FileNotFoundError, PermissionError)


def examine(words: Sequence[str], *, recordings: int = 20, steps: int = 4) -> Findings:
    """Everything that can be found out about a run before it begins.

    Args:
        words: Of ``nd-train fit``.
        recordings: Of how many recordings to read spikes and targets; those are spread over all.
        steps: How many training steps to measure; 0 measures none.

    Returns:
        What was found.
    """
    findings = Findings()
    settings, init = parsed_settings(words, findings)
    if settings is None:
        return findings
    if settings.get("system") == "longitudinal":
        from nd_train.doctor.longitudinal import examine_table

        examine_table(init, settings, findings, steps=steps)
        return findings
    try:
        found = read_recordings(settings.data.root, settings.data.config)
    except _ERRORS as error:
        findings.problem("recordings", _message(error), where="data.root, data.config", advice="correct what it names")
        return findings
    module = getattr(init, "model", None)
    datamodule = getattr(init, "data", None)
    model = module.model if isinstance(module, NeuralDecoder) else None
    check_splits(found, None if model is None else model.sequence_length, findings)
    check_unit_ids(found, findings)
    if model is not None:
        check_times(model, settings.data.get("eval_step"), findings)
        check_readouts(model, found, findings)
    if model is None or not isinstance(datamodule, NeuralDataModule):
        _check_recordings(spread(found, recordings), None, None, findings)
        return findings
    _check_with_model(found, model, datamodule, settings, recordings, findings)
    ready = not findings.count("problem")
    if steps and ready:
        assert isinstance(module, NeuralDecoder)
        check_cost(module, datamodule, settings.trainer, findings, steps=steps)
    elif steps:
        findings.ok("cost", "not measured: there are problems")
    return findings


def parsed_settings(words: Sequence[str], findings: Findings) -> tuple[Any, Any]:
    """What ``nd-train fit`` would make of these words: settings, and module and data module built of them.

    Args:
        words: Without ``fit``.
        findings: Where to note what cannot be parsed or built.

    Returns:
        The settings, or None; and a namespace with ``model`` and ``data``, or None where they cannot be built.
    """
    given = with_ready_configurations(["fit", *words])
    command_line: Any = type("ParsedCommandLine", (_ParsedOnly, command_line_of(given)), {"refused": []})
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            warnings.filterwarnings("ignore", message=_OF_JSONARGPARSE, category=DeprecationWarning)
            line = command_line(args=given)
    except _ERRORS as error:
        findings.problem("settings", _message(error), advice="correct what it names")
        return None, None
    settings = line.config["fit"]
    for refusal in line.refused:
        findings.problem("settings", _message(refusal), advice="correct what it names")
    init = None
    if not line.refused:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=_OF_JSONARGPARSE, category=DeprecationWarning)
                init = line.parser.instantiate_classes(line.config)["fit"]
        except _ERRORS as error:
            findings.problem("model", _message(error), where="model.network", advice="correct what it names")
    findings.settle("settings", "understood")
    return settings, init


class _ParsedOnly:
    """Before a command line: it parses and prepares its settings as ever, without a trainer and without a run."""

    refused: ClassVar[list[Exception]]

    def before_instantiate_classes(self) -> None:
        """Keep what stands in the way: other checks can go on."""
        try:
            super().before_instantiate_classes()  # type: ignore[misc]  # the command line's
        except _ERRORS as error:
            self.refused.append(error)

    def instantiate_classes(self) -> None:
        """Nothing is built here."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing is run."""


def _check_with_model(
    found: list[Recording],
    model: DecoderModel,
    datamodule: NeuralDataModule,
    settings: Any,
    most: int,
    findings: Findings,
) -> None:
    datamodule.link_model(model)
    complete = [split for split in SPLITS if all(split in one.sampling for one in found)]
    units, sessions = _ids(found)
    checkpoint = settings.get("ckpt_path")
    if checkpoint and Path(checkpoint).is_file():
        check_vocabulary(Path(checkpoint), units, sessions, findings)
    initialize_vocabularies(model, units, sessions)
    check_metrics(datamodule, [split for split in complete if split != "train"], findings)
    chosen = spread(found, most)
    specs = readout_specs(model, found)
    _check_recordings(chosen, model, specs, findings, is_scaled=settings.data.get("normalize") is not None)
    for recording in chosen:
        check_one_window(datamodule, recording, model.sequence_length, findings)
        recording.forget()
    findings.settle("windows", f"one window of each split of {len(chosen)} recordings was read and tokenized")
    if len(chosen) < len(found):
        findings.ok("recordings", f"spikes and targets of {len(chosen)} of {len(found)} were read (--recordings N)")
    dropout = settings.data.get("unit_dropout")
    if isinstance(dropout, dict) and dropout.get("min_units", 0) >= max(len(one.unit_ids) for one in found):
        findings.warning(
            "units dropout",
            f"no recording has more than min_units = {dropout['min_units']} units: none is ever dropped",
            where="data.unit_dropout",
            advice="choose min_units and mode_units below the recordings' numbers of units, or null",
        )


def _check_recordings(
    chosen: list[Recording],
    model: DecoderModel | None,
    specs: Any,
    findings: Findings,
    *,
    is_scaled: bool = False,
) -> None:
    """What has to be read: spikes and, where there is a model, targets."""
    length = None if model is None else model.sequence_length
    classes: ClassCounts = {}
    counts: dict[str, dict[str, dict[str, int]]] = {}
    has_spikes = False
    for recording in chosen:
        has_spikes = has_spikes or "spikes" in recording.data
        check_spikes(recording, length, findings)
        if specs is None:
            recording.forget()
            continue
        for entry in recording.readouts(single="readout" in recording.config):
            name = str(entry["readout_id"])
            spec = specs.get(name)
            if isinstance(spec, ModalitySpec):
                found = check_targets(recording, entry, spec, length, classes, findings, is_scaled=is_scaled)
                if found:
                    counts.setdefault(name, {})[recording.name] = found
    if has_spikes:
        findings.settle("units spikes", f"in order and of known units in {len(chosen)} recordings")
        for check, what in (
            ("units silent", "units that spike in valid and test spike in train too"),
            ("units rates", "rates are those of neurons"),
            ("units empty windows", "windows hold spikes"),
        ):
            findings.settle(check, what)
    if specs:
        check_presence(counts, findings)
        check_classes(classes, specs, findings)
        for check, what in (
            ("targets finite", "no NaN, no infinity"),
            ("targets constant", "they vary in every split"),
            ("targets like time", "none follows from time alone"),
            ("targets scale", "about 0 and 1, as the model sees them"),
            ("targets rate", "windows hold targets, and not too many"),
            ("targets weights", "every weight has an effect"),
        ):
            findings.settle(check, what)


def _ids(found: list[Recording]) -> tuple[list[str], list[str]]:
    """Ids of units and sessions as a dataset makes them unique."""
    units: set[str] = set()
    sessions: set[str] = set()
    for recording in found:
        known = recording.known
        brainset, session = recording.name.split("/", 1)
        if known is not None:
            brainset, session = known.brainset_id or brainset, known.session_id or session
        sessions.add(f"{brainset}/{session}")
        units.update(f"{brainset}/{session}/{unit}" for unit in recording.unit_ids)
    return sorted(units), sorted(sessions)


def _message(error: Exception) -> str:
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return "\n".join([str(message), *getattr(error, "__notes__", [])])
