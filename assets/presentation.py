"""What a materialization shows: preview tables, column schemas and plots, as Dagster metadata.

Text from rows is data: control and direction characters are made visible before it is shown, and what has the form
of a key, a token, an e-mail address or a card number is named by its kind alone.
"""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from resources.private import mask_private
from resources.text import escape_terminal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP = "optimizer step"
"""The label of an axis that has whole numbers only."""

PREVIEW_ROWS = 8
PREVIEW_CHARACTERS = 160
_SCANNED = 8192
_GROUP_ID = re.compile(r' id="[A-Za-z0-9.]+_[0-9]+"')
COLOURS = ("#5b3a8c", "#d98e04", "#2a7f62", "#b03a48", "#3a6ea5", "#8a8a8a")


def cell(value: Any, *, masked: bool = True) -> str | int | float | bool | None:
    """A value as a table cell: numbers as they are, text escaped and cut, conversations as turns.

    Secrets and personal data in texts are masked, since Dagster's event log keeps what is shown; not with
    `masked=False`, as they were shown by versions before that.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list) and value and isinstance(value[0], dict) and "role" in value[0]:
        value = " | ".join(f"{turn['role']}: {turn['content']}" for turn in value)
    elif isinstance(value, list) and value and isinstance(value[0], dict) and "file" in value[0]:
        value = ", ".join(f"{origin['file']}:{origin['position']}" for origin in value)
    # What is cut off afterwards is what was scanned with it: a key that begins before the cut is whole.
    text = str(value)[:_SCANNED]
    return escape_terminal(mask_private(text) if masked else text, PREVIEW_CHARACTERS)


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Rows (all with the same keys) as a table in the Dagster UI."""
    records = [dg.TableRecord({name: cell(value) for name, value in row.items()}) for row in rows]
    if not records:
        return dg.MetadataValue.text("no rows")
    return dg.MetadataValue.table(
        records=records, schema=dg.TableSchema([dg.TableColumn(name) for name in records[0].data])
    )


def preview(rows: pa.Table, columns: Sequence[str] | None = None) -> dg.MetadataValue:
    """The first rows of an Arrow table."""
    shown = rows.select(list(columns)) if columns else rows
    return table(shown.slice(0, PREVIEW_ROWS).to_pylist())


def markdown(text: str) -> dg.MetadataValue:
    """A text in Markdown."""
    return dg.MetadataValue.md(text)


def column_schema(schema: pa.Schema) -> dg.MetadataValue:
    """An Arrow schema as Dagster's column schema."""
    columns = [
        dg.TableColumn(
            one.name, type=str(one.type), constraints=dg.TableColumnConstraints(nullable=one.nullable)
        )
        for one in schema
    ]
    return dg.MetadataValue.table_schema(dg.TableSchema(columns))


def plot(
    draw: Callable[["Axes"], object],
    *,
    title: str,
    x: str = "",
    y: str = "",
    size: tuple[float, float] = (7.2, 3.6),
) -> dg.MetadataValue:
    """A plot that `draw` makes on one set of axes, as a PNG inside Markdown metadata."""
    return dg.MetadataValue.md(
        f"![{title}](data:image/png;base64,{base64.b64encode(png(draw, title, x, y, size)).decode()})"
    )


def png(draw: Callable[["Axes"], object], title: str, x: str, y: str, size: tuple[float, float]) -> bytes:
    """The bytes of a PNG of one plot; `size` in inches."""
    return _saved(lambda figure: one_plot(figure, draw, title, x, y), size, "png", {"Software": None})


def svg(draw: Callable[["Figure"], object], size: tuple[float, float], name: str) -> str:
    """A figure that `draw` fills as an SVG element for HTML; `size` in inches, scaled to the page's width.

    Text stays text in the reader's font. Equal figures give equal bytes. `name` tells the ids in it from those
    of the page's other figures.
    """
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    text = _saved(draw, size, "svg", nothing, name).decode()
    # matplotlib numbers its groups anew in each figure, and nothing refers to them.
    return _GROUP_ID.sub("", text[text.index("<svg") :])


def one_plot(figure: "Figure", draw: Callable[["Axes"], object], title: str, x: str, y: str) -> None:
    """One set of axes in a figure, as all plots of Sultana have it."""
    axes = figure.subplots()
    axes.set_prop_cycle(color=COLOURS)
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if x == STEP:
        axes.locator_params(axis="x", integer=True)
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(handles, labels, frameon=False, fontsize=8)


def _saved(
    draw: Callable[["Figure"], object],
    size: tuple[float, float],
    kind: str,
    metadata: dict[str, None],
    salt: str = "",
) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Names from rows are no formulas.
    settings = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": f"sultana {salt}"}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def bars(counts: Mapping[str, float], *, title: str, x: str, most: int = 24) -> dg.MetadataValue:
    """Horizontal bars, largest first; what is beyond `most` bars is summed up as one."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) > most:
        rest = sum(count for _, count in ordered[most:])
        ordered = [*ordered[:most], (f"{len(ordered) - most} others", rest)]
    names = [escape_terminal(name, 40) for name, _ in ordered][::-1]
    values = [count for _, count in ordered][::-1]

    def draw(axes: "Axes") -> None:
        axes.barh(range(len(names)), values, color=COLOURS[0])
        axes.set_yticks(range(len(names)), names, fontsize=8)
        for place, value in enumerate(values):
            axes.text(value, place, f" {value:,.6g}", va="center", fontsize=8)
        axes.margins(x=0.12)

    return plot(draw, title=title, x=x, size=(7.2, 1.0 + 0.24 * len(names)))
