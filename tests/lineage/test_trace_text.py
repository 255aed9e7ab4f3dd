"""`sultana trace --text`: rows found by what they say, exactly and nearly, and the trace of one of them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from test_audit_commands import printed, table
from typer.testing import CliRunner

from assets.instructions.text import conversation_text
from assets.lineage.audit.forward import fate
from assets.lineage.audit.matching import search, sought
from assets.records import RAW_INSTRUCTIONS
from orchestration.cli import app
from orchestration.text_tracing import trace_text
from orchestration.trace_shown import show_trace
from orchestration.tracing import trace
from resources import table_indices
from resources.errors import SultanaError
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables


@pytest.fixture
def data(registered_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SULTANA_DATA", str(registered_data))
    return registered_data


@pytest.fixture
def chosen(data: Path) -> dict[str, Any]:
    """A raw row that the registered model was trained on as it is."""
    ledger = table(data, "curriculum", partition="0|random")
    ids = {row["row_id"] for row in ledger if row["kind"] == "original"}
    raw = table(data, "raw_instructions")
    return next(
        row for row in raw if row["instruction_id"] in ids and len(row["messages"][-1]["content"]) > 40
    )


def test_a_response_leads_to_the_steps_that_trained_on_it(data: Path, chosen: dict[str, Any]) -> None:
    found = trace_text(chosen["messages"][-1]["content"] + "\r\n")
    first = found["matches"][0]
    assert first["exact"] and first["jaccard"] == 1.0 and -1 <= first["cosine"] <= 1.0
    assert found["picked"] == 1 and found["asked"] == first["id"]
    assert found["searched"]["words"] == "every row read" and "every vector" in found["searched"]["vectors"]
    by_id = trace(chosen["instruction_id"])
    ours = next(one for one in found["matches"] if one["id"] == chosen["instruction_id"])
    assert ours["exact"] and ours["part"] == "response"
    picked = trace_text(chosen["messages"][-1]["content"], ours["number"])
    assert {name: picked[name] for name in by_id if name != "asked"} == {
        name: by_id[name] for name in by_id if name != "asked"
    }
    (model,) = picked["models"]
    for use in model["uses"]:
        assert use["learning_rate"] > 0 and use["in_weights"]
        assert use["loss_weight"] == use["weight"] * use["share"]
    assert model["weight"] == pytest.approx(sum(one["loss_weight"] for one in picked["chosen"]))
    assert all(one["method"] == "random" and one["policy_round"] is None for one in picked["chosen"])
    shown = printed(show_trace, picked)
    assert "Rows like the text" in shown and "Models that saw it" in shown and "response, exactly" in shown


def test_a_whole_row_is_found_by_its_id_whatever_shape_it_has(data: Path, chosen: dict[str, Any]) -> None:
    messages = chosen["messages"]
    for given in (messages, {"messages": messages}):
        wanted = sought(json.dumps(given))
        assert wanted.instruction_id == chosen["instruction_id"]
    first = trace_text(json.dumps(messages))["matches"][0]
    assert (first["id"], first["exact"], first["part"]) == (chosen["instruction_id"], True, "conversation")
    assert first["cosine"] == pytest.approx(1.0, abs=0.01)


def test_a_text_that_was_changed_is_found_nearly_and_not_picked(data: Path, chosen: dict[str, Any]) -> None:
    text = conversation_text(chosen["messages"]) + " moreover"
    found = trace_text(text)
    assert found["picked"] is None and found["models"] == [] and not found["matches"][0]["exact"]
    assert "pick one" in printed(show_trace, found)
    place = next(one for one in found["matches"] if one["id"] == chosen["instruction_id"])
    assert 0.5 < place["jaccard"] < 1 and place["cosine"] > 0.8
    assert trace_text(text, place["number"])["models"]
    with pytest.raises(SultanaError, match="There is no match 99"):
        trace_text(text, 99)


def test_rows_that_were_not_kept_are_found_too(data: Path) -> None:
    raw = {row["origin_id"]: row for row in table(data, "raw_instructions")}
    near = next(row for row in table(data, "dropped_instructions") if row["reason"] == "near_duplicate")
    found = trace_text(json.dumps(raw[near["origin_id"]]["messages"]))
    assert found["matches"][0]["id"] == near["instruction_id"]
    assert found["origins"][0]["state"] == "dropped" and found["matches"][0]["cosine"] is not None
    quarantined = max(table(data, "quarantine"), key=lambda row: len(row["raw_text"]))
    found = trace_text(quarantined["raw_text"])
    assert found["origins"][0]["state"] == "quarantined"
    assert found["matches"][0]["part"] == "unreadable row"


def test_the_command_reads_the_text_from_a_file_or_standard_input(
    data: Path, chosen: dict[str, Any], tmp_path: Path
) -> None:
    text = chosen["messages"][0]["content"]
    (tmp_path / "text.txt").write_text(text + "\n", encoding="utf-8")
    run = CliRunner().invoke
    by_file = run(app, ["trace", "--text", f"@{tmp_path / 'text.txt'}", "--json"])
    by_input = run(app, ["trace", "--text", "-", "--json"], input=text)
    assert by_file.exit_code == by_input.exit_code == 0
    matches = [json.loads(one.stdout)["matches"] for one in (by_file, by_input)]
    assert matches[0] == matches[1] and matches[0][0]["exact"]
    assert run(app, ["trace"]).exit_code == run(app, ["trace", "a:1", "--text", "b"]).exit_code == 2
    assert run(app, ["trace", "--text", f"@{tmp_path / 'none.txt'}"]).exit_code == 1
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe")
    assert run(app, ["trace", "--text", f"@{tmp_path / 'latin.txt'}"]).exit_code == 1
    assert run(app, ["trace", "--text", "  "]).exit_code == 1


def raw_row(place: int, *contents: str) -> dict[str, Any]:
    roles = ("user", "assistant") * len(contents)
    row = dict.fromkeys(RAW_INSTRUCTIONS.schema.names)
    return {
        **row,
        "origin_id": f"{place:032x}",
        "instruction_id": f"{place:032x}",
        "source": "s",
        "file": "f.jsonl",
        "file_sha256": "f" * 64,
        "position": place,
        "messages": [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)],
    }


def written(folder: Path, rows: list[dict[str, Any]]) -> tuple[LanceTables, TableRef]:
    tables = LanceTables(folder)
    ref = tables.write(
        RAW_INSTRUCTIONS,
        pa.Table.from_pylist(rows, schema=RAW_INSTRUCTIONS.schema),
        mode="overwrite",
        provenance=Provenance("run", "raw_instructions", "key"),
    )
    return tables, ref


HOSTILE = "Sür' OR 1=1 --\u202e <b>100 %</b> of the_rows"
ROWS = [
    raw_row(1, "Name the colours of the rainbow in order", "red orange yellow green blue indigo violet"),
    raw_row(2, HOSTILE, "No."),
    raw_row(3, "把这句话翻译成英文，然后解释它的意思和用法", "好的"),
    raw_row(4, "Hello", "Name the colours of the rainbow in order", "Which?", "red orange yellow green"),
    raw_row(5, "?!", "…"),
]


@pytest.mark.parametrize("indexed", [False, True])
def test_an_index_finds_what_reading_every_row_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indexed: bool
) -> None:
    monkeypatch.setattr(table_indices, "LEAST_ROWS", 1 if indexed else 1000)
    tables, ref = written(tmp_path, ROWS)
    for text, exact in (
        ("Name the colours of the rainbow in order", {1: "prompt", 4: "message 2"}),
        (HOSTILE, {2: "prompt"}),
        ("把这句话翻译成英文，然后解释它的意思和用法", {3: "prompt"}),
        ("Hello\nWhich?", {4: "prompt"}),
        ("?!", {5: "prompt"}),
    ):
        matches, how = search(tables, ref, sought(text), None)
        assert how["words"] == ("full-text index" if indexed and text != "?!" else "every row read")
        assert {one.position: one.part for one in matches if one.exact} == exact, text
        assert [one.exact for one in matches] == sorted((one.exact for one in matches), reverse=True)
    matches, _ = search(tables, ref, sought("Name the colours of the rainbow"), None)
    assert matches[0].position in (1, 4) and 0.4 < matches[0].jaccard < 1 and not matches[0].exact


def test_a_row_of_which_nothing_was_made_yet_is_told_with_the_same_keys(tmp_path: Path, data: Path) -> None:
    row = table(data, "raw_instructions")[0]
    (unmade,) = fate(LanceTables(tmp_path), None, [row])
    made = trace(row["origin_id"])["origins"][0]
    assert unmade.keys() == made.keys() and unmade["state"] == "read" and unmade["kept_as"] is None
