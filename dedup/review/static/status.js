// The totals at the top, and short messages at the bottom that disappear by themselves.
const status = document.querySelector("#status");
const totals = document.querySelector("#totals");
let timer = 0;

export function notify(message, { error = false } = {}) {
  status.textContent = message;
  status.className = error ? "visible error" : "visible";
  clearTimeout(timer);
  timer = setTimeout(() => { status.className = ""; }, error ? 6000 : 1600);
}

export function showTotals(html) { // html: escaped by the server
  totals.innerHTML = html;
}
