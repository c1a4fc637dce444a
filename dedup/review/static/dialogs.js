// The dialogs that preview and carry out "accept all shown" and "apply".
// Dispatches "groups-changed" on the document when the list has to be loaded again.
import { get, latest, post, query } from "./server.js";
import { notify, showTotals } from "./status.js";
import { words } from "./words.js";

const dialog = document.querySelector("#dialog");
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const changed = (detail) => document.dispatchEvent(new CustomEvent("groups-changed", { detail }));

async function open(path) {
  const wanted = latest("dialog");
  try {
    const html = await (await get(path)).text();
    if (!wanted()) return;
    dialog.innerHTML = html;
    if (!dialog.open) dialog.showModal();
  } catch (error) {
    notify(error.message, { error: true });
  }
}

let filter = ""; // of the groups in the dialog
export function openAccept() {
  filter = query();
  return open(`shown?${filter}`);
}

export function openPlan({ everything = "no", to = "trash" } = {}) {
  return open(`plan?${new URLSearchParams({ everything, to })}`);
}

async function accept(button) {
  const result = await post("accept", { query: filter, shown: button.dataset.accept });
  showTotals(result.totals);
  dialog.close();
  notify(result.said);
  changed({ stay: false });
}

export async function acceptFolder(shown) {
  try {
    const result = await post("accept-folder", { shown });
    showTotals(result.totals);
    notify(result.said);
  } catch (error) {
    notify(error.message, { error: true });
  }
  changed({ stay: true });
}

async function runJob(path, fields) {
  for (const button of dialog.querySelectorAll("[data-apply], [data-undo]")) button.disabled = true;
  await post(path, fields);
  let job;
  do {
    await pause(250);
    job = await (await get("job")).json();
    showJob(job);
  } while (job.running);
  if (job.error) throw new Error(job.said);
  showTotals(job.totals);
  changed({ stay: true });
}

function showJob(job) {
  const place = dialog.querySelector("#job");
  const bar = document.createElement("progress");
  bar.max = Math.max(job.total, 1);
  bar.value = job.done;
  const text = document.createElement("p");
  text.textContent = job.said;
  const skipped = document.createElement("ul");
  skipped.append(...job.failed.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  place.replaceChildren(bar, text, skipped);
  place.dataset.state = job.running ? "running" : "ended";
  if (job.running || job.error || job.what !== "apply") return;
  const undo = Object.assign(document.createElement("button"), { type: "button", textContent: words.undoIt });
  undo.dataset.undo = job.run;
  place.append(undo);
}

const field = (name) => dialog.querySelector(`[name="${name}"]`);
const everything = () => dialog.querySelector("[name=everything]:checked").value;

function apply(shown) {
  const destination = field("destination").value;
  const to = destination === "folder" ? field("folder").value : destination;
  return runJob("apply", { to, everything: everything(), shown });
}

dialog.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  const data = button?.dataset ?? {};
  try {
    if (data.accept) await accept(button);
    else if (data.undo) await runJob("undo", { run: data.undo });
    else if (data.apply) await apply(data.apply);
  } catch (error) {
    notify(error.message, { error: true });
    const place = dialog.querySelector("#job");
    if (place) place.textContent = error.message;
    for (const b of dialog.querySelectorAll("[data-apply], [data-undo]")) b.disabled = false;
  }
});

dialog.addEventListener("change", (event) => {
  if (!["everything", "destination"].includes(event.target.name)) return;
  openPlan({ everything: everything(), to: field("destination").value });
});
