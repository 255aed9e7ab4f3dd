"""Who may look and who may change: tokens, and the cookie that stands for one in a browser."""

import asyncio
import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from orchestration.web.asked import Asked, Refused
from resources.errors import SultanaError

TOKEN = "SULTANA_UI_TOKEN"
READ_TOKEN = "SULTANA_UI_READ_TOKEN"
LOGIN = "/sultana-login"
OPERATOR, READER, NOBODY = "operator", "reader", "nobody"
SESSION_SECONDS = 12 * 3600
SHORTEST_TOKEN = 16
_PAUSE_SECONDS = 1.0
_ATTEMPTS_AT_ONCE = 4


@dataclass
class Access:
    """The tokens of the roles. Without any, whoever reaches the server is an operator, or with `read_only` a reader."""

    tokens: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    cookie: str = "sultana"
    attempts: int = 0

    def role(self, asked: Asked) -> str:
        """Operator, reader or nobody."""
        role = self._role_of_sender(asked) if self.tokens else OPERATOR
        return READER if role == OPERATOR and self.read_only else role

    def _role_of_sender(self, asked: Asked) -> str:
        scheme, _, word = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._role_of_token(word.strip())
        return self._role_of_session(asked.headers.get("cookie", ""))

    def _role_of_token(self, word: str) -> str:
        found = NOBODY
        for role, token in self.tokens.items():
            if hmac.compare_digest(word.encode(), token.encode()):
                found = role
        return found

    def _role_of_session(self, header: str) -> str:
        try:
            morsel = SimpleCookie(header).get(self.cookie)
        except CookieError:
            return NOBODY
        role, _, rest = (morsel.value if morsel else "").partition(".")
        end, _, seal = rest.partition(".")
        if role not in self.tokens or not end.isascii() or not end.isdigit() or len(end) > 12:
            return NOBODY
        sealed = hmac.compare_digest(seal.encode(), self._seal(role, end).encode())
        return role if sealed and int(end) > time.time() else NOBODY

    def _seal(self, role: str, end: str) -> str:
        return hmac.new(
            self.tokens[role].encode(), f"session.{role}.{end}".encode(), hashlib.sha256
        ).hexdigest()

    async def sign_in(self, body: bytes, *, secure: bool) -> tuple[str, str, str]:
        """Role, `Set-Cookie` and the address to go on to, for a form with `token` and `next`.

        Raises Refused for a wrong token, after a pause, and at once while too many are being tried.
        """
        try:
            form = parse_qs(body.decode(), max_num_fields=8, strict_parsing=True)
        except ValueError:
            raise Refused(400, "The form cannot be read") from None
        if self.attempts >= _ATTEMPTS_AT_ONCE:
            raise Refused(429, "Too many tokens are being tried; wait a moment")
        role = self._role_of_token(form.get("token", [""])[0])
        if role == NOBODY:
            self.attempts += 1
            try:
                await asyncio.sleep(_PAUSE_SECONDS)
            finally:
                self.attempts -= 1
            raise Refused(401, "That is not the token")
        end = str(int(time.time()) + SESSION_SECONDS)
        value = f"{self.cookie}={role}.{end}.{self._seal(role, end)}"
        flags = f"; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
        return role, value + flags, _own_address(form.get("next", ["/"])[0])


def _own_address(address: str) -> str:
    """An address of this server; the start page in place of anything else."""
    plain = address.isascii() and address.isprintable() and not set(address) & set("\\ ")
    return address if plain and address.startswith("/") and not address.startswith("//") else "/"


def access_of(port: int, *, read_only: bool) -> Access:
    """The access of the environment. Raises SultanaError for a token that could be guessed."""
    tokens = {}
    for role, name in ((OPERATOR, TOKEN), (READER, READ_TOKEN)):
        token = os.environ.get(name, "")
        if not token:
            continue
        if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
            raise SultanaError(
                f"{name} is shorter than {SHORTEST_TOKEN} characters, or holds others than letters, digits and signs",
                "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
                code="ui-token-weak",
            )
        tokens[role] = token
    if len(set(tokens.values())) != len(tokens):
        raise SultanaError(
            f"{TOKEN} and {READ_TOKEN} are the same",
            "Give readers a token of their own",
            code="ui-tokens-equal",
        )
    return Access(tokens, read_only=read_only, cookie=f"sultana_{port}")
