// Shows two photos of a group side by side, in one place, or as a difference; zooms both together.
export class Comparison {
  constructor(group) {
    this.panes = group.querySelector(".panes");
    this.all = [...this.panes.querySelectorAll(".pane")];
    this.picks = [...group.querySelectorAll("[data-pick]")];
    this.views = [...group.querySelectorAll("[data-view]")];
    this.right = Math.min(1, this.all.length - 1);
    this.top = 1; // which of the two is on top when both are in one place
    this.zoomed = false;
    this.x = this.y = 0.5;
    for (const image of group.querySelectorAll("img")) image.addEventListener("error", () => explainMissing(image));
    this.panes.addEventListener("click", (event) => this.click(event));
    this.panes.addEventListener("pointermove", (event) => this.zoomed && this.pan(event));
    this.show();
  }

  get pair() {
    return this.right ? [this.all[0], this.all[this.right]] : [this.all[0]];
  }

  get sha() { // of the photo on the right
    return this.all[this.right].dataset.sha;
  }

  show() {
    const pair = this.pair;
    for (const [n, pane] of this.all.entries()) {
      pane.hidden = !pair.includes(pane);
      const on = pair.indexOf(pane) === (this.right ? this.top : 0);
      pane.classList.toggle("over", on);
      pane.classList.toggle("under", !on);
      pane.querySelector("img").loading = pane.hidden ? "lazy" : "eager";
      this.picks[n]?.setAttribute("aria-pressed", String(n === this.right));
    }
    const mode = this.panes.dataset.mode;
    for (const button of this.views) {
      const on = button.dataset.view === "zoom" ? this.zoomed : button.dataset.view === mode;
      button.setAttribute("aria-pressed", String(on));
    }
    this.panes.classList.toggle("zoomed", this.zoomed);
    this.place();
  }

  place() {
    const scale = this.zoomed ? this.scale() : 1;
    for (const pane of this.all) {
      const image = pane.querySelector("img");
      image.style.transformOrigin = `${this.x * 100}% ${this.y * 100}%`;
      image.style.transform = scale === 1 ? "" : `scale(${scale})`;
    }
  }

  scale() { // one pixel of the larger photo is one pixel of the screen
    const widest = Math.max(...this.pair.map((pane) => {
      const view = pane.querySelector(".view");
      const fit = Math.min(view.clientWidth / pane.dataset.width, view.clientHeight / pane.dataset.height);
      return 1 / (fit * devicePixelRatio);
    }));
    return Math.min(Math.max(widest, 2), 16);
  }

  view(name) {
    if (name === "zoom") {
      this.zoomed = !this.zoomed;
      if (this.zoomed) this.sharpen();
    } else if (this.right === 0) {
      return;
    } else if (name === "swap" && this.panes.dataset.mode === "swap") {
      this.top = 1 - this.top;
    } else {
      this.panes.dataset.mode = name === this.panes.dataset.mode ? "side" : name;
      this.top = 1;
    }
    this.show();
  }

  sharpen() { // replaces the screen-sized pictures by the full ones once these are loaded
    for (const pane of this.pair) {
      const image = pane.querySelector("img");
      const full = new Image();
      full.src = `photo/${pane.dataset.sha}/full`;
      full.decode().then(() => { image.src = full.src; }, () => {});
    }
  }

  pick(n) {
    if (n < 1 || n >= this.all.length) return;
    this.right = n;
    if (this.zoomed) this.sharpen();
    this.show();
  }

  click(event) {
    if (!event.target.closest(".view")) return;
    this.follow(event);
    this.view("zoom");
  }

  pan(event) {
    this.follow(event);
    this.place();
  }

  follow(event) {
    const view = event.target.closest(".view");
    if (!view) return;
    const box = view.getBoundingClientRect();
    this.x = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    this.y = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 1);
  }
}

async function explainMissing(image) {
  if (!image.src.includes("/screen") || image.parentElement.querySelector(".missing")) return;
  const answer = await fetch(image.src).catch(() => null);
  const note = document.createElement("p");
  note.className = "missing";
  note.textContent = `No preview: ${answer ? await answer.text() : "the server does not answer"}`;
  image.after(note);
}
