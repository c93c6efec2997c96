// Paste a program or pick a stored one, fill in its arguments, watch it run.

import { api, element, events } from "./api.js";
import { show, tried } from "./frame.js";

const $ = (id) => document.getElementById(id);
const EXAMPLE = `from lip import Context, emit, main

@main
async def story(prompt: str = "Once upon a time", max_tokens: int = 32) -> str:
    """Continue a text; each token is shown as it is drawn."""
    async with Context() as ctx:
        ctx.feed(prompt)
        text = prompt
        emit(prompt)
        async for chunk in ctx.stream(max_tokens=max_tokens):
            emit(chunk.text)
            text += chunk.text
        return text
`;

let programs = [];
let running = null;
let pid = 0;

export function begin() {
  $("source").value = EXAMPLE;
  $("run").addEventListener("click", tried(run));
  $("stop").addEventListener("click", () => running?.abort());
  $("store").addEventListener("click", tried(store));
  $("program").addEventListener("change", choose);
  $("to-timeline").addEventListener("click", () => show("timeline", String(pid)));
  $("arguments").addEventListener("submit", (event) => event.preventDefault());
  choose();
}

export const shown = tried(async () => list());

async function list(stored) {
  programs = (await api("GET", "/v1/programs")).programs;
  const chosen = stored ?? $("program").value; // as of now: somebody may have chosen meanwhile
  const options = [new Option("(the text below)", ""), ...programs.map((one) => new Option(one.name, one.id))];
  $("program").replaceChildren(...options);
  $("program").value = programs.some((one) => one.id === chosen) ? chosen : "";
  choose();
}

/** A field for each parameter; of a text that the server does not know, one for the JSON of all. */
function choose() {
  const program = programs.find((one) => one.id === $("program").value);
  $("source").disabled = Boolean(program);
  const parameters = Object.entries(program?.parameters ?? {});
  const fields = program?.parameters ? parameters : [["arguments", "a JSON object"]];
  $("arguments").dataset.named = program?.parameters ? "1" : "";
  $("arguments").replaceChildren(...fields.flatMap(([name, annotation]) => {
    const label = element("label", name);
    const input = element("input");
    label.htmlFor = input.id = `argument-${name}`;
    input.name = name;
    input.placeholder = annotation || "JSON or text";
    return [label, input];
  }));
}

function argumentsGiven() {
  const inputs = [...$("arguments").querySelectorAll("input")].filter((input) => input.value !== "");
  if (!$("arguments").dataset.named) return inputs.length ? JSON.parse(inputs[0].value) : {};
  return Object.fromEntries(inputs.map((input) => [input.name, value(input.value, input.placeholder)]));
}

/** Text where the program says str, else JSON where it is some. */
function value(text, annotation) {
  if (annotation === "str") return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function store() {
  const name = $("name").value.trim();
  const program = await api("POST", `/v1/programs${name ? `?name=${encodeURIComponent(name)}` : ""}`, { body: $("source").value });
  await list(program.id);
}

async function run() {
  if (running) return;
  const ref = $("program").value;
  const args = JSON.stringify(argumentsGiven());
  const path = ref ? `/v1/programs/${ref}/run?trace=1` : `/v1/run?trace=1&args=${encodeURIComponent(args)}`;
  for (const id of ["output", "result", "log"]) $(id).textContent = "";
  $("result").className = "";
  running = new AbortController();
  busy(true, "starting");
  try {
    for await (const [kind, data] of events("POST", path, { body: ref ? args : $("source").value, signal: running.signal })) {
      heard(kind, data);
    }
  } catch (error) {
    $("run-state").textContent = error.name === "AbortError" ? "stopped" : "failed";
    if (error.name !== "AbortError") throw error;
  } finally {
    running = null;
    busy(false);
  }
  const { usage } = await api("GET", `/v1/processes/${pid}`).catch(() => ({}));
  if (usage) $("run-state").textContent += `: ${usage.forwards} forwards, ${usage.prompt_tokens + usage.generated_tokens} tokens, ${usage.reused_tokens} KV reused, ${(usage.wall_us / 1e6).toFixed(2)} s`;
}

function heard(kind, data) {
  if (kind === "start") {
    pid = data.pid;
    $("run-state").textContent = `process ${pid}`;
  } else if (kind === "output") $("output").append(data.text);
  else if (kind === "log") $("log").append(`${data.level}: ${data.text}\n`);
  else if (kind === "result") $("result").textContent = JSON.stringify(data.value, null, 2);
  else {
    $("result").className = "error";
    $("result").textContent = [data.message, data.hint && `fix: ${data.hint}`, data.traceback].filter(Boolean).join("\n\n");
  }
}

function busy(on, text) {
  $("run").disabled = on;
  $("stop").disabled = !on;
  $("to-timeline").disabled = on || !pid;
  if (text) $("run-state").textContent = text;
}
