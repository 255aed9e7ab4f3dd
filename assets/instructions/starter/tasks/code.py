"""Short Python: reading a program, writing a function, repairing one."""

import ast
from collections.abc import Callable
from typing import Any

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says
from assets.instructions.starter.vocabulary import NAMES, PLAIN_WORDS, THINGS

BUILTINS = {
    "sum": sum,
    "len": len,
    "max": max,
    "min": min,
    "range": range,
    "sorted": sorted,
    "abs": abs,
    "str": str,
    "int": int,
    "list": list,
    "reversed": reversed,
    "enumerate": enumerate,
}
REFUSED = (
    ast.Import,
    ast.ImportFrom,
    ast.Global,
    ast.Nonlocal,
    ast.ClassDef,
    ast.With,
    ast.Try,
    ast.Lambda,
    ast.While,
)


def _run(source: str) -> tuple[dict[str, Any], list[str]]:
    """The names and the printed lines of a program of this module; refuses all but plain statements.

    Meant for the corpus's own programs, which end: it has no time limit. ValueError on anything else.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if isinstance(node, REFUSED) or name.startswith("_"):
            raise ValueError(f"{type(node).__name__} {name} has no place in a program of the corpus")
    printed: list[str] = []
    names: dict[str, Any] = {
        "__builtins__": {**BUILTINS, "print": lambda *values: printed.append(" ".join(map(str, values)))}
    }
    exec(compile(tree, "<corpus>", "exec"), names)
    return names, printed


PROGRAMS = {
    "sum": "{v} = {a}\nfor {i} in range({b}):\n    {v} += {i}{s}\nprint({v})",
    "step": "{v} = {a}\nfor {i} in range({b}, {c}, {d}):\n    {v} = {v} + {i}\nprint({v})",
    "filter": "{v} = {list}\nprint([{i} for {i} in {v} if {i} % {d} == 0])",
    "map": "{v} = {list}\nprint([{i} * {d} for {i} in {v}])",
    "slice": '{v} = "{word}"\nprint({v}[{k}:{m}])',
    "index": "{v} = {list}\n{v}[{k}] = {a}\nprint(sum({v}))",
    "branch": '{v} = {a}\nif {v} % {d} == 0:\n    print("{word}")\nelse:\n    print({v} // {d})',
    "lengths": "{v} = {words}\nprint([len({i}) for {i} in {v}])",
    "swap": "{v}, {i} = {a}, {b}\n{v}, {i} = {i}, {v} + {i}\nprint({v} * {i})",
    "call": "def {v}({i}, step={d}):\n    return {i} * step - {k}\n\nprint({v}({a}))",
}


def _trace_facts(draw: Draw) -> Facts:
    k, d = draw.integer(0, 2), draw.integer(2, 5)
    numbers = [draw.integer(1, 30) for _ in range(draw.integer(2, 4))] + [d * draw.integer(1, 6)]
    return {
        "program": draw.pick(tuple(PROGRAMS)),
        "a": draw.integer(1, 40),
        "b": draw.integer(2, 6),
        "c": draw.integer(9, 16),
        "d": d,
        "k": k,
        "m": k + draw.integer(2, 3),
        "v": draw.pick(("total", "x", "data", "value", "acc", "box")),
        "i": draw.pick(("i", "n", "item", "y", "steps")),
        "s": draw.pick(("", " * 2", " + 1")),
        "list": draw.shuffled(numbers),
        "word": draw.pick(PLAIN_WORDS),
        "words": draw.some(PLAIN_WORDS, 3),
    }


def _traced(facts: Facts) -> str:
    a, b, c, d, k, m = (facts[key] for key in "abcdkm")
    scale, plus = {"": (1, 0), " * 2": (2, 0), " + 1": (1, 1)}[facts["s"]]
    numbers = facts["list"]
    return str(
        {
            "sum": lambda: a + sum(scale * n + plus for n in range(b)),
            "step": lambda: a + sum(range(b, c, d)),
            "filter": lambda: [n for n in numbers if n % d == 0],
            "map": lambda: [n * d for n in numbers],
            "slice": lambda: facts["word"][k:m],
            "index": lambda: sum(numbers) - numbers[k] + a,
            "branch": lambda: facts["word"] if a % d == 0 else a // d,
            "lengths": lambda: [len(word) for word in facts["words"]],
            "swap": lambda: b * (a + b),
            "call": lambda: a * d - k,
        }[facts["program"]]()
    )


def _trace_word(facts: Facts, draw: Draw) -> Draft:
    source = PROGRAMS[facts["program"]].format(**facts)
    answer = _traced(facts)
    order = draw.say(
        """[what does this [program|code|Python code|snippet] print?|[give
            |predict] the output of [the program|this Python snippet].
        |{name} runs [this|the following] [code|script]. What [appears|is printed]?
        |[trace the code|go through it line by line] and [state|tell me|write down] [what it prints
        |the printed line].
        |[without running it,|read the code:] what is the output?]""",
        name=draw.pick(NAMES),
    )
    if draw.chance(0.5):
        return Draft(order, answer, input=source, noun="output", sentence=f"It prints {answer}.")
    fenced = f"```python\n{source}\n```" if draw.chance(0.6) else source
    text = draw.pick((f"{order}\n\n{fenced}", f"{fenced}\n\n{order}"))
    return Draft(
        text, answer, noun="output", sentence=draw.pick((f"It prints {answer}.", f"The output is {answer}."))
    )


def _trace_check(facts: Facts, response: str) -> bool:
    _, printed = _run(PROGRAMS[facts["program"]].format(**facts))
    return says(response.replace("[", "").replace("]", ""), printed[0].replace("[", "").replace("]", ""))


KEEPS: dict[str, tuple[str, str, Callable[[int, int], bool]]] = {
    "even": ("even numbers", "{n} % 2 == 0", lambda n, k: n % 2 == 0),
    "odd": ("odd numbers", "{n} % 2 == 1", lambda n, k: n % 2 == 1),
    "above": ("numbers above {k}", "{n} > {k}", lambda n, k: n > k),
    "below": ("numbers below {k}", "{n} < {k}", lambda n, k: n < k),
    "multiple": ("multiples of {k}", "{n} % {k} == 0", lambda n, k: n % k == 0),
}
MAPS: dict[str, tuple[str, str, Callable[[int], int]]] = {
    "plain": ("", "{n}", lambda n: n),
    "square": ("squares of the ", "{n} ** 2", lambda n: n * n),
    "double": ("doubles of the ", "{n} * 2", lambda n: n + n),
    "next": ("successors of the ", "{n} + 1", lambda n: n + 1),
}
ENDS: dict[str, tuple[str, str, Callable[[list[int]], object]]] = {
    "sum": ("the sum of the {what}", "sum({g})", sum),
    "list": ("a list of the {what}", "[{g}]", list),
    "largest": (
        "the largest of the {what} (0 if there are none)",
        "max([{g}], default=0)",
        lambda x: max(x, default=0),
    ),
    "count": ("the number of {what}", "len([{g}])", len),
}
CASES: tuple[list[int], ...] = ([3, 8, 11, 14, 21, 6, 30], [], [5], [2, 2, 9, 12, 12, 40], [100, 1, 7, 35])


def _write_facts(draw: Draw) -> Facts:
    end = draw.pick(tuple(ENDS))
    return {
        "keep": draw.pick(tuple(KEEPS)),
        "map": "plain" if end == "count" else draw.pick(tuple(MAPS)),
        "end": end,
        "k": draw.integer(3, 19),
        "name": f"{draw.pick(('get', 'find', 'pick', 'make', 'solve'))}_{draw.pick(THINGS)}s",
    }


def _function(facts: Facts, draw: Draw) -> str:
    n, values = draw.pick(("n", "x", "number", "value")), draw.pick(("numbers", "values", "items", "data"))
    item = MAPS[facts["map"]][1].format(n=n)
    test = KEEPS[facts["keep"]][1].format(n=n, k=facts["k"])
    if draw.chance(0.5) or facts["end"] == "largest":
        body = ENDS[facts["end"]][1].format(g=f"{item} for {n} in {values} if {test}")
        return f"def {facts['name']}({values}):\n    return {body}"
    start, grow = {
        "sum": ("0", f"result += {item}"),
        "list": ("[]", f"result.append({item})"),
        "count": ("0", "result += 1"),
    }[facts["end"]]
    return (
        f"def {facts['name']}({values}):\n    result = {start}\n    for {n} in {values}:\n        if "
        f"{test}:\n"
        f"            {grow}\n    return result"
    )


def _goal(facts: Facts) -> str:
    what = MAPS[facts["map"]][0] + KEEPS[facts["keep"]][0].format(k=facts["k"])
    return ENDS[facts["end"]][0].format(what=what)


def _write_word(facts: Facts, draw: Draw) -> Draft:
    text = draw.say(
        """[[write|define|give me|implement] a Python function `{f}` that [takes|gets] a list of [integers
            |whole numbers] and returns {goal}.
        |in Python, [define|code] `{f}`: [the argument is a list of integers|from a list of integers
        |given integers in a list], [return|give back|compute] {goal}.
        |{name} needs a function {f} [in Python|(Python)] which returns {goal} [in
        |from] a list of integers. [Write it.|Can you code it?]
        |[complete|finish] this [sketch|stub]: def {f}(...), given [integers in a list
        |a list of integers], returns {goal}.
        |how would you [write|code] {f}, a [Python function|function in Python] [returning
        |that returns] {goal} from a list of [integers|ints]?]""",
        f=facts["name"],
        goal=_goal(facts),
        name=draw.pick(NAMES),
    )
    code = _function(facts, draw)
    return Draft(text, f"```python\n{code}\n```" if draw.chance(0.3) else code)


def _write_check(facts: Facts, response: str) -> bool:
    source = response.split("```")[1].removeprefix("python") if "```" in response else response
    keep, item, end = KEEPS[facts["keep"]][2], MAPS[facts["map"]][2], ENDS[facts["end"]][2]
    try:
        function = _run(source)[0][facts["name"]]
        return all(
            function(list(case)) == end([item(n) for n in case if keep(n, facts["k"])]) for case in CASES
        )
    except (SyntaxError, ValueError, KeyError, TypeError, NameError):
        return False


def _repair_facts(draw: Draw) -> Facts:
    return {**_write_facts(draw), "fault": draw.pick(("test", "colon", "return"))}


def _repair_word(facts: Facts, draw: Draw) -> Draft:
    right = _function(facts, draw)
    test = KEEPS[facts["keep"]][1].split(" ", 1)[1].format(k=facts["k"])
    broken = {
        "test": right.replace(
            test,
            test.replace("==", "!=") if "==" in test else test.replace(test[0], "<>".replace(test[0], "")),
        ),
        "colon": right.replace("):\n", ")\n", 1),
        "return": right.replace("return ", "print ", 1),
    }[facts["fault"]]
    order = draw.say(
        """[fix|repair|correct] [this function; it should return|the code, meant to return
            |this, so that it returns] {goal}.|[there is a bug here
            |this does not work|a function with a flaw]: [the function is meant to return
            |it ought to return|the goal is]
        {goal}. [Correct it.|Give the corrected code.]|{name} [wants|expects
        |hoped for] {goal}, but [the code is wrong|something is off|it fails]. [Mend it.
        |What should it be?|Put it right.]
        |find and fix the mistake. Wanted:
        {goal}.""".join("[]"),
        goal=_goal(facts),
        name=draw.pick(NAMES),
    )
    if draw.chance(0.5):
        return Draft(order, right, input=broken)
    return Draft(
        draw.pick((f"{order}\n\n{broken}", f"{broken}\n\n{order}", f"{order}\n```python\n{broken}\n```")),
        right,
    )


TASKS = (
    Task("python_trace", "code", _trace_facts, _trace_word, _trace_check),
    Task("python_write", "code", _write_facts, _write_word, _write_check, open_ended=True),
    Task("python_repair", "code", _repair_facts, _repair_word, _write_check, open_ended=True),
)
