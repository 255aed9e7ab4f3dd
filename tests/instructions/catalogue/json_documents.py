"""JSON arrays, single objects and Super-NaturalInstructions task documents."""

import orjson

from tests.instructions.catalogue.case import GOOD, Case, row

JSON = [
    Case("array", "a.json", b"[" + GOOD + b"," + GOOD + b"]", ["ok", "ok"]),
    Case("array in .jsonl", "a.jsonl", b"[\n" + GOOD + b",\n" + GOOD + b"]\n", ["ok", "ok"]),
    Case("array of lines", "a.json", b"[\n" + GOOD.strip() + b",\n" + GOOD + b"]", ["ok", "ok"]),
    Case(
        "pretty array",
        "a.json",
        orjson.dumps([orjson.loads(GOOD)] * 3, option=orjson.OPT_INDENT_2),
        ["ok"] * 3,
    ),
    Case("array with bom", "a.json", b"\xef\xbb\xbf [" + GOOD + b"]", ["ok"]),
    Case("lines in .json", "a.json", GOOD * 2, ["ok", "ok"]),
    Case("lines in .json, first broken", "a.json", b'{"instruction": "a\n' + GOOD, ["not_json", "ok"]),
    Case("one object", "a.json", GOOD, ["ok"]),
    Case("one pretty object", "a.json", orjson.dumps(orjson.loads(GOOD), option=orjson.OPT_INDENT_2), ["ok"]),
    Case("empty array", "a.json", b"[ ]", "has no rows"),
    Case("array not closed", "a.json", b"[" + GOOD + b"," + GOOD, ["ok", "ends_mid_row"]),
    Case("array cut in a row", "a.json", b"[" + GOOD + b"," + GOOD[:30], ["ok", "ends_mid_row"]),
    Case("array cut after a comma", "a.json", b"[" + GOOD + b",", ["ok", "ends_mid_row"]),
    Case("text after the array", "a.json", b"[" + GOOD + b"]\n\nx", ["ok", "trailing_data"]),
    Case("two arrays", "a.json", b"[\n" + GOOD + b"][" + GOOD + b"]", ["ok", "trailing_data"]),
    Case(
        "missing comma",
        "a.json",
        b"[" + GOOD.strip() + b" " + GOOD.strip() + b"," + GOOD + b"]",
        ["trailing_data", "ok"],
    ),
    Case("trailing comma", "a.json", b"[" + GOOD + b",]", ["ok", "not_json"]),
    Case("two commas", "a.json", b"[" + GOOD + b",," + GOOD + b"]", ["ok", "not_json", "ok"]),
    Case("wrong brackets", "a.json", b'[{"instruction": "a"], ' + GOOD + b"]", ["not_json", "ok"]),
    Case("array of texts", "a.json", b'["a", 1, ' + GOOD + b"]", ["not_an_object", "not_an_object", "ok"]),
    Case(
        "duplicate key in array",
        "a.json",
        b'[{"prompt": "a", "completion": "b", "prompt": "c"}]',
        ["duplicate_key"],
    ),
    Case(
        "element too long",
        "a.json",
        b"[" + row(instruction="a", output="b" * 9000) + b"," + GOOD + b"]",
        ["line_too_long", "ok"],
    ),
    Case(
        "commas and brackets in text",
        "a.json",
        b"[" + row(instruction='],[{"\\', output='a"],\\"') + b"]",
        ["ok"],
    ),
    Case("no suffix, array", "rows", b"[" + GOOD + b"]", ["ok"]),
    Case("no suffix, lines", "rows", GOOD * 2, ["ok", "ok"]),
    Case("no suffix, prose", "rows", b"instruction,output\na,b\n", "format"),
    Case("no suffix, format set", "rows", b"instruction,output\na,b\n", ["ok"], format="csv"),
    Case("wrong format set", "a.jsonl", GOOD, "not a Parquet file", format="parquet"),
    Case("object with other content", "a.json", b'{\n"data": [\n' + GOOD + b"]}", ["unknown_shape"]),
    Case(
        "large object with other content",
        "a.json",
        b'{\n"data": [\n' + GOOD.strip() * 200 + b"]}",
        "no task document",
    ),
]
TASK = {
    "Definition": ["Say it back."],
    "Positive Examples": [{"input": "x", "output": "y"}],
    "Instance License": ["MIT"],
}
DOCUMENTS = [
    Case(
        "task",
        "t.json",
        row(**TASK, Instances=[{"id": "1", "input": "a", "output": ["b", "c"]}] * 2),
        ["ok", "ok"],
    ),
    Case(
        "task, instance without output", "t.json", row(**TASK, Instances=[{"input": "a"}]), ["missing_field"]
    ),
    Case(
        "task, empty outputs",
        "t.json",
        row(**TASK, Instances=[{"input": "a", "output": []}]),
        ["empty_response"],
    ),
    Case("task, no instances", "t.json", row(**TASK, Instances=[]), "has no rows"),
    Case("task, no definition", "t.json", row(Instances=[{"input": "a", "output": "b"}]), "no Definition"),
    Case(
        "task, definition twice",
        "t.json",
        b'{"Definition": "a", "Definition": "b", "Instances": [{"input": "a", "output": "b"}]}',
        "given twice",
    ),
    Case(
        "task, truncated",
        "t.json",
        row(**TASK, Instances=[{"input": "a", "output": "b"}] * 3)[:-20],
        ["ok", "ok", "ends_mid_row"],
    ),
    Case(
        "task, end missing",
        "t.json",
        row(**TASK, Instances=[{"input": "a", "output": "b"}])[:-1],
        ["ok", "ends_mid_row"],
    ),
]
