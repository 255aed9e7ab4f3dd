"""Output formats and conditions to follow."""

import json

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task
from assets.instructions.starter.vocabulary import (
    ANIMALS,
    COLOURS,
    JOBS,
    NAMES,
    PLAIN_WORDS,
    TOWNS,
)
from assets.instructions.starter.wording import article

FIELDS = ("name", "age", "town", "job", "colour", "pet")


def _format_facts(draw: Draw) -> Facts:
    values = {
        "name": draw.pick(NAMES),
        "age": draw.integer(18, 79),
        "town": draw.pick(TOWNS),
        "job": draw.pick(JOBS),
        "colour": draw.pick(COLOURS),
        "pet": draw.pick(ANIMALS),
    }
    keys = draw.some(FIELDS, draw.integer(2, 4))
    return {
        "values": {key: values[key] for key in FIELDS},
        "keys": keys,
        "format": draw.pick(("json", "json", "csv", "pairs", "semicolons")),
    }


def _format_word(facts: Facts, draw: Draw) -> Draft:
    values, keys = facts["values"], facts["keys"]
    story = draw.say(
        """[{name} is {age} and [works as {ajob}|is {ajob}] in {town}. [{name} likes {colour} and keeps
            {apet}|Favourite colour {colour}, pet {pet}].
        |in {town} lives {name}, {ajob} of {age}, with {apet} and a fondness for {colour}.
        |{ajob} called {name} ({age}, from {town}) has {apet} and paints everything {colour}.]""",
        ajob=f"{article(values['job'])} {values['job']}",
        apet=f"{article(values['pet'])} {values['pet']}",
        **values,
    )
    names = ", ".join(keys)
    order = draw.say(
        {
            "json": """[return|write|output] [only|] a JSON object with the keys {k}.
                |give {k} as JSON, [in this
                order|keys in this order].|JSON only, keys {k}.""",
            "csv": "[write|give] {k} as one line of CSV, no header.|one CSV line with {k}[, nothing else|].",
            "pairs": """[write|list] {k} as key=value pairs separated by single spaces.
                |format: key=value, single
                spaces between; keys {k}.""",
            "semicolons": """[give|state] {k}, values only, separated by semicolons.
                |values of {k} with semicolons
                between them.""",
        }[facts["format"]].join("[]"),
        k=names,
    )
    chosen = [str(values[key]) for key in keys]
    answer = {
        "json": json.dumps({key: values[key] for key in keys}),
        "csv": ",".join(chosen),
        "semicolons": "; ".join(chosen),
        "pairs": " ".join(f"{key}={values[key]}" for key in keys),
    }[facts["format"]]
    if draw.chance(0.5):
        return Draft(order, answer, input=story)
    return Draft(draw.pick((f"{story} {order}", f"{order}\n{story}", f"{story}\n\n{order}")), answer)


def _format_check(facts: Facts, response: str) -> bool:
    expected = [(key, str(facts["values"][key])) for key in facts["keys"]]
    text = response.strip()
    match facts["format"]:
        case "json":
            try:
                return [(key, str(value)) for key, value in json.loads(text).items()] == expected
            except (json.JSONDecodeError, AttributeError):
                return False
        case "pairs":
            return [tuple(pair.split("=")) for pair in text.split(" ")] == expected
        case other:
            return text.split("," if other == "csv" else "; ") == [value for _, value in expected]


def _condition_facts(draw: Draw) -> Facts:
    words = draw.some(PLAIN_WORDS, 2)
    return {
        "limit": draw.integer(10, 80),
        "number": draw.integer(1, 99),
        "words": words,
        "rule": draw.pick(("above", "even", "divides", "digit")),
        "by": draw.integer(3, 7),
    }


def _condition_word(facts: Facts, draw: Draw) -> Draft:
    n, limit, by = facts["number"], facts["limit"], facts["by"]
    yes, no = facts["words"]
    rule, holds = {
        "above": (f"is [greater|larger|higher] than {limit}", n > limit),
        "even": ("is even", n % 2 == 0),
        "divides": (f"[is a multiple of|is divisible by] {by}", n % by == 0),
        "digit": (f"contains the digit {by}", str(by) in str(n)),
    }[facts["rule"]]
    slots = {
        "n": n,
        "y": f'"{yes}"' if draw.chance(0.5) else yes,
        "no": no if draw.chance(0.5) else f'"{no}"',
        "name": draw.pick(NAMES),
    }
    text = draw.say(
        f"""[if {{n}} {rule}, [reply|answer|say] {{y}}; otherwise [reply|answer|say] {{no}}.
        |[reply|answer] with {{y}} when the number {rule} and with {{no}} when not. The number: {{n}}.
        |{{name}} thinks of {{n}}. Say {{y}} if it {rule}, {{no}} if not.
        |rule: a number that {rule} gets {{y}}, any other one {{no}}. What does {{n}}
        get?]""",
        **slots,
    )
    return Draft(text, yes if holds else no, noun="word")


def _condition_check(facts: Facts, response: str) -> bool:
    n = facts["number"]
    holds = {
        "above": n in range(facts["limit"] + 1, 100),
        "even": str(n)[-1] in "02468",
        "digit": set(str(n)) & {str(facts["by"])},
        "divides": n in range(0, 100, facts["by"]),
    }[facts["rule"]]
    yes, no = facts["words"]
    wanted, other = (yes, no) if holds else (no, yes)
    return wanted in response.split()[-1] and other not in response.split()[-1]


TASKS = (
    Task("output_format", "constraints", _format_facts, _format_word, _format_check),
    Task("conditions", "constraints", _condition_facts, _condition_word, _condition_check),
)
