// Sorts and filters the groups, and keeps only some at a time in the page, so that ten thousand are no burden.
// Without it the page shows everything in the order of the files.
"use strict";
const PAGE = 40;
const bar = document.querySelector(".bar");
const form = bar.querySelector("form");
const list = document.querySelector("#groups");
const last = document.querySelector("#more");
const groups = [...list.children].map((node) => ({
  node,
  text: [...node.querySelectorAll(".path")].map((p) => p.textContent).join("\n").toLowerCase(),
  relation: node.dataset.relation,
  number: Number(node.dataset.number),
  bytes: Number(node.dataset.bytes),
  probability: Number(node.dataset.probability),
}));
const orders = {
  path: (a, b) => a.number - b.number,
  bytes: (a, b) => b.bytes - a.bytes,
  sure: (a, b) => b.probability - a.probability || a.number - b.number,
  doubtful: (a, b) => a.probability - b.probability || a.number - b.number,
};
let wanted = groups;

function show() {
  const { order, relation, text } = Object.fromEntries(new FormData(form));
  const part = text.trim().toLowerCase();
  wanted = groups.filter((g) => (!relation || g.relation === relation) && g.text.includes(part)).sort(orders[order]);
  list.replaceChildren();
  more(PAGE);
  const bytes = wanted.reduce((sum, group) => sum + group.bytes, 0);
  const megabytes = (bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 });
  form.querySelector("output").value = `${wanted.length.toLocaleString("en")} shown, ${megabytes} MB`;
}

function more(count) {
  const at = list.children.length;
  list.append(...wanted.slice(at, at + count).map((group) => group.node));
  last.hidden = list.children.length === wanted.length;
}

function step(by) {
  const at = [...list.children].indexOf(document.activeElement.closest("article"));
  if (at + by >= list.children.length) more(PAGE);
  const next = list.children[Math.min(Math.max(at + by, 0), list.children.length - 1)];
  next?.focus();
  next?.scrollIntoView({ block: "start" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "/") form.text.focus();
  else return;
  event.preventDefault();
});
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
last.addEventListener("click", () => more(PAGE));
new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && more(PAGE), { rootMargin: "900px" }).observe(last);
addEventListener("beforeprint", () => more(wanted.length));
bar.hidden = false;
show();
