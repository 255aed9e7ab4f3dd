"""An S3-compatible object store: addresses in it, a client, and its faults in words.

Credentials, region and endpoint are those of AWS's own tools (AWS_ACCESS_KEY_ID and the like, ~/.aws, the role of the
machine). They are looked up by boto3 and by Lance, each by itself: nothing here holds, stores or shows a secret, and
what a store answers is never passed on, for it may repeat what was signed.
"""

import contextlib
import functools
import importlib.util
import ipaddress
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from resources.errors import SultanaError, TransientError

SCHEME = "s3://"
ALLOW_HTTP = "AWS_ALLOW_HTTP"
"""The environment variable, Lance's own, that lets rows travel unencrypted to an endpoint elsewhere."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,127}")
_LONGEST = 512
_DEFAULT_REGION = "us-east-1"
_MISSING = {"404", "NoSuchKey", "NotFound"}
_CONFLICT = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_NO_BUCKET = "NoSuchBucket"
_LOOK = (
    "Check the endpoint (AWS_ENDPOINT_URL) and the network, then run the same command again; "
    "nothing was acknowledged"
)
_CREDENTIALS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to credentials that may list, read, write and "
    "delete there"
)


def check_object_uri(uri: str, name: str) -> str:
    """Return `s3://BUCKET` or `s3://BUCKET/PREFIX` without a slash at its end; `name` is the setting that holds it.

    Raises SultanaError for any other address. One with credentials in it is not repeated.
    """
    if "@" in uri or "?" in uri:
        raise SultanaError(
            f"The address in {name} holds credentials or options, which logs and pages would show",
            f"Write it as s3://BUCKET/PREFIX. {_CREDENTIALS}",
            code="address-holds-password",
        )
    plain = uri.rstrip("/")
    bucket, *prefix = plain.removeprefix(SCHEME).split("/")
    if (
        not plain.startswith(SCHEME)
        or not _BUCKET.fullmatch(bucket)
        or not all(map(_PREFIX.fullmatch, prefix))
        or len(plain) > _LONGEST
    ):
        raise SultanaError(
            f"{name} is no address in an S3-compatible object store: {uri[:80]!r}",
            "Write it as s3://BUCKET/PREFIX",
            code="address-invalid",
        )
    return plain


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and prefix of a checked address; the prefix has no slash at its ends and may be empty."""
    bucket, _, prefix = uri.removeprefix(SCHEME).partition("/")
    return bucket, prefix


def require_package() -> None:
    """Raises SultanaError where boto3, by which an object store is reached, is not installed."""
    if importlib.util.find_spec("boto3") is None:
        raise SultanaError(
            "An object store is named in the settings, and the package boto3 is not installed",
            "Install it: pip install 'sultana[s3]'",
            code="package-missing",
        )


def client() -> Any:
    """A client of boto3, one for each process and environment.

    Raises SultanaError where the package is missing or the endpoint is not encrypted.
    """
    settings = tuple(sorted(one for one in os.environ.items() if one[0].startswith("AWS_")))
    return _client(os.getpid(), settings)


@functools.lru_cache(maxsize=4)
def _client(process: int, settings: tuple[tuple[str, str], ...]) -> Any:
    """The arguments tell one client from another: connections must not be shared with a forked process."""
    require_package()
    import boto3
    from botocore.config import Config

    with store_explained(), _endpoint_explained():
        session = boto3.session.Session()  # the default one would keep the credentials that it found first
        made = session.client("s3", config=Config(**_settings()))
        # Stores other than Amazon's are reached by path, and many know none of its newer checksums.
        if _is_custom(made.meta.endpoint_url):
            own = {"addressing_style": "path"}
            when = "when_required"
            more = {"s3": own, "request_checksum_calculation": when, "response_checksum_validation": when}
            made = session.client("s3", config=Config(**_settings(), **more))
    _refuse_unencrypted(made.meta.endpoint_url)
    return made


@contextlib.contextmanager
def _endpoint_explained() -> Iterator[None]:
    try:
        yield
    except ValueError:  # whose text repeats the endpoint, with whatever is in it
        raise SultanaError(
            "The endpoint of the object store is no address",
            "Write AWS_ENDPOINT_URL as https://HOST or http://127.0.0.1:PORT",
            code="object-store-refused",
        ) from None


