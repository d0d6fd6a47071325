"""A real browser, talked into it by other sites' pages and by texts of models, harms no server without keys."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.core.manifest import MODEL, SAMPLES, Manifest, Source, Task
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.bundle import Bundle, seal
from modelyard.model.golden import record
from modelyard.model.runtime import load
from tests.acceptance.serving import Served, home_with
from tests.models import echo_bundle, linear_bundle

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

_RUN = "parent.ran=top.ran=window.ran=1"
_CARRIERS = (
    "<script>{}</script>", "<ScRiPt>{}</sCrIpT>", "</script><script>{}</script>", "</style><script>{}</script>",
    "</textarea><script>{}</script>", "</title><script>{}</script>", "</code></pre><script>{}</script>",
    "<script/x>{}</script>", "<script src=data:text/javascript,{}></script>", "<script>{}//",
    "<!--><script>{}</script>-->", "<img src=x onerror='{}'>", '<img src=x onerror="{}">', "<img/src=x/onerror={}>",
    "<img src=x onerror={}//", "<svg onload='{}'>", "<svg/onload={}>", "<svg><script>{}</script></svg>",
    "<svg><animate onbegin={} attributeName=x>", "<body onload={}>", "<iframe srcdoc='<script>{}</script>'>",
    "<iframe src='javascript:{}'>", "<iframe onload={}>", "<details open ontoggle={}>", "<video src=x onerror={}>",
    "<audio src=x onerror={}>", "<input autofocus onfocus={}>", "<select autofocus onfocus={}>",
    "<textarea autofocus onfocus={}>", "<marquee onstart={}>", "<object data='javascript:{}'>",
    "<embed src='javascript:{}'>", "<math><mi xlink:href='javascript:{}'>", "<a href='javascript:{}'>x</a>",
    "<form action='javascript:{}'><button>x", "<button form=x formaction='javascript:{}'>",
    "<base href='javascript:{}//'>", "<meta http-equiv=refresh content='0;javascript:{}'>",
    "<link rel=stylesheet href='data:text/css,*{{x:y}}' onload={}>", "<style onload={}>",
    "<x onclick={} id=x tabindex=1 autofocus onfocus={}>", '"><script>{}</script>', "'><script>{}</script>",
    '" onfocus={} autofocus x="', "' onfocus={} autofocus x='", "` onerror={} `", "&lt;script&gt;{}&lt;/script&gt;",
    "&#60;script&#62;{}&#60;/script&#62;", "\\u003cscript\\u003e{}\\u003c/script\\u003e",
    "%3Cscript%3E{}%3C/script%3E", "javascript:{}", "data:text/html,<script>{}</script>",
    "{{{{constructor.constructor('{}')()}}}}", "${{{}}}", "#{{{}}}", "{{origin}}<script>{}</script>",
    "{{name}}<img src=x onerror={}>", "]]><script>{}</script>",
    "<noscript><p title='</noscript><img src=x onerror={}>'>", "＜script＞{}＜/script＞",
)  # fmt: skip
PAYLOADS = tuple(carrier.format(_RUN, _RUN) for carrier in _CARRIERS)
_TEXTS = {"application/json", "application/problem+json"}
_TRY = """
async ([model, bodies]) => {
  const form = document.querySelector("form[data-model=" + model + "]"), took = form.querySelector(".took"), told = [];
  for (const body of bodies) {
    form.querySelector("textarea").value = body;
    took.textContent = "";
    form.requestSubmit();
    while (!took.textContent) await new Promise((done) => setTimeout(done, 1));
    told.push(form.querySelector("output").innerText);
  }
  return told;
}
"""
_WATCH = """
document.addEventListener("securitypolicyviolation", (event) => report(event.violatedDirective));
Object.defineProperty(window, "ran", {set() { report("ran"); }});
"""


class Elsewhere(ThreadingHTTPServer):
    """Another site: any path is a page without anything."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><body>elsewhere")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as site:
        yield site
        site.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Where every name of another site leads to this machine."""
    rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = home_with(
        tmp_path_factory.mktemp("browser") / "home", linear_bundle(), echo_bundle(), marked_bundle(), labelled_bundle()
    )
    with Served(home.settings.home, "--repository", "explicit", "linear", "echo", "marked", "labelled") as server:
        yield server


def marked_bundle() -> Bundle:
    """A model whose every text is a payload: names of its fields, their units and descriptions, its card."""
    plain = linear_bundle("marked", features=PAYLOADS)
    signature = plain.manifest.signature
    told = tuple(
        msgspec.structs.replace(feature, description=text, unit=text)
        for feature, text in zip(signature.inputs[0].features, PAYLOADS, strict=True)
    )
    packed = msgspec.structs.replace(signature.inputs[0], features=told)
    changed: Signature = msgspec.structs.replace(signature, inputs=(packed,))
    manifest = msgspec.structs.replace(plain.manifest, signature=changed)
    rows = [dict.fromkeys(PAYLOADS, 1.0)]
    samples = record(load(seal(manifest, {MODEL: plain.files[MODEL]})), rows)
    files = {MODEL: plain.files[MODEL], SAMPLES: msgspec.json.encode(samples), "card.md": "\n".join(PAYLOADS).encode()}
    return seal(manifest, files)


def labelled_bundle() -> Bundle:
    """A model whose categories and classes are payloads: it answers the category it is given, and each class."""
    words = [payload.encode() for payload in PAYLOADS]
    nodes = [
        helper.make_node("Squeeze", ["word", "second"], ["label"]),
        helper.make_node(
            *("LabelEncoder", ["word"], ["code"]),
            domain="ai.onnx.ml",
            keys_strings=words,
            values_floats=[float(at) for at in range(len(words))],
        ),
        helper.make_node("MatMul", ["code", "ones"], ["likely"]),
    ]
    count = len(PAYLOADS)
    graph = helper.make_graph(
        nodes,
        "labelled",
        [helper.make_tensor_value_info("word", TensorProto.STRING, ["rows", 1])],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["rows"]),
            helper.make_tensor_value_info("likely", TensorProto.FLOAT, ["rows", count]),
        ],
        [
            numpy_helper.from_array(np.ones((1, count), dtype=np.float32), "ones"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "second"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    raw = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    word = Feature(name="word", kind=FeatureKind.CATEGORY, categories=PAYLOADS)
    signature = Signature(
        inputs=(TensorSpec(name="word", datatype=Datatype.BYTES, shape=(-1, 1), features=(word,)),),
        outputs=(
            TensorSpec(name="label", datatype=Datatype.BYTES, shape=(-1,)),
            TensorSpec(name="likely", datatype=Datatype.FP32, shape=(-1, count), labels=PAYLOADS),
        ),
        prediction="label",
        probabilities="likely",
    )
    source = Source(format="onnx")
    manifest = Manifest(name="labelled", task=Task.CLASSIFICATION, signature=signature, files={}, source=source)
    samples = record(load(seal(manifest, {MODEL: raw})), [{"word": PAYLOADS[0]}])
    return seal(manifest, {MODEL: raw, SAMPLES: msgspec.json.encode(samples)})


def _state(served: Served) -> tuple[str, bytes]:
    """What a request that counts would change: how many were answered or refused, and which models are loaded."""
    text = served.ask("GET", "/metrics")[2].decode()
    counted = "\n".join(line for line in text.splitlines() if re.match(r"modelyard_(requests|rows)_total", line))
    return counted, served.ask("POST", "/v2/repository/index", b"{}", {"content-type": "application/json"})[2]


TARGETS = ("/models/linear/predict", "/v2/repository/models/linear/unload", "/v2/repository/models/echo/load", "/docs")
KINDS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json", None)
METHODS = ("POST", "PUT", "PATCH", "DELETE")
_ASK = """
async ({server, targets, methods, kinds}) => {
  let asked = 0; const read = [];
  const tell = async (path, options) => {
    asked += 1;
    try {
      const answer = await fetch(server + path, options);
      if (answer.type !== "opaque") read.push([path, options.method, answer.status]);
    } catch (error) {}
  };
  for (const path of targets) for (const method of methods) for (const kind of kinds)
    for (const mode of ["cors", "no-cors"]) {
      const headers = kind ? {"content-type": kind} : {};
      await tell(path, {method, mode, credentials: "include", headers, body: '{"feature": 3}'});
    }
  for (const path of ["/models", "/metrics", "/docs", "/openapi.json"]) await tell(path, {method: "GET", mode: "cors"});
  for (const path of targets) { navigator.sendBeacon(server + path, '{"feature": 3}'); asked += 1; }
  return [asked, read];
}
"""
_FORMS = """
async ({server, targets}) => {
  let asked = 0;
  const kinds = ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"];
  for (const path of targets) for (const enctype of kinds) {
    const frame = document.createElement("iframe");
    frame.name = "f" + asked;
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, {method: "POST", action: server + path, target: frame.name, enctype});
    form.append(Object.assign(document.createElement("input"), {name: '{"feature": 3, "x": "', value: '"}'}));
    document.body.append(form);
    form.submit();
    asked += 1;
  }
  await new Promise((done) => setTimeout(done, 700));
  return asked;
}
"""
_NULL = """
async ([script, details]) => new Promise((done) => {
  const frame = Object.assign(document.createElement("iframe"), {sandbox: "allow-scripts allow-forms"});
  const asked = `(${script})(${JSON.stringify(details)})`;
  frame.srcdoc = `<body><script>${asked}.then((found) => parent.postMessage(found, "*"))</` + "script>";
  addEventListener("message", (event) => done(event.data), {once: true});
  document.body.append(frame);
})
"""


@pytest.mark.row("WEB-01")
def test_pages_of_other_sites_change_nothing_and_read_nothing(
    served: Served, elsewhere: Elsewhere, page: Any, record_property: Any
) -> None:
    """From another name, another port of this machine, another name of this server, and from a page without origin."""
    before, attempts, read = _state(served), 0, []
    servers = [f"http://{name}:{served.port}" for name in ("127.0.0.1", "localhost", "rebound.example")]
    for origin in (f"http://evil.example:{elsewhere.port}", f"http://localhost:{elsewhere.port}"):
        page.goto(origin)
        for server in servers:
            details = {"server": server, "targets": TARGETS, "methods": METHODS, "kinds": KINDS}
            for asked, found in (page.evaluate(_ASK, details), page.evaluate(_NULL, [_ASK, details])):
                attempts, read = attempts + asked, read + found
            attempts += page.evaluate(_FORMS, details) + page.evaluate(_NULL, [_FORMS, details])
    effects = int(_state(served) != before) + len(read)
    record_property("number", f"{effects} effects of {attempts} attempts")
    assert read == []
    assert _state(served) == before
    assert attempts > 1500


@pytest.mark.row("WEB-01")
def test_a_name_that_leads_here_is_not_this_servers(served: Served, page: Any, record_property: Any) -> None:
    """As after DNS rebinding: the page's origin is the server's own address, by another site's name."""
    before = _state(served)
    answer = page.goto(f"http://rebound.example:{served.port}/docs")
    assert (answer.status, answer.headers.get("content-security-policy")) == (421, None)
    script = """async (methods) => Promise.all(methods.map(async (method) =>
      (await fetch("/models/linear/predict", {method, body: method == "GET" ? undefined : '{"feature":3}'})).status))"""
    found = page.evaluate(script, ["GET", *METHODS])
    record_property("number", f"{sum(status != 421 for status in found)} of {len(found)} answered")
    assert found == [421] * 5
    assert _state(served) == before


