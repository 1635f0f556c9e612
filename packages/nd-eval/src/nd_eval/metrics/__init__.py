"""Metrics as functions and as torchmetrics classes, and the table of those that a configuration can name."""
