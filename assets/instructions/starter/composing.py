"""From a drawn exercise to a row: register, response style, turns."""

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Check, Draft, Row, Task
from assets.instructions.starter.wording import listed

OPENINGS = listed(
    "Hi! |Hello! |Quick question: |Please help me with this. |One for you: |Small task: "
    "|I'm stuck here. |A puzzle: |"
    "Could you look at this? |From my homework: |Next item. |Hey! |Good morning. |I need this for work. "
    "|Exercise: |"
    "My daughter asked me this. |Help me check something. |No hurry, but: |For a quiz: |Task: "
    "|Sorry to bother you. |"
    "Dear assistant,\n|Question: |This came up at lunch. ",
    "|",
)
CLOSINGS = listed(
    "Thanks!|Thank you.|Thanks in advance.|Much appreciated.|I'm curious.|That's all.|Cheers."
    "|Take your time.|"
    "It's for a friend.|I keep getting it wrong.|Be careful.|Many thanks.",
    "|",
)
HINTS = {
    "bare": """[just|only] the {noun}[, please|].|[reply|answer|respond] with the {noun} [only|alone
        |and nothing else].
        |[give|state] [only|just] the {noun}.|keep it short: the {noun}.|no explanation[, please|].
        |I only need the {noun}.""",
    "sentence": """[answer|reply] in [a|one] [full|complete] sentence.|[use|write] [a|one] short sentence.
        |a one-sentence answer will do.|please answer in a sentence.""",
    "worked": """show [your|the] [working|steps].|explain [briefly|how you get there].|[think it through
        |go step by step].
        |[include|give] [a short|the] reason.|how do you get there?""",
}
CLOSES = (
    "The answer is {a}.",
    "So the answer is {a}.",
    "Answer: {a}",
    "The answer is {a}.",
    "Hence: {a}",
    "So: {a}",
)
SYSTEMS = listed(
    "You are a concise assistant.|Answer politely and briefly.|You help with everyday tasks."
    "|You are a patient tutor.|"
    "Follow the instruction exactly.|You are a careful clerk.",
    "|",
)
READY = listed(
    "Of course, go ahead.|Sure, what is it?|Certainly. Please send it.|Happy to help. What do you need?"
    "|Yes, tell me more.",
    "|",
)
ASIDE = listed(
    "Can you help me with something?|I have a question about {f}.|Are you good at {f}?"
    "|May I ask you something?|"
    "I need a hand with {f}.|Do you have a minute for some {f}?|Let's do some {f}.",
    "|",
)
FIELD_OF = {
    "arithmetic": "arithmetic",
    "measures": "units and dates",
    "strings": "word games",
    "lists": "lists",
    "look-up": "look-ups",
    "extraction": "data entry",
    "classification": "labelling",
    "rewriting": "rewriting",
    "grammar": "grammar",
    "logic": "logic",
    "planning": "planning",
    "constraints": "writing",
    "code": "Python",
}
NEXT = listed(
    "Now this one.|Another one:|And this?|Thanks. Next:|Good. Here is the next one.|Right, one more.", "|"
)
SHORTER = listed(
    "Just the result, please.|Can you repeat only the answer?|Only the answer, without the rest."
    "|Shorter, please.|"
    "And in short?|Give me the final answer alone.",
    "|",
)
LONGER = listed(
    "How did you get that?|Why?|Can you explain?|Please show the steps.|And how does one see that?"
    "|Are you sure? Explain.",
    "|",
)


def joined(instruction: str, text: str) -> str:
    """The prompt of an instruction and its input: a blank line between them."""
    return f"{instruction}\n\n{text}" if text else instruction


def _worked(draft: Draft, draw: Draw) -> str:
    joint = "\n" if draw.chance(0.35) else " "
    close = draw.pick(CLOSES)
    return f"{draft.working}{joint if len(draft.answer) < 60 else chr(10)}{close.format(a=draft.answer)}"


