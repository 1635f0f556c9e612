"""``nd-train report``: what a run found, as one page to look at, to send and to print, or as figures of a paper."""

from typing import TYPE_CHECKING

from nd_train.lazy_exports import lazy_exports
from nd_train.report.command import main

if TYPE_CHECKING:
    from nd_train.report.report_card import leave_report, write_report
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {"leave_report": "nd_train.report.report_card", "write_report": "nd_train.report.report_card"},
    )

__all__ = ["leave_report", "main", "write_report"]
