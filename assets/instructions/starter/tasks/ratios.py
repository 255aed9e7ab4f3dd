"""Arithmetic word problems: percentages, rates, averages."""

from fractions import Fraction

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says_number
from assets.instructions.starter.tasks.arithmetic import CURRENCIES
from assets.instructions.starter.vocabulary import NAMES, TOWNS, WARES
from assets.instructions.starter.wording import series


def _percentage_facts(draw: Draw) -> Facts:
    return {
        "percent": 5 * draw.integer(1, 17),
        "whole": 20 * draw.integer(2, 60),
        "kind": draw.pick(("off", "rise", "of")),
        "ware": draw.pick(WARES),
        "currency": draw.pick(CURRENCIES),
    }


def _percentage_word(facts: Facts, draw: Draw) -> Draft:
    percent, whole, coin = facts["percent"], facts["whole"], facts["currency"]
    part = percent * whole // 100
    slots = {
        "p": percent,
        "w": whole,
        "coin": coin,
        "ware": facts["ware"],
        "name": draw.pick(NAMES),
        "town": draw.pick(TOWNS),
    }
    working = f"{percent}% of {whole} is {part}"
    if facts["kind"] == "off":
        answer = whole - part
        text = draw.say(
            """[a {ware} set [costs|is priced at] {w} {coin}. [In the sale|This week|With a coupon] it is
                {p}% [cheaper|off]. [What is the new price|How many {coin} does it cost now]?|[what does
                {name} pay|how many {coin} does {name} pay] for a {w}-{coin1} order after a {p}%
                discount?|{name} gets {p}% off a bill of {w} {coin}. How many {coin} are left to pay?]""",
            coin1=coin[:-1],
            **slots,
        )
        working += f", and {whole} - {part} = {answer}."
        sentence = draw.say(
            "[the new price is|that leaves|after the discount it costs] {n} {coin}.", n=answer, coin=coin
        )
    elif facts["kind"] == "rise":
        answer = whole + part
        text = draw.say(
            """[the [rent|entry fee|yearly subscription|ferry fare] in {town} was {w} {coin} and
                [rises|goes up] by {p}%. What is it now?|[increase|raise] {w} {coin} by {p}%.|{name} earns
                {w} {coin} a week and gets a rise of {p}%. How many {coin} is the new weekly pay?]""",
            **slots,
        )
        working += f", and {whole} + {part} = {answer}."
        sentence = draw.say("[it is now|the new amount is|it goes up to] {n} {coin}.", n=answer, coin=coin)
    else:
        answer = part
        text = draw.say(
            """what is {p}[%| percent] of {w}[ {coin}|]?|[calculate|find|compute|give me] {p}[%
                | percent] of {w}[ {coin}|].
            |of the {w} [visitors|letters|seats|runners] in {town}, {p}% were [late|counted
            |marked]. How many is that?
            |{name} [saves|donates|spends] {p}% of {w} {coin}. How many {coin} is
            that?""",
            **slots,
        )
        working += "."
        sentence = draw.say("[that is|it comes to|the share is] {n}.", n=answer)
    return Draft(text, str(answer), sentence=sentence, working=working, noun="number")


def _percentage_check(facts: Facts, response: str) -> bool:
    factor = {"off": 100 - facts["percent"], "rise": 100 + facts["percent"], "of": facts["percent"]}
    return says_number(response, float(Fraction(factor[facts["kind"]], 100) * facts["whole"]))


def _rate_facts(draw: Draw) -> Facts:
    return {
        "speed": draw.integer(3, 95),
        "hours": draw.integer(2, 9),
        "ask": draw.pick(("distance", "time", "speed")),
        "kind": draw.pick(("travel", "work", "flow")),
    }


