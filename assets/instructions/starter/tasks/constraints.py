"""Instructions whose obedience can be checked: lengths, letters, beginnings, lists."""

import re
from collections.abc import Sequence

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task
from assets.instructions.starter.vocabulary import (
    ANIMALS,
    CITIES,
    COLOURS,
    FOODS,
    JOBS,
    NAMES,
    PLAIN_WORDS,
    TOWNS,
    WARES,
)
from assets.instructions.starter.wording import article, capitalised, in_words, listed

ADJECTIVES = listed(
    "quiet tired clever happy old young proud brown small tall calm bold shy kind odd swift hungry "
    "lonely warm grand"
)
VERBS = listed(
    "waits sings rests works hums walks sits naps paints reads swims jogs spins limps hops nods laughs"
)
ADVERBS = listed(
    "calmly slowly softly again alone gladly twice daily proudly quickly outdoors often now today"
)
TAILS = (
    listed(
        "in a barn|on a hill|by a window|in town|by a pond|on a roof|at school|down south|by a road|outside",
        "|",
    ),
    listed(
        "at dawn|at night|in spring|at noon|on Friday|in May|until supper|all day long|before us|again", "|"
    ),
    listed("with a smile|without a sound|for fun|as usual|with us|for no reason|once more|in full view", "|"),
)
"""Ends of a sentence: where, when, how."""
HEADS = listed("our that this your his her the")


def _written(draw: Draw, size: int, letter: str = "", subject: str | None = None) -> str:
    """A sentence of `size` words (from 5 to 12) without `letter`, about `subject` where one is given.

    ValueError where the vocabulary has no such sentence.
    """
    pools = [_without(letter, pool) for pool in (ADJECTIVES, ANIMALS + JOBS, VERBS, ADVERBS, HEADS, *TAILS)]
    adjectives, subjects, verbs, adverbs, heads, *tails = pools
    for _ in range(500):
        words = [*draw.some(adjectives, draw.integer(0, 2)), subject or draw.pick(subjects), draw.pick(verbs)]
        words += draw.some(adverbs, draw.integer(0, 1))
        for tail in tails:
            if tail and draw.chance(0.6):
                words += draw.pick(tail).split()
        head = article(words[0]) if draw.chance(0.25) else draw.pick(heads)
        if len(words) == size - 1 and not (letter and letter in head):
            return capitalised(" ".join([head, *words])) + "."
    raise ValueError(f"no sentence of {size} words without {letter!r}")


def _without(letter: str, words: Sequence[str]) -> list[str]:
    return [word for word in words if not letter or letter not in word.lower()]


def _length_facts(draw: Draw) -> Facts:
    return {"size": draw.integer(5, 12), "subject": draw.pick(ANIMALS + JOBS), "extra": draw.below(40)}


def _length_word(facts: Facts, draw: Draw) -> Draft:
    size, subject = facts["size"], facts["subject"]
    number = draw.pick((str(size), in_words(size)))
    text = draw.say(
        """[write|compose|give me] [one|a] sentence of exactly {n} words about {a}.
        |[describe|picture] {a} in exactly {n} words.|{name} wants a caption about {a}: {n} words, no
        more, no less.
        |exactly {n} words, please: one sentence [on|about] {a}.|[in|using] {n} words exactly, say
        [something|anything] about {a}.
        |[make up|invent] {an} {n}-word sentence [with|that has] {a} in it.|can you [write
        |manage] [a sentence|one line] [with exactly|of just] {n} words [about|on] {a}?""".join("[]"),
        n=number,
        a=f"{article(subject)} {subject}",
        an=article(in_words(size)),
        name=draw.pick(NAMES),
    )
    return Draft(text, _written(draw, size, subject=subject))


def _length_check(facts: Facts, response: str) -> bool:
    words = re.findall(r"[A-Za-z'-]+", response)
    return len(words) == facts["size"] and facts["subject"] in response.lower()


def _letter_facts(draw: Draw) -> Facts:
    return {"letter": draw.pick("eaointlmudpgk"), "size": draw.integer(5, 9), "extra": draw.below(30)}


def _letter_word(facts: Facts, draw: Draw) -> Draft:
    letter, size = facts["letter"], facts["size"]
    text = draw.say(
        """[write|give me|compose] a sentence of [at least|no fewer than] {n} words [without
            |that avoids] the letter {l}.
        |avoid the letter {l} [completely|altogether]: [write|make] [one sentence
        |a sentence] of {n} [words or more|or more words].
        |{name}'s [typewriter|keyboard|old laptop] [has lost its {l} key|has no {l} any more
        |lacks the letter {l}]. [Type|Produce
        |Write] [a sentence of {n} words or more|{n} words or more, one sentence,] on it.
        |[can you|try to] [write {n} or more words, as one sentence,|make a sentence of {n} words or more]
        [with no|lacking] {l}[ in them|][.|?]
        |lipogram: [{n} words at least|a sentence, {n} words or longer], no letter {l}.""".join("[]"),
        n=size,
        l=letter if draw.chance(0.4) else f'"{letter}"',
        name=draw.pick(NAMES),
    )
    text = text.rstrip("?.") + ("?" if text.startswith("Can") else ".")
    return Draft(text, _written(draw, size + draw.below(2), letter))


