"""A pretrained model as the start of another run: other units and sessions, and where it is asked for other readouts.

It comes out of a Lightning checkpoint (ours, or one of torch_brain 0.1 that holds plain values only) or out of a folder
that `nd_models.save_pretrained` wrote, with the scale of its targets. Shape legend: ``T`` task ids, ``D`` width.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from nd_data.nearest_names import name_hint
from nd_models import (
    MODALITY_REGISTRY,
    DecoderModel,
    ModalitySpec,
    MultitaskDecoderModel,
    from_pretrained,
    load_overlapping_state,
    merge_lora,
    model_from_config,
    read_checkpoint,
)
from nd_models.checkpoint import read_weights
from nd_models.readout_configuration import readout_from_config, readout_to_config, readouts_from_config
from nd_models.target_scale import TargetStatistics
from nd_train.target_statistics import statistics_of_checkpoint

_TASK_ROWS = "task_emb.weight"
_PROJECTIONS = "readout.projections."


@dataclass(frozen=True)
class Pretrained:
    """What a run begins with.

    Attributes:
        network: Arguments of the architecture, as `nd_models.model_from_config` takes them; readouts may be missing.
        state: Weights and vocabularies by name, as the model's `state_dict` gives them.
        target_statistics: What its targets were scaled by; None where the files do not say.
    """

    network: dict[str, Any]
    state: dict[str, Any]
    target_statistics: TargetStatistics | None = None

    @property
    def has_one_readout(self) -> bool:
        """Whether the model has a single readout, as POYO."""
        return _named(self.network) == "POYO" or (
            "readout_spec" in self.network and "readout_specs" not in self.network
        )


def read_pretrained(path: str | PathLike[str], network: Mapping[str, Any] | None = None) -> Pretrained:
    """Read a pretrained model; nothing in its files is executed. Low-rank changes become part of its weights.

    Args:
        path: A Lightning checkpoint, or a folder that `nd_models.save_pretrained` wrote.
        network: Arguments of the architecture, for a checkpoint that does not describe its model.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: it is damaged, holds code, or does not describe its model and `network` does not either.
    """
    if Path(path).is_dir():
        shared: DecoderModel = from_pretrained(Path(path))
        return _plain(shared, shared.target_statistics)
    try:
        config, state = read_checkpoint(Path(path))
    except ValueError as error:
        if not network or "sequence_length" not in network:
            error.add_note("or describe it here: --config CONFIGURATION with model.network, or --model.network.…")
            raise
        return Pretrained(dict(network), read_weights(path), statistics_of_checkpoint(path))
    statistics = statistics_of_checkpoint(path)
    if "lora" not in config:
        return Pretrained(config, state, statistics)
    model = model_from_config(config)
    model.load_state_dict(state)
    return _plain(model, statistics)


def network_for(
    pretrained: Pretrained,
    readouts: Sequence[str],
    *,
    fresh: Collection[str] = (),
    described: Mapping[str, ModalitySpec] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The arguments of a model that has the pretrained one's readouts and others besides.

    Args:
        pretrained: The model to begin with.
        readouts: Names of the readouts that the data's configuration asks for.
        fresh: Those of them that begin anew though the pretrained model has them.
        described: Readouts as this run describes them. They go before those of the registry; of one that the pretrained
            model has, the unit and names of classes count. One of another size or kind begins anew.

    Returns:
        The arguments, and the names of the readouts that begin anew.

    Raises:
        KeyError: a readout that neither the pretrained model nor the registry has.
    """
    network = dict(pretrained.network)
    known_here = {**MODALITY_REGISTRY, **(described or {})}
    for name in fresh:
        if name not in readouts:
            hint = name_hint(name, readouts, noun="those of the data's configuration")
            raise KeyError(f"fresh_readouts: {name!r} is not read out; {hint}")
    if pretrained.has_one_readout:
        (name,) = readouts
        old = network.get("readout_spec")
        known = None if old is None else readout_from_config(old)
        wanted = known_here.get(name, known)
        if wanted is None:
            raise KeyError(_no_readout(name, ()))
        kept = known is not None and name not in fresh and _same_quantity(known, wanted)
        network["readout_spec"] = readout_to_config(_called_as(wanted, known) if kept and known else wanted)
        return network, [] if kept else [name]
    specs = _pretrained_specs(pretrained)
    anew = [name for name in readouts if name not in specs or name in fresh]
    for name in readouts:
        if name in specs:
            if name in (described or {}):
                wanted = known_here[name]
                if _same_quantity(specs[name], wanted):
                    specs[name] = _called_as(wanted, specs[name])
                else:
                    specs[name] = dataclasses.replace(wanted, id=specs[name].id)
                    anew += [] if name in anew else [name]
            continue
        if name not in known_here:
            raise KeyError(_no_readout(name, specs))
        spec = known_here[name]
        taken = {other.id for other in specs.values()}
        # An id is the model's own matter: it numbers the tasks of its queries.
        specs[name] = spec if spec.id not in taken else dataclasses.replace(spec, id=max(taken) + 1)
    network["readout_specs"] = {name: readout_to_config(spec) for name, spec in specs.items()}
    return network, anew


