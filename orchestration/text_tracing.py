"""`sultana trace --text`: the rows that hold a text, and where one of them went."""

from typing import TYPE_CHECKING, Any

from assets.lineage.audit.forward import parse
from assets.lineage.audit.matching import Match, Sought, Vectors, search, sought
from assets.materialized import Materialized, every_materialization
from orchestration.instance import open_instance
from orchestration.registered import open_registry
from orchestration.tracing import Traces, follow_row
from resources.definitions import EmbedderSetting, Storage, data_folder
from resources.errors import SultanaError

if TYPE_CHECKING:
    from resources.embedder import SentenceEmbedder

NO_VECTORS = "these rows have not been embedded"


def trace_text(text: str, match: int = 0, tracking_uri: str = "") -> dict[str, Any]:
    """The rows that hold a text or one like it, best first, as `matches`; and, as `trace` tells it, where one went.

    That is the match of number `match`, from 1; with 0 the best exact one, and none where none is exact. The newest
    version of the sources that holds the text exactly is looked in, else the newest. Raises SultanaError where no
    row is like the text, or `match` is no number of a match.
    """
    wanted = sought(text)
    with open_instance(data_folder()) as instance:
        traces = Traces(instance, Storage().tables(), open_registry(tracking_uri))
        matches, how = _search(traces, wanted)
        if not matches:
            raise SultanaError(
                f"No row of the sources in {data_folder()} is like the text",
                "Check the text, or name another data folder (SULTANA_DATA)",
                code="row-not-found",
            )
        if not 0 <= match <= len(matches):
            raise SultanaError(
                f"There is no match {match}: {len(matches)} rows were found",
                "Name one of those numbers",
                code="match-unknown",
            )
        number = match or (1 if matches[0].exact else 0)
        found = follow_row(traces, parse(matches[number - 1].id)) if number else None
    empty: dict[str, Any] = {"origins": [], "mixes": [], "chosen": [], "models": []}
    return {
        "asked": matches[number - 1].id if number else None,
        "text": text,
        "searched": how,
        "matches": [{"number": place, **one.to_json()} for place, one in enumerate(matches, 1)],
        "picked": number or None,
        **(found or empty),
    }


def _search(traces: Traces, wanted: Sought) -> tuple[list[Match], dict[str, Any]]:
    best: tuple[list[Match], dict[str, Any]] = [], {}
    for raw in traces.raw_versions():
        vectors, why = _vectors(traces, raw)
        matches, how = search(traces.tables, raw.table(), wanted, vectors)
        found = matches, {**how, "vectors": how["vectors"] or f"none: {why}"}
        if matches and matches[0].exact:
            return found
        if not best[0]:
            best = found
    return best


def _vectors(traces: Traces, raw: Materialized) -> tuple[Vectors | None, str]:
    """The newest vectors of the instructions made of these rows; else None and why there are none."""
    kept = traces.made_of(raw, "instructions")
    for made in every_materialization(traces.instance, "instruction_embeddings") if kept else ():
        if kept and made.record["upstream"]["instructions"]["data_version"] == kept.data_version:
            embedder = _embedder(made)
            if embedder is None:
                return None, "the embedder that made the vectors is not configured here"
            return Vectors(made.table(), made.record["facts"]["text"], embedder.embed), ""
    return None, NO_VECTORS


def _embedder(made: Materialized) -> "SentenceEmbedder | None":
    """The embedder that made the vectors, if it is the configured one or can be opened by its name."""
    name = made.metadata["embedder"].value if "embedder" in made.metadata else ""
    for setting in (EmbedderSetting(), EmbedderSetting(model=str(name))) if name else (EmbedderSetting(),):
        try:
            embedder = setting.open(Storage())
            if embedder.fingerprint() == made.record["facts"]["embedder_fingerprint"]:
                return embedder
        except SultanaError:  # a model of the Hub without its commit, or a folder that is gone
            continue
    return None
