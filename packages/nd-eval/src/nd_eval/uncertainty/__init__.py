"""Confidence intervals of scores over stitched time, by a block bootstrap."""
