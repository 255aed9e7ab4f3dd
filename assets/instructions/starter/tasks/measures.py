"""Units, clocks and calendars."""

from datetime import date, timedelta

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says, says_number, says_one_of
from assets.instructions.starter.vocabulary import EVENTS, FOODS, MONTHS, NAMES, TOWNS, WEEKDAYS, pronouns
from assets.instructions.starter.wording import article, count, plural, with_article

# larger unit, smaller unit, how many of the smaller in one of the larger, what it measures
UNITS = (
    ("kilometre", "metre", 1000, "distance"),
    ("metre", "centimetre", 100, "length"),
    ("centimetre", "millimetre", 10, "width"),
    ("kilogram", "gram", 1000, "weight"),
    ("tonne", "kilogram", 1000, "load"),
    ("litre", "millilitre", 1000, "volume"),
    ("hour", "minute", 60, "duration"),
    ("minute", "second", 60, "duration"),
    ("day", "hour", 24, "delay"),
    ("week", "day", 7, "holiday"),
    ("dozen", "piece", 12, "quantity"),
    ("yard", "foot", 3, "length"),
    ("foot", "inch", 12, "height"),
    ("gallon", "quart", 4, "volume"),
    ("pound", "ounce", 16, "weight"),
    ("decade", "year", 10, "period"),
    ("year", "month", 12, "lease"),
    ("hectare", "square metre", 10000, "area"),
)
YEARS = (2019, 2020, 2021, 2022, 2023, 2024, 2025, 2026)


def _unit_facts(draw: Draw) -> Facts:
    return {"unit": draw.below(len(UNITS)), "amount": draw.integer(2, 60), "down": draw.chance(0.6)}


def _unit_word(facts: Facts, draw: Draw) -> Draft:
    large, small, factor, what = UNITS[facts["unit"]]
    amount, many = facts["amount"], facts["amount"] * factor
    given, source, answer, target = (
        (amount, large, many, small) if facts["down"] else (many, small, amount, large)
    )
    slots = {
        "n": count(given, source),
        "to": plural(target),
        "what": what,
        "town": draw.pick(TOWNS),
        "name": draw.pick(NAMES),
        "an": article(what),
    }
    text = draw.say(
        """[convert|change|turn] {n} [to|into] {to}.|how many {to} [are there in|make up|equal] {n}?
            |in {to}, what is {n}?
        |express {an} {what} of {n} in {to}.|{n} [is|comes to] how many {to}?
        |{name} [noted|reported|wrote down] {an} {what} of {n}[ in {town}|]. [What is that
        |What does that make] in {to}?
        |[the form|a recipe|the report|a label|the manual] [from {town}|] [gives|states|mentions] {n}.
        [How many {to} is that|What is this {what} in {to}|Put it in {to}, please]?
        |I have {n} [here|] and need the figure in {to}. [What is it|Can you convert it]?""",
        **slots,
    ).replace("please?", "please.")  # a request, where the other endings are questions
    rule = f"There are {factor} {plural(small)} in {with_article(large)}"
    step = f"{given} {'x' if facts['down'] else '/'} {factor} = {answer}"
    sentence = draw.say("[{n} is|{n} equal|that is] {a}.", n=slots["n"], a=count(answer, target))
    return Draft(text, str(answer), sentence=sentence, working=f"{rule}, so {step}.", noun="number")


