// Pictures that never were: drawn by seed, walked between, and styles that were dreamt.

import { Photo, THUMB } from "./photo.js";
import { $, card, element, newest, roving, save, show, trouble } from "./ui.js";

const COUNT = 12, DREAMS = 6;

export class Invent {
  #engine; #paint; #photo; #pictures = []; #ends = [0, 1]; #next = 1; #drawing = null; #last = null; #began = false;

  /** `paint(photo)` takes a picture to the studio; `dreamt(style)` a style; `photo()` is what dreams are shown on. */
  constructor(engine, { paint, dreamt, photo }) {
    Object.assign(this, { dreamt });
    this.#engine = engine;
    this.#paint = paint;
    this.#photo = photo;
    const models = engine.generators;
    $("drawing").hidden = !models.length;
    $("dreaming").hidden = !engine.canDream;
    $("model").replaceChildren(...models.map((model) => element("option", { value: model.name, textContent: `${model.name} (${model.width} × ${model.height})` })));
    $("model").onchange = () => this.#model();
    for (const id of ["class", "seed"]) $(id).onchange = () => this.#refresh();
    $("truncation").oninput = () => { this.#tell(); this.#refresh(); };
    $("dice").onclick = () => { $("seed").value = Math.floor(Math.random() * 1e6); this.#refresh(); };
    $("at").oninput = () => this.#walk();
    $("keep").onclick = () => this.#keep();
    $("use").onclick = () => this.#use();
    $("redream").onclick = () => this.#dreams();
    roving($("grid"));
    roving($("dreams"));
    this.#tell();
  }

  /** Draw what is shown, when it is first looked at; dreams follow the photo. */
  open() {
    if (this.#engine.generators.length && !this.#began) this.#model();
    this.#began = true;
    if (this.#engine.canDream) this.#dreams();
  }

  get #chosen() { return this.#engine.generators.find((model) => model.name === $("model").value); }

  get #settings() {
    return { model: $("model").value, class: $("class").value || undefined, truncation: $("truncation").value / 100 };
  }

  #tell() { $("truncation-now").textContent = `${$("truncation").value} %`; }

  #model() {
    const { classes = [], width } = this.#chosen;
    $("class-label").hidden = !classes.length;
    $("class").replaceChildren(element("option", { value: "", textContent: "Anything" }), ...classes.map((name) => element("option", { value: name, textContent: name })));
    $("drawn").classList.toggle("smooth", width > 96);
    this.#refresh();
  }

  #refresh = newest(async () => {
    const seed = Math.min(4294967295, Math.max(0, Math.round($("seed").value) || 0));
    $("seed").value = seed;
    const pictures = [];
    for await (const one of this.#engine.draw({ ...this.#settings, seed, count: COUNT })) {
      const about = one.class ? `${one.class} (seed ${one.seed})` : `seed ${one.seed}`, index = pictures.length, canvas = element("canvas", { ariaHidden: "true" });
      show(canvas, one.bitmap);
      const button = this.#pictures[index]?.button ?? element("button", { type: "button" });
      button.replaceChildren(canvas);
      button.onclick = () => this.#end(index);
      if (!button.isConnected) $("grid").append(button);
      pictures.push({ ...one, about, button });
      this.#pictures[index] = pictures[index];
    }
    this.#mark();
    await this.#walk();
  });

  #end(index) {
    this.#ends[this.#next] = index;
    $("at").value = 100 * this.#next;
    this.#next = 1 - this.#next;
    this.#mark();
    this.#walk();
  }

  #mark() {
    this.#pictures.forEach(({ button, about }, i) => {
      const end = ["A", "B"].filter((_, which) => this.#ends[which] === i).join("");
      button.toggleAttribute("data-end", end);
      if (end) button.dataset.end = end;
      button.ariaLabel = end ? `${about}, the walk's end ${end}` : about;
      button.setAttribute("aria-pressed", Boolean(end));
    });
  }

  #walk = newest(async () => {
    const [a, b] = this.#ends.map((i) => this.#pictures[i]), at = $("at").value / 100;
    if (!a || !b) return;
    // At its ends the walk is what the grid shows: each with the class that its own seed gave.
    const between = a.seed === b.seed || at === 0 ? {} : { to: b.seed, at };
    for await (const one of this.#engine.draw({ ...this.#settings, seed: a.seed, ...between })) {
      show($("drawn"), one.bitmap);
      this.#last = { ...one, name: `${$("model").value}-${a.seed}${between.to === undefined ? "" : `-${b.seed}-at-${at}`}` };
    }
    const told = at === 0 ? a.about : at === 1 ? b.about : `${Math.round(100 * at)} % of the way from ${a.about} to ${b.about}`;
    $("drawn-caption").textContent = told;
    $("drawn").setAttribute("aria-label", `A drawn picture: ${told}`);
  });

  #keep() { if (this.#last) save(this.#last.blob, `${this.#last.name}.png`); }

  /** Small pictures are made large enough for strokes. */
  async #use() {
    if (!this.#last) return;
    const { bitmap, name } = this.#last, times = Math.max(1, Math.ceil(512 / Math.max(bitmap.width, bitmap.height)));
    const canvas = element("canvas", { width: bitmap.width * times, height: bitmap.height * times }), pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const file = await new Promise((done) => canvas.toBlob(done));
    this.#paint(await Photo.of(file, `${name}.png`));
  }

  async #dreams() {
    const photo = await this.#photo(), first = Math.floor(Math.random() * 1e6), seeds = Array.from({ length: DREAMS }, (_, i) => first + i);
    $("dreamt-on").textContent = photo.name === "sample" ? "a sample" : "your photo";
    const styles = seeds.map((seed) => ({ id: `dream:${seed}`, title: `Dream ${seed}`, note: "never painted", dream: seed }));
    $("dreams").replaceChildren(...styles.map((style) => card(style.id, style.title, style.note, () => this.dreamt(style))));
    for (const canvas of $("dreams").querySelectorAll("canvas")) show(canvas, photo.scaled(THUMB), true);
    this.#drawing?.abort();
    this.#drawing = new AbortController();
    try {
      for await (const { style, bitmap } of this.#engine.thumbnails(photo, THUMB, { dream: seeds }, this.#drawing.signal)) {
        const canvas = $("dreams").querySelector(`[data-style="${style}"] canvas`);
        if (canvas) show(canvas, bitmap);
      }
    } catch (error) { trouble(error); }
  }
}
