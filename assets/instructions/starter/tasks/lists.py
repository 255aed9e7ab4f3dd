"""Lists and sequences of numbers."""

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says, says_number
from assets.instructions.starter.vocabulary import NAMES, THINGS
from assets.instructions.starter.wording import plural

OPERATIONS = {
    "even": "[keep|select|pick out] [only|just] the even numbers|drop [every odd number|all odd numbers]",
    "odd": """[keep|select|pick out] [only|just] the odd numbers|throw out [every even number
        |the even numbers]""",
    "above": "[keep|list] [only|] the numbers [greater|larger|higher] than {k}|remove everything up to {k}",
    "below": "[keep|list] [only|] the numbers [smaller|lower|less] than {k}|remove everything from {k} up",
    "reverse": "[reverse|turn round] the list|give the list [from back to front|in reverse order]",
    "unique": """remove [repeated values|duplicates], keeping the first of each
        |list each value once, in order of
        first appearance""",
    "double": "[double|multiply by two] every number|replace each number by twice its value",
    "add": "add {k} to [every number|each entry]|increase every entry by {k}",
    "rotate": "move the first number to the end|take the first entry away and put it last",
    "differences": "give the differences between neighbours (each number minus the one before it)"
    "|subtract each number"
    " from the one after it",
    "running": "give the running totals|list the cumulative sums",
}


def _applied(numbers: list[int], operation: str, k: int) -> list[int]:
    if operation in ("even", "odd", "above", "below"):
        keep = {
            "even": lambda n: n % 2 == 0,
            "odd": lambda n: n % 2,
            "above": lambda n: n > k,
            "below": lambda n: n < k,
        }
        return [n for n in numbers if keep[operation](n)]
    return {
        "reverse": lambda: numbers[::-1],
        "unique": lambda: list(dict.fromkeys(numbers)),
        "double": lambda: [2 * n for n in numbers],
        "add": lambda: [n + k for n in numbers],
        "rotate": lambda: numbers[1:] + numbers[:1],
        "differences": lambda: [b - a for a, b in zip(numbers, numbers[1:], strict=False)],
        "running": lambda: [sum(numbers[: end + 1]) for end in range(len(numbers))],
    }[operation]()


def _edit_facts(draw: Draw) -> Facts:
    operation = draw.pick(tuple(OPERATIONS))
    numbers = [draw.integer(1, 60) for _ in range(draw.integer(4, 8))]
    if operation == "unique":
        numbers = draw.shuffled(numbers[:5] + draw.some(numbers[:5], 2))
    k = draw.integer(5, 40)
    if not _applied(numbers, operation, k):
        return _edit_facts(draw)
    return {"numbers": numbers, "operation": operation, "k": k}


def _edit_word(facts: Facts, draw: Draw) -> Draft:
    numbers, k = facts["numbers"], facts["k"]
    python = draw.chance(0.35)
    shown = str(numbers) if python else ", ".join(map(str, numbers))
    order = draw.phrase(f"[{OPERATIONS[facts['operation']]}]", k=k)
    separate = draw.chance(0.35)
    slots = {"order": order, "list": shown, "name": draw.pick(NAMES), "noun": plural(draw.pick(THINGS))}
    if separate:
        text = draw.say(
            """[{order}.|[given|from] the list below, {order}.|{order}[, please|].
            |[for this list|here]: {order}.]""",
            **slots,
        )
    else:
        text = draw.say(
            """[{order}: {list}|[here is a list|take|look at|consider this list]: {list}. {order}.
            |{name} has [these numbers|these values|a list]: {list}. {order}.
            |[given|starting from] {list}, {order}.|{name} noted how many {noun} came in each day: {list}.
            {order}.]""",
            **slots,
        )
    result = _applied(numbers, facts["operation"], k)
    answer = str(result) if python else ", ".join(map(str, result))
    return Draft(
        text,
        answer,
        input=shown if separate else "",
        noun="list",
        sentence=draw.say("[the result is|that gives|the new list is|you get] {a}.", a=answer),
    )


