"""Signatures of lineage manifests: Ed25519 over the manifest's SHA-256, by a key from the environment."""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from resources.errors import SultanaError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNING_KEY = "SULTANA_SIGNING_KEY"
"""Names the variable that holds the private key: 64 hexadecimal digits, or the path of a PEM file (PKCS#8)."""
PUBLIC_KEY = "SULTANA_PUBLIC_KEY"
"""Names the variable that holds the public key that signatures have to be of: 64 hexadecimal digits."""
SIGNATURE_TAG = "sultana.lineage_manifest_signature"
SIGNED_BY_TAG = "sultana.lineage_manifest_public_key"
_DIGITS = re.compile("[0-9a-fA-F]{64}")


def sign(manifest_sha256: str) -> dict[str, str] | None:
    """The signature of a manifest's hash and the public key of who signed, in hexadecimal; None without a key.

    Raises SultanaError where SULTANA_SIGNING_KEY holds no Ed25519 key.
    """
    if not (given := os.environ.get(SIGNING_KEY, "").strip()):
        return None
    key = _private_key(given)
    return {
        "algorithm": "Ed25519",
        "signature": key.sign(manifest_sha256.encode()).hex(),
        "public_key": key.public_key().public_bytes_raw().hex(),
    }


def check_signing_key() -> None:
    """Raises SultanaError where SULTANA_SIGNING_KEY is set to no key: before any work starts."""
    if given := os.environ.get(SIGNING_KEY, "").strip():
        _private_key(given)


def trusted_key() -> str | None:
    """The public key that signatures have to be of, or None where none was named."""
    return os.environ.get(PUBLIC_KEY, "").strip().lower() or None


def signature_problem(
    manifest_sha256: str, signature: Mapping[str, str] | None, trusted: str | None
) -> str | None:
    """What is wrong with a signature, or None. Without a trusted key an unsigned manifest is no problem."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if signature is None:
        return f"the manifest is not signed, and {PUBLIC_KEY} asks for a signature" if trusted else None
    if trusted is not None and signature["public_key"] != trusted:
        return f"the manifest is signed by the key {signature['public_key']}, not by the one in {PUBLIC_KEY}"
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature["public_key"]))
        key.verify(bytes.fromhex(signature["signature"]), manifest_sha256.encode())
    except (InvalidSignature, ValueError):
        return "the signature is not one of this manifest"
    return None


def _private_key(given: str) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        if _DIGITS.fullmatch(given):
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(given))
        with open(given, "rb") as file:
            key = load_pem_private_key(file.read(), password=None)
    except (ValueError, OSError, TypeError) as error:
        raise SultanaError(
            f"{SIGNING_KEY} holds no private key that can be read",
            "Set it to 64 hexadecimal digits, or to the path of a PEM file: "
            "openssl genpkey -algorithm ed25519 -out key.pem",
            code="signing-key-invalid",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SultanaError(
            f"{SIGNING_KEY} names a key that is not Ed25519",
            "Make one: openssl genpkey -algorithm ed25519",
            code="signing-key-invalid",
        )
    return key
