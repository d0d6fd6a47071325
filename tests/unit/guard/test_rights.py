"""Rights as people write them."""

from __future__ import annotations

import pytest

from modelyard.core.errors import InvalidName
from modelyard.core.identity import Role, scopes
from modelyard.guard.issuers import Claim
from modelyard.guard.rights import Rights, parse_rights, to_toml


@pytest.mark.parametrize(
    ("text", "role", "models"),
    [
        ("admin", Role.ADMIN, "*"),
        ("predictor:fraud-*", Role.PREDICTOR, "fraud-*"),
        ("viewer:churn", Role.VIEWER, "churn"),
    ],
)
def test_rights_are_a_role_and_models(text: str, role: Role, models: str) -> None:
    assert parse_rights(text) == Rights(role=role, models=models)
    assert parse_rights(text).scopes == scopes(role, models)


@pytest.mark.parametrize("text", ["", "root", "Admin", "predictor:", "predictor:UPPER", "predictor:a b", "admin:*:x"])
def test_what_is_neither_says_what_it_should_be(text: str) -> None:
    with pytest.raises(InvalidName) as caught:
        parse_rights(text)
    assert "auditor" in caught.value.cause


def test_a_table_of_toml_is_texts_and_lists_of_them() -> None:
    claim = Claim(path="realm.roles", value='a "quoted" \\ ä', role=Role.ADMIN)
    assert to_toml("issuer.claim", claim) == (
        '[[issuer.claim]]\nrole = "admin"\nmodels = "*"\npath = "realm.roles"\nvalue = "a \\"quoted\\" \\\\ ä"\n'
    )