@pytest.mark.row("WEB-01")
def test_the_page_cannot_be_framed(served: Served, elsewhere: Elsewhere, page: Any, record_property: Any) -> None:
    shown = 0
    for origin in (f"http://evil.example:{elsewhere.port}", f"http://127.0.0.1:{served.port}/livez"):
        page.goto(origin)
        for element in ("iframe", "object", "embed"):
            source = "data" if element == "object" else "src"
            page.evaluate(
                "([element, source, url]) => new Promise((done) => { const made = document.createElement(element);"
                " made.onload = made.onerror = done; setTimeout(done, 1000); made[source] = url;"
                " document.body.append(made); })",
                [element, source, f"{served.url}/docs"],
            )
        for frame in page.frames[1:]:
            shown += frame.locator("form.try").count()
    record_property("number", f"{shown} of 6 frames showed it")
    assert shown == 0


def test_the_servers_own_page_can_ask(served: Served, page: Any) -> None:
    """What the rules are not against."""
    page.goto(f"{served.url}/docs")
    form = page.locator('form[data-model="linear"]')
    form.locator("textarea").fill('{"feature": 3}')
    form.locator("button").click()
    page.wait_for_function(
        "() => document.querySelector('form[data-model=linear] .took').textContent.startsWith('200')"
    )
    assert "6" in form.locator("output").inner_text()