def _unit_check(facts: Facts, response: str) -> bool:
    factor = UNITS[facts["unit"]][2]
    total = sum(factor for _ in range(facts["amount"]))
    return says_number(response, total if facts["down"] else total // factor)


def _clock(minutes: int) -> str:
    hours, rest = divmod(minutes % 1440, 60)
    return f"{hours:02d}:{rest:02d}"


def _clock_facts(draw: Draw) -> Facts:
    return {
        "start": 5 * draw.integer(60, 250),
        "minutes": 5 * draw.integer(3, 57),
        "ask": draw.pick(("end", "end", "start", "length")),
    }


def _clock_word(facts: Facts, draw: Draw) -> Draft:
    start, length, ask = facts["start"], facts["minutes"], facts["ask"]
    hours, rest = divmod(length, 60)
    spoken = " and ".join(count(n, unit) for n, unit in ((hours, "hour"), (rest, "minute")) if n)
    slots = {
        "s": _clock(start),
        "e": _clock(start + length),
        "d": spoken if draw.chance(0.7) else f"{length} minutes",
        "name": draw.pick(NAMES),
        "town": draw.pick(TOWNS),
        "to": draw.pick(TOWNS),
        "event": draw.pick(EVENTS),
        "mover": draw.pick(("train", "bus", "ferry", "coach", "tram", "flight")),
    }
    if slots["to"] == slots["town"]:
        slots["to"] = "the coast"
    if ask == "end":
        answer = _clock(start + length)
        text = draw.say(
            """[the {mover} [leaves|departs] {town} at {s} and [takes|needs] {d}. [When does it arrive
                |What time does it get in]?
            |{name}'s {event} [starts|begins] at {s} and [lasts|goes on for
            |runs for] {d}. [When does it end|What time is it over]?
            |what time is it {d} after {s}?
            |it is {s}[ now| in {town}|]. [What will the clock show in {d}|What time will it be in {d}]?
            |a {mover} to {to} goes at {s}; the [ride|journey|trip] is {d}. [Arrival time
            |When is it due]?]""",
            **slots,
        )
        working = f"{_clock(start)} plus {spoken} is {answer}."
        sentence = draw.say("[it [arrives|ends] at|the time will be|that is] {a}.", a=answer)
    elif ask == "start":
        answer = _clock(start)
        text = draw.say(
            """[the {mover} [reaches|gets to] {town} at {e} after [a journey of|] {d}. When did it [leave
                |set off]?
            |{name} [must|has to|wants to] be at the {event} at {e} and the way there takes {d}. What is
            the latest time to leave?
            |what time was it {d} before {e}?
            |[a loaf|a cake|a pie] is in the oven: it bakes for {d} and is ready at {e}. When did it go
            in?]""",
            **slots,
        )
        working = f"{_clock(start + length)} minus {spoken} is {answer}."
        sentence = draw.say("[the start was at|that was at|the time was] {a}.", a=answer)
    else:
        answer = str(length)
        text = draw.say(
            """[how many minutes [pass|are there] [between {s} and|from {s} to] {e}?
            |the {mover} leaves {town} at {s} and reaches {to} at {e}. How [long is the journey in minutes
            |many minutes does it take]?
            |{name}'s {event} runs from {s} to {e}. How many minutes is that?
            |[give|find|work out] the [length|duration] in minutes: start {s}, end
            {e}.]""",
            **slots,
        )
        working = f"From {_clock(start)} to {_clock(start + length)} is {length} minutes."
        working = f"{_clock(start)} to {_clock(start + length)}: {spoken}." if hours else working
        sentence = draw.say("[it takes|the length is|that is] {a} minutes.", a=answer)
    noun = "number" if ask == "length" else "time"
    return Draft(text, answer, sentence=sentence, working=working, noun=noun)


def _clock_check(facts: Facts, response: str) -> bool:
    if facts["ask"] == "length":
        return says_number(response, facts["minutes"])
    hour, minute = divmod(facts["start"], 60)
    for _ in range(facts["minutes"] if facts["ask"] == "end" else 0):
        minute += 1
        if minute == 60:
            hour, minute = (hour + 1) % 24, 0
    return says(response, f"{hour:02d}:{minute:02d}")


def _day_month(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]}"


def _date_facts(draw: Draw) -> Facts:
    return {
        "year": draw.pick(YEARS),
        "day": draw.integer(1, 365),
        "shift": draw.integer(2, 45),
        "back": draw.chance(0.35),
    }


