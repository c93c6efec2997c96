// Live processes and what the models do, again and again while one looks.

import { api, element, many } from "./api.js";
import { problem, show, tried } from "./frame.js";

const $ = (id) => document.getElementById(id);
const EVERY = 1000;
let timer = 0;

export function begin() {}

export function shown() {
  clearTimeout(timer);
  look();
}

export function hidden() {
  clearTimeout(timer);
}

async function look() {
  try {
    const [{ processes }, status] = await Promise.all([api("GET", "/v1/processes"), gauges()]);
    if ($("processes").hidden) return;
    $("summary").replaceChildren(...status.flatMap(model));
    $("process-rows").replaceChildren(...processes.sort((a, b) => b.pid - a.pid).map(row));
  } catch (error) {
    problem(error);
  }
  timer = setTimeout(look, EVERY);
}

/** Of the models; only operators may see them. */
async function gauges() {
  return api("GET", "/v1/status").then((answer) => answer.models).catch(() => []);
}

function model(gauge) {
  const { pages, slots } = gauge;
  const held = (tier) => `${many(tier.used)} used, ${many(tier.cached)} cached, ${many(tier.free)} free`;
  return [
    element("strong", `${gauge.model} on ${gauge.device}: `),
    `${many(Math.round(gauge.tokens_per_second))} tokens/s; step ${many(gauge.steps)} had ${gauge.rows} rows, ${gauge.tokens} tokens; `,
    `pages on the device: ${held(pages)}; in host memory: ${held(slots)}`,
    element("br"),
  ];
}

function row(process) {
  const { usage, pages } = process;
  const ended = ["done", "killed"].includes(process.state);
  const cells = [
    process.pid,
    process.program,
    process.state,
    process.waits_for.join(", "),
    many(pages.device),
    many(pages.host),
    many(usage.prompt_tokens + usage.generated_tokens),
    (usage.cpu_us / 1e6).toFixed(2),
    (usage.wall_us / 1e6).toFixed(1),
  ];
  const made = element("tr", "", ended ? "faint" : "");
  made.dataset.pid = process.pid;
  made.append(...cells.map((cell) => element("td", String(cell))));
  const actions = element("td");
  const trace = element("button", "Timeline");
  trace.addEventListener("click", () => show("timeline", String(process.pid)));
  actions.append(trace);
  if (!ended) {
    const kill = element("button", "End");
    kill.addEventListener("click", tried(() => api("DELETE", `/v1/processes/${process.pid}`)));
    actions.append(" ", kill);
  }
  made.append(actions);
  return made;
}
