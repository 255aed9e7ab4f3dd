"""Whatever comes in: what reads requests refuses it, or understands it, and does nothing else."""

import asyncio

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.web.access import OPERATOR, READER, Access
from orchestration.web.asked import Asked, Refused, read_asked
from orchestration.web.dagster_rules import DagsterRules
from orchestration.web.mlflow_rules import MlflowRules
from orchestration.web.names import Names
from orchestration.web.results import is_result, read_results

PIECES = [
    "query",
    "mutation",
    "subscription",
    "fragment",
    "{",
    "}",
    "(",
    ")",
    ":",
    "$",
    "a",
    "wipeAssets",
    '"',
    " ",
    "...",
]
QUERIES = st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["runId", "path", "a"]), inner)
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=200) | st.fixed_dictionaries(
    {}, optional={"query": QUERIES | VALUES, "variables": VALUES, "operationName": VALUES, "more": VALUES}
).map(
    lambda one: orjson.dumps(one, default=str, option=orjson.OPT_PASSTHROUGH_SUBCLASS) if _fits(one) else b""
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"host", b"origin", b"content-type", b"cookie", b"authorization", b"sec-fetch-site"]
        ),
        st.binary(max_size=30)
        | st.sampled_from([b"127.0.0.1:3000", b"http://127.0.0.1:3000", b"sultana=operator.1.x"]),
    ),
    max_size=6,
)


def _fits(one: object) -> bool:
    try:
        orjson.dumps(one)
    except orjson.JSONEncodeError:
        return False
    return True


def _asked(method: str, path: str) -> Asked:
    headers = {"host": "127.0.0.1:3000", "content-type": "application/json"}
    return Asked(method, path, "", headers, "127.0.0.1")


@given(
    BODIES,
    st.sampled_from(["GET", "POST"]),
    st.text(max_size=30).map(lambda one: f"/{one}") | st.just("/graphql"),
)
@settings(max_examples=150, deadline=None)
def test_rules_refuse_or_pass(body: bytes, method: str, path: str) -> None:
    for rules in (DagsterRules(lambda _: False), MlflowRules()):
        for role in (OPERATOR, READER):
            try:
                passed = asyncio.run(rules.judge(_asked(method, path), body, role))
            except Refused as refused:
                assert 400 <= refused.status < 500
            else:
                assert not (passed.changes and (role == READER or isinstance(rules, MlflowRules)))
                # What is passed on is what was judged: judged again it is the same.
                if passed.body is not None:
                    again = asyncio.run(rules.judge(_asked(method, path), passed.body, role))
                    assert (again.changes, again.fields) == (passed.changes, passed.fields)


@given(st.text(max_size=200) | BODIES.map(lambda one: one.decode("utf-8", "replace")))
@settings(max_examples=150, deadline=None)
def test_messages_are_refused_or_subscriptions(text: str) -> None:
    try:
        DagsterRules(lambda _: False).judge_message(text)
    except Refused:
        return
    message = orjson.loads(text)
    assert message["type"] != "start" or "subscription" in message["payload"]["query"]


@given(HEADERS, st.text(max_size=30), st.binary(max_size=30), st.booleans())
@settings(max_examples=150, deadline=None)
def test_heads_are_refused_or_understood(
    headers: list[tuple[bytes, bytes]], path: str, query: bytes, changes: bool
) -> None:
    scope = {"headers": headers, "path": f"/{path}", "query_string": query, "method": "GET"}
    access = Access({OPERATOR: "operator-token-of-32-characters-"}, cookie="sultana")
    try:
        asked = read_asked(scope, "")
        Names(3000).check_host(asked)
        Names(3000).check_sender(asked, changes=changes)
    except Refused as refused:
        assert 400 <= refused.status < 500
        return
    assert asked.headers["host"].lower() == "127.0.0.1:3000"
    assert access.role(asked) == "nobody"


@given(st.binary(max_size=200) | BODIES)
def test_answers_of_any_form_are_read(content: bytes) -> None:
    kinds, made = read_results(content)
    assert all(len(one) <= 80 for one in (*kinds, *made)) and is_result(content) in (True, False)
