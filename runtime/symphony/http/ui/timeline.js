// When a process had its turns and what it asked of the host: two rows of spans, zoom and move.

import { api, drawn, element, many } from "./api.js";
import { tried } from "./frame.js";

const $ = (id) => document.getElementById(id);
const LEFT = 70, TOP = 24, ROW = 50, GAP = 20;
const LONG = 1000; // microseconds from which on a syscall counts as a wait
let spans = [], view = [0, 1], all = [0, 1], saved = "";

export function begin() {
  $("timeline-form").addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = `timeline/${$("timeline-pid").value}`;
    load($("timeline-pid").value);
  });
  const svg = $("spans");
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, at(event));
  }, { passive: false });
  let from = null;
  svg.addEventListener("pointerdown", (event) => { from = at(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointerup", () => { from = null; });
  svg.addEventListener("pointermove", (event) => { if (from !== null) move(from - at(event)); });
  addEventListener("resize", draw);
}

export function shown(pid) {
  if (!pid) return draw();
  $("timeline-pid").value = pid;
  load(pid);
}

export function pressed(event) {
  const step = (view[1] - view[0]) / 5;
  if (event.key === "ArrowLeft") move(-step);
  else if (event.key === "ArrowRight") move(step);
  else if (event.key === "+") zoom(0.8, (view[0] + view[1]) / 2);
  else if (event.key === "-") zoom(1.25, (view[0] + view[1]) / 2);
  else if (event.key === "0") { view = [...all]; draw(); }
}

const load = tried(async (pid) => {
  spans = [];
  draw();
  const trace = await api("GET", `/v1/processes/${encodeURIComponent(pid)}/trace`);
  spans = trace.traceEvents.filter((event) => event.ph === "X");
  all = [0, Math.max(1, ...spans.map((span) => span.ts + span.dur))];
  view = [...all];
  const { turns, syscalls, left_out: leftOut, program } = trace.otherData;
  $("span-said").textContent = `${program}: ${many(turns)} turns, ${many(syscalls)} syscalls` + (leftOut ? `, ${many(leftOut)} of them not kept` : "");
  URL.revokeObjectURL(saved);
  saved = URL.createObjectURL(new Blob([JSON.stringify(trace)], { type: "application/json" }));
  Object.assign($("timeline-save"), { href: saved, download: `trace-${pid}.json`, hidden: false });
  table();
  draw();
});

function table() {
  const sums = new Map();
  for (const span of spans.filter((one) => one.tid === 2)) {
    const [calls, time] = sums.get(span.name) ?? [0, 0];
    sums.set(span.name, [calls + 1, time + span.dur]);
  }
  const rows = [...sums].sort((a, b) => b[1][1] - a[1][1]).map(([name, [calls, time]]) => {
    const row = element("tr");
    row.append(...[name, many(calls), (time / 1000).toFixed(2), (time / calls / 1000).toFixed(3)].map((text) => element("td", text)));
    return row;
  });
  $("span-rows").replaceChildren(...rows);
}

const width = () => Math.max(200, $("spans").clientWidth) - LEFT - 10;
const x = (time) => LEFT + ((time - view[0]) / (view[1] - view[0])) * width();
const at = (event) => view[0] + ((event.offsetX - LEFT) / width()) * (view[1] - view[0]);

function zoom(factor, around) {
  const [from, to] = view;
  if (factor < 1 && to - from < 5) return;
  view = [Math.max(all[0], around - (around - from) * factor), Math.min(all[1], around + (to - around) * factor)];
  draw();
}

function move(by) {
  const bounded = Math.max(all[0] - view[0], Math.min(all[1] - view[1], by));
  view = view.map((edge) => edge + bounded);
  draw();
}

function draw() {
  const svg = $("spans"), parts = [];
  for (let tick = 0; tick <= 8; tick++) {
    const time = view[0] + ((view[1] - view[0]) * tick) / 8;
    parts.push(drawn("line", { class: "rule", x1: x(time), x2: x(time), y1: TOP - 6, y2: 170 }));
    parts.push(drawn("text", { x: x(time), y: 14, "text-anchor": tick === 8 ? "end" : "middle" }, `${(time / 1000).toFixed(view[1] - view[0] < 20000 ? 2 : 0)} ms`));
  }
  ["turns", "syscalls"].forEach((name, row) => parts.push(drawn("text", { x: 8, y: TOP + row * (ROW + GAP) + ROW / 2 }, name)));
  let last = [0, 0, -1]; // the right edges of what is drawn: spans narrower than a pixel become one
  for (const span of spans) {
    const from = Math.max(x(span.ts), LEFT), to = Math.min(x(span.ts + span.dur), LEFT + width());
    if (to < LEFT || from > LEFT + width() || (to - last[span.tid] < 0.5 && to >= last[span.tid])) continue;
    last[span.tid] = to;
    const kind = span.args?.unanswered ? "open" : span.tid === 1 ? "turn" : span.dur > LONG ? "wait" : "call";
    const box = drawn("rect", { class: kind, x: from, y: TOP + (span.tid - 1) * (ROW + GAP), width: Math.max(1, to - from), height: ROW, rx: 2 });
    box.append(drawn("title", {}, `${span.name}: ${(span.dur / 1000).toFixed(3)} ms at ${(span.ts / 1000).toFixed(3)} ms`));
    parts.push(box);
  }
  svg.replaceChildren(...parts);
}
