"""Ports of this machine."""

import socket

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server on this machine could listen on `port` (from 1 to 65535) now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        # As servers do: what a connection that has just been closed left behind is no hindrance.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOST, port))
        except OSError:
            return False
        return True