def _settings() -> dict[str, Any]:
    region = os.environ.get("AWS_REGION")  # which Lance and newer tools read, and boto3 does not
    return {
        "connect_timeout": 5,
        "read_timeout": 60,
        "retries": {"max_attempts": 3, "mode": "standard"},
        **({"region_name": region} if region else {}),
    }


def _is_custom(endpoint: str) -> bool:
    return not re.search(r"\.amazonaws\.com(\.cn)?$", urlsplit(endpoint).hostname or "")


def _refuse_unencrypted(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    try:
        at_home = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        at_home = False
    if parts.scheme == "https" or at_home or os.environ.get(ALLOW_HTTP, "").lower() in ("1", "true"):
        return
    raise SultanaError(
        f"The endpoint {shown_endpoint(endpoint)} of the object store is not encrypted, and rows would travel to it as "
        "plain text",
        f"Use https, or set {ALLOW_HTTP}=true where the network between is your own",
        code="object-store-unencrypted",
    )


def shown_endpoint(endpoint: str) -> str:
    """An endpoint without what could be a secret in it."""
    parts = urlsplit(endpoint)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def endpoint_in_use() -> str:
    """The endpoint that requests go to, for messages."""
    return shown_endpoint(client().meta.endpoint_url)


def lance_options() -> dict[str, str]:
    """What Lance has to be told of the store; credentials it finds by itself."""
    meta = client().meta
    options = {
        "aws_region": str(meta.region_name or _DEFAULT_REGION),
        "client_max_retries": "3",
        "client_retry_timeout": "30",
    }
    if _is_custom(meta.endpoint_url):
        options["aws_endpoint"] = meta.endpoint_url
    if meta.endpoint_url.startswith("http://"):
        options["allow_http"] = "true"
    return options


def options_of(uri: str) -> dict[str, str] | None:
    """What Lance has to be told to open `uri`; None for a folder of this machine."""
    return lance_options() if uri.startswith(SCHEME) else None


def is_missing(error: Exception) -> bool:
    """Whether the store said that there is no such object."""
    return _code(error) in _MISSING


def is_conflict(error: Exception) -> bool:
    """Whether the store refused a conditional write because the object is there."""
    return _code(error) in _CONFLICT


def _code(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def store_explained(uri: str = "") -> Iterator[None]:
    """Turn boto3's errors into SultanaError that names the endpoint and `uri`; others pass unchanged.

    A store that does not answer, or is busy, is a TransientError: the step is tried again.
    """
    require_package()
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refused(uri, error) from None
    except (BotoCoreError, Boto3Error) as error:
        raise _failed(uri, error) from None


def _refused(uri: str, error: Any) -> SultanaError:
    code = re.sub(r"[^A-Za-z0-9]", "", _code(error))[:60]
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    where = f"The object store at {endpoint_in_use()}"
    if status >= 500 or status == 429:
        return TransientError(
            f"{where} is busy or broken: it answered {code or status} about {uri}",
            "Run the same command again; nothing was acknowledged",
            code="object-store-unreachable",
        )
    remedy = f"Make the bucket, or correct the address {uri}" if code == _NO_BUCKET else _CREDENTIALS
    return SultanaError(
        f"{where} refused {uri}: {code or status}",
        remedy,
        code="object-store-refused",
    )


def _failed(uri: str, error: Exception) -> SultanaError:
    from botocore.exceptions import (
        ConnectionError as NoConnection,
    )
    from botocore.exceptions import (
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return SultanaError(
            f"There are no credentials for the object store{f' of {uri}' if uri else ''}",
            _CREDENTIALS,
            code="object-store-refused",
        )
    if isinstance(error, NoConnection | HTTPClientError):
        return TransientError(
            f"The object store at {endpoint_in_use()} does not answer{f' about {uri}' if uri else ''}",
            _LOOK,
            code="object-store-unreachable",
        )
    return SultanaError(
        f"The object store cannot be used{f' for {uri}' if uri else ''}: {type(error).__name__}",
        f"Correct the AWS settings of this environment. {_CREDENTIALS}",
        code="object-store-refused",
    )
