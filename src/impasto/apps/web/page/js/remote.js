// The painter behind 'impasto serve': everything goes through its HTTP API (docs/web-api.md).

const fields = (values) => {
  const form = new FormData();
  for (const [name, value] of Object.entries(values))
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined && one !== null && one !== "") form.append(name, one);
  return form;
};

export class Painter {
  takesCodes = true; #token = "";
  promise = /^(localhost|127\.|\[::1\])/.test(location.hostname) ? "It stays on this machine." : `It goes to ${location.host} and is kept nowhere.`; colors = ["off", "histogram", "luminance"]; formats = ["jpg", "png", "webp"];

  /** What there is: styles, generators, and which controls this painter has. */
  async open() {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given) {
      sessionStorage.setItem("impasto token", given);
      history.replaceState(null, "", location.pathname + location.search);
    }
    this.#token = sessionStorage.getItem("impasto token") ?? "";
    const [models, styles] = await Promise.all(["v1/models", "v1/styles"].map(async (path) => (await this.#ask(path)).json()));
    this.generators = models.models.filter((model) => model.kind === "generator");
    this.styles = styles.styles;
    this.canDream = styles.can_dream;
    return this;
  }

  /** Each style, then each dream, as { style, bitmap }, as soon as it is painted. */
  async * thumbnails(photo, side, { style = [], dream = [], paintings = [] }, signal) {
    for (const painting of paintings) {
      const bitmap = await this.preview(photo, side, { styles: [painting], weights: [1] }, signal);
      yield { style: painting.id, bitmap };
    }
    if (!style.length && !dream.length) return;
    const answer = await this.#ask("v1/thumbnails", fields({ photo: await photo.blob(side), size: side, style, dream }), signal);
    for await (const line of lines(answer)) yield { style: line.style, bitmap: await unpacked(line) };
  }

  /** The photo at a small size, painted: an ImageBitmap. */
  async preview(photo, side, settings, signal) {
    const wanted = { photo: await photo.blob(side), ...this.#wanted(settings), format: photo.clear ? "png" : "jpg", quality: 90, recipe: false };
    return createImageBitmap(await (await this.#ask("v1/stylize", fields(wanted), signal)).blob());
  }

  /** The photo at its own size, or at that of settings.size, painted: a file. */
  async render(photo, settings, signal) {
    const { size, format, recipe } = settings;
    const wanted = { photo: photo.file, ...this.#wanted(settings), size, format, recipe: recipe ? undefined : false };
    return (await this.#ask("v1/stylize", fields(wanted), signal)).blob();
  }

  /** Pictures of seeds from `seed` on, or one on the walk to the seed `to`: { seed, class, bitmap, blob } each. */
  async * draw(settings, signal) {
    const answer = await this.#ask(`v1/generate?${new URLSearchParams(Object.entries(settings).filter(([, value]) => value !== undefined && value !== ""))}`, undefined, signal);
    if ((answer.headers.get("content-type") ?? "").includes("ndjson")) {
      for await (const line of lines(answer)) yield { seed: line.seed, class: line.class, bitmap: await unpacked(line) };
      return;
    }
    const blob = await answer.blob();
    yield { seed: settings.seed, class: answer.headers.get("impasto-class"), blob, bitmap: await createImageBitmap(blob) };
  }

  #wanted({ styles, weights, strength, stroke, detail, colors, mask }) {
    // Weights go by the order in the form, where names stand before files.
    const order = [...styles.keys()].sort((a, b) => !!styles[a].file - !!styles[b].file);
    return {
      style: order.filter((i) => !styles[i].file).map((i) => styles[i].id),
      style_file: order.filter((i) => styles[i].file).map((i) => styles[i].file),
      weight: order.length > 1 ? order.map((i) => weights[i].toFixed(4)) : [],
      strength, stroke, detail: detail || undefined, keep_colors: colors === "off" ? undefined : colors, mask,
    };
  }

  async #ask(path, body, signal, patience = 4) {
    const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
    const answer = await fetch(path, { method: body ? "POST" : "GET", body, signal, headers });
    if (answer.ok) return answer;
    if (answer.status === 429 && patience > 0) {
      await new Promise((done) => setTimeout(done, 1000 * Math.min(Number(answer.headers.get("retry-after")) || 1, 5)));
      signal?.throwIfAborted();
      return this.#ask(path, body, signal, patience - 1);
    }
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail ?? `The painter answered ${answer.status}: try again.`);
  }
}

async function unpacked({ picture, type }) {
  return createImageBitmap(new Blob([Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0))], { type }));
}

async function * lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = done ? "" : parts.pop();
    for (const part of parts.filter(Boolean)) {
      const line = JSON.parse(part);
      if (line.problem) throw new Error(line.problem.detail);
      yield line;
    }
    if (done) return;
  }
}
