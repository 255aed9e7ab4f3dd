"""Proofs that a row was, or was not, trained on, checked by the script alone, in a Python without Sultana."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from small_tables import CURRICULUM_ID, Small

from assets.identity import instruction_id
from assets.lineage import check_proof
from assets.lineage.manifest import manifest_bytes, manifest_sha256, read_manifest
from assets.lineage.signing import sign, signature_problem
from assets.lineage.training_set import TrainingSet, training_set
from assets.records import INTERPOLATED_INSTRUCTIONS
from resources.errors import SultanaError
from resources.table_refs import Provenance, TableRef

KEY = "11" * 32


def manifest_of(trained_on: TrainingSet) -> dict[str, Any]:
    return {
        "format": "sultana.lineage/2",
        "model": {"model": "sultana", "version": 3},
        "training_set": trained_on.commitment(),
        "materializations": [],
    }


def checked(tmp_path: Path, proof: dict[str, Any], *options: str) -> tuple[int, str]:
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(proof))
    # -I: neither this folder nor installed packages beside the standard library's place are looked at.
    isolated = [
        sys.executable,
        *(["-I", "-S"] if "--public-key" not in options else []),
        check_proof.__file__,
    ]
    done = subprocess.run([*isolated, str(file), *options], capture_output=True, text=True, cwd=tmp_path)
    return done.returncode, done.stdout + done.stderr


def proof_of(trained_on: TrainingSet, name: str, *, signed: bool = False) -> dict[str, Any]:
    manifest = manifest_of(trained_on)
    return trained_on.proof(
        name, manifest_bytes(manifest).decode(), sign(manifest_sha256(manifest)) if signed else None
    )


@pytest.fixture(scope="module")
def trained_on(small: Small) -> TrainingSet:
    sources = small.curriculum_sources
    assert sources.curriculum is not None
    return training_set(small.tables, sources.curriculum, CURRICULUM_ID, sources.recipes)


def test_the_training_set_holds_every_instruction_with_its_uses(trained_on: TrainingSet) -> None:
    uses = dict(zip(trained_on.ids.to_pylist(), map(json.loads, trained_on.uses.to_pylist()), strict=True))
    assert uses == {
        "apple": [[0, 0, "apple", 1.0, 1.0], [0, 1, "mix-1", 0.123456, 0.5], [1, 0, "apple", 1.0, 0.25]],
        "berry": [[1, 1, "mix-2", 0.25, 1.0]],
        "cherry": [[0, 1, "mix-1", 1 - 0.123456, 0.5]],
        "date": [[1, 1, "mix-2", 0.75, 1.0]],
    }
    assert trained_on.uses_of("elder") is None and trained_on.commitment()["instructions"] == 4


def test_a_mix_without_a_recipe_is_named(small: Small) -> None:
    sources = small.curriculum_sources
    assert sources.curriculum is not None
    with pytest.raises(SultanaError, match="mix-1 has no recipe in interpolated_instructions"):
        training_set(small.tables, sources.curriculum, CURRICULUM_ID, _renamed_recipes(small))


def _renamed_recipes(small: Small) -> TableRef:
    record = INTERPOLATED_INSTRUCTIONS
    rows = small.tables.read(small.sources.recipes)
    others = pa.array([f"{name}-other" for name in rows["recipe_id"].to_pylist()])
    changed = rows.set_column(0, record.schema.field(0), others)
    return small.tables.write(
        record, changed, mode="overwrite", provenance=Provenance("run", "recipes", "others")
    )


@pytest.mark.parametrize("name", ["apple", "date", "elder", "0" * 32])
def test_a_proof_holds_without_sultana(trained_on: TrainingSet, tmp_path: Path, name: str) -> None:
    proof = proof_of(trained_on, name)
    status, told = checked(tmp_path, proof, "--manifest-sha256", proof["manifest_sha256"])
    assert status == 0, told
    assert f"{name} {'was' if name in ('apple', 'date') else 'was not'} in the training set" in told
    status, told = checked(tmp_path, proof)
    assert status == 0 and "compare" in told and proof["manifest_sha256"] in told
    status, told = checked(tmp_path, proof, "--manifest-sha256", "0" * 64)
    assert status == 1 and "REFUSED" in told


def changes(proof: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The proof, changed in every way that could make it lie."""
    tree, other = proof["tree"], {**proof, "instruction_id": "elder"}
    leaf = tree["leaves"][0]
    manifest = json.loads(proof["manifest"])
    forged = json.dumps({**manifest, "model": {"model": "sultana", "version": 4}})
    return {
        "another row": other,
        "not included": {**proof, "included": False},
        "other uses": {**proof, "uses": proof["uses"].replace("0.25", "0.5")},
        "another root": {**proof, "tree": {**tree, "root": "0" * 64}},
        "another number": {**proof, "tree": {**tree, "count": tree["count"] + 1}},
        "another place": {**proof, "tree": {**tree, "leaves": [{**leaf, "place": leaf["place"] + 16}]}},
        "no leaves": {**proof, "included": False, "tree": {**tree, "leaves": []}},
        "another manifest": {**proof, "manifest": forged},
        "no tree": {**proof, "tree": None},
    }


