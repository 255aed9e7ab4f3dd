"""Configuration of the stage `lineage`."""

import dagster as dg


class LineageConfig(dg.Config):
    """A manifest has no settings: it records what was done."""