def _rate_word(facts: Facts, draw: Draw) -> Draft:
    speed, hours, ask = facts["speed"], facts["hours"], facts["ask"]
    total = speed * hours
    mover, unit, verb, made = {
        "travel": (
            draw.pick(("train", "lorry", "cyclist", "coach", "ferry", "hiker", "tram")),
            "km",
            "covers",
            "travel",
        ),
        "work": (
            draw.pick(("printer", "robot", "baker", "packer", "sorting machine", "clerk")),
            draw.pick(("pages", "parcels", "labels", "forms")),
            "handles",
            "finish",
        ),
        "flow": (draw.pick(("pump", "tap", "spring", "drain", "hose")), "litres", "moves", "carry"),
    }[facts["kind"]]
    slots = {
        "m": mover,
        "u": unit,
        "v": verb,
        "do": made,
        "s": speed,
        "h": hours,
        "t": total,
        "town": draw.pick(TOWNS),
    }
    if ask == "distance":
        answer, working = total, f"{speed} x {hours} = {total}."
        text = draw.say(
            """[a {m} {v} {s} {u} [an|every] hour. [How many {u} is that in {h} hours|How many {u} after
                {h} hours]?|at {s} {u} an hour, how many {u} [does|will] the {m} [near {town}|] {do} in
                {h} hours?]""",
            **slots,
        )
        sentence = draw.say("[that makes|in {h} hours it comes to] {t} {u}.", **slots)
    elif ask == "time":
        answer, working = hours, f"{total} / {speed} = {hours}."
        text = draw.say(
            """[how [long|many hours] does a {m} need for {t} {u} [at a rate of|at] {s} {u} an hour?|the
                {m} [in {town}|] {v} {s} {u} [per|each] hour. [After how many hours has it done|When, in
                hours, has it reached|How many hours make] {t} {u}?]""",
            **slots,
        )
        sentence = draw.say("[it takes|the {m} needs] {h} hours.", **slots)
    else:
        answer, working = speed, f"{total} / {hours} = {speed}."
        text = draw.say(
            """[a {m} {v} {t} {u} in {h} hours. [What is its hourly rate|How many {u} is that an
                hour]?|in {h} hours the {m} [from {town}|] {v} {t} {u}, always at the same pace. How many
                {u} [per|in one] hour?]""",
            **slots,
        )
        sentence = draw.say("[the hourly rate is|each hour it {v}] {s} {u}.", **slots)
    return Draft(text, str(answer), sentence=sentence, working=working, noun="number")


def _rate_check(facts: Facts, response: str) -> bool:
    total = sum(facts["speed"] for _ in range(facts["hours"]))
    expected = {
        "distance": total,
        "time": Fraction(total, facts["speed"]),
        "speed": Fraction(total, facts["hours"]),
    }
    return says_number(response, float(expected[facts["ask"]]))


def _average_facts(draw: Draw) -> Facts:
    size = draw.integer(3, 5)
    values = [draw.integer(2, 60) for _ in range(size - 1)]
    last = draw.integer(2, 40)
    values.append(last + (-(sum(values) + last)) % size)
    return {
        "values": draw.shuffled(values),
        "about": draw.pick(
            (
                "scores",
                "temperatures",
                "lengths in centimetres",
                "daily sales",
                "ages",
                "page counts",
                "waiting times in minutes",
                "visitor numbers",
            )
        ),
    }


def _average_word(facts: Facts, draw: Draw) -> Draft:
    values = facts["values"]
    total, answer = sum(values), sum(values) // len(values)
    text = draw.say(
        """[find|work out|calculate|give] the [mean|average] of [these|the following] {about}: {list}.
        |{name} [wrote down|recorded|noted] {n} {about}: {series}. What is the [average|mean]?
        |what is the [average|mean] of {series}?|[the {about} in {town} were
        |here are some {about}:] {series}.
        [What do they average|What is their mean]?|{list}: what is the [average|mean] of these {about}?""",
        list=", ".join(map(str, values)),
        series=series(list(map(str, values))),
        n=len(values),
        about=facts["about"],
        name=draw.pick(NAMES),
        town=draw.pick(TOWNS),
    )
    working = f"{' + '.join(map(str, values))} = {total}, and {total} / {len(values)} = {answer}."
    sentence = draw.say("[the [average|mean] is|they average] {n}.", n=answer)
    return Draft(text, str(answer), sentence=sentence, working=working, noun="number")


def _average_check(facts: Facts, response: str) -> bool:
    return says_number(response, float(Fraction(sum(facts["values"]), len(facts["values"]))))


TASKS = (
    Task("percentages", "arithmetic", _percentage_facts, _percentage_word, _percentage_check),
    Task("rates", "arithmetic", _rate_facts, _rate_word, _rate_check),
    Task("averages", "arithmetic", _average_facts, _average_word, _average_check),
)
