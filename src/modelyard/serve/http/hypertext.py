"""The ``/docs`` page as HTML: every model with its fields, a form to try it, and every way to ask it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import modelyard
from modelyard.core.schema import Described
from modelyard.core.signature import Feature, FeatureKind, Signature
from modelyard.serve.plane import ServedModel

_FORMATS = {
    "application/json": "JSON",
    "application/xml": "XML",
    "text/csv": "CSV",
    "application/x-ndjson": "JSON lines",
    "application/vnd.apache.parquet": "Parquet",
    "application/vnd.apache.arrow.stream": "Arrow stream",
    "application/vnd.apache.arrow.file": "Arrow file",
    "application/vnd.msgpack": "MessagePack",
    "application/x-npy": "npy",
    "application/octet-stream": "binary tensors",
}
_SHOWN = 12  # categories of a feature


def page(models: Sequence[tuple[ServedModel, Described]], paths: Mapping[str, Any]) -> bytes:
    """The page of these models; `paths` are those of their OpenAPI document."""
    sections = "".join(_section(model, described, _ways(model.name, paths)) for model, described in models)
    links = "".join(f'<a href="#{escape(model.name)}">{escape(model.name)}</a>' for model, _ in models)
    return _PAGE.format(sections=sections, links=links, version=escape(modelyard.__version__)).encode()


def _ways(name: str, paths: Mapping[str, Any]) -> str:
    """A table row for each address that answers with predictions of this model, versions and aliases left out."""
    rows = []
    for address, item in paths.items():
        asked = item.get("post", {})
        if "{" in address or name not in asked.get("tags", ()):
            continue
        words = asked["summary"].removesuffix(f": {name}").removesuffix(f" with {name}")
        takes, answers = asked["requestBody"]["content"], asked["responses"]["200"].get("content", {})
        rows.append(
            f"<tr><td><code>{escape(address)}</code></td><td>{escape(words)}</td>"
            f'<td data-word="takes">{_media(takes)}</td><td data-word="answers">{_media(answers)}</td></tr>'
        )
    return "".join(rows)


def _media(content: Iterable[str]) -> str:
    """Media types by the names that people use."""
    return escape(", ".join(_FORMATS.get(kind, kind) for kind in content))


def _section(model: ServedModel, described: Described, ways: str) -> str:
    replica = model.version()
    example = json.dumps(dict(described.rows[0]) if described.rows else {}, ensure_ascii=False, indent=2)
    answer = json.dumps({"prediction": list(described.answers[:1])}, ensure_ascii=False)
    return _SECTION.format(
        name=escape(replica.name),
        version=replica.version,
        task=escape(str(replica.bundle.manifest.task)),
        fields="".join(_field(feature) for feature in _features(replica.signature)),
        tensors=escape(_tensors(replica.signature)),
        example=escape(example),
        rows=min(16, example.count("\n") + 1),
        answer=escape(answer),
        curl=escape(_curl(replica.name, described)),
        ways=ways,
    )


def _features(signature: Signature) -> list[Feature]:
    opaque = [
        Feature(name=spec.name, kind=FeatureKind.NUMBER, description=f"tensor {list(spec.shape)} of {spec.datatype}")
        for spec in signature.inputs
        if not spec.features
    ]
    return [*signature.features, *opaque]


def _field(feature: Feature) -> str:
    seen = ""
    if feature.categories:
        more = " …" if len(feature.categories) > _SHOWN else ""
        seen = ", ".join(item or "(empty)" for item in feature.categories[:_SHOWN]) + more
    elif feature.minimum is not None and feature.maximum is not None:
        seen = f"{feature.minimum:g} to {feature.maximum:g}"
    rule = "may be missing" if feature.nullable else "required"
    about = " · ".join(item for item in (seen, feature.unit, feature.description) if item)
    cells = (f"<code>{escape(feature.name)}</code>", escape(str(feature.kind)), rule, escape(about))
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _tensors(signature: Signature) -> str:
    def one(name: str, datatype: object, shape: tuple[int, ...]) -> str:
        return f"{name} {datatype} {list(shape)}"

    inputs = ", ".join(one(spec.name, spec.datatype, spec.shape) for spec in signature.inputs)
    outputs = ", ".join(one(spec.name, spec.datatype, spec.shape) for spec in signature.outputs)
    return f"{inputs} → {outputs}"


def _curl(name: str, described: Described) -> str:
    row = json.dumps(dict(described.rows[0]) if described.rows else {}, ensure_ascii=False)
    quoted = row.replace("'", "'\\''")
    return f"curl -d '{quoted}' {{origin}}/models/{name}/predict"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Models served here · Modelyard</title>
<link rel="stylesheet" href="/docs.css">
<script type="module" src="/docs.js"></script>
</head>
<body>
<header>
<h1>Models served here</h1>
<p>Send rows, get one prediction per row. Clients of other servers ask the same models in their own words: each
model lists every way.</p>
<nav aria-label="Models">{links}</nav>
</header>
<main>{sections}</main>
<footer><p>Modelyard {version} · <a href="/openapi.json">OpenAPI 3.1</a> · <a href="/metrics">metrics</a> ·
<a href="/readyz">readiness</a></p></footer>
</body>
</html>
"""

_SECTION = """
<section id="{name}" aria-labelledby="{name}-title">
<h2 id="{name}-title">{name} <span class="tag">version {version}</span> <span class="tag">{task}</span></h2>
<div class="columns">
<div class="card">
<h3>Inputs</h3>
<div class="scroll" tabindex="0" role="region" aria-label="Inputs of {name}"><table>
<thead><tr><th scope="col">Field</th><th scope="col">Type</th><th scope="col">Rule</th>
<th scope="col">Seen in training</th></tr></thead>
<tbody>{fields}</tbody>
</table></div>
<h3>From a shell</h3>
<pre class="curl" tabindex="0" aria-label="curl command"><code>{curl}</code></pre>
<p class="quiet">As tensors, <code>POST /v2/models/{name}/infer</code>: {tensors}</p>
</div>
<form class="card try" data-model="{name}">
<h3>Try it</h3>
<label for="{name}-body">One row, a list of rows, or columns</label>
<textarea id="{name}-body" rows="{rows}" spellcheck="false" autocomplete="off">{example}</textarea>
<button type="submit">Predict</button>
<h3>Answer</h3>
<output for="{name}-body" aria-live="polite"><pre><code>{answer}</code></pre></output>
<p class="quiet took">The recorded answer to the example.</p>
</form>
</div>
<details class="card ways">
<summary>Every way to ask {name}</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Addresses of {name}"><table>
<thead><tr><th scope="col">POST to</th><th scope="col">As</th><th scope="col">It takes</th>
<th scope="col">It answers</th></tr></thead>
<tbody>{ways}</tbody>
</table></div>
<p class="quiet">With versions, aliases, metadata and schemas:
<a href="/models/{name}/openapi.json">OpenAPI 3.1 of {name}</a></p>
</details>
</section>
"""
