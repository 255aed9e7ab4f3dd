"""An audit as one HTML file that a lawyer can read: the story, the chain, tables to search, proofs attached.

The file loads nothing and opens offline. One script is in it, which hides the lines of a table that do not hold the
words sought; a policy in its head lets that very script run and nothing else.
"""

import base64
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from assets.lineage.audit.lineage import Lineage
from assets.lineage.manifest import MANIFEST_TAG, manifest_bytes
from assets.lineage.report.chain_figure import chain_figure
from assets.lineage.report.template import commit_of, drawing, template

TEMPLATE = "audit.html.jinja"
ARTIFACT = "lineage/audit.html"
"""Where the page lies in the MLflow run of its model."""
MOST_SLOTS = 2000
"""Slots that the page lists; a ledger may have millions."""
MOST_NAMES = 200
"""Lines of the other tables."""
PROOFS = 3
"""Rows whose proofs are attached; each holds the manifest."""
_SEARCH = """
for (const field of document.querySelectorAll("input[type=search]")) {
  const lines = [...document.getElementById(field.dataset.of).tBodies[0].rows];
  const count = field.parentElement.querySelector("output");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    for (const line of lines) {
      const text = line.textContent.toLowerCase();
      line.hidden = !words.every((word) => text.includes(word));
      shown += line.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${shown} of ${lines.length}` : "";
  });
}
"""


def render_audit(
    told: Mapping[str, Any], lineage: Lineage | None, signature: Mapping[str, str] | None
) -> str:
    """The text of the HTML file. Equal facts give equal bytes.

    `told` is what `orchestration.auditing.audit` gives, or `lineage.tell` with `totals`; `lineage` None where the
    tables are damaged.
    """
    model, checkpoint = told["model"], told["chain"][0]
    script = drawing(_SEARCH)
    totals = told.get("totals")
    return template(
        TEMPLATE,
        {
            "commit": commit_of,
            "number": _number,
            "moment": _moment,
            "json": _json,
            "first_upper": lambda text: text[:1].upper() + text[1:],
        },
    ).render(
        told=told,
        model=model,
        checkpoint=checkpoint,
        totals=totals,
        title=f"{model['model']} version {model['version']}",
        figure=drawing(chain_figure(told["chain"])),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(_SEARCH.encode()).digest()).decode(),
        slots=list(_slots(lineage)) if totals and lineage else [],
        most_slots=MOST_SLOTS,
        most_names=MOST_NAMES,
        overlapping=[row for row in told["contamination"] if row["overlapping"]],
        attached=list(_attached(lineage, signature)) if lineage else [],
        tag=MANIFEST_TAG,
        signature=signature,
    )


def _slots(lineage: Lineage) -> Iterator[dict[str, Any]]:
    rows = (row for batch in lineage.backward.batches() for row in batch.to_pylist())
    for row in itertools.islice(rows, MOST_SLOTS):
        yield {
            **row,
            "mixed": row["kind"] != "original",
            "places": [
                f"{origin['file']}:{origin['position']}"
                for parent in row["parents"]
                for origin in parent["origins"]
            ],
            "sources": sorted(
                {origin["source"] for parent in row["parents"] for origin in parent["origins"]}
            ),
            "licences": sorted(
                {
                    origin["licence"] or "none named"
                    for parent in row["parents"]
                    for origin in parent["origins"]
                }
            ),
            "tasks": sorted({parent["task"] for parent in row["parents"]}),
        }


def _attached(lineage: Lineage, signature: Mapping[str, str] | None) -> Iterator[dict[str, Any]]:
    """Files that the page carries: the manifest, the script that checks proofs, and some proofs."""
    from assets.lineage import check_proof

    manifest = manifest_bytes(lineage.manifest)
    yield _file("lineage-manifest.json", "the whole record, in the form that was hashed", manifest)
    yield _file("check_proof.py", "checks a proof with Python alone", Path(check_proof.__file__).read_bytes())
    for name in lineage.trained_on.ids[:PROOFS].to_pylist():
        proof = lineage.trained_on.proof(name, manifest.decode(), signature)
        yield _file(f"proof-{name[:12]}.json", f"that {name} was trained on", orjson.dumps(proof))


def _file(name: str, what: str, content: bytes) -> dict[str, Any]:
    return {
        "name": name,
        "what": what,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "address": drawing(f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"),
    }


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %B %Y, %H:%M UTC")


def _json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
