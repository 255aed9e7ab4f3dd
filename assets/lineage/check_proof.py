"""Checks a proof of Sultana's with nothing but Python's standard library: a row was, or was not, in a training set.

    python check_proof.py PROOF.json [--manifest-sha256 HEX] [--public-key HEX] [--conversation FILE.json]

Trust one thing that did not come with the proof: the hash of the lineage manifest, as the model version in MLflow
carries it (its tag sultana.lineage_manifest_sha256), or the public key that signed it. The file of --conversation holds
a JSON list of {"role": ..., "content": ...}: its id is computed here and has to be the one that the proof is about.
--public-key needs the package `cryptography`. The exit status is 0 where everything holds and 1 where it does not.
"""

import argparse
import hashlib
import json
import sys
import unicodedata
from pathlib import Path
from typing import TextIO

FAN_OUT = 16


class Refused(Exception):
    """The proof does not hold."""


def sha256(*parts: bytes) -> bytes:
    """SHA-256 of some bytes, one after the other."""
    return hashlib.sha256(b"".join(parts)).digest()


def conversation_id(messages: list[dict[str, str]]) -> str:
    """The id of an instruction: a hash of its roles and canonical contents."""
    turns = [[one["role"], canonical(one["content"])] for one in messages]
    text = json.dumps(turns, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def canonical(text: str) -> str:
    """NFC, newlines as one character, no white space at the ends."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def root_from(leaf: dict, count: int) -> str:
    """The root that a leaf leads to, by the nodes beside its way up."""
    node = bytes.fromhex(leaf["key_sha256"]) + bytes.fromhex(leaf["value_sha256"])
    place, mark, width = leaf["place"], b"\0", count
    require(0 <= place < count, "a leaf lies outside the tree")
    for children in leaf["nodes"]:
        expected = min(FAN_OUT, width - place // FAN_OUT * FAN_OUT)
        require(len(children) == expected, "a node has the wrong number of children")
        require(children[place % FAN_OUT] == node.hex(), "a node does not hold the one below it")
        node = sha256(mark, *(bytes.fromhex(one) for one in children))
        place, mark, width = place // FAN_OUT, b"\1", -(-width // FAN_OUT)
    require(place == 0 and width == 1, "the way up ends before the root")
    return sha256(b"\2", count.to_bytes(8, "big"), node).hex()


def check_tree(proof: dict) -> None:
    """That the leaves lead to the root and say what the proof says."""
    tree = proof["tree"]
    key, count, leaves = sha256(proof["instruction_id"].encode()).hex(), tree["count"], tree["leaves"]
    require(tree["key_sha256"] == key, "the tree's part is about another row")
    for leaf in leaves:
        require(root_from(leaf, count) == tree["root"], "a leaf does not lead to the root")
    if proof["included"]:
        require(len(leaves) == 1 and leaves[0]["key_sha256"] == key, "the row's leaf is not there")
        uses = sha256(proof["uses"].encode()).hex()
        require(leaves[0]["value_sha256"] == uses, "the row's uses are not those that were committed to")
        return
    if count == 0:
        require(tree["root"] == sha256(b"\2", bytes(8), bytes(32)).hex(), "an empty set has another root")
        return
    below = [leaf["place"] for leaf in leaves if leaf["key_sha256"] < key]
    above = [leaf["place"] for leaf in leaves if leaf["key_sha256"] > key]
    require(len(below) + len(above) == len(leaves), "the row is among the leaves")
    first = above == [0] and not below
    last = below == [count - 1] and not above
    between = len(below) == len(above) == 1 and above[0] == below[0] + 1
    require(first or last or between, "the leaves are not neighbours: others may lie between them")


def check_manifest(proof: dict, expected: str | None) -> dict:
    """That the manifest is the one whose hash is expected, and names the tree's root; the manifest."""
    found = sha256(proof["manifest"].encode()).hex()
    require(found == proof["manifest_sha256"], "the manifest is not the one that the proof names")
    require(expected is None or found == expected, f"the manifest's SHA-256 is {found}, not {expected}")
    manifest = json.loads(proof["manifest"])
    committed = {"root": proof["tree"]["root"], "instructions": proof["tree"]["count"]}
    require(manifest["training_set"] == committed, "the manifest names another training set")
    return manifest


def check_signature(proof: dict, public_key: str) -> None:
    """That the manifest's hash was signed by the holder of this Ed25519 key (64 hexadecimal digits)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signature = proof["signature"]
    require(signature is not None, "the manifest is not signed")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature["signature"]), proof["manifest_sha256"].encode())
    except InvalidSignature:
        raise Refused("the signature is not of this key") from None


def require(holds: bool, problem: str) -> None:
    """Refuses the proof where something does not hold."""
    if not holds:
        raise Refused(problem)


def main() -> int:
    """Reads, checks and says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proof", type=Path)
    parser.add_argument("--manifest-sha256", help="as the model version in MLflow carries it")
    parser.add_argument("--public-key", help="of who signs manifests, 64 hexadecimal digits")
    parser.add_argument(
        "--conversation", type=Path, help="JSON file with the messages that the proof is about"
    )
    given = parser.parse_args()
    try:
        proof = json.loads(given.proof.read_bytes())
        require(proof["format"] == "sultana.proof/1", f"unknown format {proof['format']}")
        check_tree(proof)
        manifest = check_manifest(proof, given.manifest_sha256)
        if given.public_key:
            check_signature(proof, given.public_key)
        if given.conversation:
            found = conversation_id(json.loads(given.conversation.read_bytes()))
            require(found == proof["instruction_id"], f"the conversation has the id {found}")
    except Refused as problem:
        say(f"REFUSED: {problem}", sys.stderr)
        return 1
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        say(f"REFUSED: this is no whole proof ({type(error).__name__}: {error})", sys.stderr)
        return 1
    say(told(proof, manifest))
    if not (given.manifest_sha256 or given.public_key):
        say(
            "The proof agrees with the manifest that came with it. Whether that is the model's: compare\n"
            f"  {proof['manifest_sha256']}\n"
            "with the tag sultana.lineage_manifest_sha256 of the model version (--manifest-sha256), or give "
            "--public-key."
        )
    return 0


def told(proof: dict, manifest: dict) -> str:
    """What was proved, in words."""
    model, name = manifest["model"], proof["instruction_id"]
    of = f"in the training set of {model['model']} version {model['version']}"
    if not proof["included"]:
        return f"Instruction {name} was not {of}."
    lines = [f"Instruction {name} was {of}."]
    for step, slot, row, share, weight in json.loads(proof["uses"]):
        how = "itself" if share == 1 else f"as {share:.4g} of the mix {row}"
        lines.append(f"  step {step}, slot {slot}: {how}, loss weight {weight:g}")
    return "\n".join(lines)


def say(text: str, to: TextIO = sys.stdout) -> None:
    """One message."""
    to.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
