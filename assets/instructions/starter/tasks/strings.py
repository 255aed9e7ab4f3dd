"""Words and letters: editing, counting, sorting, finding."""

from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Draft, Facts, Task, says, says_number
from assets.instructions.starter.vocabulary import CITIES, NAMES, PLAIN_WORDS
from assets.instructions.starter.wording import in_words, ordinal, series

EDITS = {
    "reverse": """[write|spell|type] {w} backwards.|reverse [the letters of|the word|] {w}.
        |what [do you get when you|is the result if you] [spell|read] {w} from right to left?
        |{name} holds {w} up to a mirror, so to speak: give its letters in the opposite order.""",
    "upper": """[write|put|print] {w} in [capitals|capital letters|upper case].|turn {w} into upper case.
        |how does {w} look in [all capitals|block letters]?
        |the [sign|label|heading] must be in capitals. What will it say for {w}?""",
    "no_vowels": """[drop|remove|delete|strip] [all|the] vowels from {w}.
        |what is left of {w} [without|once you remove] its vowels (a, e, i, o, u)?
        |{name} shortens words by leaving out every vowel. What becomes of {w}?""",
    "double": """[repeat|double] every letter of {w}.|write each letter of {w} twice[ in a row|].
        |[{name}'s|a] [faulty|broken|sticky] keyboard [types every letter twice
        |doubles each letter]. [What appears for {w}|What does {w} look like]?""",
    "hyphens": """[put|insert] a hyphen between [the letters|all letters] of {w}.|[spell
        |write] out {w} with hyphens
        between its letters.|how is {w} spelled out, letter by letter, with hyphens?""",
    "ends": """[give|write] the first and the last letter of {w}, [together|with nothing between them].
        |which two letters does {w} begin and end with? [Write them together.|Join them up.]
        |join the first letter of {w} to its last.""",
    "swap": """[swap|exchange] the first and [the|] last letters of {w}.
        |what does {w} become when its first and last letters change places?
        |in {name}'s [secret|private|] code [the outer two letters of a word trade places
        |a word's end letters change places]. [Encode {w}.|What is {w} in it?]""",
    "shift": """[move|shift] [every letter|each letter] of {w} [one place on
        |by one] in the alphabet ([a to b, z to a|z wraps to a]).
        |[encode|encrypt] {w} by replacing each letter with the next one of the alphabet; z becomes a.
        |{name}'s cipher [turns a into b, b into c and so on, z into a|uses the next letter each time, a
        after z]. [How is {w} written in it|What does {w} become]?""",
}


def _edited(word: str, edit: str) -> str:
    alphabet = "abcdefghijklmnopqrstuvwxyza"
    return {
        "reverse": lambda: word[::-1],
        "upper": word.upper,
        "no_vowels": lambda: "".join(letter for letter in word if letter not in "aeiou"),
        "double": lambda: "".join(letter * 2 for letter in word),
        "hyphens": lambda: "-".join(word),
        "ends": lambda: word[0] + word[-1],
        "swap": lambda: word[-1] + word[1:-1] + word[0],
        "shift": lambda: "".join(alphabet[alphabet.index(letter) + 1] for letter in word),
    }[edit]()


def _edit_facts(draw: Draw) -> Facts:
    return {"edit": draw.pick(tuple(EDITS)), "word": draw.pick(PLAIN_WORDS)}


def _edit_word(facts: Facts, draw: Draw) -> Draft:
    word = facts["word"]
    quoted = draw.pick((f'"{word}"', f"'{word}'", f'"{word}"'))
    text = draw.say(EDITS[facts["edit"]], w=quoted, name=draw.pick(NAMES))
    answer = _edited(word, facts["edit"])
    sentence = draw.say('[the result is|that gives|you get|{w} becomes] "{a}".', a=answer, w=f'"{word}"')
    return Draft(text, answer, sentence=sentence, noun="result")


def _edit_check(facts: Facts, response: str) -> bool:
    letters, edit = list(facts["word"]), facts["edit"]
    if edit == "reverse":
        letters.reverse()
    elif edit == "no_vowels":
        letters = [letter for letter in letters if not set(letter) & set("aeiou")]
    elif edit == "double":
        letters = [letter for letter in letters for _ in "12"]
    elif edit == "ends":
        letters = [letters[0], letters[-1]]
    elif edit == "swap":
        letters[0], letters[-1] = letters[-1], letters[0]
    elif edit == "shift":
        letters = [chr((ord(letter) - 96) % 26 + 97) for letter in letters]
    expected = ("-" if edit == "hyphens" else "").join(letters)
    if edit == "upper":
        return expected.upper() in response
    return says(response, expected)