def _edit_check(facts: Facts, response: str) -> bool:
    rest, operation, k = list(facts["numbers"]), facts["operation"], facts["k"]
    out: list[int] = []
    previous: int | None = None
    total = 0
    while rest:
        number = rest.pop(-1 if operation == "reverse" else 0)
        total += number
        match operation:
            case "even" | "odd":
                out += [number] * (number & 1 == (operation == "odd"))
            case "above" | "below":
                out += [number] * (number > k if operation == "above" else number < k)
            case "unique":
                out += [number] * (number not in out)
            case "differences":
                out += [] if previous is None else [number - previous]
            case _:
                out.append(
                    {"double": number + number, "add": number + k, "running": total}.get(operation, number)
                )
        previous = number
    if operation == "rotate":
        out.append(out.pop(0))
    return says(response.replace("[", "").replace("]", ""), ", ".join(map(str, out)))


def _sequence_facts(draw: Draw) -> Facts:
    kind = draw.pick(("add", "add", "subtract", "times", "growing", "pair", "alternate"))
    start = draw.integer(1, 40)
    step = draw.integer(2, 4) if kind == "times" else draw.integer(2, 15)
    if kind == "subtract":
        start += 6 * step
    return {
        "kind": kind,
        "start": start % 6 + 1 if kind == "times" else start,
        "step": step,
        "other": draw.integer(1, 9),
        "gap": draw.chance(0.25),
        "shown": draw.integer(4, 6),
    }


