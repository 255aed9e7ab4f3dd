"""Lineage audits: backward from a model to the rows it was trained on, forward from a row to the models that saw it."""
