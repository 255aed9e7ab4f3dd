"""Looking things up in tables and glossaries."""

import csv
import io

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says, says_number
from assets.instructions.starter.vocabulary import (
    COLOURS,
    FOODS,
    NAMES,
    TOWNS,
    WARES,
)
from assets.instructions.starter.wording import series, with_article

SUBJECTS = {
    "item": (WARES + FOODS, {"price": (2, 60), "stock": (0, 90), "weight": (1, 40)}),
    "town": (TOWNS, {"population": (300, 9900), "altitude": (5, 900), "area": (1, 90)}),
    "person": (list(NAMES), {"age": (18, 79), "score": (10, 99), "height": (140, 199)}),
}


def _table_facts(draw: Draw) -> Facts:
    subject = draw.pick(tuple(SUBJECTS))
    pool, columns = SUBJECTS[subject]
    names = draw.some(tuple(columns), draw.integer(2, 3))
    keys = draw.some(pool, draw.integer(3, 5))
    seen: set[int] = set()
    rows = []
    for key in keys:
        values = []
        for name in names:
            value = draw.integer(*columns[name])
            while value in seen:  # distinct values, so that a question has one answer
                value += 1
            seen.add(value)
            values.append(value)
        rows.append([key, *values])
    ask = draw.pick(("cell", "cell", "most", "least", "total", "who"))
    return {
        "header": [subject, *names],
        "rows": rows,
        "ask": ask,
        "column": draw.integer(1, len(names)),
        "row": draw.below(len(rows)),
        "layout": draw.pick(("pipe", "csv", "lines", "sentence")),
    }


def _laid_out(facts: Facts) -> str:
    header, rows = facts["header"], facts["rows"]
    match facts["layout"]:
        case "pipe":
            lines = [header, ["---"] * len(header), *rows]
            return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
        case "csv":
            return "\n".join(",".join(map(str, line)) for line in [header, *rows])
        case "lines":
            return "\n".join(
                f"{row[0]}: "
                + ", ".join(f"{name} {value}" for name, value in zip(header[1:], row[1:], strict=True))
                for row in rows
            )
        case _:
            return "; ".join(
                f"{row[0]} has "
                + series([f"{name} {value}" for name, value in zip(header[1:], row[1:], strict=True)])
                for row in rows
            )


def _table_word(facts: Facts, draw: Draw) -> Draft:
    header, rows, column, ask = facts["header"], facts["rows"], facts["column"], facts["ask"]
    row = rows[facts["row"]]
    slots = {
        "c": header[column],
        "key": row[0],
        "v": row[column],
        "kind": header[0],
        "name": draw.pick(NAMES),
    }
    question = draw.say(
        {
            "cell": """[what is the {c} of {key}?|which {c} is [given|listed] for {key}?
                |look up {key} and give the {c}.
                |what does the table [say|show] under {c} for {key}?|find the {c} entry of {key}.]""",
            "most": """[which {kind} has the [highest|largest] {c}?|[who or what|which entry] [tops
                |leads] the table by {c}?
                |name the {kind} with the greatest {c}.]""",
            "least": """[which {kind} has the [lowest|smallest] {c}?|who or what comes last by {c}?
                |name the {kind} with the least {c}.]""",
            "total": """[add up the column {c}.|what is the [sum|total] of the {c} column?
                |what do all the values of {c} [add up|come] to?]""",
            "who": "[which {kind} has {ac} of {v}?|whose {c} is {v}?|find the {kind} with {c} {v}.]",
        }[ask],
        ac=with_article(header[column]),
        **slots,
    )
    values = [line[column] for line in rows]
    chosen = {"most": rows[values.index(max(values))][0], "least": rows[values.index(min(values))][0]}
    answer = {"cell": str(row[column]), "who": row[0], "total": str(sum(values)), **chosen}[ask]
    working = {
        "cell": f"In the row of {row[0]}, {header[column]} is {answer}.",
        "who": f"The value {row[column]} stands in the row of {answer}.",
        "total": f"{' + '.join(map(str, values))} = {answer}.",
    }.get(ask, f"The values of {header[column]} are {series(list(map(str, values)))}.")
    lead = draw.say(
        """[use the table[ below|] to answer|read the [table|data] and answer|here is some data|
        {name} sends this list|look at the data below|from the records below]""",
        **slots,
    )
    text = _laid_out(facts)
    if draw.chance(0.5):
        return Draft(
            f"{lead}{draw.pick((': ', '. '))}{question}",
            answer,
            input=text,
            working=working,
            noun="value",
            sentence=draw.say("[it is|that is|the table says] {a}.", a=answer),
        )
    whole = draw.pick((f"{text}\n\n{question}", f"{lead}.\n{text}\n{question}", f"{question}\n\n{text}"))
    return Draft(
        whole,
        answer,
        working=working,
        noun="value",
        sentence=draw.say("[it is|that is|the data gives] {a}.", a=answer),
    )


