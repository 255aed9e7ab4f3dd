"""What is masked in a text that is shown, and what is left."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.masking import mask


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Write to ada.lovelace@engine.example, please.", "Write to [e-mail], please."),
        ("Call +49 170 0000000 or +1 (555) 010-9999.", "Call [phone] or [phone]."),
        ("Card 4111 1111 1111 1111, until May", "Card [card], until May"),
        ("Pay to DE89 3704 0044 0532 0130 00 now", "Pay to [account] now"),
        ("key AKIAIOSFODNN7EXAMPLE here", "key [secret] here"),
        ("token sk-proj-abcdefghij0123456789 here", "token [secret] here"),
        ("token hf_abcdefghijklmnopqrstuv0123 here", "token [secret] here"),
        ("token ghp_abcdefghijklmnopqrstuv0123456789 here", "token [secret] here"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl!", "[secret]!"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter", "[secret]\nafter"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", "[secret]"),
        ("smtps://user:hunter22@mail.example:465", "smtps://[secret]@mail.example:465"),
        ('{"password": "hunter22"}', '{"[secret]"}'),
        ("api_key=abcdef123456", "[secret]"),
    ],
)
def test_secrets_and_personal_data_are_masked(text: str, shown: str) -> None:
    assert mask(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "The password is the word that opens the door.",
        "1 + 1 = 2, and 4111 1111 1111 1112 is no card",
        "0000 0000 0000 0000",
        "pi is 3.14159265358979323846",
        "At 10:30 @home, a@b and @ada",
        "sk-learn and pk-fire are words; hf_hub_download is a function",
        "DE00 3704 0044 0532 0130 00 is no account",
        "2026-11-26T12:42:58.123456+00:00",
        "sum(range(10)) == 45",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert mask(text) == text


@given(
    st.text(max_size=200),
    st.text(max_size=200),
    st.sampled_from(["ada@engine.example", "AKIAIOSFODNN7EXAMPLE"]),
)
def test_nothing_around_a_secret_keeps_it_from_being_masked(before: str, after: str, secret: str) -> None:
    assert secret not in mask(f"{before} {secret} {after}")


@pytest.mark.parametrize(
    "text", ["a." * 40_000, "1 " * 40_000, "eyJ" * 30_000, "password:" * 9_000, "+1(" * 30_000]
)
def test_long_texts_take_little_time(text: str) -> None:
    began = time.process_time()
    mask(text)
    assert time.process_time() - began < 2
