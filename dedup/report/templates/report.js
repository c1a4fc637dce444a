// Sorts and filters the groups, and keeps only some of them in the document, so that pages with 10,000 stay fast.
// Without JavaScript the page shows all groups in the order of their folders.
"use strict";
const PAGE = 40;
const bar = document.querySelector(".bar");
const form = bar.querySelector("form");
const words = JSON.parse(document.querySelector("#words").textContent);
const list = document.querySelector("#groups");
const moreButton = document.querySelector("#more");
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
const numbers = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 1, useGrouping: "always" });
let matching = groups;

function show() {
  const { order, relation, text } = Object.fromEntries(new FormData(form));
  const part = text.trim().toLowerCase();
  matching = groups.filter((g) => (!relation || g.relation === relation) && g.text.includes(part)).sort(orders[order]);
  list.replaceChildren();
  more(PAGE);
  const bytes = matching.reduce((sum, group) => sum + group.bytes, 0);
  const megabytes = words.megabytes.replace("{number}", numbers.format(bytes / 1e6));
  const shown = words.shown.replace("{count}", numbers.format(matching.length)).replace("{size}", megabytes);
  form.querySelector("output").value = matching.length ? shown : words.none;
}

function more(count) {
  const at = list.children.length;
  list.append(...matching.slice(at, at + count).map((group) => group.node));
  moreButton.hidden = list.children.length === matching.length;
}

function step(by) {
  const at = [...list.children].indexOf(document.activeElement.closest("article"));
  if (at + by >= list.children.length) more(PAGE);
  const next = list.children[Math.min(Math.max(at + by, 0), list.children.length - 1)];
  next?.focus();
  next?.scrollIntoView({ block: "start" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || enlarged.open || event.target.matches("input, select")) return;
  if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "/") form.text.focus();
  else return;
  event.preventDefault();
});
const enlarged = document.querySelector("#enlarged");
let links = []; // of the pictures of the group that is enlarged
let at = 0;

function enlarge(n) {
  at = (n + links.length) % links.length;
  const link = links[at];
  const picture = link.querySelector("img").cloneNode();
  enlarged.querySelector("div").replaceChildren(picture);
  enlarged.querySelector("b").textContent = picture.alt;
  enlarged.querySelector("span").textContent = words.place.replace("{number}", at + 1).replace("{count}", links.length);
  enlarged.querySelector("form a").href = link.href;
  if (!enlarged.open) enlarged.showModal();
}

list.addEventListener("click", (event) => {
  const link = event.target.closest(".picture a");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  links = [...link.closest("article").querySelectorAll(".picture a")];
  enlarge(links.indexOf(link));
});
enlarged.addEventListener("click", ({ target }) => {
  if (target.dataset.step) enlarge(at + Number(target.dataset.step));
  else if (target === enlarged) enlarged.close(); // the backdrop
});
enlarged.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) enlarge(at + step);
});
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
moreButton.addEventListener("click", () => more(PAGE));
new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && more(PAGE), { rootMargin: "900px" }).observe(moreButton);
addEventListener("beforeprint", () => more(matching.length));
bar.hidden = false;
show();
