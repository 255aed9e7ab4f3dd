"""Details to extract from messages and orders."""

import json

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says, says_number
from assets.instructions.starter.vocabulary import (
    EVENTS,
    FOODS,
    JOBS,
    MONTHS,
    NAMES,
    SURNAMES,
    TOWNS,
    WARES,
    WEEKDAYS,
)
from assets.instructions.starter.wording import count, plural, series


def _message_facts(draw: Draw) -> Facts:
    return {
        "person": f"{draw.pick(NAMES)} {draw.pick(SURNAMES)}",
        "event": draw.pick(EVENTS),
        "place": draw.pick(TOWNS),
        "day": f"{draw.pick(WEEKDAYS)} {draw.integer(1, 28)} {draw.pick(MONTHS)}",
        "room": str(draw.integer(2, 480)),
        "time": f"{draw.integer(8, 20):02d}:{5 * draw.below(12):02d}",
        "job": draw.pick(JOBS),
        "phone": f"555-{draw.integer(1000, 9999)}",
        "keys": draw.some(("person", "place", "day", "time", "phone", "room"), draw.pick((1, 1, 2, 3))),
    }


def _message_word(facts: Facts, draw: Draw) -> Draft:
    slots = {key: facts[key] for key in ("person", "event", "place", "day", "room", "time", "job", "phone")}
    message = draw.say(
        """[hello[ all|], [the {event}|your {event}] [is now on|has been moved to|will be on] {day}
        at {time} in {place}, room {room}. [Ask for|Contact] {person}, [our
        |the] {job}, on {phone}[ if you are late|].
        |{person} ({job}, {phone}) [invites you|asks everyone] to the {event} in {place}: {day}, {time},
        room {room}.
        |reminder: {event}, {day}. [Doors open|We start] at {time}. [Go to
        |It is in] room {room} of the hall in {place}.
        [Questions to|Call] {person}, {job}, {phone}.
        |on {day} the {job} {person} [runs|leads] the {event}. [Come to
        |Find us in] {place}, room {room}, by {time}.
        Telephone {phone}.]""",
        **slots,
    )
    names = {
        "person": "the person's full name",
        "place": "the town",
        "day": "the day (weekday, number, month)",
        "time": "the time",
        "phone": "the telephone number",
        "room": "the room number",
    }
    keys = facts["keys"]
    as_json = len(keys) > 1
    wanted = series([names[key] for key in keys])
    if as_json:
        answer = json.dumps({key: facts[key] for key in keys})
        order = draw.say(
            """[extract|pull out|collect] {w} [as JSON with
            |into a JSON object with] the keys {k}[, in that
            order|].|[return|give] JSON with the keys {k}:
            {w}.""".join("[]"),
            w=wanted,
            k=series(keys),
        )
    else:
        answer = facts[keys[0]]
        order = draw.say(
            "[extract|find|copy out|give] {w} [in|from] this [message|note].|what is {w}?".join("[]"),
            w=wanted,
        )
    sentence = "" if as_json else draw.say("[it is|the message says|that is] {a}.", a=answer)
    if draw.chance(0.5):
        return Draft(order, answer, input=message, sentence=sentence, noun="answer")
    label = draw.pick(("Message: ", "Note: ", "Text: ", "", ""))
    text = draw.pick((f"{order}\n{label}{message}", f"{label}{message}\n\n{order}", f'"{message}"\n{order}'))
    return Draft(text, answer, sentence=sentence, noun="JSON" if as_json else "answer")


def _message_check(facts: Facts, response: str) -> bool:
    keys = facts["keys"]
    if len(keys) == 1:
        return says(response, facts[keys[0]])
    start, end = response.rfind("{"), response.rfind("}")
    try:
        read = json.loads(response[start : end + 1])
    except json.JSONDecodeError:
        return False
    return list(read.items()) == [(key, facts[key]) for key in keys]


def _order_facts(draw: Draw) -> Facts:
    lines = [[thing, draw.integer(1, 12)] for thing in draw.some(WARES + FOODS, draw.integer(2, 4))]
    return {
        "who": draw.pick(NAMES),
        "lines": lines,
        "town": draw.pick(TOWNS),
        "row": draw.below(len(lines)),
        "ask": draw.pick(("how_many", "list", "json")),
    }


def _order_word(facts: Facts, draw: Draw) -> Draft:
    lines = facts["lines"]
    order = series([count(n, thing) for thing, n in lines])
    thing, number = lines[facts["row"]]
    slots = {"who": facts["who"], "order": order, "town": facts["town"], "many": plural(thing)}
    story = draw.say(
        """[{who} from {town} [would like|has ordered|asks for] {order}.
            |please send {order} to {who} in {town}.
        |order for {town}: {order}. [Signed: {who}|Contact: {who}|Ask for {who}].|{who} [wrote
        |rang]: "we need {order} in {town}."]""",
        **slots,
    )
    question = draw.say(
        {
            "how_many": """[how many {many} [are|were] [ordered|wanted]?|give the number of {many}
                [ordered|].]""",
            "list": """[list|name|give] the [things|items|goods] [ordered
             |wanted], [in the singular and in the order given, separated
            by commas|without amounts, singular, in the given order, with commas between].
            |what was ordered? [Singular nouns,
            no amounts, commas between them|Items only, in the singular, comma-separated], [in order
            |in the order given].""",
            "json": """[turn the order into|write the order as|give] [a JSON object|JSON|one JSON object],
                [items|item names] (singular) as keys and [numbers|amounts] as values.""",
        }[facts["ask"]],
        **slots,
    )
    answer = {
        "how_many": str(number),
        "list": ", ".join(name for name, _ in lines),
        "json": json.dumps({name: n for name, n in lines}),
    }[facts["ask"]]
    sentence = f"The order is for {number}." if facts["ask"] == "how_many" else ""
    text = draw.pick((f"{story} {question}", f"{question}\n\n{story}", f"{story}\n{question}"))
    noun = {"how_many": "number", "list": "list", "json": "JSON"}[facts["ask"]]
    if draw.chance(0.4):
        return Draft(question, answer, input=story, sentence=sentence, noun=noun)
    return Draft(text, answer, sentence=sentence, noun=noun)


def _order_check(facts: Facts, response: str) -> bool:
    if facts["ask"] == "how_many":
        return says_number(response, dict(facts["lines"])[facts["lines"][facts["row"]][0]])
    if facts["ask"] == "list":
        return says(response, ", ".join(list(dict(facts["lines"]))))
    try:
        return bool(json.loads(response[response.find("{") :]) == dict(facts["lines"]))
    except json.JSONDecodeError:
        return False


TASKS = (
    Task("message_details", "extraction", _message_facts, _message_word, _message_check),
    Task("order_details", "extraction", _order_facts, _order_word, _order_check),
)
