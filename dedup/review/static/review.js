// The page: groups, decisions and keys. The server sends HTML fragments in which it has escaped every value.
import { Comparison } from "./compare.js";
import { acceptFolder, openAccept, openPlan } from "./dialogs.js";
import { get, latest, post, query } from "./server.js";
import { notify, showTotals } from "./status.js";
import { words } from "./words.js";

const stage = document.querySelector("#stage");
const list = document.querySelector("#list");
const filters = document.querySelector("#filters");
const folders = document.querySelector("#folders");
const prefetched = new Map(); // number -> promise of a group's HTML
let comparison = null;
let sending = Promise.resolve(); // decisions are sent one at a time, in the order of the keys

const group = () => stage.querySelector(".group");
const number = () => Number(group()?.dataset.number ?? 0);

function show(html, { stay = false } = {}) { // stay: the same group, with other decisions
  const { right, mode } = (stay && comparison) || {};
  const inside = stage.contains(document.activeElement);
  stage.innerHTML = html;
  if (!stay) stage.scrollTop = 0;
  if (inside) stage.focus();
  enter();
  if (right) comparison.pick(right);
  if (mode && mode !== "side") comparison.view(mode);
}

function enter() { // sets up the group on the stage
  if (!group()) return;
  comparison = new Comparison(group());
  for (const a of list.querySelectorAll("[aria-current]")) a.removeAttribute("aria-current");
  const line = list.querySelector(`[data-number="${number()}"] a`);
  line?.setAttribute("aria-current", "true");
  if (matchMedia("(min-width: 56.01rem)").matches) line?.scrollIntoView({ block: "nearest" });
  history.replaceState(null, "", `?${query()}&group=${number()}`);
  const next = Number(group().dataset.after);
  if (next) prefetch(next).then(fetchPictures, () => {});
}

function prefetch(n) {
  if (!prefetched.has(n)) {
    const html = get(`group/${n}?${query()}`).then((answer) => answer.text());
    html.catch(() => prefetched.delete(n));
    prefetched.set(n, html);
  }
  return prefetched.get(n);
}

function fetchPictures(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  for (const image of [...page.querySelectorAll(".view img")].slice(0, 2)) new Image().src = image.getAttribute("src");
}

async function open(n) {
  if (!n) return;
  const wanted = latest("stage");
  try {
    const html = await prefetch(n);
    if (!wanted()) return;
    prefetched.delete(n);
    show(html);
  } catch (error) {
    if (wanted()) notify(error.message, { error: true });
  }
}

function decide(action, sha = "") {
  const here = number();
  if (!here) return;
  const after = Number(group().dataset.after);
  const { fingerprint: shown } = group().dataset;
  const moves = after && !["undo", "clear", "toggle"].includes(action) && !(action === "not-duplicate" && Number(group().dataset.count) > 2);
  if (moves) open(after);
  const wanted = moves ? () => false : latest("stage");
  const fields = { group: here, action, sha256: sha, shown, query: query() };
  sending = sending.then(() => post(action === "undo" ? "undo-decision" : "decide", fields)).then((result) => {
    if (words[action]) notify(words[action]);
    change(result, { shown: wanted() });
  }).catch((error) => {
    notify(error.message, { error: true });
    prefetched.clear();
    open(here);
  });
}

function change(result, { shown }) {
  showTotals(result.totals);
  loadFolders();
  for (const [n, html] of Object.entries(result.lines)) {
    prefetched.delete(Number(n));
    const line = list.querySelector(`[data-number="${n}"]`);
    if (line) line.outerHTML = html;
  }
  if (shown || result.group === number()) {
    prefetched.clear();
    show(result.stage, { stay: result.group === number() });
  } else {
    list.querySelector(`[data-number="${number()}"] a`)?.setAttribute("aria-current", "true");
  }
}

async function loadFolders() {
  const wanted = latest("folders");
  const html = await (await get("folders")).text();
  if (!wanted()) return;
  const closed = folders.querySelector("details")?.open === false;
  folders.innerHTML = html;
  if (closed) folders.querySelector("details")?.removeAttribute("open");
}

async function reload({ stay = false } = {}) { // the list and the stage change at once
  const wanted = latest("list");
  prefetched.clear();
  loadFolders();
  const page = document.createElement("template");
  page.innerHTML = await (await get(`groups?${query()}`)).text();
  const first = page.content.querySelector(".line:not(.decided)") ?? page.content.querySelector(".line");
  const n = first && stay && number() ? number() : Number(first?.dataset.number ?? 0);
  const html = n && await prefetch(n);
  if (!wanted()) return;
  prefetched.delete(n);
  latest("stage"); // what was asked for beside the old list is dropped
  list.replaceChildren(page.content);
  list.scrollTop = 0;
  if (n) show(html);
  else showNothing();
}

