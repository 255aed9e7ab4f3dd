"""Rewriting sentences: tense, voice, number, polarity, contractions."""

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says
from assets.instructions.starter.vocabulary import (
    ANIMALS,
    CONTAINERS,
    JOBS,
    NAMES,
    THINGS,
    TOWNS,
    WARES,
    WEEKDAYS,
)
from assets.instructions.starter.wording import article, capitalised, listed, plural

# base, third person, past, participle
VERBS = tuple(
    tuple(listed(forms))
    for forms in listed(
        """paint paints painted painted|carry carries carried carried|write writes wrote written
        |break breaks broke broken|sell sells sold sold|find finds found found|clean cleans cleaned cleaned
        |steal steals stole stolen|draw draws drew drawn|hide hides hid hidden|take takes took taken
        |choose chooses chose chosen|bring brings brought brought|repair repairs repaired repaired
        |throw throws threw thrown|forget forgets forgot forgotten|buy buys bought bought
        |lose loses lost lost
        |keep keeps kept kept|wrap wraps wrapped wrapped|inspect inspects inspected inspected
        |hold holds held held|catch catches caught caught|move moves moved moved""",
        "|",
    )
)
PLACES = (
    tuple(f"in {town}" for town in TOWNS[:12])
    + tuple(f"near the {box}" for box in CONTAINERS)
    + ("at the market", "behind the barn", "by the river", "on the roof", "after lunch", "before dawn")
)
FORMS = {"present": 1, "past": 2, "future": 0}


def actors(draw: Draw) -> Facts:
    """Who does what to what, and where."""
    return {
        "who": draw.pick(JOBS + ANIMALS[:8]),
        "verb": draw.below(len(VERBS)),
        "place": draw.pick(PLACES),
        "thing": draw.pick(WARES + THINGS),
    }


def _clause(facts: Facts, form: str) -> str:
    verb, rest = VERBS[facts["verb"]], f"the {facts['thing']} {facts['place']}."
    middle = f"will {verb[0]}" if form == "future" else verb[FORMS[form]]
    return f"The {facts['who']} {middle} {rest}"


def _rewrite(draw: Draw, orders: str, sentence: str, answer: str, **slots: object) -> Draft:
    """A request to rewrite `sentence`, in one of several layouts."""
    order = draw.say(f"[{orders}]", name=draw.pick(NAMES), **slots)
    if draw.chance(0.4):
        return Draft(order, answer, input=sentence, noun="sentence")
    shown = draw.pick((f'"{sentence}"', sentence))
    joint = draw.pick((": ", "\n", "\n\n")) if order.endswith(".") else draw.pick((" ", "\n"))
    stem = order[:-1] if joint == ": " else order
    text = draw.pick((f"{stem}{joint}{shown}", f"{stem}{joint}{shown}", f"{shown}\n{order}"))
    return Draft(
        text, answer, noun="sentence", sentence=draw.pick((f"Here it is: {answer}", f"Rewritten: {answer}"))
    )


def _tense_facts(draw: Draw) -> Facts:
    source, target = draw.some(tuple(FORMS), 2)
    return {**actors(draw), "from": source, "to": target}


def _tense_word(facts: Facts, draw: Draw) -> Draft:
    simple = {"present": "simple present", "past": "simple past", "future": 'future with "will"'}[facts["to"]]
    orders = """[rewrite|put|give] [this|the] sentence in the {t} [tense|].|change the [tense
        |verb] to the {t}.
        |how does this [sentence|line] read in the {t}?|{name} needs this in the {t}[ tense
        |]. [Rewrite it.|Please change it.]
        |turn the {f} tense into the {t}.|[convert|shift] [the sentence|this] from {f} to {t}."""
    return _rewrite(
        draw, orders, _clause(facts, facts["from"]), _clause(facts, facts["to"]), t=simple, f=facts["from"]
    )


def _tense_check(facts: Facts, response: str) -> bool:
    base, third, past, _ = VERBS[facts["verb"]]
    middle = {"present": third, "past": past, "future": f"will {base}"}[facts["to"]]
    return says(response, " ".join(["the", facts["who"], middle, "the", facts["thing"], facts["place"]]))


