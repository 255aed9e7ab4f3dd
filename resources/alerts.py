"""Alerts by webhook and e-mail. Addresses and passwords come from the environment and are shown nowhere.

`SULTANA_ALERT_WEBHOOK` is an http(s) address that takes a JSON object by POST; its `text` is what Slack,
Mattermost and their like show. `SULTANA_ALERT_EMAIL` names recipients, separated by commas, and `SULTANA_SMTP` the
server: `smtp://user:password@host:587` (with STARTTLS) or `smtps://user:password@host:465`.
"""

import json
import smtplib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPException, InvalidURL
from typing import Any
from urllib.parse import unquote, urlsplit

from resources.errors import SultanaError

WEBHOOK = "SULTANA_ALERT_WEBHOOK"
EMAIL = "SULTANA_ALERT_EMAIL"
SMTP = "SULTANA_SMTP"
TIMEOUT_SECONDS = 10
WAITS_SECONDS = (1.0, 4.0)
"""Before the second and the third try."""


@dataclass(frozen=True)
class Alert:
    """A message: one line, what is to be read below it, and the same as JSON values for programs."""

    title: str
    text: str
    values: Mapping[str, Any] = field(default_factory=dict)


def is_configured(environment: Mapping[str, str]) -> bool:
    """Whether there is anywhere to send alerts to."""
    return bool(environment.get(WEBHOOK) or environment.get(EMAIL))


def send(alert: Alert, environment: Mapping[str, str]) -> None:
    """Sends an alert wherever the environment says. Raises SultanaError, behind the last way, where one fails."""
    problems: list[SultanaError] = []
    ways: list[Callable[[], None]] = []
    if address := environment.get(WEBHOOK):
        ways.append(lambda: _retried(lambda: _post(address, alert), f"the webhook of {WEBHOOK}"))
    if recipients := environment.get(EMAIL):
        server = environment.get(SMTP, "")
        ways.append(lambda: _retried(lambda: _mail(server, recipients, alert), f"the server of {SMTP}"))
    for way in ways:
        try:
            way()
        except SultanaError as error:
            problems.append(error)
    if problems:
        raise problems[0]


class _Refused(Exception):
    """Trying again cannot help. Its text is shown, so it holds no secret."""


def _retried(attempt: Callable[[], None], where: str) -> None:
    reason = ""
    for wait in (*WAITS_SECONDS, None):
        try:
            attempt()
        except _Refused as error:
            reason = str(error)
            break
        except urllib.error.HTTPError as error:
            reason = f"it answered {error.code}"
            if error.code < 500 and error.code != 429:
                break
        except smtplib.SMTPResponseException as error:
            reason = f"it answered {error.smtp_code}"
            if error.smtp_code >= 500:
                break
        except (ValueError, InvalidURL) as error:
            reason = f"it is no address ({type(error).__name__})"
            break
        except (OSError, HTTPException) as error:
            # Only the kind: the text may spell out the address.
            reason = f"it cannot be reached ({type(error).__name__})"
        else:
            return
        if wait is not None:
            time.sleep(wait)
    # Not chained: the errors of clients may hold the address.
    raise SultanaError(
        f"An alert could not be sent to {where}: {reason}",
        "Correct the variable, or check the server",
        code="alert-not-sent",
    ) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would send the alert somewhere that nobody named."""

    def redirect_request(self, *_: Any) -> None:
        """None: the redirect is an error."""
        return None


def _post(address: str, alert: Alert) -> None:
    if urlsplit(address).scheme not in ("http", "https"):
        raise _Refused("it is no http:// or https:// address")
    body = json.dumps({"text": f"{alert.title}\n{alert.text}", **alert.values}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")
    with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_SECONDS):
        pass


def _mail(server: str, recipients: str, alert: Alert) -> None:
    parts = urlsplit(server)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise _Refused("it is no smtp:// or smtps:// address")
    message = EmailMessage()
    message["Subject"] = alert.title
    message["To"] = recipients
    message["From"] = unquote(parts.username or "") or recipients.partition(",")[0].strip()
    message.set_content(alert.text)
    secure = parts.scheme == "smtps"
    kind = smtplib.SMTP_SSL if secure else smtplib.SMTP
    with kind(parts.hostname, parts.port or (465 if secure else 587), timeout=TIMEOUT_SECONDS) as connection:
        connection.ehlo()
        if not secure and connection.has_extn("starttls"):
            import ssl

            connection.starttls(context=ssl.create_default_context())
            secure = True
        if parts.password:
            if not secure:
                raise _Refused("it offers no encryption, so the password was not sent")
            connection.login(unquote(parts.username or ""), unquote(parts.password))
        connection.send_message(message)
