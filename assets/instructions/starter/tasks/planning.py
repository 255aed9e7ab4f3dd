"""Routes, plans and walks."""

import itertools

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says, says_number, says_one_of
from assets.instructions.starter.vocabulary import NAMES, TOWNS
from assets.instructions.starter.wording import series


def _route_facts(draw: Draw) -> Facts:
    towns = draw.some(TOWNS, draw.integer(4, 5))
    roads = {(n, n + 1): draw.integer(2, 15) for n in range(len(towns) - 1)}
    for a, b in draw.some(list(itertools.combinations(range(len(towns)), 2)), 3):
        roads.setdefault((a, b), draw.integer(6, 30))
    listed = draw.shuffled([[towns[a], towns[b], length] for (a, b), length in roads.items()])
    facts = {"roads": listed, "from": towns[0], "to": towns[-1], "ask": draw.pick(("length", "route"))}
    lengths = sorted(length for length, _ in _routes(facts))
    return facts if len(lengths) == 1 or lengths[0] < lengths[1] else _route_facts(draw)


def _routes(facts: Facts) -> list[tuple[int, list[str]]]:
    done, open_ways = [], [(0, [facts["from"]])]
    while open_ways:
        length, way = open_ways.pop()
        if way[-1] == facts["to"]:
            done.append((length, way))
            continue
        for a, b, far in facts["roads"]:
            for here, there in ((a, b), (b, a)):
                if here == way[-1] and there not in way:
                    open_ways.append((length + far, [*way, there]))
    return done


def _route_word(facts: Facts, draw: Draw) -> Draft:
    length, way = min(_routes(facts))
    line = draw.pick(("{} - {} {} km", "{} to {}: {} km", "{}-{} ({} km)", "from {} to {} it is {} km"))
    roads = draw.pick((", ", "; ", "\n")).join(line.format(*road) for road in facts["roads"])
    slots = {"a": facts["from"], "b": facts["to"], "roads": roads, "name": draw.pick(NAMES)}
    if facts["ask"] == "length":
        text = draw.say(
            """[roads (both ways): {roads}. How [long|many km] is the shortest [way
            |route] from {a} to {b}?
            |{name} drives from {a} to {b}. What is the least distance in km[, given these two-way roads
            |]?¶{roads}
            |find the length of the shortest route {a} to {b} on this road
            map:¶{roads}]""",
            **slots,
        )
    else:
        text = draw.say(
            """[roads (both ways): {roads}. [Which towns|What places] does the shortest [route|way
                |drive] from {a} to {b} pass[, both ends included|, ends included]?
            |plan {name}'s shortest drive from {a} to {b}; list the towns in order[, separated by commas
            |].¶{roads}
            |what is the shortest route from {a} to {b}? [Name|List] every town on it in
            order.¶{roads}]""",
            **slots,
        )
    answer = str(length) if facts["ask"] == "length" else ", ".join(way)
    working = f"The best way is {', '.join(way)}, {length} km." if facts["ask"] == "length" else ""
    sentence = draw.say("[it is|the shortest one is] {a} km.", a=answer) if facts["ask"] == "length" else ""
    return Draft(
        text,
        answer,
        working=working,
        sentence=sentence,
        noun="number" if facts["ask"] == "length" else "route",
    )


def _route_check(facts: Facts, response: str) -> bool:
    far: dict[str, tuple[int, tuple[str, ...]]] = {facts["from"]: (0, (facts["from"],))}
    for _ in facts["roads"]:  # Bellman-Ford, where the writer listed every route
        for a, b, length in facts["roads"]:
            for here, there in ((a, b), (b, a)):
                if here in far and (there not in far or far[here][0] + length < far[there][0]):
                    far[there] = (far[here][0] + length, (*far[here][1], there))
    length, way = far[facts["to"]]
    return says_number(response, length) if facts["ask"] == "length" else says(response, ", ".join(way))


STEPS = (
    "sand the table",
    "buy varnish",
    "paint the door",
    "hang the shelves",
    "boil water",
    "chop onions",
    "set the alarm",
    "pack the van",
    "print tickets",
    "weigh the flour",
    "light the stove",
    "wash the car",
    "book the hall",
    "send invitations",
    "order chairs",
    "test the speakers",
    "sweep the floor",
    "mow the lawn",
    "rake the leaves",
    "charge the camera",
)


def _plan_facts(draw: Draw) -> Facts:
    steps = draw.some(STEPS, draw.integer(3, 5))
    return {
        "steps": steps,
        "shuffle": draw.shuffled(range(len(steps) - 1)),
        "flip": [draw.chance(0.5) for _ in steps],
        "ask": draw.pick(("list", "first", "last")),
    }