def _styled(draft: Draft, draw: Draw) -> tuple[str, str]:
    """The response style, and the response in it."""
    weights = {
        "bare": 0.45,
        "sentence": 0.3 if draft.sentence else 0.0,
        "worked": 0.3 if draft.working else 0.0,
    }
    style = draw.weighted(weights)
    if style == "worked":
        return style, _worked(draft, draw)
    return style, draft.sentence if style == "sentence" else draft.answer


def _joint(text: str) -> str:
    return " " if text[-1] in ".?!" and "\n" not in text else "\n"


def _request(draft: Draft, style: str, task: Task, draw: Draw) -> str:
    """The instruction with a hint at the style, an opening and a closing, where they are drawn."""
    text = draft.instruction
    if not task.open_ended and style != draft.noun and draw.chance(0.6 if style == "worked" else 0.4):
        text += _joint(text) + draw.say(HINTS[style], noun=draft.noun)
    if draw.chance(0.22):
        opening = draw.pick(OPENINGS)
        text = f"{opening.rstrip()}\n{text}" if text.startswith(("```", "|", "def ")) else opening + text
    if draw.chance(0.12):
        text += _joint(text) + draw.pick(CLOSINGS)
    return text


def training_row(task: Task, draw: Draw) -> Row:
    """A row for training; about one in fourteen has several turns."""
    facts = task.facts(draw)
    draft = task.word(facts, draw)
    style, response = _styled(draft, draw)
    request = _request(draft, style, task, draw)
    check = Check(1, task.name, facts)
    answer = None if task.open_ended else draft.answer
    if draw.chance(0.93):
        turns = (("user", joined(request, draft.input)), ("assistant", response))
        system = draw.chance(0.06)
        if system:
            return Row(
                task.name, (("system", draw.pick(SYSTEMS)), *turns), answer, (Check(2, task.name, facts),)
            )
        return Row(task.name, turns, answer, (check,), instruction=request, input=draft.input)
    prompt = joined(draft.instruction, draft.input)
    kind = draw.pick(("ready", "next", "follow"))
    if kind == "follow" and draft.working:
        first, second, ask = (
            (draft.answer, _worked(draft, draw), LONGER)
            if draw.chance(0.5)
            else (_worked(draft, draw), draft.answer, SHORTER)
        )
        turns4 = (("user", prompt), ("assistant", first), ("user", draw.pick(ask)), ("assistant", second))
        return Row(task.name, turns4, answer, (check, Check(3, task.name, facts)))
    if kind == "next":
        other = task.facts(draw)
        later = task.word(other, draw)
        turns4 = (
            ("user", prompt),
            ("assistant", response),
            ("user", f"{draw.pick(NEXT)}\n{joined(later.instruction, later.input)}"),
            ("assistant", _styled(later, draw)[1]),
        )
        last = None if task.open_ended else later.answer
        return Row(task.name, turns4, last, (check, Check(3, task.name, other)))
    aside = draw.pick(ASIDE).format(f=FIELD_OF[task.family])
    turns4 = (("user", aside), ("assistant", draw.pick(READY)), ("user", prompt), ("assistant", response))
    return Row(task.name, turns4, answer, (Check(3, task.name, facts),))


def benchmark_row(task: Task, draw: Draw) -> Row:
    """A single-turn row whose response ends with its short answer, character by character."""
    facts = task.facts(draw)
    draft = task.word(facts, draw)
    style, response = _styled(draft, draw)
    if not response.endswith(draft.answer):
        response = response.removesuffix(".")
        if not response.endswith(draft.answer):
            style, response = "bare", draft.answer
    request = _request(draft, style, task, draw)
    return Row(
        task.name,
        (("user", joined(request, draft.input)), ("assistant", response)),
        None if task.open_ended else draft.answer,
        (Check(1, task.name, facts),),
        request,
        draft.input,
    )
