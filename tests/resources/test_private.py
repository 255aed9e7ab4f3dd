import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.presentation import cell, table
from resources.private import KINDS, find_private, mask_private
from tests.cpu_time import least_cpu_seconds


def _token() -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234567890", "name": "A"})
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts)
        + ".c2ln"
    )


# Written in halves, so that no scanner of sources takes them for real ones. None is in use.
PRIVATE = {
    "AKIA" + "IOSFODNN7EXAMPLE": "cloud_key",
    "ASIA" + "Y34FZKBOKMUTVV7A": "cloud_key",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv": "cloud_key",
    "sk-" + "abcdefghijklmnopqrstuvwxyz123456": "api_key",
    "sk-proj-" + "Abc_123-" * 6: "api_key",
    "sk-ant-api03-" + "x" * 40: "api_key",
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc": "api_key",
    "ghp_" + "a" * 36: "api_key",
    "github_pat_" + "11ABCDEFG0" * 4: "api_key",
    "glpat-" + "x" * 20: "api_key",
    "hf_" + "A" * 34: "api_key",
    "xoxb-" + "123456789012-abcdefghij": "api_key",
    "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----": "private_key",
    "-----BEGIN OPENSSH PRIVATE" + " KEY-----\nb3BlbnNz": "private_key",
    "-----BEGIN PGP PRIVATE" + " KEY BLOCK-----\nabc": "private_key",
    _token(): "token",
    "postgresql://user:hunter2@db.example.org": "credentials",
    "ann.o'neil+tag@mail.example.co.uk".replace("'", ""): "email",
    "4111 1111 1111 1111": "card",
    "4111-1111-1111-1111": "card",
    "5555555555554444": "card",
    "378282246310005": "card",
    "30569309025904": "card",
    "6011111111111117": "card",
    "DE89 3704 0044 0532 0130 00": "account",
    "+49 170 0000000": "phone",
    "+1 (555) 010-9999": "phone",
    "api_key=" + "abcdef123456": "password",
}
ORDINARY = [
    "4111 1111 1111 1112",  # the check digit is wrong
    "0000 0000 0000 0000",
    "1234567890123456",
    "π is 3.141592653589793238462643383279",
    "4111111111111111.5 and 41111111111111110000",  # longer numbers that hold one
    "2026-11-26T12:42:58.123456+00:00",
    "DE00 3704 0044 0532 0130 00",
    "The password is the word that opens the door. 1 + 1 = 2",
    "sk-learn, sk-sh and the task-force",
    "AKIA is a prefix; ASIANS is a word",
    "@home, a@b and user@localhost",
    "-----BEGIN CERTIFICATE-----\nMIIB",
    "-----BEGIN PUBLIC KEY-----\nMIIB",
    "eyJ alone, and eyJhbGci",
    "https://example.org/a:b@c",
    "ISBN 978-3-16-148410-0",
    "def f(x): return x @ y",
]


@pytest.mark.parametrize(("text", "kind"), PRIVATE.items())
def test_each_kind_is_found_and_masked(text: str, kind: str) -> None:
    for before, after in (("", ""), ("see ", " there"), ('"', '",'), ("(", ")."), ("=", "\n"), ("\n", "")):
        found = find_private(f"{before}{text}{after}")
        assert [one.kind for one in found] == [kind]
        masked = mask_private(f"{before}{text}{after}")
        assert f"[{kind}]" in masked and text not in masked
    assert kind in KINDS


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert mask_private(text) == text


def test_what_was_cut_off_is_no_less_secret() -> None:
    assert mask_private("key: AKIA" + "IOSFODNN7E") == "key: [cloud_key]"
    assert mask_private("-----BEGIN PRIVATE" + " KEY-----\nMIIE") == "[private_key]"


@given(st.text(max_size=300))
def test_masking_is_done_once_and_found_stretches_are_in_order(text: str) -> None:
    found = find_private(text)
    assert all(one.end <= other.start for one, other in zip(found, found[1:], strict=False))
    once = mask_private(text)
    assert (once == text) is (not found)
    assert not [one for one in find_private(once) if one.kind != "card"]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 300_000,
        "a@" * 100_000,
        "a." * 100_000 + "@" + "b." * 100_000,
        "a@" + "b." * 100_000,
        "a@" + "b-" * 100_000,
        "4" * 300_000,
        "4 " * 100_000,
        "-----BEGIN PRIVATE KEY-----" * 5_000,
        "-----BEGIN " + "A " * 100_000 + "PRIVATE KEY",
        "eyJaaaaaaaa." * 20_000,
        "sk-" * 100_000,
        "sk-" + "a-" * 100_000,
        "http://" + "a" * 300_000 + "@",
        "a://" * 50_000 + "@",
        "xoxb-" * 50_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    assert least_cpu_seconds(lambda: find_private(text)) < 2


def test_previews_name_the_kind_alone() -> None:
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    for value in (key, [{"role": "user", "content": f"use {key} now"}], {"a": key}, [key]):
        assert key not in str(cell(value)) and "[cloud_key]" in str(cell(value))
    assert key[:12] not in str(cell("x" * 150 + " " + key))  # where the preview ends inside it
    shown = table([{"a": key}])
    assert key not in str(shown)


@pytest.mark.parametrize(
    "text",
    ["a." * 40_000, "1 " * 40_000, "eyJ" * 30_000, "password:" * 9_000, "+1(" * 30_000, "AB12 " * 20_000],
)
def test_long_texts_take_little_time(text: str) -> None:
    assert least_cpu_seconds(lambda: mask_private(text)) < 2


def test_jobs_log_and_answer_without_what_is_private() -> None:
    import dagster as dg

    from orchestration.command_jobs import new_console, tell

    key = "AKIA" + "IOSFODNN7EXAMPLE"
    logged = []

    @dg.op(out=dg.Out(dg.Nothing))
    def told(context: dg.OpExecutionContext) -> None:
        console = new_console()
        console.print(f"a row with {key}")
        tell(context, console, {"rows": [{"text": key}], "number": 1})
        logged.append(context.get_output_metadata("result"))

    @dg.job
    def job() -> None:
        told()

    with dg.instance_for_test() as instance:
        result = job.execute_in_process(instance=instance)
        events = str([one.message for one in instance.all_logs(result.run_id)])
    assert key not in events and "a row with [cloud_key]" in events
    assert logged[0]["answer"].value == {"rows": [{"text": "[cloud_key]"}], "number": 1}
