"""Sentiment, topic, intent and tone of short texts that are put together from parts."""

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says_one_of
from assets.instructions.starter.vocabulary import EVENTS, FOODS, JOBS, NAMES, TOWNS, WARES, WEEKDAYS
from assets.instructions.starter.wording import plural, series

SENTIMENT = {
    "positive": """[[the|this|my new] {ware} [works perfectly|is a joy to use|is better than I hoped]
        |the {food} [was|were all]
        [delicious|wonderful|cooked just right]|everyone at the {place} was [kind|charming|helpful]
        |[I will|we shall] gladly
        come back [on {day}|]|I am [delighted|thrilled] with [this|the] {ware}
        |{name} could not stop praising the {place}]""",
    "negative": """[[the|this|my new] {ware} [broke after a day|is useless|fell apart]|the {food} [was
        |tasted] [stale|awful|burnt]
        |everyone at the {place} was [rude|careless|unfriendly]|[I want|we want] our money back [by {day}|]
        |I am [disappointed|furious] about [this|the] {ware}|{name} regrets ever going to the {place}]""",
    "neutral": """[[the|this] {ware} comes in two sizes|the {food} is served [on {day}|at noon]
        |the {place} [opens|closes] at [six|nine]
        |[the|our] order [was placed|is due] on {day}|there is [a|one] {ware} on the counter
        |{name} walked past the {place} on {day}]""",
}
PLACES = (
    "hotel",
    "clinic",
    "bakery",
    "museum",
    "garage",
    "library",
    "café",
    "gym",
    "campsite",
    "theatre",
    "bank",
    "school",
)
TOPICS = {
    "sports": """[{name} scored [twice|the winning goal] for {town}|the {town} rowers [won|lost] the final
        |the coach dropped {name}
        before the match|fans in {town} cheered as the runners crossed the line
        |the referee stopped play after {n} minutes]""",
    "finance": """[the bank in {town} [cut|raised] its lending rate|shares in the {ware} maker fell by {n}
        per cent|{name} refinanced
        the mortgage|investors [sold|bought] bonds worth {n} million|the pension fund of {town} reported a
        loss]""",
    "weather": """[heavy rain [flooded|is expected in] {town}|a cold front reaches {town} by {day}
        |fog closed the pass above {town}
        |temperatures climbed to {n} degrees|a storm with gusts of {n} knots hit {town}]""",
    "health": """[the clinic in {town} [treated|vaccinated] {n} patients|doctors [told
        |advised] {name} to rest the knee
        |a new drug lowered blood pressure|{name} recovered from surgery
        |the hospital opened a ward with {n} beds]""",
    "technology": """[the start-up in {town} released a faster chip|{name} patched a bug in the app
        |engineers trained a robot
        to sort {foods}|the phone's battery lasts {n} hours|a server outage hit {town}]""",
    "food": """[the chef added [{foods}|roasted {foods}] to the menu|{name} baked bread with {foods}
        |a street kitchen in {town} serves {foods}
        |simmer the {foods} for {n} minutes|the tasting in {town} paired cheese with {foods}]""",
}
INTENTS = {
    "cancel": """[please cancel|I no longer need|call off|take me off the list for] [my
        |the] {thing}[ on {day}|]""",
    "book": """[please [book|reserve]|can I get a place for|sign me up for|I'd like to arrange] [a
        |one] {thing}[
        on {day}| for {name}|]""",
    "reschedule": """[can we move|please shift|could you postpone|I have to change the date of] [my
        |the] {thing} [to
        {day}|to another day]""",
    "complain": """[I am unhappy with|nobody turned up for|I was overcharged for
        |it is a disgrace how you ran]
        [my|the] {thing}[ on {day}|]""",
    "ask": "[when does|where is|how long does|what does it cost to join] the {thing}",
    "thank": """[thanks a lot for|thank you for organising|I really appreciated|much obliged for] [my|the]
        {thing}[ on {day}|]""",
}
TAILS = {"when does": " start", "how long does": " take"}


def _slots(draw: Draw) -> dict[str, object]:
    return {
        "ware": draw.pick(WARES),
        "food": draw.pick(("soup", "fish", "bread", "rice", "pasta", "stew", "curry", "cake", "salad")),
        "foods": plural(draw.pick(FOODS)),
        "place": draw.pick(PLACES),
        "day": draw.pick(WEEKDAYS),
        "name": draw.pick(NAMES),
        "town": draw.pick(TOWNS),
        "n": draw.integer(3, 60),
        "thing": draw.pick(EVENTS),
    }


