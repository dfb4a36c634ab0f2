// The painter in the browser itself: the same calls as remote.js, answered by worker.js. Nothing is sent anywhere.

import { withRecipe } from "./recipe.js";
import { Photo } from "../js/photo.js";
import { element } from "../js/ui.js";

const LARGEST_STYLE = 1600; // pixels of a painting that are looked at

export class Painter {
  promise = "Your pictures never leave this browser."; keepsPixels = true; takesCodes = false;
  colors = ["off", "luminance"]; formats = ["jpg", "png"]; #worker; #waiting = []; #running = null; #count = 0; #site;

  async open() {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data: { id, result, error, name, done } }) => {
      const job = this.#running;
      if (job?.id !== id) return;
      if (done !== undefined) { job.progress?.(done); return; }
      this.#running = null;
      if (error === undefined) job.resolve(result);
      else job.reject(name === "AbortError" ? new DOMException(error, name) : new Error(error));
      this.#pump();
    };
    this.#worker.onerror = () => this.#running?.reject(new Error("This browser could not start the painter: use a newer one."));
    this.#site = await this.#call("open");
    this.styles = this.#site.style.styles;
    this.canDream = Boolean(this.#site.style.dream);
    this.generators = this.#site.generators;
    return this;
  }

  async * thumbnails(photo, side, { style = [], dream = [], paintings = [] }, signal) {
    const all = [...paintings, ...style.map((id) => ({ id })), ...dream.map((seed) => ({ id: `dream:${seed}`, dream: seed }))];
    for (const one of all) yield { style: one.id, bitmap: await this.#bitmap(photo, 2 * side, { ...PLAIN, styles: [one] }, signal, false) };
  }

  async preview(photo, side, settings, signal) { return this.#bitmap(photo, side, settings, signal, true); }

  async render(photo, settings, signal, progress) {
    const canvas = await this.#painted(photo, settings.size || Math.max(photo.width, photo.height), settings, signal, true, progress);
    const type = { jpg: "image/jpeg", png: "image/png" }[settings.format];
    const blob = await new Promise((done) => canvas.toBlob(done, type, 0.95));
    if (blob?.type !== type) throw new Error(`This browser cannot write ${settings.format}: choose another format.`);
    return settings.recipe ? withRecipe(blob, this.#site, settings, await this.#call("codes", settings.styles.map(({ id }) => id))) : blob;
  }

  async * draw({ count = 1, seed, ...settings }, signal) {
    for (let at = seed; at < seed + count; at++) {
      const { pixels, size, class: name } = await this.#call("drawn", { ...settings, seed: at }, signal, true);
      const canvas = element("canvas", { width: size[0], height: size[1] });
      canvas.getContext("2d").putImageData(new ImageData(pixels, ...size), 0, 0);
      yield { seed: at, class: name, bitmap: canvas, blob: await new Promise((done) => canvas.toBlob(done)) };
    }
  }

  async #bitmap(...args) { return createImageBitmap(await this.#painted(...args)); }

  async #painted(photo, side, settings, signal, first, progress) {
    const canvas = photo.scaled(side), size = [canvas.width, canvas.height], styles = await Promise.all(settings.styles.map((style) => this.#ready(style)));
    const mask = settings.mask && { values: pixelsOf(settings.mask).filter((_, i) => i % 4 === 0), size: [settings.mask.width, settings.mask.height] };
    const { pixels } = await this.#call("paint", { ...settings, styles, mask, pixels: pixelsOf(canvas), size }, signal, first, progress);
    const out = element("canvas", { width: size[0], height: size[1] });
    out.getContext("2d").putImageData(new ImageData(pixels, ...size), 0, 0);
    return out;
  }

  async #ready({ id, dream, file }) {
    if (!file) return { id, dream };
    const painting = (await Photo.of(file)).scaled(LARGEST_STYLE);
    return { id, pixels: pixelsOf(painting), size: [painting.width, painting.height] };
  }

  /** One at a time; what is looked at goes before thumbnails. */
  #call(call, settings, signal, first = true, progress) {
    return new Promise((resolve, reject) => {
      const job = { id: ++this.#count, call, settings, resolve, reject, first, progress };
      const stop = () => {
        reject(new DOMException("Nobody waits for it any more.", "AbortError"));
        this.#waiting = this.#waiting.filter((one) => one !== job);
        if (this.#running === job) this.#worker.postMessage({ stop: job.id });
      };
      if (signal?.aborted) { stop(); return; }
      signal?.addEventListener("abort", stop, { once: true });
      this.#waiting.push(job);
      this.#pump();
    });
  }

  #pump() {
    if (this.#running || !this.#waiting.length) return;
    const job = this.#waiting.find((one) => one.first) ?? this.#waiting[0];
    this.#waiting = this.#waiting.filter((one) => one !== job);
    this.#running = job;
    this.#worker.postMessage({ id: job.id, call: job.call, settings: job.settings });
  }
}

const PLAIN = { weights: [1], strength: 1, detail: 0, colors: "off" };

function pixelsOf(canvas) { return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data; }