function showNothing() {
  comparison = null;
  stage.replaceChildren(document.querySelector("#nothing").content.cloneNode(true));
  history.replaceState(null, "", `?${query()}`);
}

const more = new IntersectionObserver(async (entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    more.unobserve(target);
    const html = await (await get(`groups?${query()}&start=${target.dataset.start}`)).text();
    if (target.isConnected) target.outerHTML = html;
  }
});
const watch = () => list.querySelectorAll(".more").forEach((last) => more.observe(last));
new MutationObserver(watch).observe(list, { childList: true });

const keys = {
  Enter: () => decide("accept"),
  a: () => decide("keep-all"),
  x: () => comparison?.right && decide("not-duplicate", comparison.sha),
  u: () => decide("undo"),
  Backspace: () => decide("clear"),
  ArrowRight: () => open(Number(group()?.dataset.after)),
  ArrowLeft: () => open(Number(group()?.dataset.before)),
  ArrowDown: () => comparison?.pick(comparison.right + 1),
  ArrowUp: () => comparison?.pick(comparison.right - 1),
  s: () => comparison?.view("swap"),
  l: () => comparison?.view("slider"),
  d: () => comparison?.view("difference"),
  k: () => comparison && decide("toggle", comparison.sha),
  z: () => comparison?.view("zoom"),
  w: () => {
    const details = stage.querySelector(`details[data-n="${comparison?.right + 1}"]`);
    if (!details) return;
    details.open = !details.open;
    details.scrollIntoView({ block: "nearest" });
  },
  Escape: () => {
    if (comparison?.zoomed) comparison.view("zoom");
    else if (comparison?.panes.dataset.mode !== "side") comparison?.view("side");
  },
  "/": () => filters.text.focus(),
  "?": () => document.querySelector("#help").showModal(),
};
for (let n = 1; n <= 9; n += 1) {
  keys[n] = () => {
    const pane = comparison?.all[n - 1];
    if (pane && comparison.all.length > 1) decide("keep", pane.dataset.sha);
  };
}

function keepToo(n) {
  const pane = comparison?.all[n - 1];
  if (pane && comparison.all.length > 1) decide("toggle", pane.dataset.sha);
}

document.addEventListener("keydown", (event) => {
  const { target, key, code } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target.matches("input, select, textarea")) {
    if (key === "Escape") target.blur();
    return;
  }
  if (key === "Enter" && target.matches("button, a, summary")) return;
  const digit = event.shiftKey && code.match(/^Digit([1-9])$/); // Shift changes the key, as the layout wants
  const action = digit ? () => keepToo(Number(digit[1])) : keys[key] ?? keys[key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});

stage.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { decide: action, view, pick, go: direction, sha } = button.dataset;
  if (action === "not-duplicate") keys.x();
  else if (action) decide(action, sha);
  else if (view) comparison.view(view);
  else if (pick) comparison.pick(Number(pick) - 1 || 1);
  else if (direction) open(Number(group().dataset[direction]));
});

stage.addEventListener("toggle", async ({ target: details }) => { // captured, since toggle does not bubble
  const place = details.querySelector("div");
  if (!details.open || !details.dataset.explanation || place.firstChild) return;
  place.textContent = words.loading;
  try {
    place.innerHTML = await (await get(`explanation/${details.dataset.explanation}`)).text();
    if (details.isConnected) details.scrollIntoView({ block: "nearest" });
  } catch (error) {
    place.textContent = "";
    notify(error.message, { error: true });
  }
}, true);

list.addEventListener("click", (event) => {
  const line = event.target.closest(".line");
  if (!line || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  open(Number(line.dataset.number)).then(() => {
    if (!matchMedia("(min-width: 56.01rem)").matches) stage.scrollIntoView();
  });
});

folders.addEventListener("click", ({ target }) => {
  const { folder, show: text } = target.closest("button")?.dataset ?? {};
  if (folder) acceptFolder(folder);
  if (!text) return;
  filters.text.value = text;
  reload().catch((error) => notify(error.message, { error: true }));
});

let typing = 0;
filters.addEventListener("input", (event) => {
  clearTimeout(typing);
  const load = () => reload().catch((error) => notify(error.message, { error: true }));
  typing = setTimeout(load, event.target.name === "text" ? 200 : 0);
});
filters.addEventListener("submit", (event) => {
  event.preventDefault();
  document.activeElement.blur();
});
document.querySelector("#open-accept").addEventListener("click", openAccept);
document.querySelector("#open-plan").addEventListener("click", () => openPlan());
document.addEventListener("groups-changed", ({ detail }) => {
  reload(detail).catch((error) => notify(error.message, { error: true }));
});
document.querySelector("#open-help").addEventListener("click", keys["?"]);

watch();
enter();
