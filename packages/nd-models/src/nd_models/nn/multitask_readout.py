"""One linear readout a task, applied to the queries that ask for it.

Shapes: B windows, N_out queries, D width, T queries of a packed batch, n queries of one task.
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
    whatever the number of registered tasks, and none where the caller gives them.

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
        *,
        output_counts: Mapping[str, int] | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Read out every query.

        Args:
            output_embs: Shape: (B, N_out, D).
            output_readout_index: Id of the task that each query asks for; 0 = padding. Ids that belong to no task of
                this model are passed over. Shape: (B, N_out), int64.
            unpack_output: One dictionary a window in place of one for the batch.
            output_counts: How many queries of the batch ask for each task, for those that any does. Whoever has the
                targets knows it from their shapes; it spares the synchronisation on CUDA. Not with `unpack_output`.

        Returns:
            Task name to predictions, shape (n, dim of the task), in the order of the windows, and within a window of
            the queries. Only tasks that occur (in the batch, or in the window) have an entry. With `unpack_output` a
            list of B such dictionaries.

        Raises:
            ValueError: `output_counts` with `unpack_output`, or of a task that there is not.
        """
        windows, queries = output_readout_index.shape
        rows = output_embs.flatten(0, 1), output_readout_index.flatten()
        if not unpack_output:
            return self._of_batch(*rows, output_counts)
        self._refuse_counts(output_counts)
        numbers = torch.arange(windows, device=output_embs.device).repeat_interleave(
            queries, output_size=windows * queries
        )
        return self._of_windows(*rows, numbers, windows)

    def forward_varlen(
        self,
        output_embs: Tensor,
        output_readout_index: Tensor,
        output_batch_index: Tensor,
        unpack_output: bool = False,
        *,
        batch_size: int | None = None,
        output_counts: Mapping[str, int] | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Read out the queries of a packed batch, T of all windows one after the other.

        Args:
            output_embs: Shape: (T, D).
            output_readout_index: As in `forward`. Shape: (T,), int64.
            output_batch_index: Window of each query, ascending. Shape: (T,), int64.
            unpack_output: One dictionary a window in place of one for the batch.
            batch_size: How many windows there are; the last that any query belongs to where None.
            output_counts: As in `forward`.

        Returns:
            As `forward`.

        Raises:
            ValueError: as `forward`.
        """
        if not unpack_output:
            return self._of_batch(output_embs, output_readout_index, output_counts)
        self._refuse_counts(output_counts)
        if batch_size is None:
            batch_size = int(output_batch_index.max()) + 1 if len(output_batch_index) else 0
        return self._of_windows(output_embs, output_readout_index, output_batch_index, batch_size)

    def _of_batch(self, queries: Tensor, index: Tensor, counts: Mapping[str, int] | None) -> dict[str, Tensor]:
        slots, order = torch.sort(self._slots(index), stable=True)
        if counts is None:
            firsts = torch.arange(1, len(self._names_by_id) + 2, device=slots.device)
            bounds: list[int] = torch.searchsorted(slots, firsts).tolist()
        else:
            self._check_counts(counts)
            bounds = [len(order) - sum(counts.values())]
            for name in self._names_by_id:
                bounds.append(bounds[-1] + counts.get(name, 0))
        asked = queries[order[bounds[0] :]]
        edges = zip(self._names_by_id, pairwise(bounds), strict=True)
        return {
            name: self.projections[name](asked[first - bounds[0] : last - bounds[0]])
            for name, (first, last) in edges
            if last > first
        }

    def _of_windows(self, queries: Tensor, index: Tensor, windows: Tensor, batch_size: int) -> list[dict[str, Tensor]]:
        # The sort is stable, so within a task the windows still follow each other.
        slots, order = torch.sort(self._slots(index), stable=True)
        groups = slots * batch_size + windows[order]
        firsts = torch.arange(batch_size, (len(self._names_by_id) + 1) * batch_size + 1, device=slots.device)
        bounds: list[int] = torch.searchsorted(groups, firsts).tolist()
        asked = queries[order[bounds[0] :]]
        found: list[dict[str, Tensor]] = [{} for _ in range(batch_size)]
        for slot, name in enumerate(self._names_by_id):
            edges = bounds[slot * batch_size : (slot + 1) * batch_size + 1]
            if edges[0] == edges[-1]:
                continue
            predictions = self.projections[name](asked[edges[0] - bounds[0] : edges[-1] - bounds[0]])
            sizes = [after - before for before, after in pairwise(edges)]
            for window, part in zip(found, predictions.split(sizes), strict=True):
                if len(part):
                    window[name] = part
        return found

    def _slots(self, index: Tensor) -> Tensor:
        return self._slot_of_id[index.clamp(0, self._slot_of_id.shape[0] - 1)]

    def _refuse_counts(self, counts: Mapping[str, int] | None) -> None:
        if counts is not None:
            raise ValueError("output_counts are of the whole batch, and unpack_output=True asks for each window")

    def _check_counts(self, counts: Mapping[str, int]) -> None:
        unknown = sorted(set(counts) - set(self._names_by_id))
        if unknown:
            raise ValueError(f"output_counts names {unknown[0]!r}, but the readouts are {', '.join(self._names_by_id)}")
