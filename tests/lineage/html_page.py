"""An HTML file as a browser takes it apart: its elements, what it would load, and its text."""

from html.parser import HTMLParser

CELLS = {"td", "th", "dt", "dd", "li", "p", "h1", "h2", "h3"}
VOID = {"meta", "br", "img", "hr", "input", "link", "col", "base"}
LOADING = {"src", "href", "xlink:href", "srcset", "action", "data", "poster", "background"}


class Page(HTMLParser):
    """Raises AssertionError where elements are not closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.identities: list[str] = []
        self.styles = self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            self.addresses += [value or ""] if name in LOADING else []
            self.handlers += [name] if name.startswith("on") else []
            self.identities += [value or ""] if name == "id" else []
            self.styles += f"{value};" if name == "style" else ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"
        self.text += " " if tag in CELLS else ""

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.styles += data
        else:
            self.text += data

    def assert_loads_nothing(self) -> None:
        """Neither a script nor an address outside the file."""
        assert not {"script", "link", "iframe", "object", "embed", "base", "form", "video"} & set(
            self.elements
        )
        assert self.handlers == []
        for address in self.addresses:
            assert address.startswith(("#", "data:image/png;base64,")), address[:80]
        assert "@import" not in self.styles
        assert self.styles.count("url(") == self.styles.count("url(#")
