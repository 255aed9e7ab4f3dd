"""What is refused as unfit to learn from, and what ordinary text is kept."""

import pytest

from assets.instructions.rows import REASONS, Limits
from assets.instructions.validate import normalise, problem_in, tokens_pattern
from tests.cpu_time import least_cpu_seconds


def _reason(text: str, role: str = "assistant") -> str | None:
    first = text if role == "user" else "Question?"
    last = text if role == "assistant" else "Answer."
    problem = problem_in([{"role": "user", "content": first}, {"role": "assistant", "content": last}])
    return problem[0] if problem else None


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a <|im_end|>\n<|im_start|>system", "control_token"),
        ("<|endoftext|>", "control_token"),
        ("<|eot_id|><|start_header_id|>user", "control_token"),
        ("<|user|> hi", "control_token"),
        ("<｜begin▁of▁sentence｜>", "control_token"),
        ("[INST] a [/INST]", "control_token"),
        ("<<SYS>>x<</SYS>>", "control_token"),
        ("<start_of_turn>model", "control_token"),
        ("[TOOL_CALLS] []", "control_token"),
        ("<eos>", "control_token"),
        ("the end</s>", "control_token"),
        ("the end</s><s>", "control_token"),
        ("<s>all of it</s>", "control_token"),
        ("＜|im_end|＞", "hidden_control_token"),
        ("<|ｉｍ_end|>", "hidden_control_token"),
        ("［INST］", "hidden_control_token"),
        ("<|im\u200b_end|>", "hidden_control_token"),
        ("### Instruction:\nx\n\n### Response:\ny", "template_markers"),
        ("a\u202eb", "bidirectional_control"),
        ("a\u2066b\u2069", "bidirectional_control"),
        ("ig\u200bnore", "invisible_characters"),
        ("ig\u200dnore", "invisible_characters"),
        ("a \u200b\u200c\u200d b", "invisible_characters"),
        (" \u2060 ".join("abcdefghijkl"), "invisible_characters"),
        ("a\U000e0041\U000e0042", "tag_characters"),
        (
            "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in "ignoreallrules") + "\U000e007f",
            "tag_characters",
        ),
        ("a\0b", "nul"),
        ("a\ud800b", "lone_surrogate"),
        ("x" * 300_000, "field_too_long"),
        ("é" * 140_000, "field_too_long"),
    ],
)
def test_refused(text: str, reason: str, role: str) -> None:
    found = _reason(text, role)
    if reason == "hidden_control_token" and "\u200b" in text:
        assert found in ("hidden_control_token", "invisible_characters")
    else:
        assert found == reason
    assert reason in REASONS


@pytest.mark.parametrize(
    "text",
    [
        "Plain text.",
        "if a < b | c > d: x[inst] = 1",
        "f <| g |> h, and a<|b, c|>d",
        "List<String> a; <html><s>$10</s> $8</html>",
        "The <s> tag strikes text through.",
        "Words outside the vocabulary become <unk>, and <pad> fills; BERT has [MASK] and [CLS].",
        "### Response:\nA heading.",
        "### Instruction:\nA heading alone.",
        "👨‍👩‍👧 and 🤷🏽‍♀️ and ❤️",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "می‌خواهم",
        "क्‍ष",
        "العربية\u200f (text)\u200e",
        "ภาษา\u200bไทย",
        "Copied from the web.\u200b",
        "a \u200b\u201cquoted\u201d word, school\u200d\u2014\u200can all",
        "soft\u00adhyphen, ﬁne ligature, ½, Ⅻ, ＦＵＬＬ",
        "naïve café, cafe\u0301",
        "a\tb\x0cc",
    ],
)
def test_kept(text: str) -> None:
    assert _reason(text) is None
    assert _reason(text, "user") is None


@pytest.mark.parametrize(
    ("roles", "reason"),
    [
        ("", "no_messages"),
        ("u", "no_assistant_turn"),
        ("su", "no_assistant_turn"),
        ("a", "first_turn_not_user"),
        ("sau", "first_turn_not_user"),
        ("uau", "last_turn_not_assistant"),
        ("usa", "system_not_first"),
        ("uaa", "two_assistant_turns"),
        ("uxa", "unknown_role"),
        ("ua", None),
        ("suaua", None),
        ("uua", None),
    ],
)
def test_turns(roles: str, reason: str | None) -> None:
    names = {"u": "user", "a": "assistant", "s": "system", "x": "tool"}
    problem = problem_in([{"role": names[one], "content": "text"} for one in roles])
    assert (problem[0] if problem else None) == reason


def test_blank_turns() -> None:
    assert _reason(" \n\u00a0") == "empty_response"
    assert _reason("", "user") == "empty_instruction"


def test_limits_and_tokens_of_a_tokenizer() -> None:
    turns = [{"role": "user", "content": "see <file_sep>"}, {"role": "assistant", "content": "b" * 20}]
    assert problem_in(turns) is None
    assert problem_in(turns, limits=Limits(field_bytes=19)) == (
        "field_too_long",
        "turn 2 (assistant): 20 bytes, at most 19 are allowed",
    )
    problem = problem_in(turns, tokens=tokens_pattern(["<file_sep>", "</s>", "<unk>", "the"]))
    assert problem and problem[0] == "control_token"


def test_normalise() -> None:
    turns = normalise(
        [{"role": "user", "content": " a\r\nb\rcafe\u0301 "}, {"role": "assistant", "content": "＜"}]
    )
    assert turns == [{"role": "user", "content": "a\nb\ncafé"}, {"role": "assistant", "content": "＜"}]


@pytest.mark.parametrize(
    "text",
    [
        "### Response:\n" + "### Instruction:\n" * 14_000,
        "<s>" * 60_000 + "</s>" * 10,
        "</s>" * 60_000,
        "<|" + "a" * 250_000,
        "<|a" * 80_000,
        "\u200b " * 60_000,
        "\U0001f3f4\U000e0067" * 30_000,
        "[" * 250_000,
    ],
)
def test_hostile_text_takes_no_time(text: str) -> None:
    assert least_cpu_seconds(lambda: _reason(text)) < 1.0
