"""Web connections that lead outward only: never to this machine, its network, or a cloud's metadata service.

What is judged is the address that a connection is made to, when it is made: a name may resolve to anything, at
every look to something else, and a server may redirect anywhere.
"""

import ipaddress
import os
import socket
from collections.abc import Sequence
from typing import Any

from resources.errors import SultanaError

ALLOWED = "SULTANA_ALLOWED_NETWORKS"
"""The environment variable that names networks which may be reached although they lead inward."""

_CONNECT_SECONDS = 30
_SILENCE_SECONDS = 60
# IPv6 networks that stand for IPv4 addresses, and the bit where such an address begins.
_TRANSLATED = (
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class InwardError(OSError):
    """A connection that was not made, because its address is none of the public internet."""


def allowed_networks() -> tuple[Network, ...]:
    """What the environment allows: addresses and networks, separated by commas. Raises SultanaError."""
    named = [one.strip() for one in os.environ.get(ALLOWED, "").split(",")]
    try:
        return tuple(ipaddress.ip_network(one, strict=False) for one in named if one)
    except ValueError as error:
        raise SultanaError(
            f"{ALLOWED} names no network: {error}",
            "Write addresses or networks, separated by commas, such as 10.0.0.0/8",
            code="networks-invalid",
        ) from None


def leads_inward(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether an IP address is none of the public internet, and none of the `allowed` networks."""
    found = _plain(ipaddress.ip_address(address.partition("%")[0]))
    if any(found in network for network in allowed):
        return False
    return not found.is_global or found.is_multicast


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it stands for one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    for network, bit in _TRANSLATED:
        if address in network and int(address) > 1:
            return ipaddress.IPv4Address((int(address) >> bit) & 0xFFFFFFFF)
    return address


async def outward_client(**options: Any) -> Any:
    """An aiohttp session that makes no connection inward, redirects included: those raise InwardError.

    `options` are those of aiohttp.ClientSession.
    """
    import aiohttp

    allowed = allowed_networks()

    def connected(address: Any) -> socket.socket:
        family, kind, protocol, _, place = address
        if leads_inward(str(place[0]), allowed):
            raise InwardError("the address leads inward")
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(socket_factory=connected, happy_eyeballs_delay=None)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
    return aiohttp.ClientSession(
        **{"connector": connector, "timeout": timeout, "trust_env": False, **options}
    )
