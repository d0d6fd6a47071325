"""Signatures, where they matter: a real server that enforces them refuses what has none, and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from modelyard.control.actions import plans, trust
from modelyard.control.actions.export import export
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.sign import sign
from modelyard.core.plan import Plan
from modelyard.core.reference import parse_reference
from modelyard.core.trust import Policy
from modelyard.guard.signer import pem_of
from tests.acceptance.load import wait_until
from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle

LINEAR = parse_reference("linear")


def slope(served: Served) -> float:
    status, told = served.post("/models/linear/predict", {"feature": 1})
    assert status == 200, told
    return float(told["prediction"][0])


def loads_cryptography(served: Served) -> list[bool]:
    """Of each worker, whether the library's compiled part is mapped."""
    return [any("_rust.abi3" in mapped.path for mapped in worker.memory_maps()) for worker in served.workers()]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """linear@1, signed with the installation's own key, which is trusted."""
    home = home_with(tmp_path / "home", linear_bundle(slope=1.0))
    sign(home, LINEAR)
    trust.add(home, None, "lin*")
    return home


def test_an_unsigned_version_is_refused_and_the_old_one_goes_on(home: Home) -> None:
    with Served(home.settings.home, "--signatures", "enforce", "--workers", "2") as served:
        assert slope(served) == 1.0
        publish(home, linear_bundle(slope=2.0))
        told = served.wait_for("trouble")
        assert (told["trouble"], told["model"], told["served"]) == ("linear@2 is not signed", "linear", True)
        assert slope(served) == 1.0
        for worker in served.workers():  # whoever comes anew obeys the same plan
            worker.kill()
        assert slope(served) == 1.0
        sign(home, LINEAR)
        wait_until(lambda: slope(served) == 2.0)
        assert loads_cryptography(served) == [True, True]


def test_a_key_counts_for_its_own_models_alone(home: Home, tmp_path: Path) -> None:
    """Two teams, each with a key: the other's signature is as good as none, and what was served goes on."""
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "team.pem", tmp_path / "team.pub"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_text(pem_of(key.public_key()))
    trust.add(home, public, "fraud-*")
    publish(home, linear_bundle("fraud-eu", slope=5.0))
    sign(home, parse_reference("fraud-eu"), private)
    with Served(home.settings.home, "--signatures", "enforce") as served:
        assert served.post("/models/fraud-eu/predict", {"feature": 1})[0] == 200
        publish(home, linear_bundle(slope=2.0))
        sign(home, LINEAR, private)
        told = served.wait_for("trouble")
        while "signed with" not in told["trouble"]:  # it was published before it was signed
            told = served.wait_for("trouble")
        assert told["trouble"].startswith("linear@2 was signed with a key that is not trusted for it")
        assert slope(served) == 1.0
        trust.add(home, public, "linear")
        wait_until(lambda: slope(served) == 2.0)


def test_a_minimum_that_is_raised_holds_at_once(home: Home) -> None:
    publish(home, linear_bundle(slope=2.0))
    sign(home, LINEAR)
    with Served(home.settings.home, "linear@1", "--signatures", "enforce") as served:
        assert slope(served) == 1.0
        trust.set_minimum(home, "linear", 2)
        told = served.wait_for("trouble")
        assert "is signed as version 1, and the least that counts is 2" in told["trouble"]
        wait_until(lambda: served.post("/models/linear/predict", {"feature": 1})[0] == 404)


def test_an_old_version_is_not_replayed(home: Home) -> None:
    """Soundly signed, and published again after it was replaced."""
    publish(home, linear_bundle(slope=2.0))
    sign(home, LINEAR)
    trust.set_minimum(home, "linear", 2)
    with Served(home.settings.home, "--signatures", "enforce") as served:
        assert publish(home, linear_bundle(slope=1.0)).version == 3
        told = served.wait_for("trouble")
        assert told["trouble"] == "linear@3 is signed as version 1, and the least that counts is 2"
        assert slope(served) == 2.0