def _passive(facts: Facts) -> str:
    helper = {"present": "is", "past": "was", "future": "will be"}[facts["form"]]
    who = facts["who"]
    return f"The {facts['thing']} {helper} {VERBS[facts['verb']][3]} by the {who} {facts['place']}."


def _voice_facts(draw: Draw) -> Facts:
    return {**actors(draw), "form": draw.pick(tuple(FORMS)), "to_passive": draw.chance(0.55)}


def _voice_word(facts: Facts, draw: Draw) -> Draft:
    pair = (_clause(facts, facts["form"]), _passive(facts))
    source, answer = pair if facts["to_passive"] else pair[::-1]
    target, other = ("passive", "active") if facts["to_passive"] else ("active", "passive")
    orders = """[rewrite|put|recast] [this|the] [sentence|statement] in the {t} voice.|[make
        |turn] this {o} sentence [{t}|into
        {an} {t} one].|what is the {t} [version|form] of this sentence?|{name}'s [editor|teacher
        |boss] [wants|prefers] the {t} voice[ here|]. [Change it.|Please rewrite.|Recast it.]
        |change from {o} to {t} voice, [keeping the tense|same tense]."""
    return _rewrite(draw, orders, source, answer, t=target, o=other, an=article(target))


def _voice_check(facts: Facts, response: str) -> bool:
    base, third, past, participle = VERBS[facts["verb"]]
    if facts["to_passive"]:
        words = {"present": "is", "past": "was", "future": "will be"}[facts["form"]]
        parts = [facts["thing"], words, participle, "by the", facts["who"], facts["place"]]
    else:
        words = {"present": third, "past": past, "future": f"will {base}"}[facts["form"]]
        parts = [facts["who"], words, "the", facts["thing"], facts["place"]]
    return says(response, "the " + " ".join(parts))


def _plural_facts(draw: Draw) -> Facts:
    return {**actors(draw), "object": draw.chance(0.6), "form": draw.pick(("present", "past"))}


def _plural_word(facts: Facts, draw: Draw) -> Draft:
    verb = VERBS[facts["verb"]][0 if facts["form"] == "present" else 2]
    thing = plural(facts["thing"]) if facts["object"] else facts["thing"]
    answer = f"The {plural(facts['who'])} {verb} the {thing} {facts['place']}."
    orders = (
        """put [the subject and the object|both nouns|both the subject and the object] in the plural.
            |make [both nouns|subject and object] plural.
            |rewrite with
        [more than one {who} and more than one {thing}|plural subject and object].
        |{name} saw several of each: [use plurals for {who} and {thing}|change {who} and {thing} to
        plural]."""
        if facts["object"]
        else """
        put [only the subject|the subject alone] in the plural.|make [only the subject
        |just the subject] plural.
        |rewrite with [more than one|not just one but more than one]
        {who}, the object unchanged.|{name} saw more than one {who}. Change the subject [and verb
        |] to match."""
    )
    return _rewrite(
        draw, orders, _clause(facts, facts["form"]), answer, who=facts["who"], thing=facts["thing"]
    )


def _plural_check(facts: Facts, response: str) -> bool:
    verb = VERBS[facts["verb"]][{"present": 0, "past": 2}[facts["form"]]]
    words = [
        "the",
        plural(facts["who"]),
        verb,
        "the",
        plural(facts["thing"]) if facts["object"] else facts["thing"],
        facts["place"],
    ]
    return says(response, " ".join(words))


def _polarity_facts(draw: Draw) -> Facts:
    return {**actors(draw), "form": draw.pick(tuple(FORMS)), "to": draw.pick(("negative", "question"))}


def _polarity_word(facts: Facts, draw: Draw) -> Draft:
    base = VERBS[facts["verb"]][0]
    helper = {"present": "does", "past": "did", "future": "will"}[facts["form"]]
    rest = f"{base} the {facts['thing']} {facts['place']}"
    if facts["to"] == "negative":
        answer = f"The {facts['who']} {helper} not {rest}."
        orders = """[make|turn] [this|the sentence] [negative|into its negative].|negate [the statement
            |this sentence].
            |rewrite it with "not", without contractions.|{name} says the opposite is true. Add "not"[ to
            the
            sentence|]."""
    else:
        answer = f"{helper.capitalize()} the {facts['who']} {rest}?"
        orders = """[turn|change] [this sentence|the statement] into a [yes-no question
            |question that can be answered with yes or no].
            |[make|form] a yes-no question [from|out of] [this line|this sentence].
            |how would {name} ask whether this is so?
            |ask it [instead of stating it|as a question]."""
    return _rewrite(draw, orders, _clause(facts, facts["form"]), answer)


