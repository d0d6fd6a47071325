"""Azure ML's session as its inference server documents it, replayed."""

from __future__ import annotations

from tests.acceptance.serving import Served
from tests.acceptance.test_clouds import azure_documents, azure_session
from tests.conformance import check

CLIENT = "Azure ML session"


@check(client=CLIENT, feature="score, health, headers", server="openapi")
def session(server: Served) -> None:
    azure_session(server)


@check(client=CLIENT, feature="swagger 2, 3 and 3.1", server="openapi")
def documents(server: Served) -> None:
    azure_documents(server)
