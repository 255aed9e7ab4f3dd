"""Dagster's workspace, as the role that a request has may use it."""

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster_webserver.version import __version__

from orchestration.web.access import OPERATOR


class RoleContext(WorkspaceProcessContext):
    """Gives requests of operators the whole workspace, and all others one that can only be read: Dagster then refuses
    what they may not do a second time, and its pages leave the buttons out."""

    def __init__(self, instance: DagsterInstance, target: WorkspaceLoadTarget, *, read_only: bool) -> None:
        super().__init__(
            instance, target, version=__version__, read_only=read_only, code_server_log_level="WARNING"
        )

    def create_request_context(self, source: object | None = None) -> WorkspaceRequestContext:
        """The workspace for one request, whose scope says the role."""
        role = getattr(source, "scope", {}).get("sultana.role", OPERATOR)
        return WorkspaceRequestContext(
            instance=self.instance,
            current_workspace=self.get_current_workspace(),
            process_context=self,
            version=self.version,
            source=source,
            read_only=self._read_only or role != OPERATOR,
        )