@pytest.mark.parametrize(
    "change",
    [
        "another row",
        "not included",
        "other uses",
        "another root",
        "another number",
        "another place",
        "no leaves",
        "another manifest",
        "no tree",
    ],
)
def test_a_changed_proof_is_refused(trained_on: TrainingSet, tmp_path: Path, change: str) -> None:
    proof = proof_of(trained_on, "apple")
    changed = changes(proof)[change]
    assert changed != proof
    status, told = checked(tmp_path, changed, "--manifest-sha256", proof["manifest_sha256"])
    assert status == 1 and told.startswith("REFUSED"), told


def test_an_absence_needs_neighbours(tmp_path: Path) -> None:
    names = [f"{number:032x}" for number in range(100)]
    large = TrainingSet(pa.array(names), pa.array(["[]"] * 100))
    for name in (f"absent {number}" for number in range(20)):
        proof = proof_of(large, name)
        leaves = proof["tree"]["leaves"]
        if len(leaves) == 2:
            break
    assert checked(tmp_path, proof)[0] == 0
    one = {**proof, "tree": {**proof["tree"], "leaves": leaves[:1]}}
    apart = next(
        other["tree"]["leaves"][-1]
        for other in (proof_of(large, f"absent {number}") for number in np.arange(20, 60))
        if other["tree"]["leaves"][-1]["place"] > leaves[1]["place"] + 1
    )
    for lie in (one, {**proof, "tree": {**proof["tree"], "leaves": [leaves[0], apart]}}):
        status, told = checked(tmp_path, lie)
        assert status == 1 and "neighbours" in told


def test_signatures(trained_on: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SULTANA_SIGNING_KEY", raising=False)
    assert sign("a" * 64) is None
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEY))
    monkeypatch.chdir(tmp_path)
    pem = Path("k" * 64)  # as long as a key in digits, and a path
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signed = []
    for given in (KEY, str(pem)):
        monkeypatch.setenv("SULTANA_SIGNING_KEY", given)
        signed.append(proof_of(trained_on, "apple", signed=True))
    assert signed[0] == signed[1]
    public, proof = key.public_key().public_bytes_raw().hex(), signed[0]
    assert checked(tmp_path, proof, "--public-key", public)[0] == 0
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    assert "not of this key" in checked(tmp_path, proof, "--public-key", other)[1]
    assert "not signed" in checked(tmp_path, {**proof, "signature": None}, "--public-key", public)[1]
    sha256, signature = proof["manifest_sha256"], proof["signature"]
    assert signature_problem(sha256, signature, public) is None
    assert signature_problem(sha256, None, None) is None
    assert "not signed" in str(signature_problem(sha256, None, public))
    assert "not by the one" in str(signature_problem(sha256, signature, other))
    assert "not one of this" in str(signature_problem("0" * 64, signature, public))
    for wrong in ("nonsense", "zz" * 32, str(tmp_path)):
        monkeypatch.setenv("SULTANA_SIGNING_KEY", wrong)
        with pytest.raises(SultanaError, match="no private key that can be read"):
            sign("a" * 64)


def test_the_script_computes_the_ids_that_sultana_does(tmp_path: Path, trained_on: TrainingSet) -> None:
    texts = [
        "plain",
        " \r\nedge\u2028\u00e9e\u0301 ",
        'quote" back\\slash \t\b\f\x01\x7f / <|im_end|>',
        "\U0001f347",
    ]
    for text in texts:
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}]
        assert check_proof.conversation_id(messages) == instruction_id(messages)
    conversation = tmp_path / "conversation.json"
    conversation.write_text(json.dumps(messages))
    large = TrainingSet(pa.array([instruction_id(messages)]), pa.array(["[]"]))
    options = ("--conversation", str(conversation))
    assert checked(tmp_path, proof_of(large, instruction_id(messages)), *options)[0] == 0
    assert "has the id" in checked(tmp_path, proof_of(trained_on, "apple"), *options)[1]


def test_a_stored_manifest_is_read_only_whole(trained_on: TrainingSet) -> None:
    manifest = manifest_of(trained_on)
    content = manifest_bytes(manifest)
    assert read_manifest(content, manifest_sha256(manifest), "here") == manifest
    with pytest.raises(SultanaError, match="was changed"):
        read_manifest(content.replace(b"sultana", b"santana"), manifest_sha256(manifest), "here")
    with pytest.raises(SultanaError, match="its format is other"):
        read_manifest(content.replace(b"sultana.lineage/2", b"other"), None, "here")
