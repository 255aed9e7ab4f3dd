"""What a text holds that is nobody else's business, found by its form: keys, passwords, addresses, numbers of accounts.

A scan by form, not by meaning: it finds what has an unmistakable shape, and what is left is not proven to be free of
personal data. A number is a card's only where its check digit is right (Luhn) and its length is that of its issuer,
and a bank account's only where its check digits are (ISO 13616).
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class Found(NamedTuple):
    """A stretch of a text; `kind` is a key of KINDS."""

    kind: str
    start: int
    end: int


KINDS: dict[str, str] = {
    "cloud_key": "an access key of a cloud (AWS, Google)",
    "api_key": "a key or token of a service (OpenAI, Anthropic, GitHub, GitLab, Hugging Face, Slack, Stripe)",
    "private_key": "a private key",
    "token": "a JSON web token",
    "credentials": "an address with a user's password",
    "email": "an e-mail address",
    "password": "a password or key behind its name",
    "card": "the number of a payment card",
    "account": "the number of a bank account (IBAN)",
    "phone": "a telephone number with its country's code",
}

# The end of a text counts as the end of a key: what was cut off does not make the rest less of a secret.
_CLOUD = re.compile(r"\b(?:AKIA|ASIA)(?:[0-9A-Z]{16}\b|[0-9A-Z]{6,15}\Z)|\bAIza[0-9A-Za-z_-]{35}")
_API = re.compile(
    r"\bsk-(?:[A-Za-z]+-)*[A-Za-z0-9_-]{20,}|\b(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bhf_[A-Za-z0-9]{30,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----BEGIN )[\s\S])*?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
_TOKEN = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?")
_CREDENTIALS = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,64}:[^\s/@]{1,128}@")
_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b"
)
# A search that begins with a look back is three times as slow, so what comes before is looked at afterwards.
_CARD = re.compile(r"[2-6](?<![\d.,-].)\d{3}(?:[ -]?\d){8,15}(?![\d.,-]*\d)", re.DOTALL)
_ISSUED = re.compile(
    r"4\d{12}(?:\d{3})?(?:\d{3})?|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d{2}|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
)

_PASSWORD = re.compile(
    r"\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token)\b[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
    r"(?=[^\s\"',;]{0,256}\d)[^\s\"',;\[]{6,256}",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(
    r"[A-Z]{2}\d{2}(?<!\w.{4})(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", re.ASCII | re.DOTALL
)
_PHONE = re.compile(r"(?<![\w+])\+[1-9](?:[ ()./-]{0,2}\d){6,14}(?!\d)", re.ASCII)


# Every row of a source is scanned; a look for a few letters spares most texts the pattern.
def _may_hold_api_key(text: str) -> bool:
    if "sk-" in text or "xox" in text or "glpat-" in text:
        return True
    return "_" in text and (
        "gh" in text or "github" in text or "hf_" in text or "live_" in text or "test_" in text
    )


def _may_name_password(text: str) -> bool:
    if ":" not in text and "=" not in text:
        return False
    low = text.lower()
    return "pass" in low or "pwd" in low or "secret" in low or "key" in low or "token" in low


_Scan = tuple[str, Callable[[str], bool], re.Pattern[str]]
_WORDS: tuple[_Scan, ...] = (
    ("private_key", lambda text: "PRIVATE KEY" in text, _PRIVATE_KEY),
    ("credentials", lambda text: "://" in text and "@" in text, _CREDENTIALS),
    ("cloud_key", lambda text: "AKIA" in text or "ASIA" in text or "AIza" in text, _CLOUD),
    ("api_key", _may_hold_api_key, _API),
    ("token", lambda text: "eyJ" in text, _TOKEN),
    ("email", lambda text: "@" in text, _EMAIL),
    ("password", _may_name_password, _PASSWORD),
)
_FEWEST_DIGITS = 7
_NUMBERS: tuple[_Scan, ...] = (
    ("account", lambda text: True, _ACCOUNT),
    ("card", lambda text: True, _CARD),
    ("phone", lambda text: "+" in text, _PHONE),
)


def find_private(text: str) -> list[Found]:
    """Every stretch that is found, in order; where two overlap, the one of the kind that is looked for first."""
    taken: list[Found] = []
    digits = sum(map(text.count, "0123456789"))
    for kind, may, pattern in _WORDS if digits < _FEWEST_DIGITS else _WORDS + _NUMBERS:
        if not may(text):
            continue
        for match in pattern.finditer(text):
            start, end = match.span()
            if not _CHECKED.get(kind, _always)(match.group()):
                continue
            place = bisect_left(taken, start, key=lambda one: one.start)
            before, after = taken[max(place - 1, 0) : place], taken[place : place + 1]
            if all(one.end <= start for one in before) and all(end <= one.start for one in after):
                taken.insert(place, Found(kind, start, end))
    return taken


def mask_private(text: str) -> str:
    """The text with `[kind]` in place of each stretch that is found; the same text where nothing is."""
    return "".join(_masked(text, find_private(text)))


def masked_values(value: Any) -> Any:
    """JSON values in which every text is masked; names of fields stay."""
    if isinstance(value, str):
        return mask_private(value)
    if isinstance(value, Mapping):
        return {name: masked_values(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked_values(one) for one in value]
    return value


def _masked(text: str, found: list[Found]) -> Iterator[str]:
    place = 0
    for one in found:
        yield text[place : one.start]
        yield f"[{one.kind}]"
        place = one.end
    yield text[place:]


def _is_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    if not _ISSUED.fullmatch(digits) or len(set(digits)) < 2:
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_account(text: str) -> bool:
    plain = "".join(text.split())
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def _always(_: str) -> bool:
    return True


_CHECKED: dict[str, Callable[[str], bool]] = {"card": _is_card, "account": _is_account}
"""Kinds whose numbers carry check digits."""