def _terms(facts: Facts, size: int) -> list[int]:
    start, step, other = facts["start"], facts["step"], facts["other"]
    match facts["kind"]:
        case "add" | "subtract":
            return [start + (step if facts["kind"] == "add" else -step) * n for n in range(size)]
        case "times":
            return [start * step**n for n in range(size)]
        case "growing":
            return [start + n * step + n * (n - 1) // 2 for n in range(size)]
        case "alternate":
            return [start + (n // 2) * (step + other) + (n % 2) * step for n in range(size)]
        case _:
            terms = [start, start + other]
            while len(terms) < size:
                terms.append(terms[-1] + terms[-2])
            return terms[:size]


def _sequence_word(facts: Facts, draw: Draw) -> Draft:
    shown = facts["shown"]
    terms = _terms(facts, shown + 1)
    answer, listed = str(terms[-1]), [str(term) for term in terms[:-1]]
    rule = {
        "add": f"Each number is {facts['step']} more than the one before",
        "subtract": f"Each number is {facts['step']} less than the one before",
        "times": f"Each number is {facts['step']} times the one before",
        "growing": f"The steps are {facts['step']}, {facts['step'] + 1}, {facts['step'] + 2} and so on",
        "alternate": f"The steps alternate between +{facts['step']} and +{facts['other']}",
        "pair": "Each number is the sum of the two before it",
    }[facts["kind"]]
    slots = {"list": ", ".join(listed), "name": draw.pick(NAMES), "thing": draw.pick(THINGS)}
    if facts["gap"] and facts["kind"] in ("add", "subtract", "times"):
        gap = shown // 2
        answer = listed[gap]
        slots["list"] = ", ".join([*listed[:gap], "__", *listed[gap + 1 :]])
        text = draw.say(
            """[what|which number] is missing [in|from] [this sequence|the pattern]: {list}?
            |fill the gap [in this sequence|in the pattern|]: {list}
            |{name} smudged one number: {list}. What was it?|complete the pattern {list} with the missing
            number.""",
            **slots,
        )
    else:
        text = draw.say(
            """[what [comes next|is the next number] [in the sequence|in this pattern|]: {list}, ...?
            |[continue|extend] [the sequence|this sequence] by one [number|term]: {list}
            |{list}, ... [What number follows|Which number comes after that]?
            |{name} [writes|counts|arranges {thing}s in rows of] {list}. [If the pattern holds, what is
            next|What comes next]?
            |find the rule and give the next [term|number]: {list}, ...]""",
            **slots,
        )
    sentence = draw.say("[the [missing|next] number is|it must be|the pattern gives] {a}.", a=answer)
    if "missing" in sentence and "__" not in text:
        sentence = sentence.replace("missing", "next")
    elif "next" in sentence and "__" in text:
        sentence = sentence.replace("next", "missing")
    return Draft(text, answer, sentence=sentence, working=rule + ".", noun="number")


def _sequence_check(facts: Facts, response: str) -> bool:
    terms, step = [facts["start"]], facts["step"]
    for place in range(facts["shown"]):
        before = terms[-1]
        terms.append(
            {
                "add": before + step,
                "subtract": before - step,
                "times": before * step,
                "growing": before + step + place,
                "alternate": before + (facts["other"] if place % 2 else step),
                "pair": before + (facts["other"] if place == 0 else terms[place - 1]),
            }[facts["kind"]]
        )
        if facts["kind"] == "pair" and place == 0:
            terms[-1] = facts["start"] + facts["other"]
    gap = facts["gap"] and facts["kind"] in ("add", "subtract", "times")
    return says_number(response, terms[facts["shown"] // 2 if gap else -1])


def _total_facts(draw: Draw) -> Facts:
    return {
        "numbers": [draw.integer(1, 90) for _ in range(draw.integer(3, 7))],
        "ask": draw.pick(("sum", "largest", "smallest", "range", "even", "median", "second")),
    }


def _total_word(facts: Facts, draw: Draw) -> Draft:
    numbers = facts["numbers"]
    ordered = sorted(numbers)
    answer = {
        "sum": sum(numbers),
        "largest": max(numbers),
        "smallest": min(numbers),
        "range": ordered[-1] - ordered[0],
        "even": sum(n % 2 == 0 for n in numbers),
        "median": ordered[(len(ordered) - 1) // 2],
        "second": ordered[-2],
    }[facts["ask"]]
    what = {
        "sum": "[the sum of|the total of]",
        "largest": "the [largest|biggest|highest] of",
        "smallest": "the [smallest|lowest] of",
        "range": """[the difference between the largest and the smallest of
            |the range (largest minus smallest)
            of|the spread, maximum less minimum, of]""",
        "even": "the number of even values among",
        "second": "the second largest of",
        "median": """the [median|middle value, once sorted,] ([of two, the lower
            |the lower one of two]) [of|among]""",
    }[facts["ask"]]
    noun = draw.phrase("[these numbers|the following numbers|these values]")
    listed = draw.pick((", ", ", ", " ", "; ")).join(map(str, numbers))
    text = draw.say(
        f"""[what is {what} {{noun}}: {{list}}?|[find|give|determine|tell me] {what} {{noun}}: {{list}}
        |{{name}} [looks at|has jotted down|is given] {{list}}. What is {what} [them|these]?
        |{{list}}: what is {what} them?]""",
        noun=noun,
        list=listed,
        name=draw.pick(NAMES),
    )
    working = f"In order: {', '.join(map(str, ordered))}."
    if facts["ask"] == "sum":
        working = f"{' + '.join(map(str, numbers))} = {answer}."
    elif facts["ask"] == "range":
        working = f"{ordered[-1]} - {ordered[0]} = {answer}."
    elif facts["ask"] == "even":
        working = f"Even: {', '.join(str(n) for n in numbers if n % 2 == 0) or 'none'}."
    return Draft(
        text,
        str(answer),
        sentence=draw.say("[it is|that is|the value is] {a}.", a=answer),
        working=working,
        noun="number",
    )


def _total_check(facts: Facts, response: str) -> bool:
    numbers = list(facts["numbers"])
    down = []
    while numbers:
        down.append(numbers.pop(numbers.index(max(numbers))))
    total = 0
    for number in down:
        total += number
    expected = {
        "sum": total,
        "largest": down[0],
        "smallest": down[-1],
        "range": down[0] - down[-1],
        "second": down[1],
        "even": len([n for n in down if not n & 1]),
        "median": down[len(down) // 2],
    }
    return says_number(response, expected[facts["ask"]])


TASKS = (
    Task("list_edits", "lists", _edit_facts, _edit_word, _edit_check),
    Task("sequences", "lists", _sequence_facts, _sequence_word, _sequence_check),
    Task("list_statistics", "lists", _total_facts, _total_word, _total_check),
)
