"""Hostile input by the hundred thousand: made from a seed and a number, so that any one of them can be made again."""

import io
import json
import os
import random
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

SEED = int(os.environ.get("SULTANA_FUZZ_SEED", "8"))
SLOWEST_SECONDS = 1.0
SLOWEST_SECONDS_A_BYTE = 1e-5
"""What a large input may take instead: 250 KB can be 83,000 bad rows, each a record with its reason."""

TOKENS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xc0\xaf",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"NaN", b"-Infinity", b"1e999", b"9" * 30, b"-0", b"null", b"true",
    b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", " \u2028\u0085\u202e\u200b\ufeff".encode(),
    "\U000e0041\ufdfa\u3000".encode(), b'"instruction":', b'"output":', b'"messages":', b'"role":"system"',
    b"<|im_start|>", b"</s>", b"[INST]", b"### Response:", b"####", b"#### 1,000", b"  ", b"\t", b";", b"=1+1",
    b'{"Definition": "x", "Instances": [', b'{"input": "a", "output": ["b"]}', b"PAR1", b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b'""', b"'", b"//", b"1" * 20,
]  # fmt: skip
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        27,
        2**63 - 1,
        -(2**63),
        2**64 - 1,
        0.5,
        1e308,
        "",
        " ",
        "a",
        "\u200b",
        "\0",
        "user",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        ["a"],
        ["a", "b"],
        [["a", "b"]],
        {"a": 1},
        {"role": "user"},
        {"from": "gpt"},
        [0] * 30,
    ),
    *(
        ["x"] * 30,
        "#### 5\n#### x" + " " * 25_000 + "y",
        "\ufdfa" * 500,
        "[INST]",
        "a" * 5000,
        [{}],
        {"text": ["a"]},
    ),
]
ROWS: list[dict[str, Any]] = [
    {"instruction": "Add 2 and 3.", "input": "", "output": "5"},
    {"instruction": "a", "input": "b", "output": "c", "system": "d", "history": [["e", "f"]], "task": "g"},
    {"prompt": "a", "completion": "b", "license": "MIT", "category": ["x"]},
    {"question": "a", "answer": "b\n#### 1,000"},
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "model", "content": "b"},
        ]
    },
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"},
    {"definition": ["a"], "input": "b", "output": ["c", "d"]},
    {"question": "a", "choices": ["b", "c"], "answer": 1},
    {"question": {"stem": "a", "choices": [{"label": "A", "text": "b"}]}, "answerKey": "A"},
    {"question": "a", "choices": {"label": ["A", "B"], "text": ["b", "c"]}, "answerKey": "B"},
    {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
    {"text": "a", "code": "b", "score": 4.5, "nested": {"deep": [[{"x": [1, 2.5, None]}]]}},
]
LINES = [orjson.dumps(row) for row in ROWS]


def drawn(number: int) -> random.Random:
    """The draws of one input."""
    return random.Random((SEED << 40) + number)


