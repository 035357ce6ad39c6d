"""A miniature DC2, made with lsst-daf-butler alone, in the layout of the real data."""

from __future__ import annotations

__all__ = ["SampleResult", "make_sample"]

from .build import SampleResult, make_sample
