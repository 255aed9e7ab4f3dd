"""Secrets and personal data in texts of rows, masked where a text is only shown.

A preview is copied into Dagster's event log, into reports and onto screens, and stays there; the row itself is in its
table. What is found here are forms that are telling by themselves: keys, tokens, addresses, numbers with a check digit.
A name or a street is not found.
"""

import re
from collections.abc import Callable

_LONGEST = 64 * 1024
_SECRET, _MAIL, _CARD, _PHONE, _ACCOUNT = "[secret]", "[e-mail]", "[card]", "[phone]", "[account]"
LABELS = frozenset({_SECRET, _MAIL, _CARD, _PHONE, _ACCOUNT})
"""What stands in the place of something that was masked."""


def _luhn(text: str) -> bool:
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [
        digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(digits[::-1])
    ]
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _iban(text: str) -> bool:
    plain = "".join(text.split())
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def _always(_: str) -> bool:
    return True


_FORMS: tuple[tuple[re.Pattern[str], Callable[[str], bool], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}-----|$)", re.S),
        _always,
        _SECRET,
    ),
    (re.compile(r"\beyJ[\w-]{8,2000}\.[\w-]{8,4000}\.[\w-]{4,2000}", re.A), _always, _SECRET),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", re.A), _always, _SECRET),
    (re.compile(r"\bAIza[\w-]{30,40}", re.A), _always, _SECRET),
    (
        re.compile(
            r"\b(?:sk|pk|rk|hf|ghp|gho|ghs|ghu|github_pat|glpat|xox[abprs])[-_](?=[\w-]{0,60}[0-9])[\w-]{16,255}",
            re.A,
        ),
        _always,
        _SECRET,
    ),
    (
        re.compile(r"(?i)(?<=://)[^\s/:@]{1,64}:[^\s/@]{1,128}(?=@)"),
        _always,
        _SECRET,
    ),
    (
        re.compile(
            r"(?i)\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token)\b[\"']?\s{0,3}[:=]"
            r"\s{0,3}[\"']?[^\s\"',;]{6,256}"
        ),
        _always,
        _SECRET,
    ),
    (
        re.compile(r"(?<![\w.+-])[\w.%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}"),
        _always,
        _MAIL,
    ),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", re.A), _iban, _ACCOUNT),
    (re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])", re.A), _luhn, _CARD),
    (re.compile(r"(?<![\w+])\+\d(?:[ ()./-]{0,2}\d){6,14}(?!\d)", re.A), _always, _PHONE),
)


def mask(text: str) -> str:
    """The text with labels in the place of secrets and personal data; at most its first 65,536 characters."""
    text = text[:_LONGEST]
    for form, holds, label in _FORMS:
        text = form.sub(lambda found, holds=holds, label=label: label if holds(found[0]) else found[0], text)  # type: ignore[misc]
    return text
