"""A recording of a dataset, once it was opened."""

from dataclasses import dataclass
from typing import Any, Self

from nd_data.constant_array import constant_array
from nd_data.data import Data
from nd_data.split_domain import SplitDomain
from nd_data.window_source import window_source


@dataclass(frozen=True, slots=True)
class OpenedRecording:
    """A recording made ready to be cut: lazy, with prefixed ids and its configuration.

    Attributes:
        data: For what is asked of the whole recording.
        domain: Where windows may lie, None without a split.
        source: What samples are slices of: never read itself, because what was read is cut with every window.
    """

    data: Data
    domain: SplitDomain | None
    source: Data

    @classmethod
    def ready(cls, data: Data, domain: SplitDomain | None) -> Self:
        """With unit ids that can no longer change, so that what follows from them need not be worked out anew."""
        if "units" in data:
            data.units.id = constant_array(data.units.id)
        return cls(data, domain, source=window_source(data))

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenedRecording.ready, (self.data, self.domain)
