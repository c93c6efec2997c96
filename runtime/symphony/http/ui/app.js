// The page: its views, the keyboard, dark and light, who asks.

import { api, useKey } from "./api.js";
import { problem, register, show } from "./frame.js";
import * as files from "./files.js";
import * as playground from "./playground.js";
import * as plots from "./plots.js";
import * as processes from "./processes.js";
import * as timeline from "./timeline.js";

const VIEWS = { playground, processes, files, timeline, plots };
const $ = (id) => document.getElementById(id);
register(VIEWS);

async function health() {
  try {
    await api("GET", "/readyz");
    const { data } = await api("GET", "/v1/models");
    $("health").textContent = `ready: ${data.map((model) => model.id).join(", ")}`;
  } catch (error) {
    $("health").textContent = error.status ? error.message : "no answer";
    if (error.status === 401) problem(error);
  }
}

function theme(wanted) {
  document.documentElement.dataset.theme = wanted;
  localStorage.setItem("theme", wanted);
}

function otherTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  theme((document.documentElement.dataset.theme ?? dark) === "dark" ? "light" : "dark");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "Enter") return $("run").click();
  if (event.key === "Escape") return $("stop").click();
  const typing = event.target.matches("input, textarea, select");
  if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
  const name = Object.keys(VIEWS)[Number(event.key) - 1];
  if (name) show(name);
  else if (event.key === "d") otherTheme();
  else VIEWS[location.hash.slice(1).split("/")[0]]?.pressed?.(event);
});

$("theme").addEventListener("click", otherTheme);
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value.trim());
  $("key").blur(); // the keyboard is the page's again
  $("key-form").hidden = true;
  problem(null);
  start();
});
for (const name of Object.keys(VIEWS)) $(`tab-${name}`).addEventListener("click", () => show(name));

function start() {
  health();
  const [name, what] = location.hash.slice(1).split("/");
  show(name in VIEWS ? name : "playground", what ?? "");
}

if (localStorage.getItem("theme")) theme(localStorage.getItem("theme"));
for (const view of Object.values(VIEWS)) view.begin();
start();
setInterval(health, 10000);
