"""Dimension records: what they are compared by, and those that are made here without the compiled stack."""
