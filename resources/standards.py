"""The optional packages behind exports in the formats of others."""

import contextlib
from collections.abc import Iterator

from resources.errors import SultanaError

PACKAGES = {
    "openlineage": "openlineage-python",
    "mlcroissant": "mlcroissant",
    "cyclonedx": "cyclonedx-python-lib",
    "packageurl": "cyclonedx-python-lib",
}


@contextlib.contextmanager
def standards() -> Iterator[None]:
    """Around imports of them. Raises SultanaError where one is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise SultanaError(
            f"This needs the package {package}, which is not installed",
            "pip install 'sultana[standards]'",
            code="package-missing",
        ) from error
