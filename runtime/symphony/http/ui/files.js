// KV files as a tree of forks: whoever shares leading pages with a file hangs below it.

import { api, element, many } from "./api.js";
import { tried } from "./frame.js";

const $ = (id) => document.getElementById(id);
const WIDEST = 320;

export function begin() {
  $("files-again").addEventListener("click", look);
}

export function pressed(event) {
  if (event.key === "r") look();
}

export const shown = () => look();

const look = tried(async () => {
  const { files } = await api("GET", "/v1/fs/?tree=1");
  const most = Math.max(1, ...files.map((file) => file.pages));
  const below = Map.groupBy ? Map.groupBy(files, (file) => file.parent) : grouped(files);
  $("tree").replaceChildren(...branch(below, null, most));
  if (!files.length) $("tree").append(element("li", "There are no KV files: programs make them with Context(), and keep them with save.", "faint"));
});

function grouped(files) {
  const groups = new Map();
  for (const file of files) groups.set(file.parent, [...(groups.get(file.parent) ?? []), file]);
  return groups;
}

function branch(below, parent, most) {
  return (below.get(parent) ?? []).map((file) => {
    const item = element("li");
    item.setAttribute("role", "treeitem");
    item.append(line(file, most));
    const children = branch(below, file.id, most);
    if (children.length) {
      const list = element("ul");
      list.setAttribute("role", "group");
      list.append(...children);
      item.append(list);
    }
    return item;
  });
}

function line(file, most) {
  const made = element("div", "", "file");
  const name = element("button", file.path || file.names?.[0] || `(open: process ${(file.pids ?? file.processes ?? []).join(", ") || "?"})`);
  name.disabled = !file.path;
  name.addEventListener("click", tried(() => read(file.path)));
  const shared = Math.min(file.shared, file.pages);
  const bar = element("span", "", "pages");
  bar.title = `${many(file.pages)} pages, ${many(shared)} of them shared with the file above`;
  for (const [count, className] of [[shared, "shared"], [file.pages - shared, tierClass(file.tier)]]) {
    const part = element("span", "", className);
    part.style.width = `${(count / most) * WIDEST}px`;
    bar.append(part);
  }
  made.append(name, bar, element("span", `${many(file.length)} tokens, ${many(file.pages)} pages (${many(shared)} shared), ${file.tier}${file.pins ? ", pinned" : ""}`, "faint"));
  return made;
}

const tierClass = (tier) => (["device", "host"].includes(tier) ? tier : "none");

async function read(path) {
  const { text } = await api("GET", `/v1/fs${path.split("/").map(encodeURIComponent).join("/")}?what=text`);
  $("file-text").hidden = false;
  $("file-text").textContent = text;
}
