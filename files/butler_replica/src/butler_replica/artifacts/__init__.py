"""Artifacts: where an export says they are, which are there, bringing them."""
