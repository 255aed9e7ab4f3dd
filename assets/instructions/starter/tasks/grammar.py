"""Choosing the right form: articles, agreement of subject and verb."""

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says_one_of
from assets.instructions.starter.tasks.language import VERBS, actors
from assets.instructions.starter.vocabulary import (
    ANIMALS,
    FOODS,
    NAMES,
    TOWNS,
    WARES,
)
from assets.instructions.starter.wording import article, plural, with_article


def _article_facts(draw: Draw) -> Facts:
    nouns = draw.some(
        ANIMALS + WARES + FOODS + ["hour", "university", "honest answer", "unicorn", "heir", "European"], 3
    )
    return {"nouns": nouns, "town": draw.pick(TOWNS), "name": draw.pick(NAMES)}


def _article_word(facts: Facts, draw: Draw) -> Draft:
    nouns = facts["nouns"]
    gaps = [f"___ {noun}" for noun in nouns]
    line = draw.say(
        """[{name} drew|in {town} they showed me|for the quiz, {name} described|I dreamt of
            |{name} asked for|we talked about|
        there stood|nobody in {town} expected|behind the curtain {name} saw
        |the poem names] {a}, {b} and {c}.|{a}, {b} and {c}
        [were all that {name} mentioned|appear in the story|have one thing in common].
        |first came {a}, then {b}, at last {c}.
        |is it true that {name} met {a}, {b} and {c} in {town}?""",
        a=gaps[0],
        b=gaps[1],
        c=gaps[2],
        name=facts["name"],
        town=facts["town"],
    )
    order = draw.say("""[fill [each gap|the gaps|the blanks] with a or an|[choose
        |pick] "a" or "an" for each [gap|blank]|decide between a and an]
        [and [list|give|write] the three articles [in order|as they come], [separated by commas
        |with commas]|; answer with three articles,
        comma-separated].|a or an? [Give|List] the three missing articles, [in order, with commas
        |separated by commas].
        |which [articles are|little words are] missing[, a or an|]? [Three words|Just a or an, three times
        |All three in order], [comma-separated|with commas].""")
    answer = ", ".join(article(noun) for noun in nouns)
    full = line.replace("___", "{}").format(*(article(noun) for noun in nouns))
    return (
        Draft(order, answer, input=line, working=full, noun="articles")
        if draw.chance(0.5)
        else Draft(draw.pick((f"{order}\n{line}", f"{line}\n{order}")), answer, working=full, noun="articles")
    )


def _article_check(facts: Facts, response: str) -> bool:
    odd = {
        "hour": "an",
        "honest answer": "an",
        "heir": "an",
        "university": "a",
        "unicorn": "a",
        "European": "a",
    }
    expected = [odd.get(noun) or ("an" if noun[0] in "aeiou" else "a") for noun in facts["nouns"]]
    return response.strip().rstrip(".").endswith(", ".join(expected))


def _agreement_facts(draw: Draw) -> Facts:
    facts = actors(draw)
    return {
        **facts,
        "many": draw.chance(0.5),
        "between": draw.pick(("", "", "with the ", "next to the ")),
        "other": draw.pick(ANIMALS),
    }


def _agreement_word(facts: Facts, draw: Draw) -> Draft:
    base, third = VERBS[facts["verb"]][:2]
    who = plural(facts["who"]) if facts["many"] else facts["who"]
    aside = (
        f" {facts['between']}{facts['other'] if facts['many'] else plural(facts['other'])}"
        if facts["between"]
        else ""
    )
    options = draw.shuffled((base, third))
    line = f"Every day the {who}{aside} ___ {with_article(facts['thing'])} {facts['place']}."
    slots = {
        "o": f"{options[0]} / {options[1]}",
        "p": f'"{options[0]}" or "{options[1]}"',
        "l": line,
        "name": draw.pick(NAMES),
    }
    text = draw.say(
        """[which [form|verb] fits the gap, {p}? {l}|[choose|pick] the [right|correct] [form
            |verb] ({o}): {l}|{l}¶[{p}?|options: {o}]
        |{name} wrote: {l} Should the missing word be {p}?|fill the gap with {p}: {l}]""",
        **slots,
    )
    answer = base if facts["many"] else third
    number = "plural" if facts["many"] else "singular"
    return Draft(
        text,
        answer,
        working=f"The subject is {number} ({who}).",
        noun="word",
        sentence=draw.say("[the gap takes|it should be|the correct form is] {a}.", a=answer),
    )


def _agreement_check(facts: Facts, response: str) -> bool:
    forms = VERBS[facts["verb"]][:2]
    return says_one_of(response, forms[0 if facts["many"] else 1], forms)


TASKS = (
    Task("articles", "grammar", _article_facts, _article_word, _article_check),
    Task("agreement", "grammar", _agreement_facts, _agreement_word, _agreement_check),
)
