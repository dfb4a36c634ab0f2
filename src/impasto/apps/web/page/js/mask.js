// Where to paint: a mask brushed over the picture, by mouse, finger or keyboard.

import { $, element } from "./ui.js";

const SIDE = 512;

export class Mask {
  #marks = element("canvas"); #empty = true; #inverted = false; #erasing = false; #last = null; #changed;

  constructor(changed) {
    this.#changed = changed;
    const canvas = $("mask");
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#stroke(...(this.#last = place(event)));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) { this.#cursor(place(event)); return; }
      for (const one of event.getCoalescedEvents?.() ?? [event]) this.#stroke(...place(one));
    });
    canvas.addEventListener("pointerup", () => this.#changed());
    canvas.addEventListener("pointerleave", () => this.#draw());
    canvas.addEventListener("blur", () => this.#draw());
    canvas.addEventListener("keydown", (event) => {
      const [x, y] = this.#last ?? [canvas.width / 2, canvas.height / 2], step = this.#radius;
      const to = { ArrowLeft: [x - step, y], ArrowRight: [x + step, y], ArrowUp: [x, y - step], ArrowDown: [x, y + step], " ": [x, y] }[event.key];
      if (!to) return;
      event.preventDefault();
      this.#last = [Math.min(canvas.width, Math.max(0, to[0])), Math.min(canvas.height, Math.max(0, to[1]))];
      if (event.key === " ") { this.#stroke(...this.#last); this.#changed(); }
      this.#cursor(this.#last);
    });
    const pick = (erasing) => {
      this.#erasing = erasing;
      $("brush").setAttribute("aria-pressed", !erasing);
      $("erase").setAttribute("aria-pressed", erasing);
    };
    $("brush").onclick = () => pick(false);
    $("erase").onclick = () => pick(true);
    const told = () => { $("brush-size-now").textContent = `${$("brush-size").value} %`; };
    $("brush-size").oninput = told;
    told();
    $("invert").onclick = () => { this.#inverted = !this.#inverted; this.#after(); };
    $("clear").onclick = () => { this.reset(); this.#after(); };
  }

  /** Whether all of the photo is painted. */
  get whole() { return this.#empty && !this.#inverted; }

  /** Nothing brushed, for a photo of this shape. */
  reset(width = $("mask").width, height = $("mask").height) {
    const ratio = SIDE / Math.max(width, height);
    for (const canvas of [this.#marks, $("mask")])
      Object.assign(canvas, { width: Math.max(1, Math.round(width * ratio)), height: Math.max(1, Math.round(height * ratio)) });
    this.#empty = true;
    this.#inverted = false;
    this.#last = null;
    this.#draw();
  }

  /** A grey canvas: white is painted, black stays the photo; null where all is painted. */
  canvas() {
    if (this.whole) return null;
    const { width, height } = this.#marks, out = element("canvas", { width, height }), pen = out.getContext("2d");
    pen.drawImage(this.#marks, 0, 0);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = this.#inverted ? "#000" : "#fff";
    pen.fillRect(0, 0, width, height);
    pen.globalCompositeOperation = "destination-over";
    pen.fillStyle = this.#inverted ? "#fff" : "#000";
    pen.fillRect(0, 0, width, height);
    return out;
  }

  get #radius() { return ($("brush-size").value / 200) * Math.max(this.#marks.width, this.#marks.height); }

  #after() { this.#draw(); this.#changed(); }

  #stroke(x, y) {
    const pen = this.#marks.getContext("2d");
    pen.globalCompositeOperation = this.#erasing ? "destination-out" : "source-over";
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = 2 * this.#radius;
    pen.beginPath();
    pen.moveTo(...(this.#last ?? [x, y]));
    pen.lineTo(x, y + 0.01);
    pen.stroke();
    if (!this.#erasing) this.#empty = false;
    this.#last = [x, y];
    this.#cursor([x, y]);
  }

  #cursor([x, y]) {
    this.#draw();
    const pen = $("mask").getContext("2d");
    for (const [color, wide] of [["#000", 4], ["#fff", 2]]) {
      Object.assign(pen, { strokeStyle: color, lineWidth: wide });
      pen.beginPath();
      pen.arc(x, y, this.#radius, 0, 7);
      pen.stroke();
    }
  }

  /** Tint what stays the photo. */
  #draw() {
    const canvas = $("mask"), pen = canvas.getContext("2d");
    pen.globalCompositeOperation = "source-over";
    pen.clearRect(0, 0, canvas.width, canvas.height);
    $("invert").setAttribute("aria-pressed", this.#inverted);
    if (this.whole) return;
    pen.fillStyle = "#e0523a59";
    if (this.#inverted) pen.drawImage(this.#marks, 0, 0);
    pen.globalCompositeOperation = this.#inverted ? "source-in" : "source-over";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.#inverted) { pen.globalCompositeOperation = "destination-out"; pen.drawImage(this.#marks, 0, 0); }
    pen.globalCompositeOperation = "source-over";
  }
}
