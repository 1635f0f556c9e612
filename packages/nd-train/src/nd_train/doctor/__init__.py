"""``nd-train doctor``: check a configuration against the data before an expensive run."""

from typing import TYPE_CHECKING

from nd_train.doctor.command import main
from nd_train.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from nd_train.doctor.examination import examine
    from nd_train.doctor.findings import Finding, Findings
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "Finding": "nd_train.doctor.findings",
            "Findings": "nd_train.doctor.findings",
            "examine": "nd_train.doctor.examination",
        },
    )

__all__ = ["Finding", "Findings", "examine", "main"]