def _counting_facts(draw: Draw) -> Facts:
    ask = draw.pick(("letter", "letters", "vowels", "words", "longer"))
    words = draw.some(
        PLAIN_WORDS + CITIES, draw.integer(1, 2) if ask in ("letter", "letters") else draw.integer(3, 8)
    )
    text = " ".join(words)
    letter = draw.pick(sorted(set(text.lower()) - {" "}))
    return {"ask": ask, "words": words, "letter": letter, "length": draw.integer(5, 7)}


def _counting_word(facts: Facts, draw: Draw) -> Draft:
    words, letter, ask = facts["words"], facts["letter"], facts["ask"]
    text, size = " ".join(words), facts["length"]
    slots = {"t": f'"{text}"', "letter": letter, "name": draw.pick(NAMES), "size": in_words(size)}
    template = {
        "letter": """[how many times does the letter {letter} [appear|occur] in {t}?
            |count the letter {letter} in {t}.|in {t}, how often do you [see|find] the letter {letter}?
            |{name} circles every {letter} in {t}. How many circles are drawn?]""",
        "letters": """how many letters are there in {t}?|[count|add up] the letters of {t}.
            |[give|state] the number of letters in {t}.|without counting spaces, how many letters has
            {t}?""",
        "vowels": """[how many vowels (a, e, i, o, u) [are there in|can you find in] {t}?
            |count the vowels in {t}.|{name} underlines each vowel in {t}. How many letters are
            underlined?]""",
        "words": """[how many words [are in|does {name} read in|make up] {t}?|count the words in {t}.
            |what is the word count of {t}?]""",
        "longer": """[how many of the words in {t} have more than {size} letters?
            |count the words with more than {size} letters in {t}.
            |{name} keeps only words of more than {size} letters. How many words of {t} stay?]""",
    }[ask]
    question = draw.say(template, **slots)
    if ask == "longer":
        answer = sum(len(word) > size for word in words)
        working = f"Word lengths: {', '.join(f'{word} {len(word)}' for word in words)}."
    elif ask == "words":
        answer, working = (
            len(words),
            " ".join(f"{word} ({place})" for place, word in enumerate(words, 1)) + ".",
        )
    else:
        wanted = {"letter": letter, "letters": "abcdefghijklmnopqrstuvwxyz", "vowels": "aeiou"}[ask]
        each = [(word, sum(one in wanted for one in word.lower())) for word in words]
        answer, working = sum(n for _, n in each), ", ".join(f"{word}: {n}" for word, n in each) + "."
    sentence = draw.say(
        "[there {are}|I count|the count is] {n}.", n=answer, are="is" if answer == 1 else "are"
    )
    return Draft(question, str(answer), sentence=sentence, working=working, noun="number")


def _counting_check(facts: Facts, response: str) -> bool:
    text = " ".join(facts["words"])
    expected = {
        "letter": lambda: text.lower().count(facts["letter"]),
        "letters": lambda: len(text.replace(" ", "")),
        "vowels": lambda: sum(text.lower().count(vowel) for vowel in "aeiou"),
        "words": lambda: text.count(" ") + 1,
        "longer": lambda: len([word for word in text.split() if word[facts["length"] :]]),
    }[facts["ask"]]()
    return says_number(response, expected)


def _sorting_facts(draw: Draw) -> Facts:
    numbers = draw.chance(0.4)
    size = draw.integer(4, 7)
    items = draw.some(
        [str(n) for n in range(2, 150)] if numbers else PLAIN_WORDS + [n.lower() for n in CITIES], size
    )
    return {
        "items": items,
        "by": draw.pick(("up", "down")) if numbers else draw.pick(("up", "up", "down", "length")),
    }