def _labelled(kind: str, templates: dict[str, str]) -> Task:
    """The task of naming which of `templates` (label -> sentences) a text was made from."""
    asks = {
        "sentiment": ("the sentiment of this", "the mood of this", "the overall feeling of the"),
        "topic": ("the topic of this", "the subject of the", "the right section for this"),
        "intent": ("the intent of this", "the purpose of the", "the kind of request in this"),
    }[kind]
    nouns = {
        "sentiment": ("review", "comment", "remark"),
        "topic": ("headline", "news item", "sentence"),
        "intent": ("message", "customer message", "e-mail"),
    }[kind]

    def facts(draw: Draw) -> Facts:
        label = draw.pick(tuple(templates))
        parts = 1 if kind == "intent" else draw.integer(1, 2)
        sentences: list[str] = []
        while len(sentences) < parts:
            sentence = draw.phrase(templates[label], **_slots(draw))
            start = next((start for start in TAILS if sentence.startswith(start)), None)
            sentence += TAILS[start] if start and kind == "intent" else ""
            mark = "?" if sentence.startswith(("when", "where", "how", "what", "can", "could")) else "."
            sentences.append(sentence[0].upper() + sentence[1:] + mark)
        text = " ".join(sentences).replace("reserve a a", "reserve a")
        if kind == "intent":
            text = draw.pick(("", "Hello. ", "Good morning. ", f"Hi, it's {draw.pick(NAMES)} here. ")) + text
        return {"label": label, "text": text, "options": draw.shuffled(tuple(templates))}

    def word(facts: Facts, draw: Draw) -> Draft:
        options = facts["options"]
        slots = {
            "noun": draw.pick(nouns),
            "ask": draw.pick(asks),
            "o": series(options, "or"),
            "l": ", ".join(options),
            "name": draw.pick(NAMES),
            "job": draw.pick(JOBS),
        }
        order = draw.say(
            """[[classify|label|tag] [this|the following] {noun} as {o}|[decide|tell me
                |name] {ask} {noun}: {o}
            |choose one [label|category] for the {noun}: {l}|[which of these fits
            |which label fits] the {noun}: {o}?
            |{name} sorts incoming texts into {l}. Where does this {noun} go?|what is {ask} {noun}: {o}?
            |{o}: [which one is|what would {name} call] this {noun}?]""",
            **slots,
        )
        order = order if order.endswith("?") else order + "."
        sentence = draw.say(
            "[the label is|I would call it|this one goes under|my choice is] {a}.", a=facts["label"]
        )
        if kind == "sentiment" and draw.chance(0.5):
            sentence = f"The {slots['noun']} is {facts['label']}."
        if draw.chance(0.5):
            return Draft(order, facts["label"], input=facts["text"], sentence=sentence, noun="label")
        quoted = draw.pick((f'"{facts["text"]}"', facts["text"], f"Text: {facts['text']}"))
        text = draw.pick(
            (f"{order}\n{quoted}", f"{quoted}\n{order}", f"{order} {quoted}", f"{quoted}\n\n{order}")
        )
        return Draft(text, facts["label"], sentence=sentence, noun="label")

    def check(facts: Facts, response: str) -> bool:
        return says_one_of(response, CUES[kind](facts["text"]), tuple(templates))

    return Task(f"{kind}_labels", "classification", facts, word, check)


def _best(cues: dict[str, str], text: str) -> str:
    """The label with the most cue words in the text: a second way to the label."""
    low = text.lower()
    return max(cues, key=lambda label: sum(cue in low for cue in cues[label].split("|")))


CUES = {
    "sentiment": lambda text: _best(
        {
            "positive": "perfectly|joy|better than|delicious|wonderful|just right|kind|charming|helpful"
            "|gladly|delighted|"
            "thrilled|praising",
            "negative": "broke|useless|fell apart|stale|awful|burnt|rude|careless|unfriendly|money back"
            "|disappointed|furious|"
            "regrets",
            "neutral": "two sizes|is served|opens|closes|order |counter|walked past",
        },
        text,
    ),
    "topic": lambda text: _best(
        {
            "sports": "scored|rowers|the coach|fans|referee",
            "finance": "bank in|shares|mortgage|bonds|pension",
            "weather": "heavy rain|cold front|fog closed|temperatures|storm",
            "health": "the clinic|doctors|drug|surgery|hospital",
            "technology": "faster chip|a bug|robot|battery|server",
            "food": "chef|baked|kitchen|simmer|tasting",
        },
        text,
    ),
    "intent": lambda text: _best(
        {
            "cancel": "cancel|no longer|call off|off the list",
            "book": "book a|book one|reserve|place for|sign me|arrange",
            "reschedule": "we move|shift|postpone|change the date",
            "thank": "thanks|thank you|appreciated|obliged",
            "complain": "unhappy|nobody|overcharged|disgrace",
            "ask": "when does|where is|how long|cost to",
        },
        text,
    ),
}

TASKS = (
    _labelled("sentiment", SENTIMENT),
    _labelled("topic", TOPICS),
    _labelled("intent", INTENTS),
)
