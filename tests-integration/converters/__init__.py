"""Converters of the real recordings to the layout on disk; tests and `docs` only, no part of a package."""
