"""Google Vertex AI's documented session, replayed at its default addresses."""

from __future__ import annotations

from tests.acceptance.serving import Served
from tests.acceptance.test_clouds import vertex_session
from tests.conformance import check

BASE = "/v1/endpoints/123/deployedModels/456"


@check(client="Vertex AI session", feature="health, predict, rawPredict", server="openapi")
def session(server: Served) -> None:
    vertex_session(server, BASE, BASE + ":predict")