def _date_word(facts: Facts, draw: Draw) -> Draft:
    start = date(facts["year"], 1, 1) + timedelta(facts["day"] - 1)
    sign = -1 if facts["back"] else 1
    end = start + timedelta(sign * facts["shift"])
    who = pronouns(draw.pick(NAMES))
    slots = {
        "d": f"{_day_month(start)} {start.year}",
        "n": facts["shift"],
        "event": draw.pick(EVENTS),
        "town": draw.pick(TOWNS),
        **who,
    }
    text = draw.say(
        """[what [date|day of the month] [is|comes] {n} days before {d}?
        |the {event} is on {d} and the [deadline|reminder|sign-up] is {n} days [earlier
        |before that]. [On which date is that|What date is it]?
        |{name} must [reply|book|pay] {n} days before {d}. [Which date is that|What is the last day for it]?
        |count back {n} days from {d}. [Which date do you reach?|Where do you land?]]"""
        if facts["back"]
        else """[what [date|day of the month] [is|comes] {n} days after {d}?
        |{name} [borrows a book|rents a van|starts a course|leaves {town}] on {d} and [returns
        |comes back] {n} days later. [On what date|Which date is that]?
        |the [permit|ticket|pass] [was issued|starts] on {d} and [runs out|expires] after {n} days.
        [Give the date.|What is the date then?]
        |count {n} days [on|forward] from {d}. [Which date do you reach?|What is the date?]
        |[today is|it is] {d}. [What will the date be in {n} days?|Which date is {n} days
        away?]]""",
        **slots,
    )
    answer = _day_month(end)
    working = (
        f"{facts['shift']} days {'before' if facts['back'] else 'after'} {_day_month(start)} stays in "
        f"the same month."
        if end.month == start.month
        else f"Counting {facts['shift']} days {'back' if facts['back'] else 'on'} crosses into "
        f"{MONTHS[end.month - 1]}."
    )
    return Draft(
        text,
        answer,
        sentence=draw.say("[that is|the date is|it falls on] {a}.", a=answer),
        working=working,
        noun="day and month",
    )


def _date_check(facts: Facts, response: str) -> bool:
    ordinal = date(facts["year"], 1, 1).toordinal() + facts["day"] - 1
    return says(
        response, _day_month(date.fromordinal(ordinal + (-1 if facts["back"] else 1) * facts["shift"]))
    )


def _weekday_facts(draw: Draw) -> Facts:
    return {"from": draw.below(7), "shift": draw.integer(2, 99), "back": draw.chance(0.4)}


def _weekday_word(facts: Facts, draw: Draw) -> Draft:
    step = -facts["shift"] if facts["back"] else facts["shift"]
    answer = WEEKDAYS[(facts["from"] + step) % 7]
    weeks, rest = divmod(facts["shift"], 7)
    slots = {
        "day": WEEKDAYS[facts["from"]],
        "n": facts["shift"],
        "name": draw.pick(NAMES),
        "town": draw.pick(TOWNS),
        "event": draw.pick(EVENTS),
        "food": draw.pick(FOODS),
    }
    text = draw.say(
        """[today is|it is] {day}. [What weekday|Which day of the week] was it {n} days ago?
        |{name}'s {event} is on a {day}; the [invitation|rehearsal|briefing] was {n} days earlier. What
        weekday was that?
        |[name|give] the day of the week {n} days before a {day}.
        |the {food} festival in {town} [ended|closed] on a {day}, {n} days [late
        |later than planned]. [On which weekday should it have closed|Which weekday had been planned]?"""
        if facts["back"]
        else """[[today is|it is] {day}. [What weekday|Which day of the week] will it be in {n} days?
        |{name} [plants {food} seeds|sends a form|starts a diary] on a {day}. [{n} days later, what
        weekday is it|What day of the week is it {n} days on]?
        |[name|give] the day of the week {n} days after a {day}.
        |the {event} in {town} is {n} days after a {day}. [Which weekday is it on?
        |What day does it fall on?]]""",
        **slots,
    )
    working = f"{facts['shift']} days is {count(weeks, 'full week')} and {count(rest, 'day')}. "
    way = "back" if facts["back"] else "on"
    working += f"Counting {count(rest, 'day')} {way} from {slots['day']} gives {answer}."
    return Draft(
        text,
        answer,
        sentence=draw.say(
            "[it {was} a|that is a|the day is] {a}.", a=answer, was="was" if facts["back"] else "will be"
        ),
        working=working,
        noun="weekday",
    )


def _weekday_check(facts: Facts, response: str) -> bool:
    day = 4000 * 7 + facts["from"] + (-1 if facts["back"] else 1) * facts["shift"]
    monday = date(2024, 1, 1).toordinal()
    expected = WEEKDAYS[date.fromordinal(monday - 4000 * 7 + day).weekday()]
    return says_one_of(response, expected, WEEKDAYS)


TASKS = (
    Task("unit_conversion", "measures", _unit_facts, _unit_word, _unit_check),
    Task("clock_arithmetic", "measures", _clock_facts, _clock_word, _clock_check),
    Task("date_arithmetic", "measures", _date_facts, _date_word, _date_check),
    Task("weekday_reckoning", "measures", _weekday_facts, _weekday_word, _weekday_check),
)
