"""The commands of ``nd-train``, and what their command lines share."""