@pytest.mark.row("WEB-02")
def test_no_text_becomes_a_script(served: Served, page: Any, record_property: Any) -> None:
    """Names, units and descriptions of fields, categories, classes, predictions, errors that repeat what was asked."""
    assert len(PAYLOADS) >= 60
    ran, asked = _watch(page), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served.url}/docs")
    shown = page.locator("main").inner_text()
    assert all(payload in shown for payload in PAYLOADS if "  " not in payload)
    for payload in PAYLOADS:
        bodies = [json.dumps(body) for body in ({"half": [0.5, 1.0], "text": payload}, {payload: 1})]
        told = page.evaluate(_TRY, ["echo", [*bodies, payload]])
        assert json.dumps(payload, ensure_ascii=False) in told[0]
        assert all(told)
        asked_for = [json.dumps({"word": payload}), json.dumps({"word": payload + "?"})]
        labelled = page.evaluate(_TRY, ["labelled", asked_for])
        assert json.dumps(payload, ensure_ascii=False) in labelled[0]
        assert all(labelled)
    foreign = [url for url in asked if not url.startswith(served.url)]
    record_property("number", f"{len(ran) + len(foreign)} executions of {len(PAYLOADS)} payloads in 9 places")
    assert ran == []
    assert foreign == []


def test_what_runs_is_seen(served: Served, elsewhere: Elsewhere, page: Any) -> None:
    """On a page without a policy, and, as a violation, on one of ours."""
    ran = _watch(page)
    for place in (f"http://evil.example:{elsewhere.port}", f"{served.url}/docs"):
        page.goto(place)
        page.evaluate("(payload) => { document.body.innerHTML += payload; }", f"<img src=x onerror='{_RUN}'>")
        page.wait_for_timeout(200)
    assert "ran" in ran
    assert "script-src-attr" in ran


@pytest.mark.row("WEB-02")
def test_no_address_becomes_a_page(served: Served, record_property: Any) -> None:
    """A link with a payload in it: the answer may repeat it, and is of a kind that no browser reads as a page."""
    kinds = []
    for payload in PAYLOADS:
        for place in ("/models/{}", "/{}", "/models/linear?x={}", "/v2/models/{}", "/v1/models/{}:predict"):
            status, headers, _ = served.ask("GET", place.format(quote(payload)))
            kinds.append(headers["content-type"])
            assert status < 500
    pages = [kind for kind in kinds if kind not in _TEXTS]
    record_property("number", f"{len(pages)} pages of {len(kinds)} answers")
    assert pages == []


def _watch(page: Any) -> list[str]:
    """What ran, or was kept from running, from now on in this page."""
    ran: list[str] = []
    page.expose_function("report", lambda what: ran.append(what))
    page.add_init_script(_WATCH)
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    return ran