def _sorting_word(facts: Facts, draw: Draw) -> Draft:
    items, by = facts["items"], facts["by"]
    numbers = items[0].isdigit()
    if numbers:
        how = {
            "up": "[from smallest to largest|in ascending order|in increasing order|smallest first]",
            "down": "[from largest to smallest|in descending order|largest first|in decreasing order]",
        }[by]
    else:
        how = {
            "up": "[alphabetically|in alphabetical order|from A to Z|in dictionary order]",
            "down": "[in reverse alphabetical order|from Z to A|alphabetically but backwards]",
            "length": """[by length, shortest first, [ties in alphabetical order|equal lengths from A to Z]
                |from the shortest to the longest word, [equal lengths|ties] alphabetically]""",
        }[by]
    listed = draw.pick((", ", ", ", " ", "; ", " / ")).join(items)
    noun = "numbers" if numbers else "words"
    separate = draw.chance(0.4)
    tail = draw.phrase("[separated by commas|with commas between them|as a comma-separated list]")
    text = draw.say(
        f"""[[sort|order|arrange|rank] [these|the following] {noun} {how}[ {{tail}}|, {{tail}}]{{list}}
        |[put|place] [these|the] {noun} {how}{{list}}
        |[what is the right order of|how would you order] [these|the following] {noun} {how}{{q}}
        |{{name}} wants [these|the following] {noun} {how}[, {{tail}}|]{{list}}]""",
        tail=tail,
        list="." if separate else f": {listed}",
        q="?" if separate else f"? {listed}",
        name=draw.pick(NAMES),
    )
    if numbers:
        ordered = sorted(items, key=int, reverse=by == "down")
    else:
        ordered = sorted(
            items, key=(lambda word: (len(word), word)) if by == "length" else None, reverse=by == "down"
        )
    answer = ", ".join(ordered)
    return Draft(
        text,
        answer,
        input=listed if separate else "",
        noun="list",
        sentence=draw.say("[the order is|sorted, they are|in order]: {a}.", a=answer),
    )


def _sorting_check(facts: Facts, response: str) -> bool:
    items, by = list(facts["items"]), facts["by"]
    key = {True: lambda item: (int(item), ""), False: lambda item: (len(item) if by == "length" else 0, item)}
    placed: list[str] = []
    for item in items:  # insertion, so as not to lean on the sort that wrote the answer
        at = 0
        while at < len(placed) and key[items[0].isdigit()](placed[at]) < key[items[0].isdigit()](item):
            at += 1
        placed.insert(at, item)
    return says(response, ", ".join(placed[::-1] if by == "down" else placed))


def _position_facts(draw: Draw) -> Facts:
    size = draw.integer(4, 9)
    return {
        "words": draw.some(PLAIN_WORDS, size),
        "place": draw.integer(1, size),
        "end": draw.chance(0.4),
        "ask": draw.pick(("word", "letter", "initials", "position")),
    }


def _position_word(facts: Facts, draw: Draw) -> Draft:
    words, place, ask = facts["words"], facts["place"], facts["ask"]
    index = len(words) - place if facts["end"] else place - 1
    where = draw.pick(
        (f"{ordinal(place)} word from the end", f"word in place {place} counted from the end")
        if facts["end"]
        else (f"{ordinal(place)} word", f"word at position {place}")
    )
    slots = {
        "where": where,
        "list": draw.pick((", ", " ", " - ")).join(words),
        "w": f'"{words[index]}"',
        "name": draw.pick(NAMES),
    }
    text = draw.say(
        {
            "word": """[[what|which] is the {where} [of this list|here|in this line]? {=list}
                |{name} reads: {list}. What is the {where}?|[name|give|write down] the {where}: {list}]""",
            "letter": """[what is the last letter of the {where} [here|in this list]? {=list}
                |find the {where} and give its final letter: {list}|{=list}. With which letter does the
                {where} end?]""",
            "initials": """[what do the [first letters|initials] of these words [spell|make] [, in order
                |]? {=list}
                |[take|join] the first letter of each word: {list}|{name} makes an acronym of {list}. What
                is it?]""",
            "position": """[at which position is {w} in this list (counting from 1)? {=list}
                |{=list}. Counting from 1, where does {w} stand?|give the place of {w}, the first word
                being 1: {list}]""",
        }[ask],
        **slots,
    )
    answer = {
        "word": words[index],
        "letter": words[index][-1],
        "initials": "".join(word[0] for word in words),
        "position": str(index + 1),
    }[ask]
    working = f"The {slots['where']} is {words[index]}, which ends in {answer}." if ask == "letter" else ""
    return Draft(
        text,
        answer,
        sentence=draw.say("[it is|that is|the answer to this is] {a}.", a=answer),
        working=working,
        noun={"word": "word", "letter": "letter", "position": "number"}.get(ask, "letters"),
    )


def _position_check(facts: Facts, response: str) -> bool:
    row = facts["words"][::-1] if facts["end"] else facts["words"]
    word = row[facts["place"] - 1]
    expected = {
        "word": word,
        "letter": word[-1:],
        "position": str(facts["words"].index(word) + 1),
        "initials": series([one[:1] for one in facts["words"]]).replace(", ", "").replace(" and ", ""),
    }
    return says(response, expected[facts["ask"]])


TASKS = (
    Task("letter_edits", "strings", _edit_facts, _edit_word, _edit_check),
    Task("counting_text", "strings", _counting_facts, _counting_word, _counting_check),
    Task("sorting", "strings", _sorting_facts, _sorting_word, _sorting_check),
    Task("positions", "strings", _position_facts, _position_word, _position_check),
)
