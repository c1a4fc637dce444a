// Shows two photos of a group side by side, or aligned in one frame: swapped, with a slider, or as a difference.
import { get } from "./server.js";
import { words } from "./words.js";

const ALIGNED = ["swap", "slider", "difference"];

export class Comparison {
  constructor(group) {
    this.panes = group.querySelector(".panes");
    this.all = [...this.panes.querySelectorAll(".pane")];
    this.frame = this.panes.querySelector(".aligned");
    this.slider = this.frame.querySelector("input");
    this.picks = [...group.querySelectorAll("[data-pick]")];
    this.views = [...group.querySelectorAll("[data-view]")];
    this.right = Math.min(1, this.all.length - 1); // index of the photo that is compared with the first one
    this.second = true; // swap: whether the second photo is on top
    this.loaded = -1; // index of the photo that is aligned in the frame
    this.zoomed = false;
    this.x = this.y = 0.5;
    for (const image of group.querySelectorAll(".pane img")) {
      image.addEventListener("error", () => explainMissing(image));
    }
    this.panes.addEventListener("click", (event) => this.click(event));
    this.panes.addEventListener("pointermove", (event) => this.zoomed && this.pan(event));
    this.slider.addEventListener("input", () => this.wipe());
    this.show();
  }

  get mode() {
    return this.panes.dataset.mode;
  }

  get pair() {
    return this.right ? [this.all[0], this.all[this.right]] : [this.all[0]];
  }

  get sha() { // of the photo on the right
    return this.all[this.right].dataset.sha;
  }

  show() {
    const aligned = ALIGNED.includes(this.mode);
    for (const [n, pane] of this.all.entries()) {
      pane.hidden = aligned || !this.pair.includes(pane);
      pane.querySelector("img").loading = pane.hidden ? "lazy" : "eager";
      this.picks[n]?.setAttribute("aria-pressed", String(n === this.right));
    }
    for (const button of this.views) {
      const on = button.dataset.view === "zoom" ? this.zoomed : button.dataset.view === this.mode;
      button.setAttribute("aria-pressed", String(on));
    }
    this.frame.hidden = !aligned;
    if (aligned) this.align();
    this.panes.classList.toggle("zoomed", this.zoomed);
    this.place();
  }

  async align() {
    const { right } = this;
    this.frame.dataset.top = this.mode === "swap" && !this.second ? "first" : "second";
    const [first, second] = this.pair.map((pane) => pane.querySelector("b").textContent);
    const names = { swap: this.second ? second : first, slider: `${first} | ${second}`, difference: "" };
    this.frame.querySelector(".name").textContent = names[this.mode];
    if (this.loaded === right) return;
    this.loaded = right;
    const view = this.frame.querySelector(".view");
    view.textContent = words.aligning;
    try {
      const html = await (await get(`aligned/${this.all[0].dataset.sha}/${this.sha}`)).text();
      if (this.loaded !== right) return;
      view.innerHTML = html;
      this.frame.querySelector(".changes").textContent = view.querySelector("svg")?.dataset.changes ?? "";
      this.wipe();
      this.place();
    } catch (error) {
      if (this.loaded !== right) return;
      view.textContent = error.message;
      this.loaded = -1;
    }
  }

  wipe() {
    this.frame.style.setProperty("--wipe", `${this.slider.value}%`);
  }

  place() {
    const scale = this.zoomed ? this.scale() : 1;
    for (const image of this.panes.querySelectorAll(".view > img, .view > svg")) {
      image.style.transformOrigin = `${this.x * 100}% ${this.y * 100}%`;
      image.style.transform = scale === 1 ? "" : `scale(${scale})`;
    }
  }

  scale() { // one pixel of the larger photo is one pixel of the screen
    const view = [...this.panes.querySelectorAll(".view")].find((v) => v.clientWidth);
    const widest = Math.max(...this.pair.map((pane) => {
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
    } else if (name === "swap" && this.mode === "swap") {
      this.second = !this.second;
    } else {
      this.panes.dataset.mode = name === this.mode ? "side" : name;
      this.second = true;
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
  note.textContent = words.noPreview.replace("{reason}", answer ? await answer.text() : words.noAnswer);
  image.after(note);
}
