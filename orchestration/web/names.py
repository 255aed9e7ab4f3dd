"""Which names the server answers to, and whose pages may use it.

A page of another site can make a browser send requests here, with the names and cookies of the person before it, in
two ways: across sites, which `Origin` and `Sec-Fetch-Site` tell, or after its own name was made to point to this
machine, which `Host` tells.
"""

import os
import re
from dataclasses import dataclass

from orchestration.web.asked import Asked, Refused
from resources.errors import SultanaError

HOSTS = "SULTANA_UI_HOSTS"
"""The environment variable with names, separated by commas, that a proxy in front is reached by."""
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"https?://([^/?#@]+)")
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Names:
    """The names of a server that listens on `port`: those of this machine, and `proxied` ones."""

    port: int
    proxied: tuple[str, ...] = ()

    def check_host(self, asked: Asked) -> None:
        """Raises Refused where the request was sent to another name."""
        found = _AUTHORITY.fullmatch(asked.headers.get("host", "").lower())
        if found is not None:
            name, port = found[1], int(found[2] or 80)
            if name in self.proxied or (name in _LOOPBACK and port == self.port):
                return
        raise Refused(
            403, f"This server does not answer to that name; {HOSTS} lists others that it shall answer to"
        )

    def check_sender(self, asked: Asked, *, changes: bool) -> None:
        """Raises Refused where another site's page had the request sent.

        Of requests that change nothing (`changes` is false), such a page may only open one as a page of its own, as a
        link does. Programs that are no browsers send neither header, and pass.
        """
        origin = asked.headers.get("origin")
        if origin is not None and not self._is_own(origin.lower(), asked.headers["host"].lower()):
            raise Refused(403, "Another site's page had this request sent")
        if asked.headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return
        if changes or not asked.is_page:
            raise Refused(403, "Another site's page had this request sent")

    def _is_own(self, origin: str, host: str) -> bool:
        found = _ORIGIN.fullmatch(origin)
        return found is not None and found[1] == host


def changes_state(method: str) -> bool:
    """Whether requests by this method may change something."""
    return method not in _SAFE


def names_of(port: int) -> Names:
    """The names of the environment. Raises SultanaError where one is no host name."""
    proxied = tuple(one.strip().lower() for one in os.environ.get(HOSTS, "").split(",") if one.strip())
    for name in proxied:
        found = _AUTHORITY.fullmatch(name)
        if found is None or found[2] is not None:
            raise SultanaError(
                f"{HOSTS} holds '{name}', which is no host name",
                "Write names without scheme, port or path, separated by commas",
                code="ui-host-name",
            )
    return Names(port, proxied)
