"""The processes that Dagster starts for runs: each says which run it carries out, and dead ones are found.

Dagster's own launcher cannot tell whether the process of a run still lives, so the run of a killed one would stay
"started" for ever. dagster.yaml names the launcher below, and run monitoring asks it every few seconds.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

from orchestration.dead_runs import GONE, is_dead
from orchestration.pool_waiting import asleep_while_waiting
from resources.run_process import PROCESS_TAG, claim, process_identity

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._core.execution.step_dependency_config import StepDependencyConfig


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher, which also says whether the process of a run still lives."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """NOT_FOUND where the process of the run is gone; run monitoring marks it as failed then."""
        if is_dead(self._instance, run):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, GONE)
        return CheckRunHealthResult(WorkerStatus.RUNNING)


class _Claiming(dg.Executor):
    """An executor whose process claims the run before it starts the first step."""

    def __init__(self, executor: dg.Executor) -> None:
        self._executor = executor

    @property
    def retries(self) -> "RetryMode":
        return self._executor.retries

    @property
    def step_dependency_config(self) -> "StepDependencyConfig":
        return self._executor.step_dependency_config

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        # Held until the process ends: the run is not finished before that.
        claim(plan_context.instance, plan_context.run_id)
        plan_context.instance.add_run_tags(plan_context.run_id, {PROCESS_TAG: process_identity()})
        with asleep_while_waiting(plan_context.instance):
            yield from self._executor.execute(plan_context, execution_plan)


def claiming(definition: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """The same executor with the same settings, in a process that claims its run."""
    create = definition.executor_creation_fn
    if create is None:
        raise ValueError(f"the executor {definition.name} cannot be made")
    return dg.ExecutorDefinition(
        name=definition.name,
        config_schema=definition.config_schema,  # type: ignore[arg-type]
        requirements=definition.get_requirements,
        executor_creation_fn=lambda context: _Claiming(create(context)),
        description=definition.description,
    )