def _letter_check(facts: Facts, response: str) -> bool:
    return facts["letter"] not in response.lower() and len(response.split()) >= facts["size"]


def _bounds_facts(draw: Draw) -> Facts:
    return {
        "first": draw.pick(NAMES + tuple(TOWNS)),
        "last": draw.pick(PLAIN_WORDS + WARES),
        "extra": draw.below(20),
    }


def _bounds_word(facts: Facts, draw: Draw) -> Draft:
    first, last = facts["first"], facts["last"]
    text = draw.say(
        """[write|compose] a sentence that [begins|starts|opens] with "{f}" and ends with "{l}".
        |[begin|start] with {f}, end with {l}: one sentence[, please|].
        |the first word must be {f} and the last one {l}. [Write the sentence.|What could the sentence be?]
        |one sentence, first word "{f}", last word "{l}".|make a sentence from {f} (first word) to {l}
        (last word).
        |can you [get from "{f}" to|connect "{f}" with] "{l}" in one sentence? [Those are its first and
        last words.|They must stand first and last.|One opens it, the other closes it.]""".join("[]"),
        f=first,
        l=last,
    )
    if first in TOWNS:
        answer = draw.say(
            """[{f} [once had|is known for|was named after|still keeps] [a {c} |an old |a lost ]{l}.
                |{f} never [forgot|had] its {l}.
            |{f} sells many things, but no
            {l}.]""",
            f=first,
            l=last,
            c=draw.pick([c for c in COLOURS if c[0] not in "aeiou"]),
        )
    else:
        answer = draw.say(
            """[{f} [looked for|walked past|dreamt of|asked about|wrote about] [the|every|a {c}
                |an old] {l}.|{f} and {o} [saw|shared|found]
            [the same|one] {l}.|{f} told {o} nothing about the {l}.]""",
            f=first,
            l=last,
            o=draw.pick([name for name in NAMES if name != first]),
            c=draw.pick(["small", "blue", "fine", "silver"]),
        )
    return Draft(text, answer)


def _bounds_check(facts: Facts, response: str) -> bool:
    words = re.findall(r"[\w'-]+", response)
    return len(words) > 3 and words[0] == facts["first"] and words[-1] == facts["last"]


KINDS = {"animals": ANIMALS, "cities": CITIES, "colours": COLOURS, "foods": FOODS, "jobs": JOBS}
MARKS = {"bullets": "- ", "stars": "* ", "numbers": ""}


def _listing_facts(draw: Draw) -> Facts:
    kind = draw.pick(tuple(KINDS))
    return {
        "kind": kind,
        "size": draw.integer(2, 6),
        "mark": draw.pick(tuple(MARKS)),
        "extra": draw.below(30),
        "start": draw.pick(("", "", draw.pick([word[0].lower() for word in KINDS[kind]]))),
    }


def _listing_word(facts: Facts, draw: Draw) -> Draft:
    kind, size, mark = facts["kind"], facts["size"], facts["mark"]
    pool = [word for word in KINDS[kind] if word.lower().startswith(facts["start"])]
    chosen = draw.some(pool, min(size, len(pool)))
    if facts["start"]:
        size = 1
        chosen = chosen[:1]
    how = {
        "bullets": '[as bullet points|in a bulleted list] (one "- " per line)',
        "stars": '[as a list|one per line], each line starting with "* "',
        "numbers": "[as a numbered list|in a numbered list] (1. 2. 3.)",
    }[mark]
    noun = (
        {"cities": "city", "animals": "animal", "colours": "colour", "foods": "food", "jobs": "job"}[kind]
        if size == 1
        else kind
    )
    start = f" [whose name begins|starting|beginning] with {facts['start'].upper()}" if facts["start"] else ""
    text = draw.say(
        f"""[[list|name|give] [exactly|] {{n}} {{kind}}{start} {how}.|{{name}} needs {{n}} {{kind}}{start}
            {how}.
        |I want {{n}} {{kind}}{start}, {how}, [and nothing else|no other text].|[please write
        |write out] {{n}} {{kind}}{start} {how}.]""",
        n=draw.pick((str(size), in_words(size))),
        kind=noun,
        name=draw.pick(NAMES),
    )
    lines = [f"{MARKS[mark] or f'{place}. '}{word}" for place, word in enumerate(chosen, 1)]
    return Draft(text, "\n".join(lines))


def _listing_check(facts: Facts, response: str) -> bool:
    lines = response.strip().split("\n")
    pattern = {"bullets": r"- (.+)", "stars": r"\* (.+)", "numbers": r"\d\. (.+)"}[facts["mark"]]
    found = [match.group(1) for line in lines if (match := re.fullmatch(pattern, line))]
    size = 1 if facts["start"] else facts["size"]
    good = [
        word for word in found if word in KINDS[facts["kind"]] and word.lower().startswith(facts["start"])
    ]
    return len(lines) == len(set(good)) == size


TASKS = (
    Task("exact_length", "constraints", _length_facts, _length_word, _length_check, open_ended=True),
    Task("letter_ban", "constraints", _letter_facts, _letter_word, _letter_check, open_ended=True),
    Task("first_and_last", "constraints", _bounds_facts, _bounds_word, _bounds_check, open_ended=True),
    Task("listing", "constraints", _listing_facts, _listing_word, _listing_check, open_ended=True),
)
