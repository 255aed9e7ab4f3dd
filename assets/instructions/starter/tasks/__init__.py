"""The exercises of the starter corpus, a module for each group of families."""

from assets.instructions.starter.rows import Task
from assets.instructions.starter.tasks import (
    arithmetic,
    classification,
    code,
    constraints,
    extraction,
    formats,
    grammar,
    language,
    lists,
    logic,
    measures,
    planning,
    ratios,
    strings,
    tables,
)

MODULES = (
    arithmetic,
    ratios,
    measures,
    strings,
    lists,
    tables,
    extraction,
    classification,
    language,
    grammar,
    logic,
    planning,
    constraints,
    formats,
    grammar,
    code,
)
TASKS: dict[str, Task] = {task.name: task for module in MODULES for task in module.TASKS}
"""Every task by its name, in a fixed order."""
