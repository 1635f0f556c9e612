"""The command line of ``nd-train finetune``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LightningArgumentParser

from nd_models import ModalitySpec, adapt_vocabularies, model_from_config, read_checkpoint
from nd_models.readout_configuration import readout_from_config, readouts_from_config
from nd_models.target_scale import TargetStatistics
from nd_train.callbacks.gradual_unfreezing import GradualUnfreezing
from nd_train.commands.decoder_command_line import DecoderCommandLine
from nd_train.configured_readouts import configured_readouts
from nd_train.pretrained import load_pretrained_state, network_for, read_pretrained

DEFAULTS = {
    "model.optimizer": "adamw",
    "model.lr": 2e-3,
    "model.schedule": "one_cycle",
    "trainer.max_steps": 500,
    "trainer.max_epochs": -1,
    "trainer.check_val_every_n_epoch": None,
    "trainer.gradient_clip_val": 1.0,
    "trainer.log_every_n_steps": 10,
    "trainer.enable_model_summary": False,
}
"""What a run has unless its configuration says otherwise: a few minutes on a laptop."""

_VALIDATIONS = 10
_FROZEN_SHARE = 0.25
# What of a network does not change the shape of its weights.
_ADJUSTABLE = ("ffn_dropout", "lin_dropout", "atn_dropout", "dropout")


class FinetuneCommandLine(DecoderCommandLine):
    """The command line of ``fit``, with a model that begins with pretrained weights.

    Units and sessions of the recordings join the pretrained vocabularies. First only their embeddings and the readouts
    learn; then the backbone does too, or with ``--lora`` low-rank changes of its attentions in its place.
    """

    fresh: list[str]
    """Readouts that begin anew."""
    state: dict[str, Any]
    """The weights to begin with."""
    pretrained_statistics: TargetStatistics | None = None
    """What the targets of the pretrained model were scaled by; None where its files do not say."""

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **keywords: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **keywords)
        add = parser.add_argument
        add("--pretrained", type=str | None, default=None, help="checkpoint, or folder of `nd-train export`")
        add("--freeze_steps", type=int | None, default=None, help="steps with a frozen backbone; else a quarter of all")
        add("--unfreeze_every", type=int, default=0, help="steps between its parts' release; 0 releases all at once")
        add("--lora", type=int | None, default=None, help="rank of low-rank changes; the backbone stays frozen")
        add("--fresh_readouts", type=list[str], default=[], help="readouts that begin anew though pretrained")
        add("--keep_other_units", type=bool, default=True, help="whether units and sessions of before stay known")
        parser.set_defaults({"model.network": {}, **DEFAULTS})
        return parser

    def before_instantiate_classes(self) -> None:
        """Take the network out of the pretrained model, with the readouts that the data's configuration asks for."""
        settings = self.config[self.subcommand]
        self._check(settings)
        if settings.trainer.val_check_interval is None and settings.trainer.max_steps > 0:
            settings.trainer.val_check_interval = max(1, settings.trainer.max_steps // _VALIDATIONS)
        # Models that are only looked at draw no number of the run's.
        with torch.random.fork_rng(devices=[]):
            self._choose_network(settings)
        super().before_instantiate_classes()

    def instantiate_classes(self) -> None:
        """Build everything, put the pretrained weights in, and let the backbone wait."""
        super().instantiate_classes()
        settings = self.config[self.subcommand]
        model = self.model.model
        try:
            load_pretrained_state(model, self.state, fresh=self.fresh)
        except ValueError as error:
            error.add_note(f"while loading {settings.ckpt_path or settings.pretrained}")
            raise
        if "lora" not in settings.model.network:
            steps = settings.freeze_steps
            if steps is None:
                steps = int(_FROZEN_SHARE * max(0, settings.trainer.max_steps))
            unfreezing = GradualUnfreezing(settings.unfreeze_every, steps, unit="step")
            self.trainer.callbacks.append(unfreezing)  # type: ignore[attr-defined]  # its annotation lacks it

    def before_fit(self) -> None:
        """Let the model know the units and sessions of the recordings, and tell what is new."""
        settings = self.config[self.subcommand]
        model = self.model.model
        self.datamodule.link_model(model)
        if settings.ckpt_path is None:
            self._scale_as_pretrained(settings)
        reports = adapt_vocabularies(
            model,
            unit_ids=self.datamodule.get_unit_ids(),
            session_ids=self.datamodule.get_session_ids(),
            keep_others=settings.keep_other_units,
        )
        for report in reports.values():
            self._print(str(report))
        if self.fresh:
            self._print(f"readouts that begin anew: {', '.join(self.fresh)}")
        super().before_fit()

    def _scale_as_pretrained(self, settings: Any) -> None:
        # The pretrained readouts speak in the scale that they were trained in; what was given for this run counts more.
        saved = self.pretrained_statistics or {}
        given = settings.data.normalize if isinstance(settings.data.normalize, Mapping) else {}
        self.datamodule.use_target_statistics(
            {**{name: one for name, one in saved.items() if name not in self.fresh}, **given}
        )

    def _choose_network(self, settings: Any) -> None:
        if settings.ckpt_path is None:
            given = dict(settings.model.network)
            pretrained = read_pretrained(settings.pretrained, given)
            names = configured_readouts(settings.data.config, single=pretrained.has_one_readout)
            described = _described_readouts(given, names)
            network, self.fresh = network_for(pretrained, names, fresh=settings.fresh_readouts, described=described)
            network |= {name: given[name] for name in _ADJUSTABLE if name in given and name in network}
            if settings.lora is not None:
                parts = model_from_config(network)
                also_train = [*parts.embedding_parts, *parts.readout_parts]
                network["lora"] = {"rank": settings.lora, "also_train": also_train}
            settings.model.network, self.state = network, pretrained.state
            self.pretrained_statistics = pretrained.target_statistics
        else:
            # A run that is taken up again is described by its own checkpoint.
            self.fresh = []
            _, self.state = read_checkpoint(Path(settings.ckpt_path))

    def _check(self, settings: Any) -> None:
        if settings.pretrained is None and settings.ckpt_path is None:
            raise ValueError("finetune needs a pretrained model: nd-train finetune CHECKPOINT --data.root … ")
        if settings.lora is not None and (settings.freeze_steps is not None or settings.unfreeze_every):
            raise ValueError("--lora keeps the backbone frozen: leave --freeze_steps and --unfreeze_every out")
        for name in ("freeze_steps", "unfreeze_every"):
            if settings[name] is not None and settings[name] < 0:
                raise ValueError(f"--{name}: expected 0 steps or more, found {settings[name]}")


def _described_readouts(network: Mapping[str, Any], names: list[str]) -> dict[str, ModalitySpec]:
    """What a run's own configuration says about its readouts."""
    if "readout_specs" in network:
        return readouts_from_config(network["readout_specs"])
    return {names[0]: readout_from_config(network["readout_spec"])} if "readout_spec" in network else {}
