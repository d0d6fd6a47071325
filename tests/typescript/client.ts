// A client as somebody would write it with the types that are generated from the server's OpenAPI document.
// Every @ts-expect-error is an assertion: the compiler fails where there is no error.
import type { components, paths } from "./api.js";

type Json<Path extends keyof paths> = paths[Path] extends {
  post: { requestBody: { content: { "application/json": infer Body } } };
}
  ? Body
  : never;
type Answer<Path extends keyof paths> = paths[Path] extends {
  post: { responses: { 200: { content: { "application/json": infer Body } } } };
}
  ? Body
  : never;

async function ask<Path extends keyof paths & string>(path: Path, body: Json<Path>): Promise<Answer<Path>> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(origin + path, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as Answer<Path>;
}

declare const process: { argv: string[] };
const origin: string = process.argv[2] ?? "http://127.0.0.1:8080";

type Penguin = components["schemas"]["MixedRow"];
const penguin: Penguin = { species: "adelie", length: 3, mass: 3.5 };
const unweighed: Penguin = { species: "gentoo", length: 5.5 };

// @ts-expect-error - there is no such species
export const dodo: Penguin = { species: "dodo", length: 3 };
// @ts-expect-error - a length is needed
export const endless: Penguin = { species: "gentoo" };
// @ts-expect-error - a length is a number
export const wordy: Penguin = { species: "gentoo", length: "long" };
// @ts-expect-error - a misspelt field
export const misspelt: Penguin = { species: "gentoo", length: 3, mas: 2 };

const tensors: Json<"/v2/models/linear/infer"> = {
  inputs: [{ name: "input", datatype: "FP64", shape: [2, 1], data: [3, 4] }],
};
export const misnamed: Json<"/v2/models/linear/infer"> = {
  // @ts-expect-error - the tensor is called input
  inputs: [{ name: "inputs", datatype: "FP64", shape: [1, 1], data: [3] }],
};
export const mistyped: Json<"/v2/models/linear/infer"> = {
  // @ts-expect-error - it is FP64
  inputs: [{ name: "input", datatype: "FP32", shape: [1, 1], data: [3] }],
};

function expect(what: string, got: unknown, wanted: unknown): void {
  if (JSON.stringify(got) !== JSON.stringify(wanted)) throw new Error(`${what}: ${JSON.stringify(got)}`);
}

const named = await ask("/models/mixed/predict", [penguin, unweighed]);
const labels: (string | null)[] = named.prediction;
expect("labels", labels, ["small", "big"]);
const inferred = await ask("/v2/models/linear/infer", tensors);
expect("tensors", inferred.outputs?.[0]?.data, [6, 8]);
const rows = await ask("/v1/models/linear:predict", { instances: [{ feature: 3 }] });
expect("rows", "predictions" in rows ? rows.predictions : null, [6]);
console.log("typed answers:", labels.join(", "));
