"""Whether a conversation is fit to learn from, whatever file it came from.

What is refused, and what is not:

- Control tokens of any chat template (`<|im_start|>`, `[INST]`, `<start_of_turn>`, ...), raw or after NFKC,
  because text holding one can forge a turn for a program that tokenises it carelessly. Sultana itself
  encodes text with `split_special_tokens=True`, so this is a second line of defence, and it is drawn
  where ordinary text begins: `<unk>`, `<pad>` and `<mask>` cannot forge a turn and stand in texts about
  language models; `<s>...</s>` inside a text is strike-through HTML. `</s>` without an `<s>` before it ends a
  sequence and is refused, and so is a text that is wrapped in the pair as a whole.
- `### Response:` alone is an ordinary Markdown heading and no token of any tokenizer. Only a text that
  holds the Alpaca scaffold, `### Instruction:` and then `### Response:`, is refused: it is a rendered prompt.
- Bidirectional embeddings, overrides and isolates. The marks LRM, RLM and ALM, which Arabic and Hebrew
  texts need, reorder nothing beyond their neighbours and are kept.
- Zero-width characters that split a word, stand in runs of three or more, or are many. Kept are the
  joiners beside letters of other scripts than Latin and beside symbols (Persian, Indic scripts, emoji),
  the space in scripts written without spaces, and a few strays at the edge of words, which text copied
  from web pages holds (all 9 rows of 86,000 published ones that have zero-width characters are such).
- Tag characters outside the flags of England, Scotland, Wales and other regions.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from assets.identity import canonical_text
from assets.instructions.rows import Limits
from assets.roles import ROLES

SPECIAL_TOKENS: dict[str, str] = {
    # <|im_start|>, <|endoftext|>, <|eot_id|>, <|user|>, <｜begin▁of▁sentence｜> ...
    "bars": r"<[|｜][A-Za-z][\w▁\-]{0,62}[|｜]>",
    "llama2": r"\[/?INST\]|<</?SYS>>",
    "mistral": r"\[/?(?:AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|TOOL_CONTENT|SYSTEM_PROMPT|MODEL_SETTINGS)\]",
    "gemma": r"<(?:start|end)_of_turn>|<(?:start|end)_of_image>|<[be]os>",
    "turns": r"</?(?:begin|end)_of_(?:text|sentence|utterance)>|<end_of_utterance>",
}
"""Families of control tokens as regular expressions. `<s>` and `</s>` need their context: see the module."""

_END_OF_SEQUENCE = re.compile(r"</?s>")
_INSTRUCTION_HEADING = re.compile(r"^### Instruction:", re.MULTILINE)
_RESPONSE_HEADING = re.compile(r"^### Response:", re.MULTILINE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BIDIRECTIONAL = re.compile("[\u202a-\u202e\u2066-\u2069]")
_TAGS = re.compile("[\U000e0000-\U000e007f]")
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_ZERO_WIDTH = re.compile("[\u180e\u200b-\u200d\u2060-\u2064\ufeff]+")
_LONGEST_RUN = 2
_MOST_STRAYS = 8
_JOINERS = "\u200c\u200d"
_ZERO_WIDTH_SPACE = "\u200b"
# Scripts written without spaces, where U+200B tells programs where a line may break.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u3040-\u30ff\u3400-\u9fff]"
)


def tokens_pattern(added_tokens: Iterable[str] = ()) -> re.Pattern[str]:
    """What finds a control token: the static families and a tokenizer's own `added_tokens`.

    Of the added tokens, those that ordinary text can hold (`<s>`, `</s>`, `<unk>`, `<pad>`, `<mask>`, or
    without brackets) are left to the rules of this module.
    """
    left = {"<s>", "</s>", "<unk>", "<pad>", "<mask>"}
    own = sorted(
        {token for token in added_tokens if token not in left and token[:1] in "<[" and len(token) > 2}
    )
    return re.compile("|".join([*SPECIAL_TOKENS.values(), *(re.escape(token) for token in own)]))


_TOKENS = tokens_pattern()


def normalise(messages: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """The same turns with canonical contents (NFC, `\\n` line ends, no white space at the ends)."""
    return [{"role": turn["role"], "content": canonical_text(turn["content"])} for turn in messages]


def problem_in(
    messages: Sequence[Mapping[str, str]],
    *,
    tokens: re.Pattern[str] | None = None,
    limits: Limits | None = None,
) -> tuple[str, str] | None:
    """(reason, detail) of the first thing that makes a conversation unfit; None where it is fit.

    `reason` is a key of `rows.REASONS`. `tokens`: what finds a control token, by default the static
    families; see `tokens_pattern`.
    """
    most = (limits or _LIMITS).field_bytes
    order = _order_problem([turn["role"] for turn in messages])
    if order:
        return order
    for place, turn in enumerate(messages, start=1):
        text = turn["content"]
        if not text or text.isspace():
            reason = "empty_response" if turn["role"] == "assistant" else "empty_instruction"
            return reason, f"turn {place} ({turn['role']}) is empty or blank"
        found = _text_problem(text, most, tokens or _TOKENS)
        if found:
            return found[0], f"turn {place} ({turn['role']}): {found[1]}"
    return None


_LIMITS = Limits()


def _order_problem(roles: list[str]) -> tuple[str, str] | None:
    if not roles:
        return "no_messages", "the list of turns is empty"
    for place, role in enumerate(roles, start=1):
        if role not in ROLES:
            return "unknown_role", f"turn {place} is by '{role[:60]}', expected one of {', '.join(ROLES)}"
        if role == "system" and place > 1:
            return "system_not_first", f"turn {place} is a system turn"
        if role == "assistant" and place > 1 and roles[place - 2] == "assistant":
            return "two_assistant_turns", f"turns {place - 1} and {place} are both by the assistant"
    spoken = [role for role in roles if role != "system"]
    if "assistant" not in spoken:
        return "no_assistant_turn", f"{len(roles)} turns, none by the assistant"
    if spoken[0] != "user":
        return "first_turn_not_user", "the assistant speaks first"
    if spoken[-1] != "assistant":
        return "last_turn_not_assistant", f"turn {len(roles)} is by the {spoken[-1]}"
    return None


def _text_problem(text: str, most: int, tokens: re.Pattern[str]) -> tuple[str, str] | None:
    plain = text.isascii()
    if len(text) * 4 > most:
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > most:
            return "field_too_long", f"{size:,} bytes, at most {most:,} are allowed"
    if "\0" in text:
        return "nul", f"NUL at character {text.index(chr(0)) + 1}"
    if found := _token_in(text, tokens):
        return "control_token", found
    if (first := _INSTRUCTION_HEADING.search(text)) and _RESPONSE_HEADING.search(text, first.end()):
        return "template_markers", "'### Instruction:' and then '### Response:'"
    if plain:
        return None
    if _SURROGATE.search(text):
        return "lone_surrogate", "half of a surrogate pair"
    if match := _BIDIRECTIONAL.search(text):
        return "bidirectional_control", f"U+{ord(match.group()):04X} at character {match.start() + 1}"
    if (match := _TAGS.search(text)) and (match := _TAGS.search(_FLAG.sub("", text))):
        return "tag_characters", f"U+{ord(match.group()):04X}"
    visible = _ZERO_WIDTH.sub("", text)
    if visible != text and (found := _invisible_in(text)):
        return "invisible_characters", found
    plainest = unicodedata.normalize("NFKC", visible)
    if plainest != text and (found := _token_in(plainest, tokens)):
        return "hidden_control_token", found
    return None


def _token_in(text: str, tokens: re.Pattern[str]) -> str | None:
    # Every token begins with one of the two; most texts hold neither.
    if "<" not in text and "[" not in text:
        return None
    if match := tokens.search(text):
        return f"'{match.group()}' at character {match.start() + 1}"
    if "</s>" in text:
        return _sequence_end_in(text)
    return None


def _sequence_end_in(text: str) -> str | None:
    """An `</s>` that ends a sequence and is no closing tag of strike-through HTML."""
    opened = 0
    marks = list(_END_OF_SEQUENCE.finditer(text))
    for mark in marks:
        if mark.group() == "<s>":
            opened += 1
        elif not opened:
            return f"'</s>' at character {mark.start() + 1}, with no '<s>' before it"
        else:
            opened -= 1
    bare = text.strip()
    if len(marks) == 2 and bare.startswith("<s>") and bare.endswith("</s>"):
        return "the text is wrapped in '<s>' and '</s>'"
    return None


def _invisible_in(text: str) -> str | None:
    """The first zero-width characters that have no business where they stand."""
    strays = 0
    for match in _ZERO_WIDTH.finditer(text):
        start, end = match.span()
        before, after = text[max(start - 1, 0) : start], text[end : end + 1]
        where = f"U+{ord(match.group()[0]):04X} at character {start + 1}"
        if len(match.group()) > _LONGEST_RUN:
            return f"{len(match.group())} in a row, {where}"
        if _belongs(match.group(), before, after):
            continue
        if before.isalnum() and after.isalnum():
            return f"{where}, inside a word"
        strays += len(match.group())
    return f"{strays} of them" if strays > _MOST_STRAYS else None


def _belongs(run: str, before: str, after: str) -> bool:
    """Whether zero-width characters are ones that the script around them uses."""
    around = [one for one in (before, after) if one]
    if all(one in _JOINERS for one in run):
        return any(_joins(one) for one in around)
    return run == _ZERO_WIDTH_SPACE and any(_UNSPACED.match(one) for one in around)


def _joins(character: str) -> bool:
    """Whether a character is a letter or mark of a script other than Latin, or a symbol such as an emoji."""
    if character < "\u0250":
        return False
    return unicodedata.category(character)[0] in "LMS" and not 0x1E00 <= ord(character) <= 0x1EFF
