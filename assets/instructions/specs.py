"""Where rows come from and how to read them, and the counts of what was read."""

from collections import Counter
from dataclasses import dataclass, field

from assets.instructions.reader import FORMATS
from assets.instructions.shapes import SHAPES
from resources.errors import SultanaError
from resources.text import check_name, escape_terminal


@dataclass(frozen=True)
class SourceSpec:
    """Where rows come from and how to read them; see `sources.resolve` for `uri`.

    `format` one of FORMATS, None: by suffix and content. `shape` one of SHAPES, None: row by row.
    `licence` and `task` are for rows that name none themselves. `split`, `subset` and `hub_mirror` are for
    `hf://` addresses. `allow_empty` accepts a file without rows.
    """

    name: str
    uri: str
    format: str | None = None
    shape: str | None = None
    licence: str | None = None
    task: str | None = None
    task_field: str | None = None
    revision: str | None = None
    split: str | None = None
    subset: str | None = None
    hub_mirror: str | None = None
    allow_empty: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, "The source")
        if not self.uri.strip():
            raise SultanaError(f"The source '{self.name}' has no address", "Name a file, folder, glob or URL")
        for setting, value, known in (("format", self.format, FORMATS), ("shape", self.shape, tuple(SHAPES))):
            if value is not None and value not in known:
                raise SultanaError(
                    f"'{escape_terminal(value, 60)}' is not a {setting} (source '{self.name}')",
                    f"Use one of {', '.join(known)}, or leave it out",
                )


@dataclass
class FileCounts:
    """What was read from one file."""

    source: str
    file: str
    sha256: str
    rows: int = 0
    readable: int = 0
    problems: Counter[str] = field(default_factory=Counter)


@dataclass
class ReadCounts:
    """What was read so far; `rows` = `readable` + the sum of `problems`."""

    files: list[FileCounts] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows read, good and bad."""
        return sum(one.rows for one in self.files)

    @property
    def readable(self) -> int:
        """Rows that became conversations."""
        return sum(one.readable for one in self.files)

    @property
    def problems(self) -> Counter[str]:
        """Rows that did not, by reason."""
        return sum((one.problems for one in self.files), Counter())
