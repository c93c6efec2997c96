// A few numbers over the last minutes, from /v1/status while this page is open.

import { api, drawn, element, many } from "./api.js";

const $ = (id) => document.getElementById(id);
const EVERY = 1000, KEPT = 300, WIDE = 400, HIGH = 150, EDGE = 20;
const PLOTS = [
  ["tokens a second", (gauge) => gauge.tokens_per_second, "--accent"],
  ["rows in the last step", (gauge) => gauge.rows, "--device"],
  ["KV pages in use on the device", (gauge) => gauge.pages.used, "--shared"],
  ["KV pages kept by the prefix cache", (gauge) => gauge.pages.cached, "--none"],
  ["KV pages in host memory", (gauge) => gauge.slots.used, "--host"],
  ["operations that wait for pages", (gauge) => gauge.starved, "--bad"],
];
const series = new Map();

export function begin() {
  setInterval(look, EVERY);
}

export const shown = () => draw();

async function look() {
  if (document.hidden) return;
  const answer = await api("GET", "/v1/status").catch(() => null);
  for (const gauge of answer?.models ?? []) {
    for (const [name, read] of PLOTS) {
      const key = `${gauge.model}: ${name}`;
      series.set(key, [...(series.get(key) ?? []), read(gauge)].slice(-KEPT));
    }
  }
  if (!$("plots").hidden) draw();
}

function draw() {
  const charts = [...series].map(([name, values]) => {
    const most = Math.max(1, ...values);
    const color = PLOTS.find(([title]) => name.endsWith(title))[2];
    const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": name });
    const point = (value, i) => `${WIDE - (values.length - 1 - i) * (WIDE / Math.max(60, values.length))},${HIGH - 6 - (value / most) * (HIGH - 6 - EDGE)}`;
    const curve = drawn("polyline", { class: "curve", points: values.map(point).join(" ") });
    curve.style.stroke = `var(${color})`;
    svg.append(drawn("text", { x: 6, y: 14 }, `${many(Math.round(most))} at most`));
    svg.append(drawn("text", { x: WIDE - 6, y: 14, "text-anchor": "end" }, `${many(Math.round(values.at(-1)))} now`), curve);
    const box = element("div");
    box.append(element("h2", name), svg);
    return box;
  });
  if (!charts.length) charts.push(element("p", "Nothing yet: the numbers are for operators, once a second.", "faint"));
  $("charts").replaceChildren(...charts);
}
