"""Where rows come from and how to read them, and the counts of what was read."""

from collections import Counter
from dataclasses import dataclass, field

from assets.instructions.reader import FORMATS
from assets.instructions.shapes import SHAPES
from resources.errors import SultanaError
from resources.text import check_name, escape_terminal

PRIVATE = ("flag", "mask", "refuse")


@dataclass(frozen=True)
class SourceSpec:
    """Where rows come from and how to read them; see `sources.resolve` for `uri`.

    `format` one of FORMATS, None: by suffix and content. `shape` one of SHAPES, None: row by row.
    `licence` and `task` are for rows that name none themselves. `split`, `subset` and `hub_mirror` are for
    `hf://` addresses. `allow_empty` accepts a file without rows. `score_fields` name fields that hold a
    number about the row, such as a judge's rating: kept under the field's name, no part of the row's identity.
    `private` one of PRIVATE: what becomes of rows that hold keys, tokens, addresses or card numbers (see
    `resources.private`): flag counts them, mask puts the kind in their place, refuse makes it their problem.
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
    score_fields: tuple[str, ...] = ()
    private: str = PRIVATE[0]

    def __post_init__(self) -> None:
        check_name(self.name, "The source")
        if not self.uri.strip():
            raise SultanaError(
                f"The source '{self.name}' has no address",
                "Name a file, folder, glob or URL",
                code="address-invalid",
            )
        for setting, value, known in (
            ("format", self.format, FORMATS),
            ("shape", self.shape, tuple(SHAPES)),
            ("private", self.private, PRIVATE),
        ):
            if value is not None and value not in known:
                raise SultanaError(
                    f"'{escape_terminal(value, 60)}' is not a {setting} (source '{self.name}')",
                    f"Use one of {', '.join(known)}, or leave it out",
                    code="choice-unknown",
                )
        for name, count in Counter(self.score_fields).items():
            if count > 1 or not name.strip():
                raise SultanaError(
                    f"The source '{self.name}' names the score field '{escape_terminal(name, 60)}' "
                    f"{'twice' if name.strip() else 'without a name'}",
                    "Name each field of score_fields once",
                    code="name-twice",
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
    scores: Counter[str] = field(default_factory=Counter)
    """Rows with a score, by its name."""
    unusable_scores: Counter[str] = field(default_factory=Counter)
    """Rows whose score field holds something that is no finite number: they are kept, without that score."""
    private: Counter[str] = field(default_factory=Counter)
    """Rows in which something private was found, by its kind."""

    def add(self, other: "FileCounts") -> None:
        """What was read from further lines of the file."""
        self.rows += other.rows
        self.readable += other.readable
        self.problems.update(other.problems)
        self.scores.update(other.scores)
        self.unusable_scores.update(other.unusable_scores)
        self.private.update(other.private)


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

    @property
    def scores(self) -> Counter[str]:
        """Rows with a score, by its name."""
        return sum((one.scores for one in self.files), Counter())

    @property
    def private(self) -> Counter[str]:
        """Rows in which something private was found, by its kind."""
        return sum((one.private for one in self.files), Counter())

    @property
    def unusable_scores(self) -> Counter[str]:
        """Rows whose score field holds no finite number, by the score's name."""
        return sum((one.unusable_scores for one in self.files), Counter())
