// Requests to this server: JSON, and event streams. The key lives in this tab.

let key = sessionStorage.getItem("key") ?? "";

export function useKey(text) {
  key = text;
  sessionStorage.setItem("key", text);
}

/** The answer's JSON (null without one). Throws an Error with `status`, `code` and `hint`. */
export async function api(method, path, { body, signal } = {}) {
  const answer = await request(method, path, { body, signal, accept: "application/json" });
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/** The events of a run, as they come: `for await (const [kind, data] of events(...))`. */
export async function* events(method, path, { body, signal } = {}) {
  const answer = await request(method, path, { body, signal, accept: "text/event-stream" });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = Object.fromEntries(block.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
      if (lines.data !== undefined) yield [lines.event, JSON.parse(lines.data)];
    }
  }
}

async function request(method, path, { body, signal, accept }) {
  const asked = key;
  const headers = { Accept: accept, ...(asked && { Authorization: `Bearer ${asked}` }) };
  const answer = await fetch(path, { method, body, signal, headers });
  if (answer.ok) return answer;
  if (answer.status === 401 && key !== asked) return request(method, path, { body, signal, accept }); // there is another key by now
  const said = await answer.json().catch(() => ({}));
  const { message = `${method} ${path}: ${answer.status}`, code = "", hint = "" } = said.error ?? {};
  throw Object.assign(new Error(message), { status: answer.status, code, hint });
}

/** An element with a text and maybe a class; texts are never markup. */
export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** The same for drawings. */
export function drawn(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export const many = (number) => number.toLocaleString("en");