def _polarity_check(facts: Facts, response: str) -> bool:
    helper = {"present": "does", "past": "did", "future": "will"}[facts["form"]]
    middle = f"the {facts['who']}"
    head = f"{middle} {helper} not" if facts["to"] == "negative" else f"{helper} {middle}"
    return says(response, f"{head} {VERBS[facts['verb']][0]} the {facts['thing']} {facts['place']}")


CASUAL = (
    ("can't", "cannot"),
    ("won't", "will not"),
    ("don't", "do not"),
    ("isn't", "is not"),
    ("we're", "we are"),
    ("I'm", "I am"),
    ("they've", "they have"),
    ("it's", "it is"),
    ("didn't", "did not"),
    ("you'll", "you will"),
)
FRAMES = {
    "can't": "I {} find the {thing} in {town}",
    "won't": "the {job} {} come on {day}",
    "don't": "we {} sell {things} on {day}",
    "isn't": "the {thing} {} ready for {town}",
    "we're": "{} late for the {job} in {town}",
    "I'm": "{} sure the {thing} is in {town}",
    "they've": "{} lost the {job}'s {thing}",
    "it's": "{} the {job}'s turn on {day}",
    "didn't": "the {job} {} bring {things}",
    "you'll": "{} need the {thing} on {day}",
}


def _formal_facts(draw: Draw) -> Facts:
    slots = {
        "thing": draw.pick(THINGS + WARES),
        "town": draw.pick(TOWNS),
        "job": draw.pick(JOBS),
        "day": draw.pick(WEEKDAYS),
    }
    return {"pair": draw.below(len(CASUAL)), **slots, "to_formal": draw.chance(0.65)}


def _formal_pair(facts: Facts) -> tuple[str, str]:
    short, full = CASUAL[facts["pair"]]
    slots = {key: facts[key] for key in ("thing", "town", "job", "day")}
    frame = FRAMES[short]
    return tuple(  # type: ignore[return-value]
        capitalised(frame.format(form, things=plural(facts["thing"]), **slots)) + "."
        for form in (short, full)
    )


def _formal_word(facts: Facts, draw: Draw) -> Draft:
    casual, formal = _formal_pair(facts)
    if facts["to_formal"]:
        orders = """[expand|write out] [the contraction|any contraction][ in this sentence|].
            |make this more formal by [writing|spelling] out the contraction.
            |{name} writes to the [mayor|bank|headmaster] [and wants no contractions
            |in full forms only]. [Rewrite the line.|Adapt this.]|rewrite [without the apostrophe form
            |without contractions]."""
        return _rewrite(draw, orders, casual, formal)
    orders = """[make this|let it sound] [more casual|informal] with a contraction.|[contract
        |shorten] the verb [phrase|] [as
        in speech|as people do in speech].|how would {name} say it with a contraction?
        |rewrite with a contraction, [please|for a chat]."""
    return _rewrite(draw, orders, formal, casual)


def _formal_check(facts: Facts, response: str) -> bool:
    short, full = CASUAL[facts["pair"]]
    wanted, other = (full, short) if facts["to_formal"] else (short, full)
    nouns = [facts["thing"], facts["job"], facts["town"], facts["day"]]
    kept = [
        noun[:3]
        for noun, slot in zip(nouns, ("thing", "job", "town", "day"), strict=True)
        if f"{{{slot}" in FRAMES[short]
    ]
    return says(response, wanted) and not says(response, other) and all(noun in response for noun in kept)


TASKS = (
    Task("tense_change", "rewriting", _tense_facts, _tense_word, _tense_check),
    Task("voice_change", "rewriting", _voice_facts, _voice_word, _voice_check),
    Task("plural_change", "rewriting", _plural_facts, _plural_word, _plural_check),
    Task("polarity_change", "rewriting", _polarity_facts, _polarity_word, _polarity_check),
    Task("contractions", "rewriting", _formal_facts, _formal_word, _formal_check),
)
