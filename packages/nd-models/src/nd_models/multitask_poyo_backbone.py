"""What POYO+ and its calcium form share: queries made of session and task, and a linear readout for each task."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from nd_data.collate_marks import Padded
from nd_models.decoder_model import MultitaskDecoderModel
from nd_models.filled import filled
from nd_models.multitask_tokens import multitask_tokens
from nd_models.nn import MultitaskReadout
from nd_models.nn.packing import packing
from nd_models.poyo_backbone import PoyoBackbone
from nd_models.readout_batch import multitask_batch
from nd_models.readout_configuration import Readouts, checked_readouts
from nd_models.readout_plan import ReadoutPlan, ReadoutPlans

if TYPE_CHECKING:
    from nd_data import Data


class MultitaskPoyoBackbone(PoyoBackbone, MultitaskDecoderModel):
    """A `PoyoBackbone` whose queries name the task that they ask for.

    Args:
        readout_specs: The tasks by name, or names of registered ones.
        dim: Width D of all embeddings.
        **arguments: All others of `PoyoBackbone`.

    Raises:
        ValueError: a size or time that cannot be, no task, or tasks that share an id.
    """

    readout_parts = ("readout", "task_emb")

    def __init__(self, *, readout_specs: Readouts, dim: int, **arguments: Any) -> None:
        specs = checked_readouts(readout_specs)
        # One row an id. Where ids run without gaps from 1 this is the shape of published weights, tasks plus one.
        task_rows = max(spec.id for spec in specs.values()) + 1
        super().__init__(dim=dim, task_rows=task_rows, **arguments)
        self.readout_specs = specs
        self._readout_plans = ReadoutPlans(self.readout_specs, self._input_tokens.paths)
        self.readout = MultitaskReadout(dim=dim, readout_specs=self.readout_specs)

    def read_out(
        self,
        decoded: Tensor,
        output_decoder_index: Tensor,
        output_seqlen: Tensor | None,
        unpack_output: bool,
        output_counts: Mapping[str, int] | None,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """What each query asks for, of a padded or a packed batch. Arguments and result are those of `forward`."""
        if output_seqlen is None:
            found: dict[str, Tensor] | list[dict[str, Tensor]] = self.readout(
                decoded, output_decoder_index, unpack_output, output_counts=output_counts
            )
            return found
        queries = packing(output_seqlen, decoded)
        # Which window a query belongs to matters only when the windows are told apart.
        windows = queries.places()[0] if unpack_output else output_decoder_index
        sizes: dict[str, Any] = {"batch_size": len(output_seqlen), "output_counts": output_counts}
        return self.readout.forward_varlen(decoded, output_decoder_index, windows, unpack_output, **sizes)

    def _output_batch(
        self, windows: "Sequence[Data]", plans: Sequence[ReadoutPlan], known: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        return multitask_batch(windows, plans, known, self.session_emb)

    def _output_tokens(self, data: "Data", plan: ReadoutPlan, known: Mapping[str, Any]) -> dict[str, Any]:
        timestamps, task_index, fields = multitask_tokens(data, plan.requests, known)
        row = self._part("session_emb").tokenizer(fields["session_id"])
        return {
            "model_inputs": {
                "output_session_index": Padded(filled(len(timestamps), row, np.int64), 8),
                "output_timestamps": Padded(timestamps, 8),
                "output_decoder_index": Padded(task_index, 8),
            },
            **fields,
        }