def described_network(pretrained: Pretrained) -> dict[str, Any]:
    """The arguments of the pretrained model itself, with its readouts.

    Raises:
        ValueError: it does not say what it reads out.
    """
    if not pretrained.has_one_readout:
        specs = _pretrained_specs(pretrained)
        return {**pretrained.network, "readout_specs": {name: readout_to_config(spec) for name, spec in specs.items()}}
    if "readout_spec" not in pretrained.network:
        raise ValueError("the checkpoint does not say what its model reads out: nothing tells what its outputs mean")
    return pretrained.network


def load_pretrained_state(model: DecoderModel, state: Mapping[str, Any], *, fresh: Collection[str] = ()) -> None:
    """Put pretrained weights and vocabularies into a model whose readouts may be others.

    Args:
        model: A model of the same sizes, whose vocabularies are not initialised; changed in place. Low-rank changes of
            its own stay as they are.
        state: The pretrained model's state.
        fresh: Readouts that keep the weights that they have.

    Raises:
        ValueError: a weight outside the readouts is missing, not known or of another shape.
    """
    own = model.state_dict()
    parts = tuple(f"{part}." for part in model.readout_parts)
    fitted = {name: value for name, value in state.items() if name in own or not name.startswith(parts)}
    fitted |= {name: value for name, value in own.items() if name.rsplit(".", 1)[-1] in ("lora_down", "lora_up")}
    single = not isinstance(model, MultitaskDecoderModel)
    for name, value in own.items():
        if not name.startswith(parts):
            continue
        begins_anew = bool(fresh) if single else any(f"{_PROJECTIONS}{task}." in name for task in fresh)
        if name == _TASK_ROWS:
            fitted[name] = _task_rows(model, value, state.get(name), fresh)
        elif begins_anew or name not in state or state[name].shape != value.shape:
            fitted[name] = value
    load_overlapping_state(model, fitted)


def _plain(model: DecoderModel, statistics: TargetStatistics | None) -> Pretrained:
    if hasattr(model, "lora_config"):
        merge_lora(model)
    return Pretrained(model.to_config(), dict(model.state_dict()), statistics)


def _named(network: Mapping[str, Any]) -> str:
    target = network.get("architecture") or network.get("_target_") or ""
    return str(target).rsplit(".", 1)[-1]


def _called_as(wanted: ModalitySpec, known: ModalitySpec) -> ModalitySpec:
    """The known readout, with the unit and names of the wanted one where that has them."""
    return dataclasses.replace(
        known, unit=wanted.unit or known.unit, class_names=wanted.class_names or known.class_names
    )


def _same_quantity(one: ModalitySpec, other: ModalitySpec) -> bool:
    return (one.dim, one.type, one.value_key) == (other.dim, other.type, other.value_key)


def _pretrained_specs(pretrained: Pretrained) -> dict[str, ModalitySpec]:
    if "readout_specs" in pretrained.network:
        return readouts_from_config(pretrained.network["readout_specs"])
    # As torch_brain writes them: the registered ones, each with its layer.
    begun = (name.removeprefix(_PROJECTIONS) for name in pretrained.state if name.startswith(_PROJECTIONS))
    names = dict.fromkeys(name.rsplit(".", 1)[0] for name in begun)
    return {name: MODALITY_REGISTRY[name] for name in names if name in MODALITY_REGISTRY}


def _task_rows(
    model: DecoderModel, own: torch.Tensor, old: torch.Tensor | None, fresh: Collection[str]
) -> torch.Tensor:
    """Rows of tasks that both have from the pretrained model, the others as they are. Shape: (T, D)."""
    if old is None:
        return own
    rows = own.detach().clone()
    shared = min(len(rows), len(old))
    specs: Mapping[str, ModalitySpec] = getattr(model, "readout_specs", {})
    anew = {specs[name].id for name in fresh if name in specs}
    taken = [row for row in range(shared) if row not in anew]
    rows[taken] = old[taken].to(rows)
    return rows


def _no_readout(name: str, specs: Collection[str]) -> str:
    known = sorted({*specs, *MODALITY_REGISTRY})
    return (
        f"readout {name!r}: neither the pretrained model nor the registry has it; "
        f"{name_hint(name, known, noun='known are')}"
    )
