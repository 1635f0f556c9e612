"""One linear readout a task, applied to the queries that ask for it.

Shapes: B windows, N_out queries, D width, T registered tasks, n queries of one task.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from nd_models.modality import ModalitySpec, check_readout_specs


class MultitaskReadout(nn.Module):
    """Project every query with the linear layer of its task.

    All queries are sorted by task once, and each task present in the batch takes its slice. The sizes of the slices
    must be known to the host, since they are the shapes of the results: on CUDA that is one synchronisation a call,
    whatever the number of registered tasks.

    Args:
        dim: Width D of the queries.
        readout_specs: Task name to its specification.

    Raises:
        ValueError: two tasks share an id, or an id is not positive (0 means padding).
    """

    projections: nn.ModuleDict
    _slot_of_id: Tensor

    def __init__(self, dim: int, readout_specs: Mapping[str, ModalitySpec]) -> None:
        super().__init__()
        check_readout_specs(readout_specs)
        self.readout_specs: dict[str, ModalitySpec] = dict(readout_specs)
        self.projections = nn.ModuleDict({name: nn.Linear(dim, spec.dim) for name, spec in self.readout_specs.items()})
        # Slots number the tasks by id, from 1; slot 0 takes padding and tasks that this model does not read.
        self._names_by_id = sorted(self.readout_specs, key=lambda name: self.readout_specs[name].id)
        highest = max((spec.id for spec in self.readout_specs.values()), default=0)
        slots = torch.zeros(highest + 2, dtype=torch.int64)
        for slot, name in enumerate(self._names_by_id, start=1):
            slots[self.readout_specs[name].id] = slot
        self.register_buffer("_slot_of_id", slots, persistent=False)

    def forward(
        self,
        output_embs: Tensor,
        output_readout_index: Tensor,
        unpack_output: bool = False,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Read out every query.

        Args:
            output_embs: Shape: (B, N_out, D).
            output_readout_index: Id of the task that each query asks for; 0 = padding. Ids that belong to no task of
                this model are passed over. Shape: (B, N_out), int64.
            unpack_output: One dictionary a window in place of one for the batch.

        Returns:
            Task name to predictions, shape (n, dim of the task), in the order of the windows, and within a window of
            the queries. Only tasks that occur (in the batch, or in the window) have an entry. With `unpack_output` a
            list of B such dictionaries.
        """
        batch_size, queries_per_window = output_readout_index.shape
        highest = self._slot_of_id.shape[0] - 1
        slots = self._slot_of_id[output_readout_index.clamp(0, highest)].flatten()
        sorted_slots, order = torch.sort(slots, stable=True)

        count = len(self._names_by_id)
        if unpack_output:
            # The sort is stable, so within a task the windows still follow each other.
            windows = order.div(max(queries_per_window, 1), rounding_mode="floor")
            groups, starts_of = sorted_slots * batch_size + windows, batch_size
        else:
            groups, starts_of = sorted_slots, 1
        firsts = torch.arange(starts_of, (count + 1) * starts_of + 1, device=slots.device)
        bounds: list[int] = torch.searchsorted(groups, firsts).tolist()

        queries = output_embs.flatten(0, 1)[order[bounds[0] :]]
        first = bounds[0]
        batch: dict[str, Tensor] = {}
        per_window: list[dict[str, Tensor]] = [{} for _ in range(batch_size)]
        for slot, name in enumerate(self._names_by_id):
            edges = bounds[slot * starts_of : (slot + 1) * starts_of + 1]
            if edges[0] == edges[-1]:
                continue
            predictions = self.projections[name](queries[edges[0] - first : edges[-1] - first])
            if not unpack_output:
                batch[name] = predictions
                continue
            sizes = [after - before for before, after in pairwise(edges)]
            for window, part in zip(per_window, predictions.split(sizes), strict=True):
                if len(part):
                    window[name] = part
        return per_window if unpack_output else batch
