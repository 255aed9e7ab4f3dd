"""Addresses of databases and servers: in the environment or in settings, and never with a password in them."""

from urllib.parse import urlsplit

from resources.errors import SultanaError

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""The databases that MLflow opens itself, without a server of its own."""


def scheme(address: str) -> str:
    """What an address begins with, without the driver: `postgresql` of `postgresql+psycopg2://…`."""
    return address.split("://")[0].split("+")[0]


def check_address(address: str, name: str) -> str:
    """Return `address`; raises SultanaError where it holds a password, which logs and pages would show.

    Also where it is of PostgreSQL and names no driver: SQLAlchemy would take one that Dagster cannot use.
    """
    try:
        password = urlsplit(address).password
    except ValueError as error:
        raise SultanaError(
            f"{name} is no address: {error}", "Write it as SCHEME://USER@HOST/NAME", code="address-invalid"
        ) from None
    if address.startswith("postgresql://"):
        raise SultanaError(
            f"The address in {name} names no driver",
            "Write it as postgresql+psycopg2://USER@HOST/NAME",
            code="address-invalid",
        )
    if password is None:
        return address
    where = (
        "PGPASSWORD, or the file that PGPASSFILE names"
        if scheme(address) == "postgresql"
        else "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )
    raise SultanaError(
        f"The address in {name} holds a password, which logs and pages would show",
        f"Take it out and set {where} in the environment",
        code="address-holds-password",
    )
