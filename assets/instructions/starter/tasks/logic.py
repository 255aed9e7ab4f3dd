"""Comparison, ordering, deduction."""

import itertools

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says, says_one_of
from assets.instructions.starter.vocabulary import ANIMALS, JOBS, NAMES
from assets.instructions.starter.wording import plural

RELATIONS = (
    ("taller", "shorter", "tallest", "shortest"),
    ("older", "younger", "oldest", "youngest"),
    ("faster", "slower", "fastest", "slowest"),
    ("heavier", "lighter", "heaviest", "lightest"),
    ("richer", "poorer", "richest", "poorest"),
    ("louder", "quieter", "loudest", "quietest"),
)


def _ordering_facts(draw: Draw) -> Facts:
    size = draw.integer(3, 5)
    return {
        "names": draw.some(NAMES, size),
        "relation": draw.below(len(RELATIONS)),
        "shuffle": draw.shuffled(range(size - 1)),
        "flip": [draw.chance(0.5) for _ in range(size - 1)],
        "ask": draw.pick(("first", "last", "second", "list")),
    }


def _ordering_word(facts: Facts, draw: Draw) -> Draft:
    names, (more, less, most, least) = facts["names"], RELATIONS[facts["relation"]]
    clues = []
    for place in facts["shuffle"]:
        above, below = names[place], names[place + 1]
        flip = facts["flip"][place]
        clues.append(f"{below} is {less} than {above}" if flip else f"{above} is {more} than {below}")
    told = draw.pick((". ", ", and ", "; ")).join(clues) + "."
    slots = {"clues": told, "most": most, "least": least, "more": more, "n": len(names)}
    text = draw.say(
        {
            "first": """[{clues} Who is the {most}?|Who is the {most} if [the following holds|we know this]?
                {clues}|Find the {most} person. {clues}]""",
            "last": """[{clues} Who is the {least}?|Which of them is the {least}? {clues}|{clues} Name the
                {least} [one|person].]""",
            "second": """[{clues} Who comes second, counting from the {most}?
                |Who is the second {most}? {clues}]""",
            "list": """[{clues} [List|Name] [them|all {n}] from {most} to {least}, separated by commas.
             |order the people from {most} to {least}
            (commas between the names): {clues}]""",
        }[facts["ask"]],
        **slots,
    )
    answer = {"first": names[0], "last": names[-1], "second": names[1], "list": ", ".join(names)}[
        facts["ask"]
    ]
    working = f"From {most} to {least}: {', '.join(names)}."
    return Draft(
        text,
        answer,
        sentence=draw.say("[that is|it must be|the clues give] {a}.", a=answer),
        working="" if facts["ask"] == "list" else working,
        noun="names" if facts["ask"] == "list" else "name",
    )


def _ordering_check(facts: Facts, response: str) -> bool:
    given = [(facts["names"][n], facts["names"][n + 1]) for n in facts["shuffle"]]
    order = next(
        chain
        for chain in itertools.permutations(sorted(facts["names"]))
        if all(chain.index(above) < chain.index(below) for above, below in given)
    )
    if facts["ask"] == "list":
        return says(response, ", ".join(order))
    return says_one_of(response, order[{"first": 0, "last": -1, "second": 1}[facts["ask"]]], order)


def _syllogism_facts(draw: Draw) -> Facts:
    kinds = draw.some([plural(animal) for animal in ANIMALS + JOBS], 3)
    return {
        "kinds": kinds,
        "form": draw.pick(("chain", "none", "converse", "negative")),
        "name": draw.pick(NAMES),
    }


def _syllogism_word(facts: Facts, draw: Draw) -> Draft:
    a, b, c = facts["kinds"]
    form, name = facts["form"], facts["name"]
    first, second = {
        "chain": (f"all {a} are {b}", f"all {b} are {c}"),
        "none": (f"all {a} are {b}", f"no {b} are {c}"),
        "converse": (f"all {a} are {b}", f"all {c} are {b}"),
        "negative": (f"no {a} are {b}", f"all {c} are {a}"),
    }[form]
    claim = {
        "chain": f"all {a} are {c}",
        "none": f"no {a} are {c}",
        "converse": f"all {a} are {c}",
        "negative": f"no {c} are {b}",
    }[form]
    answer = "no" if form == "converse" else "yes"
    text = draw.say(
        """[[suppose|assume] {p} and {q}. [Does it follow|Can we conclude] that {r}?|[in a made-up world
            |in {name}'s puzzle], {p}, and {q}.
        Must it be [true|so] that {r}?|premises: {p}; {q}. [Is the conclusion "{r}" valid
        |Does "{r}" follow]?
        |is this sound? [Given that|Since] {p} and {q}, {r}.] [Answer|Reply] [yes or no|with yes or no].""",
        p=first,
        q=second,
        r=claim,
        name=name,
    )
    why = {
        "chain": f"Every one of the {a} is among the {b}, and those are all {c}.",
        "none": f"The {a} are among the {b}, and none of those are {c}.",
        "converse": f"Both are among the {b}, but they need not overlap.",
        "negative": f"The {c} are among the {a}, and none of those are {b}.",
    }[form]
    return Draft(text, answer, working=why, noun="yes or no")


def _syllogism_check(facts: Facts, response: str) -> bool:
    def holds(some: int, kind: str, other: int, model: tuple[int, ...]) -> bool:
        members = [n for n in model if n >> some & 1]
        inside = [n >> other & 1 for n in members]
        return all(inside) if kind == "all" else not any(inside)

    rules = {
        "chain": ((0, "all", 1), (1, "all", 2), (0, "all", 2)),
        "none": ((0, "all", 1), (1, "no", 2), (0, "no", 2)),
        "converse": ((0, "all", 1), (2, "all", 1), (0, "all", 2)),
        "negative": ((0, "no", 1), (2, "all", 0), (2, "no", 1)),
    }[facts["form"]]
    models = [model for size in (1, 2) for model in itertools.combinations(range(8), size)]
    valid = all(holds(*rules[2], m) for m in models if holds(*rules[0], m) and holds(*rules[1], m))
    return says_one_of(response, "yes" if valid else "no", ("yes", "no"))


TASKS = (
    Task("comparisons", "logic", _ordering_facts, _ordering_word, _ordering_check),
    Task("syllogisms", "logic", _syllogism_facts, _syllogism_word, _syllogism_check),
)
