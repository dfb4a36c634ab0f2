// Painting a photo: choose styles, move the controls, see, compare, take.

import { Mask } from "./mask.js";
import { MOST, Pad } from "./pad.js";
import { FINE, QUICK, THUMB } from "./photo.js";
import { $, card, element, newest, roving, save, say, show, trouble } from "./ui.js";

const COLORS = { off: "the painting's", histogram: "in between", luminance: "the photo's" };
// Of the long side. The fourth is what the library calls auto: painted as at 512 pixels, whatever the size.
const STROKES = [128, 104, 80, 64, 52, 42, 34, 27, 21].map((part) => 1 / part);
const REST = 450; // milliseconds without a change, after which a finer preview is painted

export class Studio {
  photo = null; chosen = []; #engine; #styles = []; #drawn = new Map(); #pad; #mask; #painting = null; #finer; #thumbs = null; #blending = false; #files = 0; #asked = 0;

  constructor(engine) {
    this.#engine = engine;
    this.#styles = engine.styles.map((style) => ({ id: style.name, title: style.title, note: [style.artist, style.year].filter(Boolean).join(", ") }));
    this.#pad = new Pad(() => this.#refresh());
    this.#mask = new Mask(() => this.#refresh());
    for (const id of ["strength", "stroke", "colors", "detail"]) $(id).addEventListener("input", () => { this.#tell(); this.#refresh(); });
    $("colors").max = engine.colors.length - 1;
    const split = () => $("frame").style.setProperty("--split", `${$("compare").value}%`);
    $("compare").oninput = split;
    split();
    $("blend").onclick = () => this.#blend(!this.#blending);
    $("masking").onclick = () => this.#masking($("brushes").hidden);
    $("download").onclick = () => this.#download();
    $("style-file").onchange = () => { if ($("style-file").files[0]) this.addPainting($("style-file").files[0]); $("style-file").value = ""; };
    roving($("strip"));
    addEventListener("resize", () => this.#fit());
    this.#tell();
  }

  /** Begin with a photo; the styles chosen before stay. */
  async open(photo, style = null) {
    this.photo = photo;
    this.#painting?.abort();
    $("start").hidden = true;
    $("studio").hidden = false;
    show($("before"), photo.scaled(FINE));
    show($("after"), photo.scaled(QUICK));
    this.#mask.reset(photo.width, photo.height);
    this.#masking(false);
    this.#fit();
    const sides = [["", `${photo.width} × ${photo.height}`], ...[2048, 1024].filter((side) => side < Math.max(photo.width, photo.height)).map((side) => [side, photo.sizeAt(side).join(" × ")])];
    $("size").replaceChildren(...sides.map(([value, text]) => element("option", { value, textContent: text })));
    $("format").replaceChildren(...this.#engine.formats.map((value) => element("option", { value, textContent: value.toUpperCase(), selected: value === (photo.clear ? "png" : "jpg") })));
    if (style) this.chosen = [this.#styles.find((one) => one.id === style) ?? this.#styles[0]];
    if (!this.chosen.length && this.#styles.length) this.chosen = [this.#styles[0]];
    this.#strip();
    this.#refresh(true);
  }

  /** A painting that the person brought becomes a style. */
  async addPainting(file) {
    try {
      const name = file.name?.replace(/\.[^.]*$/, "") || "My painting", code = /\.npy$/i.test(file.name ?? "");
      if (code && !this.#engine.takesCodes) throw new Error("Style codes can be used with 'impasto serve' only: choose a picture.");
      if (!code) (await createImageBitmap(file).catch(() => { throw new Error(`${name} is not a picture that this browser can read: use a JPEG, PNG or WebP.`); })).close();
      this.add({ id: `file:${++this.#files}`, title: name, note: "your painting", file });
    } catch (error) { trouble(error); }
  }

  /** A new style, chosen at once. */
  add(style) {
    const known = this.#styles.find((one) => one.id === style.id);
    if (!known) this.#styles.unshift(style);
    this.#choose(known ?? style, false);
    if (!this.photo) return;
    this.#strip();
    $("strip").querySelector("[aria-pressed=true]")?.scrollIntoView({ block: "nearest", inline: "center" });
    this.#refresh();
  }

  dream() {
    const seed = Math.floor(Math.random() * 1e6);
    this.add({ id: `dream:${seed}`, title: `Dream ${seed}`, note: "never painted", dream: seed });
  }

  #press(style) {
    this.#choose(style, this.#blending);
    this.#mark();
    this.#refresh();
  }

  #choose(style, several) {
    if (!several) { this.chosen = [style]; if (this.#blending) this.#blend(false); return; }
    if (this.chosen.includes(style)) { if (this.chosen.length > 1) this.chosen = this.chosen.filter((one) => one !== style); return; }
    if (this.chosen.length === MOST) { say(`A blend takes up to ${MOST} styles: press one of them to take it out.`); return; }
    this.chosen = [...this.chosen, style];
  }

  #blend(on) {
    this.#blending = on;
    $("blend").setAttribute("aria-pressed", on);
    $("pad").hidden = !on;
    if (!on && this.chosen.length > 1) { this.chosen = this.chosen.slice(0, 1); this.#refresh(); }
    this.#mark();
  }

  #masking(on) {
    $("brushes").hidden = !on;
    $("mask").hidden = !on;
    $("frame").classList.toggle("masking", on);
    $("masking").setAttribute("aria-pressed", on);
    $("masking").textContent = on ? "Done" : this.#mask.whole ? "Choose where to paint" : "Change where to paint";
    this.#caption();
  }

  /** The strip of styles, painted from this photo. */
  async #strip() {
    const plus = (id, label, title, note, press, lines) => {
      const made = element("button", { id, className: "card", type: "button", onclick: press, ariaLabel: label });
      made.innerHTML = `<span class="plus"><svg viewBox="0 0 24 24" aria-hidden="true">${lines}</svg></span>`;
      made.append(element("span", { className: "name", textContent: title }), element("small", { textContent: note }));
      return made;
    };
    const first = [plus("own", "Use a painting of yours as the style", "Your painting", "or drop one here", () => $("style-file").click(), '<path d="M12 5v14M5 12h14"/>')];
    if (this.#engine.canDream) first.push(plus("dream", "Dream a style that no painting has", "Dream one", "a new style", () => this.dream(), '<path d="M20 14.5A8.5 8.5 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500z"/><path d="M17 4v4M15 6h4"/>'));
    const cards = this.#styles.map((style) => card(style.id, style.title, style.note, () => this.#press(style)));
    $("strip").replaceChildren(...first, ...cards);
    for (const made of cards) {
      const drawn = this.#drawn.get(made.dataset.style), there = drawn?.photo === this.photo;
      show(made.querySelector("canvas"), there ? drawn.bitmap : this.photo.scaled(THUMB), !there);
    }
    this.#mark();
    this.#thumbs?.abort();
    const { signal } = (this.#thumbs = new AbortController()), photo = this.photo;
    const missing = this.#styles.filter((style) => this.#drawn.get(style.id)?.photo !== photo);
    const wanted = { style: missing.filter((one) => !one.file && one.dream === undefined).map((one) => one.id),
      dream: missing.filter((one) => one.dream !== undefined).map((one) => one.dream), paintings: missing.filter((one) => one.file) };
    try {
      for await (const { style, bitmap } of this.#engine.thumbnails(photo, THUMB, wanted, signal)) {
        this.#drawn.set(style, { photo, bitmap });
        const canvas = $("strip").querySelector(`[data-style="${CSS.escape(style)}"] canvas`);
        if (canvas) show(canvas, bitmap);
        if (this.chosen.some((one) => one.id === style)) this.#mark();
      }
    } catch (error) { trouble(error); }
  }

  #mark() {
    for (const one of $("strip").querySelectorAll("[data-style]")) one.setAttribute("aria-pressed", this.chosen.some((style) => style.id === one.dataset.style));
    this.#pad.place(this.chosen, this.chosen.map((style) => this.#drawn.get(style.id)?.bitmap));
  }

  #tell() {
    const stroke = STROKES[$("stroke").value];
    $("strength-now").textContent = `${$("strength").value} %`;
    $("colors-now").textContent = COLORS[this.#engine.colors[$("colors").value]];
    $("colors").setAttribute("aria-valuetext", $("colors-now").textContent);
    $("detail-now").textContent = `${$("detail").value} %`;
    $("stroke-now").textContent = `${(100 * stroke).toFixed(1)} % of the picture`;
    $("stroke").setAttribute("aria-valuetext", $("stroke-now").textContent);
  }

  async #settings() {
    const styles = this.chosen, weights = styles.length > 1 ? this.#pad.weights : [1], used = styles.map((_, i) => i).filter((i) => weights[i] > 0);
    const canvas = this.#mask.canvas();
    return {
      styles: used.map((i) => styles[i]), weights: used.map((i) => weights[i]), strength: $("strength").value / 100, stroke: STROKES[$("stroke").value],
      detail: $("detail").value / 100, colors: this.#engine.colors[$("colors").value],
      mask: canvas && (this.#engine.keepsPixels ? canvas : await new Promise((done) => canvas.toBlob(done))),
    };
  }

  #refresh(now) {
    if (!this.photo || !this.chosen.length) return;
    clearTimeout(this.#finer);
    $("after").dataset.asked = ++this.#asked;
    // A finer preview gives way at once; a quick one is nearly there, so that what moves is followed steadily.
    if (now || this.#painting?.side === FINE) this.#painting?.abort();
    this.#follow();
  }

  #follow = newest(async () => {
    clearTimeout(this.#finer); // of the run before this one
    if (!await this.#preview(QUICK)) return;
    const photo = this.photo;
    if (Math.max(photo.width, photo.height) > QUICK) this.#finer = setTimeout(() => this.#preview(FINE), REST);
  });

  async #preview(side) {
    const photo = this.photo, asked = this.#asked, painting = (this.#painting = Object.assign(new AbortController(), { side }));
    const busy = setTimeout(() => { $("busy").hidden = false; }, 250);
    try {
      const began = performance.now(), bitmap = await this.#engine.preview(photo, side, await this.#settings(), painting.signal);
      if (photo !== this.photo || painting.signal.aborted) return false;
      show($("after"), bitmap);
      $("after").dataset.milliseconds = Math.round(performance.now() - began);
      Object.assign($("after").dataset, { side, shown: asked });
      this.#caption();
      return true;
    } catch (error) { trouble(error); return false; } finally {
      clearTimeout(busy);
      if (painting === this.#painting) $("busy").hidden = true;
    }
  }

  #caption() {
    const names = this.chosen.map((style) => style.title).join(" + ");
    $("caption").textContent = $("brushes").hidden ? names : "Brush over what should be painted; the tinted rest stays the photo.";
    $("after").setAttribute("aria-label", `Your photo, painted: ${names}`);
  }

  /** The frame as large as the stage allows. */
  #fit() {
    if (!this.photo) return;
    const narrow = innerWidth <= 860, wide = $("stage").clientWidth - (narrow ? 16 : 28), tall = narrow ? innerHeight * 0.42 : Math.max(260, innerHeight - 310);
    const scale = Math.min(wide / this.photo.width, tall / this.photo.height);
    Object.assign($("frame").style, { width: `${this.photo.width * scale}px`, height: `${this.photo.height * scale}px` });
  }

  async #download() {
    const button = $("download"), bar = $("progress");
    button.disabled = true;
    button.textContent = "Painting …";
    bar.hidden = false;
    bar.removeAttribute("value");
    try {
      const settings = { ...await this.#settings(), size: $("size").value || undefined, format: $("format").value, recipe: $("recipe").checked };
      const blob = await this.#engine.render(this.photo, settings, undefined, (done) => { bar.value = done; });
      save(blob, `${this.photo.name}-${this.chosen.map((style) => style.id.replace(/\W+/g, "-")).join("-")}.${settings.format}`);
    } catch (error) { trouble(error); }
    button.disabled = false;
    button.textContent = "Download";
    bar.hidden = true;
  }
}
