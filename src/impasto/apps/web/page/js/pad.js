// The pad: two to four styles at its corners, a knob between them, the weights of each from its place.

import { $, element, show } from "./ui.js";

const CORNERS = {
  2: [[0.12, 0.5], [0.88, 0.5]], 3: [[0.13, 0.8], [0.87, 0.8], [0.5, 0.2]],
  4: [[0.13, 0.2], [0.87, 0.2], [0.13, 0.8], [0.87, 0.8]],
};
export const MOST = 4;

export class Pad {
  #styles = []; #at = [0.5, 0.5]; #changed;

  constructor(changed) {
    this.#changed = changed;
    const field = $("field"), knob = $("knob");
    const drag = (event) => {
      const box = field.getBoundingClientRect();
      this.#move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    };
    field.addEventListener("pointerdown", (event) => {
      field.setPointerCapture(event.pointerId);
      event.preventDefault();
      knob.focus({ preventScroll: true });
      drag(event);
    });
    field.addEventListener("pointermove", (event) => { if (field.hasPointerCapture(event.pointerId)) drag(event); });
    knob.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.2 : 0.05, [x, y] = this.#at;
      const to = { ArrowLeft: [x - step, y], ArrowRight: [x + step, y], ArrowUp: [x, y - step], ArrowDown: [x, y + step], Home: [0.5, 0.5] };
      if (!to[event.key]) return;
      event.preventDefault();
      this.#move(...to[event.key]);
    });
  }

  /** Shares, adding up to 1: by the inverse square of the distance, so that a corner is that style alone. */
  get weights() {
    if (!CORNERS[this.#styles.length]) return this.#styles.map(() => 1);
    const near = CORNERS[this.#styles.length].map(([x, y]) => 1 / ((x - this.#at[0]) ** 2 + (y - this.#at[1]) ** 2 + 0.003));
    const total = near.reduce((sum, value) => sum + value, 0);
    const shares = near.map((value) => (value / total < 0.02 ? 0 : value / total)), left = shares.reduce((sum, value) => sum + value, 0);
    return shares.map((share) => share / left);
  }

  /** The styles in its corners; `pictures` are their canvases, where there are any. */
  place(styles, pictures) {
    if (styles.length !== this.#styles.length) this.#at = [0.5, 0.5];
    this.#styles = styles;
    for (const old of $("field").querySelectorAll(".anchor")) old.remove();
    (CORNERS[styles.length] ?? []).forEach(([x, y], i) => {
      const anchor = element("canvas", { className: "anchor", title: styles[i].title, width: 1, height: 1 });
      if (pictures[i]) show(anchor, pictures[i]);
      anchor.style.cssText = `left: ${100 * x}%; top: ${100 * y}%`;
      $("field").prepend(anchor);
    });
    $("pad-hint").textContent = styles.length < 2 ? "Choose two to four styles below the picture." : "Move the knob: the nearer a style, the more of it.";
    $("field").hidden = styles.length < 2;
    this.#tell();
  }

  #move(x, y) {
    this.#at = [x, y].map((value) => Math.min(1, Math.max(0, value)));
    this.#tell();
    this.#changed();
  }

  #tell() {
    const knob = $("knob"), [x, y] = this.#at, weights = this.weights;
    knob.style.cssText = `left: ${100 * x}%; top: ${100 * y}%`;
    knob.setAttribute("aria-valuenow", Math.round(100 * x));
    knob.setAttribute("aria-valuetext", this.#styles.map((style, i) => `${style.title} ${Math.round(100 * weights[i])} %`).join(", "));
  }
}
