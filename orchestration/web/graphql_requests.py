"""What a GraphQL request is: its kind, the fields it asks to change, and what it names, without its values."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    ListValueNode,
    ObjectFieldNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    Visitor,
    parse,
    visit,
)

from orchestration.web.asked import Refused

MAXIMUM_TOKENS = 20_000
_LISTED = 20
_NAME = re.compile(r"[A-Za-z0-9_.:|/@-]{1,80}")
_TARGETS = {
    "assetKey",
    "assetKeys",
    "assetSelection",
    "backfillId",
    "jobName",
    "name",
    "parentRunId",
    "partitionName",
    "partitionNames",
    "partitionsDefName",
    "path",
    "pipelineName",
    "repositoryLocationName",
    "rootRunId",
    "runId",
    "runIds",
    "scheduleName",
    "sensorName",
}
_NOT_SEARCHED = {"runConfigData", "tags", "executionMetadata", "metadata", "description"}


@dataclass(frozen=True)
class GraphQLRequest:
    """`kind` is query, mutation or subscription; `fields` are those at the top; `body` is the request as understood."""

    kind: str
    name: str
    fields: tuple[str, ...]
    targets: tuple[str, ...]
    body: bytes


def read_json(body: bytes) -> dict[str, Any]:
    """The object that a body holds. Raises Refused where it holds anything else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(400, "The body is not JSON in UTF-8") from None
    if not isinstance(found, dict):
        raise Refused(400, "The body is no JSON object")
    return found


def read_request(found: dict[str, Any]) -> GraphQLRequest:
    """A request in its JSON form. Raises Refused where its parts have other types, or the query cannot be parsed."""
    query, variables, name = (found.get(key) for key in ("query", "variables", "operationName"))
    if (
        not isinstance(query, str)
        or not isinstance(variables, dict | None)
        or not isinstance(name, str | None)
    ):
        raise Refused(
            400,
            "A request has a text 'query', and where needed an object 'variables' and a text 'operationName'",
        )
    try:
        document = parse(query, no_location=True, max_tokens=MAXIMUM_TOKENS)
    except (GraphQLError, RecursionError):
        raise Refused(400, "The GraphQL query cannot be parsed") from None
    operation = _operation(document, name or None)
    fragments = {
        one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
    }
    fields = list(dict.fromkeys(_top_fields(operation.selection_set, fragments, set())))
    asked: dict[str, Any] = {"query": query, "variables": variables}
    if name:
        asked["operationName"] = name
    return GraphQLRequest(
        kind=operation.operation.value,
        name=operation.name.value[:80] if operation.name else "",
        fields=tuple(one[:80] for one in fields[:_LISTED]),
        targets=tuple(dict.fromkeys([*_targets(variables or {}), *_written_targets(operation)]))[:_LISTED],
        # Written anew, so that what stands behind cannot read a doubled key in another way.
        body=orjson.dumps(asked),
    )


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    found = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    if name is not None:
        found = [one for one in found if one.name is not None and one.name.value == name]
    if len(found) != 1:
        raise Refused(400, "The request has to name one of its operations")
    return found[0]


def _top_fields(
    selected: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode], seen: set[str]
) -> Iterator[str]:
    for one in selected.selections:
        if isinstance(one, FieldNode):
            yield one.name.value
        elif isinstance(one, InlineFragmentNode):
            yield from _top_fields(one.selection_set, fragments, seen)
        elif (
            isinstance(one, FragmentSpreadNode) and one.name.value not in seen and one.name.value in fragments
        ):
            seen.add(one.name.value)
            yield from _top_fields(fragments[one.name.value].selection_set, fragments, seen)


def _targets(variables: dict[str, Any]) -> Iterator[str]:
    """Names of jobs, assets, runs, sensors and partitions among the variables, each after what it is called there."""
    waiting: list[tuple[str, Any]] = [("", variables)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(name, one) for name, one in reversed(value.items()) if name not in _NOT_SEARCHED]
        elif isinstance(value, list):
            waiting += [(key, one) for one in reversed(value)]
        elif key in _TARGETS and isinstance(value, str):
            yield _shown(key, value)


def _written_targets(operation: OperationDefinitionNode) -> list[str]:
    """The same among the values that are written in the query itself."""
    found: list[str] = []

    class Names(Visitor):
        def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
            note(node)

        def enter_object_field(self, node: ObjectFieldNode, *_: Any) -> None:
            note(node)

    def note(node: ArgumentNode | ObjectFieldNode) -> None:
        values = node.value.values if isinstance(node.value, ListValueNode) else (node.value,)
        if node.name.value in _TARGETS:
            found.extend(
                _shown(node.name.value, one.value) for one in values if isinstance(one, StringValueNode)
            )

    visit(operation, Names())
    return found


def _shown(key: str, value: str) -> str:
    return f"{key}={value if _NAME.fullmatch(value) else '(not shown)'}"