def test_what_lost_its_trust_is_not_served(home: Home) -> None:
    publish(home, linear_bundle("other"))
    sign(home, parse_reference("other"))
    with Served(home.settings.home, "linear", "--signatures", "enforce") as served:
        assert slope(served) == 1.0
        trust.remove(home, trust.own(home).id)
        told = served.wait_for("trouble")
        assert (told["model"], told["served"]) == ("linear", False)
        wait_until(lambda: served.post("/models/linear/predict", {"feature": 1})[0] == 404)
        trust.add(home, None)
        wait_until(lambda: served.post("/models/linear/predict", {"feature": 1})[0] == 200)


def test_at_the_start_it_is_an_error_that_says_what_mends_it(home: Home) -> None:
    publish(home, linear_bundle(slope=2.0))
    served = Served(home.settings.home, "--signatures", "enforce")
    assert served.process.wait(30) == 4
    served.stop()
    error = json.loads(served.output[served.output.index('{\n  "error"') :])["error"]
    assert (error["code"], error["detail"]) == ("SIGNATURE-UNTRUSTED", "linear@2 is not signed")
    assert error["hint"] == "modelyard sign linear@2"


def test_a_warning_serves_all_the_same(home: Home) -> None:
    publish(home, linear_bundle(slope=2.0))
    with Served(home.settings.home, "--signatures", "warn") as served:
        loaded = next(event for event in served.events if event.get("loaded") == "linear@2")
        assert loaded["unheeded"] == ["is not signed"]
        assert slope(served) == 2.0


def test_off_asks_for_nothing_and_loads_nothing(home: Home) -> None:
    with Served(home.settings.home) as served:
        assert slope(served) == 1.0
        assert loads_cryptography(served) == [False]
        publish(home, linear_bundle(slope=2.0))
        wait_until(lambda: slope(served) == 2.0)


def test_a_worker_looks_for_itself(home: Home, tmp_path: Path) -> None:
    """What a plan promises is checked by who serves it: a signature that was changed on the disk is not served."""
    plan = plans.render(home, ["linear"], signatures=Policy.ENFORCE)
    path = tmp_path / "plan.json"
    path.write_bytes(plan.to_bytes())
    with Served(tmp_path / "nowhere", "--plan", str(path)) as served:
        assert slope(served) == 1.0
    signature = Path(plan.models[0].versions[0].path) / "signature.dsse"
    signature.write_bytes(signature.read_bytes().replace(b'"sig": "', b'"sig": "A'))
    served = Served(tmp_path / "nowhere", "--plan", str(path))
    assert served.process.wait(30) == 4
    served.stop()
    assert "SIGNATURE-UNTRUSTED" in served.output
    assert Plan.from_bytes(path.read_bytes()) == plan


@pytest.mark.long
def test_models_that_are_loaded_on_request(home: Home, tmp_path: Path) -> None:
    publish(home, linear_bundle("other"))
    signed = export(home, LINEAR, tmp_path / "signed")
    bare = export(home, parse_reference("other"), tmp_path / "bare")
    options = ("--signatures", "enforce", "--repository", "explicit")
    with Served(home.settings.home, *options, "--contracts", "all", SAGEMAKER_MULTI_MODEL="true") as served:
        status, told = served.post("/v2/repository/models/other/load", {})
        assert status == 403, told
        assert "other@1 is not signed" in json.dumps(told)
        assert served.ask("POST", "/v2/repository/models/linear/load")[0] == 200
        assert slope(served) == 1.0
        assert served.ask("POST", "/v2/repository/models/linear/unload")[0] == 200
        for name, folder, expected in (("bare", bare, 403), ("another", signed, 403), ("linear", signed, 200)):
            told = served.ask("POST", "/models", json.dumps({"model_name": name, "url": str(folder)}))
            assert told[0] == expected, (name, told)