def _table_check(facts: Facts, response: str) -> bool:
    text = "\n".join(",".join(map(str, line)) for line in [facts["header"], *facts["rows"]])
    read = list(csv.DictReader(io.StringIO(text)))
    subject, name = facts["header"][0], facts["header"][facts["column"]]
    by_value = {int(line[name]): line[subject] for line in read}
    mine = next(value for value, key in by_value.items() if key == facts["rows"][facts["row"]][0])
    match facts["ask"]:
        case "cell":
            return says_number(response, mine)
        case "total":
            return says_number(response, sum(by_value))
        case ask:
            return says(response, by_value[{"most": max(by_value), "least": min(by_value), "who": mine}[ask]])


TRADES = [
    "weaving",
    "sailing",
    "baking",
    "mining",
    "printing",
    "beekeeping",
    "glassmaking",
    "joinery",
    "brewing",
    "fencing",
    "tanning",
    "masonry",
    "rowing",
    "pottery",
    "falconry",
    "cartography",
]
STEMS = [
    "bran",
    "tol",
    "mer",
    "quil",
    "fen",
    "sor",
    "dra",
    "wim",
    "hal",
    "pex",
    "lor",
    "gam",
    "tri",
    "vos",
    "nur",
    "kel",
]
ENDS = ("dle", "met", "rick", "vane", "lop", "sten", "wick", "gor", "tash", "bin", "mar", "let")


def _glossary_facts(draw: Draw) -> Facts:
    terms = {stem + draw.pick(ENDS) for stem in draw.some(STEMS, draw.integer(3, 4))}
    entries = []
    for term in sorted(terms):
        entries.append(
            [
                term,
                [
                    draw.pick(COLOURS),
                    draw.pick(WARES),
                    draw.pick(TRADES),
                    draw.pick(("tool", "pouch", "mark", "song", "tax", "stool", "rope", "knot", "lid")),
                ],
            ]
        )
    return {
        "entries": draw.shuffled(entries),
        "row": draw.below(len(entries)),
        "ask": draw.pick(("define", "term", "trade")),
    }


def _meaning(parts: list[str]) -> str:
    colour, ware, trade, thing = parts
    return f"{with_article(colour)} {thing} shaped like {with_article(ware)} and used in {trade}"


def _glossary_word(facts: Facts, draw: Draw) -> Draft:
    term, parts = facts["entries"][facts["row"]]
    join = draw.pick((": ", " - ", " = ", ", "))
    lines = [f"{name}{join}{_meaning(meaning)}" for name, meaning in facts["entries"]]
    glossary = draw.pick(("\n", "; ", "\n")).join(lines)
    slots = {"t": f'"{term}"', "m": _meaning(parts), "trade": parts[2], "name": draw.pick(NAMES)}
    question = draw.say(
        {
            "define": """[what does {t} mean|define {t}|how does the glossary define {t}
                |{name} meets the word {t}.
                What does it mean]""",
            "term": "[which word means|what is the word for|what do they call|{name} wants the word for] {m}",
            "trade": "[in which trade is {t} used|which craft uses {t}|to what trade does {t} belong]",
        }[facts["ask"]],
        **slots,
    )
    question += "." if question.startswith(("Define", f"{slots['name']} wants")) else "?"
    answer = {"define": _meaning(parts), "term": term, "trade": parts[2]}[facts["ask"]]
    head = draw.say(
        """[glossary|small glossary|word list|vocabulary][ from {name}|]|terms used by the guild""",
        **slots,
    )
    sentence = {
        "define": f'"{term}" means {answer}.',
        "term": f'The word is "{answer}".',
        "trade": f"It is used in {answer}.",
    }[facts["ask"]]
    if draw.chance(0.45):
        return Draft(question, answer, input=glossary, sentence=sentence, noun="answer")
    text = draw.pick(
        (f"{head}:\n{glossary}\n\n{question}", f"{question}\n\n{head}: {glossary}", f"{glossary}\n{question}")
    )
    return Draft(text, answer, sentence=sentence, noun="answer")


def _glossary_check(facts: Facts, response: str) -> bool:
    term, (colour, ware, trade, thing) = facts["entries"][facts["row"]]
    wanted = {"define": [colour, thing, ware, trade], "term": [term], "trade": [trade]}[facts["ask"]]
    rivals = [one for one, parts in facts["entries"] if one != term and parts[2] != trade]
    return all(says(response, word) for word in wanted) and not any(says(response, rival) for rival in rivals)


TASKS = (
    Task("table_lookup", "look-up", _table_facts, _table_word, _table_check),
    Task("glossary", "look-up", _glossary_facts, _glossary_word, _glossary_check),
)
