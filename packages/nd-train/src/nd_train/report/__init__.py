"""``nd-train report``: what a run found, as one page to look at, to send and to print, or as figures of a paper."""

from nd_train.report.command import leave_report, main, write_report

__all__ = ["leave_report", "main", "write_report"]