def _plan_word(facts: Facts, draw: Draw) -> Draft:
    steps = facts["steps"]
    rules = []
    for place in facts["shuffle"]:
        before, after = steps[place], steps[place + 1]
        rules.append(
            draw.phrase("[{a} only after you {b}|before you {a}, {b}]", a=after, b=before)
            if facts["flip"][place]
            else draw.phrase("[{b}, then {a}|{b} before you {a}|first {b}, later {a}]", a=after, b=before)
        )
    slots = {"r": "; ".join(rules), "name": draw.pick(NAMES), "steps": series(draw.shuffled(steps))}
    text = draw.say(
        {
            "list": """[{name} must {steps}. Rules: {r}. [Give the order, separated by semicolons.
            |In which order? Separate
            with semicolons.]|put the jobs in order, separated by semicolons. {r}.
            |these rules fix a plan: {r}. Write it as a list with semicolons.]""",
            "first": """[{r}. Which job comes first?|[{name} has a list:|rules:] {r}. What is the first
                thing to
                do?]""",
            "last": """[{r}. Which job comes last?|[{name} has a list:|rules:] {r}. What is done at the very
                end?]""",
        }[facts["ask"]],
        **slots,
    )
    answer = {"list": "; ".join(steps), "first": steps[0], "last": steps[-1]}[facts["ask"]]
    working = "" if facts["ask"] == "list" else f"The order is: {'; '.join(steps)}."
    return Draft(text, answer, working=working, noun="list" if facts["ask"] == "list" else "job")


def _plan_check(facts: Facts, response: str) -> bool:
    before = {facts["steps"][n + 1]: facts["steps"][n] for n in facts["shuffle"]}
    first = next(step for step in facts["steps"] if step not in before)
    order = [first]
    while len(order) < len(facts["steps"]):
        order.append(next(after for after, step in before.items() if step == order[-1]))
    if facts["ask"] == "list":
        return says(response, "; ".join(order))
    return says_one_of(response, order[0 if facts["ask"] == "first" else -1], order)


TURNS = {"north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0)}


def _walk_facts(draw: Draw) -> Facts:
    moves = [[draw.pick(tuple(TURNS)), draw.integer(1, 9)] for _ in range(draw.integer(2, 4))]
    return {"moves": moves, "who": draw.pick(NAMES)}


def _walk_word(facts: Facts, draw: Draw) -> Draft:
    x = sum(TURNS[way][0] * n for way, n in facts["moves"])
    y = sum(TURNS[way][1] * n for way, n in facts["moves"])
    unit = draw.pick(("step", "block", "metre", "square"))
    path = series([f"{n} {unit if n == 1 else unit + 's'} {way}" for way, n in facts["moves"]])
    text = draw.say(
        """{who} [walks|goes] {path}. [At which point is {who} now|Where does {who} end up], as (x, y),
            [if|when] [east is +x, north is +y|x points east, y north] and [the start|home] is (0, 0)?
            |[start at|begin at] (0, 0), x to the east[ and
        |,] y to the north. [Go|Move] {path}.
        [Give|What are] the coordinates (x, y).|a [robot|rover|drone] at the origin [drives
        |moves] {path}. [Report|State|Give] [its position|where it is] as (x, y), [east and north positive
        |with +x east and +y north|east being +x and north +y].|on [a grid|squared paper
        |a map] [with x to the east, y to the north|where x grows eastwards and y northwards], {who}
        [leaves|starts from] (0, 0): {path}.
        [Final|New] position as (x, y)?|from (0, 0), {path} (east: x up, north: y up). [Where is that
        |Which (x, y) is it]?
        |{path}: [write the final (x, y)|find the end point (x, y)] of [this walk|the trip
        |these moves] from (0, 0); [north adds to y, east to x|x is east, y is north].""",
        who=facts["who"],
        path=path,
    )
    text = text.replace("What are the coordinates (x, y).", "What are the coordinates (x, y)?")
    answer = f"({x}, {y})"
    return Draft(
        text,
        answer,
        working=f"East minus west is {x}; north minus south is {y}.",
        noun="coordinates",
        sentence=draw.say("[the position is|that is] {a}.", a=answer),
    )


def _walk_check(facts: Facts, response: str) -> bool:
    place = 0j
    for way, steps in facts["moves"]:
        for _ in range(steps):
            place += {"north": 1j, "south": -1j, "east": 1, "west": -1}[way]
    return f"({int(place.real)}, {int(place.imag)})" in response


TASKS = (
    Task("routes", "planning", _route_facts, _route_word, _route_check),
    Task("plans", "planning", _plan_facts, _plan_word, _plan_check),
    Task("walks", "planning", _walk_facts, _walk_word, _walk_check),
)
