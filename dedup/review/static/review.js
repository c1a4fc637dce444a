// The page talks to the server that made it and to nobody else. What the server sends is HTML that it has escaped.
import { Comparison } from "./compare.js";
import { openPlan, openBulk } from "./dialogs.js";

const stage = document.querySelector("#stage");
const list = document.querySelector("#list");
const filters = document.querySelector("#filters");
const totals = document.querySelector("#totals");
const news = document.querySelector("#news");
const ahead = new Map(); // number -> promise of a group's HTML
let comparison = null;
let sending = Promise.resolve(); // decisions go one after the other, in the order of the keys
let quiet = 0;

export const query = () => new URLSearchParams(new FormData(filters)).toString();

export async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.json().then((a) => a.error, () => `the server said ${answer.status}`));
  return answer;
}

export async function post(path, words) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(words) });
  const said = await answer.json().catch(() => ({ error: `the server said ${answer.status}` }));
  if (!answer.ok) throw new Error(said.error);
  return said;
}

export function tell(words, { bad = false } = {}) {
  news.textContent = words;
  news.className = bad ? "told bad" : "told";
  clearTimeout(quiet);
  quiet = setTimeout(() => { news.className = ""; }, bad ? 6000 : 1600);
}

export function count(html) {
  totals.innerHTML = html;
}

const group = () => stage.querySelector(".group");
const number = () => Number(group()?.dataset.number ?? 0);

function show(html) {
  const inside = stage.contains(document.activeElement);
  stage.innerHTML = html;
  stage.scrollTop = 0;
  if (inside) stage.focus();
  enter();
}

function enter() { // a group has come on the stage
  if (!group()) return;
  comparison = new Comparison(group());
  for (const a of list.querySelectorAll("[aria-current]")) a.removeAttribute("aria-current");
  const line = list.querySelector(`[data-number="${number()}"] a`);
  line?.setAttribute("aria-current", "true");
  if (matchMedia("(min-width: 56.01rem)").matches) line?.scrollIntoView({ block: "nearest" });
  history.replaceState(null, "", `?${query()}&group=${number()}`);
  const next = Number(group().dataset.after);
  if (next) fetchAhead(next).then(fetchPictures, () => {});
}

function fetchAhead(n) {
  if (!ahead.has(n)) {
    const html = get(`group/${n}?${query()}`).then((answer) => answer.text());
    html.catch(() => ahead.delete(n));
    ahead.set(n, html);
  }
  return ahead.get(n);
}

function fetchPictures(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  for (const image of [...page.querySelectorAll(".view img")].slice(0, 2)) new Image().src = image.getAttribute("src");
}

export async function go(n) {
  if (!n) return;
  try {
    const html = await fetchAhead(n);
    ahead.delete(n);
    show(html);
  } catch (error) {
    tell(error.message, { bad: true });
  }
}

const done = { accept: "Accepted", keep: "Kept", all: "All kept", apart: "Not a duplicate", forget: "Open again", undo: "Taken back" };

function decide(action, sha = "") {
  const here = number();
  if (!here) return;
  const after = Number(group().dataset.after);
  const moves = after && !["undo", "forget"].includes(action) && !(action === "apart" && Number(group().dataset.count) > 2);
  if (moves) go(after);
  const words = { group: here, action, sha256: sha, query: query() };
  sending = sending.then(() => post(action === "undo" ? "undecide" : "decide", words)).then((said) => {
    tell(done[action]);
    change(said, { shown: !moves });
  }).catch((error) => {
    tell(error.message, { bad: true });
    ahead.clear();
    go(here);
  });
}

function change(said, { shown }) {
  count(said.totals);
  for (const [n, html] of Object.entries(said.lines)) {
    ahead.delete(Number(n));
    const line = list.querySelector(`[data-number="${n}"]`);
    if (line) line.outerHTML = html;
  }
  if (shown || said.group === number()) {
    ahead.clear();
    show(said.stage);
  } else {
    list.querySelector(`[data-number="${number()}"] a`)?.setAttribute("aria-current", "true");
  }
}

export async function refill({ stay = false } = {}) {
  ahead.clear();
  list.innerHTML = await (await get(`groups?${query()}`)).text();
  list.scrollTop = 0;
  const open = list.querySelector(".line:not(.settled)") ?? list.querySelector(".line");
  const n = stay && number() ? number() : Number(open?.dataset.number ?? 0);
  if (n) await go(n);
}

const more = new IntersectionObserver(async (seen) => {
  for (const { target, isIntersecting } of seen) {
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
  a: () => decide("all"),
  x: () => comparison?.right && decide("apart", comparison.sha),
  u: () => decide("undo"),
  Backspace: () => decide("forget"),
  ArrowRight: () => go(Number(group()?.dataset.after)),
  ArrowLeft: () => go(Number(group()?.dataset.before)),
  ArrowDown: () => comparison?.pick(comparison.right + 1),
  ArrowUp: () => comparison?.pick(comparison.right - 1),
  s: () => comparison?.view("swap"),
  d: () => comparison?.view("difference"),
  z: () => comparison?.view("zoom"),
  w: () => {
    const why = stage.querySelector(`details[data-n="${comparison?.right + 1}"]`);
    if (!why) return;
    why.open = !why.open;
    why.scrollIntoView({ block: "nearest" });
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

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target.matches("input, select, textarea")) {
    if (key === "Escape") target.blur();
    return;
  }
  if (key === "Enter" && target.matches("button, a, summary")) return;
  const act = keys[key] ?? keys[key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});

stage.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { decide: verb, view, pick, go: way, sha } = button.dataset;
  if (verb === "apart") keys.x();
  else if (verb) decide(verb, sha);
  else if (view) comparison.view(view);
  else if (pick) comparison.pick(Number(pick) - 1);
  else if (way) go(Number(group().dataset[way]));
});

stage.addEventListener("toggle", async ({ target: why }) => { // does not bubble
  const place = why.querySelector("div");
  if (!why.open || !why.dataset.why || place.firstChild) return;
  place.textContent = "Looking …";
  try {
    place.innerHTML = await (await get(`why/${why.dataset.why}`)).text();
    if (why.isConnected) why.scrollIntoView({ block: "nearest" });
  } catch (error) {
    place.textContent = "";
    tell(error.message, { bad: true });
  }
}, true);

list.addEventListener("click", (event) => {
  const line = event.target.closest(".line");
  if (!line || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  go(Number(line.dataset.number)).then(() => {
    if (!matchMedia("(min-width: 56.01rem)").matches) stage.scrollIntoView();
  });
});

let typing = 0;
filters.addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(refill, event.target.name === "text" ? 200 : 0);
});
filters.addEventListener("submit", (event) => {
  event.preventDefault();
  document.activeElement.blur();
});
document.querySelector("#open-bulk").addEventListener("click", openBulk);
document.querySelector("#open-plan").addEventListener("click", () => openPlan());
document.querySelector("#open-help").addEventListener("click", keys["?"]);

watch();
enter();
