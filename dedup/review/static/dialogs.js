// Many decisions at once, and what is done on disk: both are shown before they happen.
import { count, get, post, query, refill, tell } from "./review.js";

const dialog = document.querySelector("#dialog");
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

async function open(path) {
  try {
    dialog.innerHTML = await (await get(path)).text();
    if (!dialog.open) dialog.showModal();
  } catch (error) {
    tell(error.message, { bad: true });
  }
}

let asked = ""; // the filters of the groups in the dialog
export function openBulk() {
  asked = query();
  return open(`bulk?${asked}`);
}

export function openPlan({ everything = "no", to = "trash" } = {}) {
  return open(`plan?${new URLSearchParams({ everything, to })}`);
}

async function accept(button) {
  const said = await post("accept", { query: asked, count: button.dataset.accept });
  count(said.totals);
  dialog.close();
  tell(`${said.count} accepted; U takes it back`);
  await refill();
}

async function act(path, words) {
  for (const button of dialog.querySelectorAll("[data-apply], [data-undo]")) button.disabled = true;
  await post(path, words);
  let job;
  do {
    await pause(250);
    job = await (await get("job")).json();
    show(job);
  } while (job.running);
  if (job.error) throw new Error(job.error);
  count(job.totals);
  await refill({ stay: true });
}

function show(job) {
  const place = dialog.querySelector("#job");
  const bar = document.createElement("progress");
  bar.max = Math.max(job.of, 1);
  bar.value = job.done;
  const words = document.createElement("p");
  const verb = job.what === "apply" ? "done" : "taken back";
  words.textContent = job.error || `${job.done} of ${job.of} ${verb}${job.running ? " …" : ""}${job.failed.length ? `, ${job.failed.length} left alone:` : ""}`;
  const left = document.createElement("ul");
  left.append(...job.failed.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  place.replaceChildren(bar, words, left);
  place.dataset.state = job.running ? "running" : "ended";
  if (job.running || job.error || job.what !== "apply") return;
  const back = Object.assign(document.createElement("button"), { type: "button", textContent: "Take it back" });
  back.dataset.undo = job.run;
  place.append(back);
}

dialog.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  const { accept: many, apply, undo } = button?.dataset ?? {};
  const choice = (name) => dialog.querySelector(`[name="${name}"]`);
  try {
    if (many) await accept(button);
    else if (undo) await act("undo", { run: undo });
    else if (apply) {
      const place = choice("place").value;
      const to = place === "folder" ? choice("folder").value : place;
      await act("apply", { to, everything: dialog.querySelector("[name=everything]:checked").value, seen: apply });
    }
  } catch (error) {
    tell(error.message, { bad: true });
    const place = dialog.querySelector("#job");
    if (place) place.textContent = error.message;
    for (const b of dialog.querySelectorAll("[data-apply], [data-undo]")) b.disabled = false;
  }
});

dialog.addEventListener("change", (event) => {
  if (!["everything", "place"].includes(event.target.name)) return;
  const everything = dialog.querySelector("[name=everything]:checked").value;
  openPlan({ everything, to: dialog.querySelector("[name=place]").value });
});