def mangled(draw: random.Random, content: bytes, most: int) -> bytes:
    """`content` after one to four faults, at most `most` bytes of it."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        place = draw.randrange(len(data) + 1)
        other = draw.randrange(len(data) + 1)
        first, last = min(place, other), max(place, other)
        match draw.randrange(8):
            case 0:
                if data:
                    data[place % len(data)] ^= 1 << draw.randrange(8)
            case 1:
                data[place:place] = draw.choice(TOKENS)
            case 2:
                data[first : first + draw.randrange(1, 9)] = draw.choice(TOKENS)
            case 3:
                del data[first:last]
            case 4:
                data[place:place] = data[first:last]
            case 5:
                del data[place:]
            case 6:
                line = draw.choice(LINES)
                data[place:] = line[draw.randrange(len(line)) :]
            case _:
                if draw.random() < 0.02:
                    # What takes time with the square of a length shows only in long ones.
                    part = bytes(data[first : first + draw.randrange(1, 5)]) or draw.choice(TOKENS)
                    data[place:place] = part * (draw.choice((2_000, 20_000, most)) // len(part))
                else:
                    data[place:place] = bytes(data[first : first + 6]) * draw.randrange(1, 40)
    return bytes(data[:most])


def changed_values(draw: random.Random) -> dict[str, Any]:
    """A row of some shape, one to three values of which are others, gone, or under another name."""
    found: dict[str, Any] = orjson.loads(draw.choice(LINES))
    for _ in range(draw.choice((1, 1, 2, 3))):
        holder: Any = found
        while True:
            inner = holder.values() if isinstance(holder, dict) else holder
            deeper = [one for one in inner if isinstance(one, dict | list) and one]
            if not deeper or draw.random() < 0.4:
                break
            holder = draw.choice(deeper)
        if not holder:
            continue
        key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
        match draw.randrange(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[draw.choice(list(draw.choice(ROWS)))] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder *= draw.choice((0, 2, 30))
            case _:
                holder[key] = draw.choice(VALUES)
    return found


def line(number: int, most: int) -> bytes:
    """One hostile row of JSON Lines."""
    draw = drawn(number)
    if draw.random() < 0.4:
        try:
            return orjson.dumps(changed_values(draw))[:most]
        except TypeError:  # an integer beyond 64 bits
            return json.dumps(changed_values(draw)).encode()[:most]
    return mangled(draw, draw.choice(LINES), most).replace(b"\n", b" ")


def _table(draw: random.Random, rows: int) -> pa.Table:
    texts = [
        draw.choice(("a", "b", "", None, "\0", "\u202e", "x" * 3_000, str(draw.choice(VALUES))))
        for _ in range(rows)
    ]
    # Types are given: left to infer them from odd values, Arrow 25 can end the process.
    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    first, name = draw.choice(
        (
            (pa.array(texts, pa.string()), draw.choice(("instruction", "prompt", "question", "x"))),
            (pa.array(texts, pa.large_string()), "prompt"),
            (pa.array([[{"role": "user", "content": one}] * 2 for one in texts], turns), "messages"),
            (pa.array([[one] for one in texts], pa.list_(pa.string())), "definition"),
            (pa.array(range(rows), pa.int64()), "prompt"),
        )
    )
    columns = {name: first, "output": pa.array(texts[::-1], pa.string())}
    if draw.random() < 0.3:
        columns["output"] = columns["output"].dictionary_encode()
    if draw.random() < 0.3:
        columns["y"] = pa.array([draw.randbytes(3) for _ in range(rows)], pa.binary()).view(pa.string())
    return pa.table(columns)


def _parquet(draw: random.Random) -> bytes:
    packing = draw.choice(("snappy", "gzip", "zstd", "none"))
    for table in (_table(draw, draw.randrange(20)), pa.table({"prompt": ["a"], "completion": ["b"]})):
        sink = io.BytesIO()
        try:
            pq.write_table(table, sink, compression=packing)
            break
        except pa.ArrowException:  # not every table can be written
            continue
    return sink.getvalue()


def _csv(draw: random.Random, comma: bytes) -> bytes:
    texts = [b"a", b"b c", b'"d, e"', b'"f ""g"""', b'"h\ni"', b"", b'"', b"\xff", b"=1+1", b"x" * 400]
    rows = [comma.join(draw.choice(texts) for _ in range(draw.choice((2, 2, 2, 3)))) for _ in range(5)]
    end = draw.choice((b"\n", b"\r\n"))
    return (
        draw.choice((b"instruction,output", b"prompt,completion", b"a,b")).replace(b",", comma)
        + end
        + end.join(rows)
    )


def file(number: int, most: int) -> tuple[str, bytes]:
    """(name, content) of one hostile file, of some format, packed or not."""
    draw = drawn(number)
    rows = [draw.choice(LINES) for _ in range(draw.randrange(1, 6))]
    kind = draw.choice(("jsonl", "json", "task.json", "csv", "tsv", "parquet", "rows"))
    match kind:
        case "json":
            content = b"[" + b",".join(rows) + b"]"
        case "task.json":
            content = (
                b'{"Definition": ["a"], "Instances": [' + b",".join(rows) + b'], "Instance License": ["MIT"]}'
            )
        case "csv" | "tsv":
            content = _csv(draw, b"," if kind == "csv" else b"\t")
        case "parquet":
            content = _parquet(draw)
        case _:
            content = draw.choice((b"\n", b"\r\n")).join(rows)
    if draw.random() < 0.8:
        content = mangled(draw, content, most)
    packed = draw.random()
    if packed < 0.15:
        kind += ".gz"
        pack = zlib.compressobj(wbits=31)
        content = pack.compress(content) + pack.flush()
    elif packed < 0.3:
        kind += ".zst"
        content = bytes(pa.compress(content, "zstd", asbytes=True))
    if packed < 0.3 and draw.random() < 0.6:
        content = mangled(draw, content, most)
    return f"a.{kind}" if kind != "rows" else kind, content


def try_each(
    numbers: range,
    make: Callable[[int], Any],
    check: Callable[[Any], None],
    save: Callable[[int, Any], Path],
) -> Iterator[str]:
    """What is wrong, input by input: an exception that got through, a broken invariant, too long a computation."""
    for number in numbers:
        made = make(number)
        begun = time.thread_time()
        try:
            check(made)
            wrong = ""
        except Exception as error:  # noqa: BLE001 - whatever gets through is the finding
            wrong = f"{type(error).__name__}: {error}"
        seconds = time.thread_time() - begun
        size = len(made if isinstance(made, bytes) else made[1])
        if seconds > max(SLOWEST_SECONDS, size * SLOWEST_SECONDS_A_BYTE):
            wrong = wrong or f"took {seconds:.1f} s"
        if wrong:
            yield f"seed {SEED}, input {number}: {wrong[:300]} (kept as {save(number, made)})"
