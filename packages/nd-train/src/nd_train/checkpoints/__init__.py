"""Checkpoints that are whole or absent, hold plain values only, and let a killed run go on to the bit."""
