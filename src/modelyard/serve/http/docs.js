// The docs page works without this file; with it, examples carry this server's address and can be tried.
for (const pre of document.querySelectorAll("pre.curl code")) {
  pre.textContent = pre.textContent.replace("{origin}", location.origin);
}

for (const form of document.querySelectorAll("form.try")) {
  const body = form.querySelector("textarea");
  const output = form.querySelector("output");
  const code = output.querySelector("code");
  const took = form.querySelector(".took");
  const ask = async () => {
    const started = performance.now();
    try {
      const answer = await fetch(`/models/${form.dataset.model}/predict?detail=full`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: body.value,
      });
      const milliseconds = (performance.now() - started).toFixed(1);
      output.classList.toggle("bad", !answer.ok);
      code.textContent = answer.ok ? JSON.stringify(await answer.json(), null, 2) : await reason(answer);
      took.textContent = `${answer.status} · ${milliseconds} ms · ${answer.headers.get("x-request-id")}`;
    } catch (error) {
      output.classList.add("bad");
      code.textContent = `The server did not answer: ${error.message}`;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  body.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
  });
}

async function reason(answer) {
  const problem = await answer.json();
  return [problem.detail, problem.cause].filter(Boolean).join("\n");
}
