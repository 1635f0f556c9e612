"""What every decoder of spikes is to the rest of the toolkit: its vocabularies, tokens, configuration and parts."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import nn

from nd_models.checkpoint import load_pretrained_model
from nd_models.modality import ModalitySpec
from nd_models.nn import InfiniteVocabEmbedding
from nd_models.readout_configuration import Readouts, readout_to_config
from nd_models.target_scale import TargetStatistics, in_data_units
from nd_models.trainable_parts import set_trainable

if TYPE_CHECKING:
    from nd_data import Data


class DecoderModel(nn.Module, ABC):
    """A model that turns windows of recordings into tokens, and batches of tokens into predictions.

    Train, evaluate, share and adapt it by these members alone; what is inside is its own matter.

    Attributes:
        sequence_length: Length of a window in seconds.
        unit_emb: What numbers the units. Its vocabulary is not initialised in a fresh model.
        session_emb: What numbers the sessions.
        target_statistics: Mean and standard deviation by readout that continuous targets were scaled by in training,
            beyond what each recording's own configuration does, so that outputs are in that scale; empty where none
            were, None where nobody said. `in_data_units` takes outputs back, and a shared folder brings them along.
    """

    sequence_length: float
    unit_emb: InfiniteVocabEmbedding
    session_emb: InfiniteVocabEmbedding
    target_statistics: TargetStatistics | None = None

    embedding_parts: ClassVar[tuple[str, ...]] = ("unit_emb", "session_emb")
    """The parts that know units and sessions by name; a new recording needs these first."""
    readout_parts: ClassVar[tuple[str, ...]] = ("readout",)
    """The parts that depend on what is predicted."""

    @abstractmethod
    def tokenize(self, data: "Data") -> dict[str, Any]:
        """Turn a window into what `nd_data.collate` batches; `forward(**batch["model_inputs"])` takes it from there."""

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Every constructor argument as plain values, for `nd_models.model_from_config` and for JSON."""

    @property
    @abstractmethod
    def backbone_parts(self) -> tuple[str, ...]:
        """Dotted names of all other parts, from the readout back to the spikes: the order in which to unfreeze them."""

    def in_data_units(self, outputs: Any) -> Any:
        """What `forward` returned, in the units of the data (see `nd_models.in_data_units`).

        Raises:
            ValueError: the model does not know the scale that it was trained in: `target_statistics` is None.
        """
        if self.target_statistics is None:
            raise ValueError(
                "this model does not know the scale that it was trained in: set model.target_statistics (mean and std "
                "by readout; {} where nothing was scaled)"
            )
        return in_data_units(outputs, self.target_statistics)

    def freeze_backbone(self, *, train_readout: bool = True) -> None:
        """Let only the embeddings of units and sessions learn, and the readout.

        What a part can learn is decided by `requires_grad` of its parameters; those of every part are set, whatever
        they were before.

        Args:
            train_readout: False holds the readout too, for new units that do the same task.

        >>> from nd_models.baselines import GRUDecoder
        >>> model = GRUDecoder(sequence_length=1.0, bin_size=0.1, readout_specs=["running_speed"], dim=8, depth=1)
        >>> model.freeze_backbone()
        >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        ... # doctest: +NORMALIZE_WHITESPACE
        ['unit_emb.weight', 'session_emb.weight', 'readout.projections.running_speed.weight',
         'readout.projections.running_speed.bias']
        """
        set_trainable(self, self.embedding_parts + (self.readout_parts if train_readout else ()))

    def unfreeze(self) -> None:
        """Let every parameter learn again."""
        set_trainable(self, [name for name, _ in self.named_parameters()])

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write weights and configuration into a folder, to share them. See `nd_models.save_pretrained`."""
        from nd_models.pretrained_folder import save_pretrained

        save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, folder_or_repository: str | PathLike[str], **where: Any) -> Self:
        """Build a model out of such a folder, or of a repository on the Hub. See `nd_models.from_pretrained`.

        Raises:
            ValueError: it is another architecture, or not to be read.
        """
        from nd_models.pretrained_folder import from_pretrained

        return from_pretrained(folder_or_repository, architecture=cls, **where)

    def push_to_hub(self, repo_id: str, **how: Any) -> str:
        """Upload the model to the Hugging Face Hub. See `nd_models.push_to_hub`; needs `nd-models[hub]`."""
        from nd_models.hub import push_to_hub

        return push_to_hub(self, repo_id, **how)

    def extra_config(self) -> dict[str, Any]:
        """What `to_config` says beyond the constructor's arguments: how the model was adapted since."""
        adaptation: dict[str, Any] | None = getattr(self, "lora_config", None)
        return {} if adaptation is None else {"lora": dict(adaptation)}


class MultitaskDecoderModel(DecoderModel):
    """A decoder with several readouts, whose queries name the task that they ask for.

    Batches hold `output_decoder_index`; targets, weights and evaluation masks are dictionaries by task; `forward`
    returns such a dictionary, or a list of them with `unpack_output`. A `DecoderModel` that is no
    `MultitaskDecoderModel` has one `readout_spec`, and padded batches instead.

    Attributes:
        readout_specs: The readouts by name.
    """

    readout_specs: dict[str, ModalitySpec]
    _arguments: dict[str, Any]  # of the constructor, but for the readouts

    def to_config(self) -> dict[str, Any]:
        """Every constructor argument as plain values, for `nd_models.model_from_config` and for JSON."""
        specs = {name: readout_to_config(spec) for name, spec in self.readout_specs.items()}
        architecture = type(self).__name__
        return {"architecture": architecture, **self._arguments, "readout_specs": specs, **self.extra_config()}

    @classmethod
    def load_pretrained(
        cls,
        checkpoint_path: str | PathLike[str],
        readout_specs: Readouts | None = None,
        skip_readout: bool = False,
    ) -> Self:
        """Build the model that a checkpoint describes, with its weights and vocabularies. Runs no code from the file.

        Args:
            checkpoint_path: A Lightning checkpoint with `hyper_parameters["model"]`, as nd_train and the training
                scripts of torch_brain write it.
            readout_specs: The tasks by name, or names of registered ones; None takes the checkpoint's own.
            skip_readout: Start all that depends on the tasks (`readout_parts`) anew in place of loading it.

        Returns:
            The model on CPU, in training mode.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a checkpoint of this architecture, or its readouts do not fit `readout_specs`.
        """
        changes: dict[str, Any] = {} if readout_specs is None else {"readout_specs": readout_specs}
        fresh = tuple(f"{part}." for part in cls.readout_parts) if skip_readout else ()
        return load_pretrained_model(cls, checkpoint_path, changes, fresh=fresh)


def named_vocabularies(model: nn.Module) -> Iterator[tuple[str, InfiniteVocabEmbedding]]:
    """The embeddings of a model that have a vocabulary, with their names."""
    for name, module in model.named_modules():
        if isinstance(module, InfiniteVocabEmbedding):
            yield name, module
