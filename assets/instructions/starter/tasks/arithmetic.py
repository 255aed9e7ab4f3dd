"""Arithmetic word problems: totals, change, leftovers, sharing."""

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says_number
from assets.instructions.starter.vocabulary import CONTAINERS, FOODS, NAMES, THINGS, TOWNS, WARES, pronouns
from assets.instructions.starter.wording import count, plural, series

CURRENCIES = ("dollars", "euros", "pounds", "francs")


def _shopping_facts(draw: Draw) -> Facts:
    kinds = draw.integer(2, 3)
    wares = draw.some(WARES if draw.chance(0.6) else FOODS, kinds)
    lines: list[tuple[str, int, int]] = [(ware, draw.integer(1, 9), draw.integer(2, 19)) for ware in wares]
    cost = sum(number * price for _, number, price in lines)
    paid = (cost // 10 + draw.integer(1, 4)) * 10 if draw.chance(0.4) else 0
    return {"who": draw.pick(NAMES), "lines": lines, "paid": paid, "currency": draw.pick(CURRENCIES)}


def _shopping_word(facts: Facts, draw: Draw) -> Draft:
    who, coin = pronouns(facts["who"]), facts["currency"]
    each = draw.pick((" at {p} {c} each", " for {p} {c} apiece", ", {p} {c} each", " that cost {p} {c} each"))
    bought = series(
        [
            count(n, ware) + (each.format(p=price, c=coin) if n > 1 else f" for {price} {coin}")
            for ware, n, price in facts["lines"]
        ]
    )
    steps = [f"{n} x {price} = {n * price}" for _, n, price in facts["lines"]]
    cost = sum(n * price for _, n, price in facts["lines"])
    working = f"{'; '.join(steps)}. {draw.pick(('Together', 'In total', 'The sum is'))} {cost} {coin}."
    if facts["paid"]:
        answer = facts["paid"] - cost
        text = draw.say(
            """[{name} [buys|picks up|chooses] {bought}[. {They} [pays with|hands over]| and pays with]
                {paid} {coin}. [How much change does {they} get|How many {coin} should {they} get
                back|What is {their} change in {coin}]?|[How much change|How many {coin} in change]
                [will|should] {name} [get|receive] from {paid} {coin} after [buying|paying for]
                {bought}?|[at a market stall in {town}|at the till|in a small shop], {name} puts down
                {paid} {coin} for {bought}. [Work out|Calculate|Find] the change in {coin}.]""",
            bought=bought,
            paid=facts["paid"],
            coin=coin,
            town=draw.pick(TOWNS),
            They=who["they"].title(),
            **who,
        )
        working += f" {facts['paid']} - {cost} = {answer}."
        sentence = draw.say(
            "[{name} gets back|{their} change is|the change comes to] {answer} {coin}.",
            answer=answer,
            coin=coin,
            **who,
        )
    else:
        answer = cost
        text = draw.say(
            """[{name} [buys|orders|takes home] {bought}. [What is the total [cost|price] in {coin}|How
                many {coin} does {they} [spend|pay] [in all|altogether|]|What does {they} owe, in
                {coin}]?|[What would|How much does] it cost {name} to buy {bought}?|[add up|total] this
                [bill|receipt] for {name}: {bought}.|{name}'s [shopping list|order] [reads|says]:
                {bought}. How many {coin} [is that|will it come to]?]""",
            bought=bought,
            coin=coin,
            **who,
        )
        sentence = draw.say(
            "[{name} spends|the total is|{their} bill comes to|that makes] {answer} {coin}.",
            answer=answer,
            coin=coin,
            **who,
        )
    return Draft(text, str(answer), sentence=sentence, working=working, noun="number")


def _shopping_check(facts: Facts, response: str) -> bool:
    rest = facts["paid"]
    for _, number, price in facts["lines"]:
        for _ in range(number):
            rest -= price
    return says_number(response, abs(rest))


def _leftover_facts(draw: Draw) -> Facts:
    changes: list[int] = []
    stock = start = draw.integer(20, 160)
    for _ in range(draw.integer(2, 3)):
        change = -draw.integer(2, stock - 1) if draw.chance(0.6) and stock > 8 else draw.integer(3, 60)
        stock += change
        changes.append(change)
    return {
        "who": draw.pick(NAMES),
        "thing": draw.pick(THINGS + FOODS),
        "start": start,
        "changes": changes,
        "where": draw.pick(CONTAINERS),
    }


def _leftover_word(facts: Facts, draw: Draw) -> Draft:
    who = pronouns(facts["who"])
    friends = draw.some([name for name in NAMES if name != facts["who"]], 3)
    noun = plural(facts["thing"])
    moves = []
    for change, friend in zip(facts["changes"], friends, strict=False):
        size = abs(change)
        moves.append(
            draw.phrase(
                """[gives {n} [to {friend}|away]|sells {n} [of them|]|loses {n} [of them|on the way
                    home]|hands {n} over to {friend}]"""
                if change < 0
                else "[buys {n} more|receives {n} [more|] from {friend}|finds another {n}|wins {n} more]",
                n=size,
                friend=friend,
            )
        )
    story = draw.phrase(
        "[first|then|next] {moves}" if len(moves) == 1 else "{moves}",
        moves=", ".join(moves[:-1]) + draw.pick((" and then ", ", and finally ", " and ")) + moves[-1],
    )
    text = draw.say(
        """[{name} [has|keeps|starts the week with] {start} {noun} in a {where}. {They} {story}. [How
            many {noun} [are there now|does {they} have now|are left]|What number of {noun} does {they}
            end up with]?|[suppose|say|imagine] {name} [owns|has collected] {start} {noun}, {story}. [How
            many does {they} have [in the end|after that]?|Work out how many {they} has now.]|how many
            {noun} [does {name} have|will {name} be left with] if {they} starts with {start}, {story}?]""",
        start=facts["start"],
        noun=noun,
        where=facts["where"],
        story=story,
        They=who["they"].title(),
        **who,
    )
    running, steps = facts["start"], []
    for change in facts["changes"]:
        steps.append(f"{running} {'-' if change < 0 else '+'} {abs(change)} = {running + change}")
        running += change
    sentence = draw.say(
        "[{name} [now has|ends up with|is left with]|that leaves {them} with] {n}.",
        n=count(running, facts["thing"]),
        **who,
    )
    return Draft(text, str(running), sentence=sentence, working=", ".join(steps) + ".", noun="number")


def _leftover_check(facts: Facts, response: str) -> bool:
    return says_number(response, sum([facts["start"], *facts["changes"]]))


def _sharing_facts(draw: Draw) -> Facts:
    size = draw.integer(3, 12)
    return {
        "thing": draw.pick(FOODS + THINGS),
        "size": size,
        "total": draw.integer(size * 3, size * 16),
        "container": draw.pick(CONTAINERS),
        "ask": draw.pick(("each", "left", "needed")),
    }


def _sharing_word(facts: Facts, draw: Draw) -> Draft:
    total, size, noun, box = facts["total"], facts["size"], plural(facts["thing"]), facts["container"]
    quotient, rest = divmod(total, size)
    slots = {
        "total": total,
        "size": size,
        "noun": noun,
        "box": box,
        "boxes": plural(box),
        "name": draw.pick(NAMES),
        "town": draw.pick(TOWNS),
    }
    if facts["ask"] == "each":
        text = draw.say(
            """[[a teacher|{name}|the club in {town}] [shares|divides|splits] {total} {noun} equally
                among {size} [children|friends|people|visitors][, giving each as many as possible|, as
                many as will go round|]. How many [whole {noun}|{noun}] does each [one|person]
                [get|receive]?|{size} [people|neighbours|cousins] share {total} {noun} [fairly
                |equally][ and nobody cuts one up| without cutting any|, whole ones
            only]. [How many does each of them get|What is the largest number each can have
            |What does each one
            receive]?]""",
            **slots,
        )
        answer, working = (
            quotient,
            f"{total} / {size} = {quotient}" + (f" remainder {rest}." if rest else "."),
        )
        sentence = draw.say(
            "[each [of them|person] gets|everyone receives] {n}.", n=count(quotient, facts["thing"])
        )
    elif facts["ask"] == "left":
        text = draw.say(
            """[{name} [packs|puts] {total} {noun} into {boxes} of {size}. [How many {noun} are left
                over|What remains] when no more {boxes} can be filled?|if {total} {noun} are [dealt
                out|shared] equally among {size} [players|people], how many {noun} are left over?|what is
                left over when {size} friends from {town} share {total} {noun} equally?]""",
            **slots,
        )
        answer, working = (
            rest,
            f"{size} x {quotient} = {size * quotient} and {total} - {size * quotient} = {rest}.",
        )
        sentence = draw.say("[the number left over is|what remains is] {n}.", n=rest)
    else:
        text = draw.say(
            """[how many {boxes} does {name} need to [hold|store] {total} {noun} if [each|one] {box}
                [holds|takes] {size}?|[one|a] {box} has room for {size} {noun}. [How many {boxes} are
                needed for {total} {noun}|{name} has {total} {noun}. What is the smallest number of
                {boxes} that holds them all]?]""",
            **slots,
        )
        answer = -(-total // size)
        working = f"{total} / {size} is {quotient}" + (
            f" remainder {rest}, so one more {box} is needed: {answer}." if rest else " exactly."
        )
        sentence = draw.say("[{name} needs|it takes] {n}.", n=count(answer, box), name=slots["name"])
    return Draft(text, str(answer), sentence=sentence, working=working, noun="number")


def _sharing_check(facts: Facts, response: str) -> bool:
    left, groups = facts["total"], 0
    while left >= facts["size"]:
        left, groups = left - facts["size"], groups + 1
    expected = {"each": groups, "left": left, "needed": groups + (left > 0)}
    return says_number(response, expected[facts["ask"]])


TASKS = (
    Task("shopping_totals", "arithmetic", _shopping_facts, _shopping_word, _shopping_check),
    Task("stock_changes", "arithmetic", _leftover_facts, _leftover_word, _leftover_check),
    Task("equal_sharing", "arithmetic", _sharing_facts, _sharing_word, _sharing_check),
)
