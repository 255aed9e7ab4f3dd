"""English helpers: articles, plurals, lists, numbers in words. Each knows only what the corpus needs."""

from collections.abc import Sequence


def listed(text: str, mark: str | None = None) -> list[str]:
    """The items of a text that are set apart by `mark`, or by white space."""
    return text.split(mark)


_SILENT_H = ("hour", "honest", "honour", "heir")
_SOUNDED = ("uni", "use", "usu", "eu", "one", "once", "ukulele", "utensil")
_ES = ("s", "x", "z", "ch", "sh")
_IRREGULAR = {
    "child": "children",
    "man": "men",
    "woman": "women",
    "person": "people",
    "mouse": "mice",
    "goose": "geese",
    "foot": "feet",
    "tooth": "teeth",
    "knife": "knives",
    "leaf": "leaves",
    "loaf": "loaves",
    "shelf": "shelves",
    "wolf": "wolves",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "half": "halves",
    "scarf": "scarves",
    "hero": "heroes",
    "calf": "calves",
    "ox": "oxen",
}
_UNITS = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = listed("zero ten twenty thirty forty fifty sixty seventy eighty ninety")


def article(noun: str) -> str:
    """`a` or `an`, whichever goes before `noun`."""
    word = noun.lower()
    if word.startswith(_SILENT_H):
        return "an"
    return "an" if word[0] in "aeiou" and not word.startswith(_SOUNDED) else "a"


def with_article(noun: str) -> str:
    """`noun` with its indefinite article."""
    return f"{article(noun)} {noun}"


def plural(noun: str) -> str:
    """The plural of a noun; of a compound, the plural of its last word."""
    head, _, last = noun.rpartition(" ")
    if last in _IRREGULAR:
        many = _IRREGULAR[last]
    elif last.endswith(_ES):
        many = last + "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        many = last[:-1] + "ies"
    else:
        many = last + "s"
    return f"{head} {many}".strip()


def count(number: int, noun: str) -> str:
    """`3 apples`, `1 apple`."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def series(items: Sequence[str], conjunction: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {conjunction} {items[-1]}"


def in_words(number: int) -> str:
    """An integer in [0, 99] in words."""
    if number < 20:
        return _UNITS[number]
    tens, unit = divmod(number, 10)
    return _TENS[tens] + (f"-{_UNITS[unit]}" if unit else "")


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `4th`, `11th`."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def capitalised(text: str) -> str:
    """`text` with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]
