// The painter in a browser, in a thread of its own: onnxruntime-web runs the graphs of impasto's model files.

import { clip, colorStats, draw, dreamt, grain, lerp, moments, placed, slerp } from "./numbers.js";
import { heldTo } from "./pyramid.js";
import { laid } from "./underpaint.js";
import { blurred, brought, keepColors, scaled, stretched } from "./scaling.js";

const SITE = new URL("../", import.meta.url), SEEN = 512, OWN = 8, FINEST = 2, ROWS = 96, FEATHER = 0.004 / 2.563;
const stopped = new Set(), known = new Map(), sessions = new Map();
let ort, site, gpu;

async function file(path) {
  const answer = await fetch(new URL(path, SITE));
  if (!answer.ok) throw new Error(`${path} is missing from this site: build it again with 'impasto web build'.`);
  return answer;
}
const kept = (key, make) => { if (!sessions.has(key)) sessions.set(key, make()); return sessions.get(key); };
const table = (path) => kept(path, async () => new Float32Array(await (await file(path)).arrayBuffer()));
const tables = async (paths) => Object.fromEntries(await Promise.all(Object.entries(paths).map(async ([name, path]) => [name, await table(path)])));

async function open() {
  site = await (await file("site.json")).json();
  gpu = "Suspending" in WebAssembly && Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
  ort = await import(new URL(`ort/ort.${gpu ? "jspi" : "wasm"}.min.mjs`, SITE));
  ort.env.wasm.wasmPaths = new URL("ort/", SITE).href;
  // Threads share memory, which browsers allow only to pages that are isolated from other origins.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  return site;
}

/** Run a graph: { input: [data, shape] } to the data of its first output. */
async function run(path, feeds) {
  const create = () => file(path).then((answer) => answer.arrayBuffer())
    .then((graph) => ort.InferenceSession.create(new Uint8Array(graph), { executionProviders: gpu ? ["webgpu", "wasm"] : ["wasm"] }));
  const ready = Object.fromEntries(Object.entries(feeds).map(([name, [data, shape]]) => [name, new ort.Tensor("float32", data, shape)]));
  const once = async () => { const session = await kept(path, create); return (await session.run(ready))[session.outputNames[0]].data; };
  return once().catch((error) => {
    sessions.delete(path);
    if (!gpu) throw error;
    gpu = false; // A driver that cannot do it: the processor can.
    return once();
  });
}

const ruled = (side, { minimum, multiple }) => Math.ceil(Math.max(side, minimum) / multiple) * multiple;

/** Extended to the right and down to the size rule: mirrored, or the edge again where there is too little to mirror. */
function padded(planes, [width, height], [toWidth, toHeight]) {
  if (width === toWidth && height === toHeight) return planes;
  const place = (i, side, to) => (i < side ? i : to - side < side ? 2 * (side - 1) - i : side - 1), out = new Float32Array(3 * toWidth * toHeight);
  for (let c = 0, at = 0; c < 3; c++)
    for (let y = 0; y < toHeight; y++)
      for (let x = 0; x < toWidth; x++, at++) out[at] = planes[(c * height + place(y, height, toHeight)) * width + place(x, width, toWidth)];
  return out;
}

function cropped(planes, [width, height], left, top, [toWidth, toHeight]) {
  const out = new Float32Array(3 * toWidth * toHeight);
  for (let row = 0; row < 3 * toHeight; row++) {
    const from = (Math.trunc(row / toHeight) * height + top + (row % toHeight)) * width + left;
    out.set(planes.subarray(from, from + toWidth), row * toWidth);
  }
  return out;
}

/** Planes in 0..1, and alpha where something shows through. */
function unpacked(pixels) {
  const n = pixels.length / 4, planes = new Float32Array(3 * n), alpha = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) planes[c * n + i] = pixels[4 * i + c] / 255;
    alpha[i] = pixels[4 * i + 3] / 255;
  }
  return [planes, alpha.some((value) => value < 1) ? alpha : null];
}

/** The code of a picture, whose strokes are seen with its short side at `scale`; see runtime/seeing.py. */
async function encoded(planes, alpha, size, scale) {
  const spec = site.style.encoder, limit = Math.ceil(Math.min(...size) * 3), part = size.map((side) => Math.min(side, limit));
  let seen = planes;
  if (alpha) {
    const { mean } = moments(planes, alpha), n = alpha.length;
    seen = planes.map((value, i) => value * alpha[i % n] + mean[Math.trunc(i / n)] * (1 - alpha[i % n]));
  }
  seen = cropped(seen, size, (size[0] - part[0]) >> 1, (size[1] - part[1]) >> 1, part);
  const short = Math.min(...part), to = part.map((side) => (side === short ? scale : Math.max(scale, Math.round((side * scale) / short))));
  const inner = to.map((side) => Math.max(Math.floor(side / spec.multiple) * spec.multiple, 1)), shape = inner.map((side) => ruled(side, spec));
  const ready = padded(cropped(scaled(seen, part, to), to, 0, 0, inner), inner, shape);
  return Float32Array.from(await run(spec.file, { [spec.input]: [ready, [1, 3, shape[1], shape[0]]] }));
}

async function codeOf({ id, dream, pixels, size }) {
  const { style } = site, at = style.styles.findIndex((one) => one.name === id);
  if (at >= 0) return (await table(style.codes)).slice(at * style.code_size, (at + 1) * style.code_size);
  if (!known.has(id)) known.set(id, dream === undefined ? await encoded(...unpacked(pixels), size, SEEN) : dreamt(await tables(style.dream), dream, style.code_size, style.colors, style.painter.bands));
  return known.get(id);
}

/** What the painter makes of planes of a size. */
async function brushed(planes, size, code, stats) {
  const spec = site.style.painter, shape = size.map((side) => ruled(side, spec)), sides = [shape[1], shape[0]], cells = sides.map((side) => side / 8);
  const feeds = { photo: [padded(planes, size, shape), [1, 3, ...sides]], code: [code, [1, code.length]], photo_stats: [stats, [1, stats.length]] };
  if (spec.grain) feeds.grain = [grain(spec.grain, ...cells, 0, 0), [1, spec.grain, ...cells]];
  return cropped(await run(spec.file, Object.fromEntries(spec.inputs.map((name) => [name, feeds[name]]))), shape, 0, 0, size);
}

async function paint({ pixels, size, styles, weights, strength, stroke, detail, colors, mask }, tick) {
  const [planes, alpha] = unpacked(pixels), spec = site.style.painter, total = weights.reduce((sum, weight) => sum + weight, 0);
  const long = Math.max(...size), side = Math.max(1, Math.round((long * OWN) / Math.max(stroke * long, FINEST)));
  const working = stroke ? size.map((one) => Math.max(1, Math.round((one * side) / long))) : size;
  const small = scaled(planes, size, working), clear = alpha && stretched(alpha, size, working);
  let code = new Float32Array(site.style.code_size);
  for (const [i, style] of styles.entries()) { const one = await codeOf(style); code = code.map((value, k) => value + (one[k] * weights[i]) / total); }
  if (strength < 1) code = lerp(await encoded(small, clear, working, Math.max(1, Math.min(SEEN, ...working))), code, strength);
  const made = async (seen, at, clear, code, stats) => {
    const brush = (planes, to) => brushed(planes, to, code, stats);
    return spec.bands ? heldTo(code, brush, seen, at, clear) : (await brush(seen, at)).map((value) => clip(value, 0, 1));
  };
  let seen = small, stats = colorStats(small, clear, site.style.colors);
  await tick(0);
  if (spec.under) [seen, stats] = await laid({ ...spec.under, table: await table(spec.under.table) }, small, working, clear, stats, code, made);
  const painted = await made(seen, working, clear, code, stats);
  const share = (1 - strength) ** 2, rows = brought(small, painted, working, size, detail), n = size[0] * size[1], out = new Uint8ClampedArray(pixels);
  const cover = mask && stretched(blurred(Float32Array.from(mask.values, (value) => value / 255), mask.size, FEATHER * Math.max(...mask.size)), mask.size, size);
  for (let first = 0; first < size[1]; first += ROWS) {
    await tick(first / size[1]);
    const last = Math.min(size[1], first + ROWS), band = (last - first) * size[0], own = cropped(planes, size, 0, first, [size[0], last - first]);
    const shown = rows(own, first, last);
    if (share > 0) for (let i = 0; i < shown.length; i++) shown[i] += share * (own[i] - shown[i]);
    if (colors === "luminance") keepColors(shown, own);
    for (let i = 0, at = first * size[0]; i < band; i++, at++)
      for (let c = 0; c < 3; c++) {
        const there = own[c * band + i];
        out[4 * at + c] = Math.round(255 * (cover ? there + cover[at] * (shown[c * band + i] - there) : shown[c * band + i]));
      }
  }
  return { pixels: out, size };
}

/** One picture: of a seed, or at a place of the walk to another. */
async function drawn({ model, seed, class: asked, truncation, to, at = 0 }) {
  const about = site.generators.find((one) => one.name === model), { classes, latent, w, layers } = about;
  const centres = about.centres && (await table(about.centres)), mixture = about.mixture && (await tables(about.mixture));
  const named = asked === undefined ? -1 : classes.indexOf(asked);
  const key = (one) => {
    const stream = draw(one, latent), row = asked === undefined ? Math.trunc(stream.label * classes.length) : named;
    return { z: mixture && !about.flow ? placed(mixture, stream) : stream.normals, row, label: Float32Array.from(classes, (_, i) => +(i === row)) };
  };
  const mapped = async (z, label) => (about.mapping
    ? Float32Array.from(await run(about.mapping, { z: [z, [1, latent]], ...(classes.length && { labels: [label, [1, classes.length]] }) })) : z);
  const flowed = async (z) => Float32Array.from(await run(about.flow.file, { [about.flow.input]: [z.map((value) => value * truncation), [1, latent]] }));
  const placedAt = async ({ z, label, row }) => {
    if (about.flow) return mapped(await flowed(z), label);
    if (!centres) return mapped(z.map((value) => value * truncation), label);
    return lerp(centres.subarray((classes.length ? row : 0) * w), await mapped(z, label), truncation);
  };
  const lean = (from, wanted) => lerp(from.subarray(0, wanted.length), wanted, at), a = key(seed), b = to === undefined ? a : key(to);
  let way;
  if (to === undefined) way = await placedAt(a);
  else if (about.flow) way = await mapped(await flowed(slerp(a.z, b.z, at)), a.label);
  else if (centres) way = lean(await placedAt(a), await placedAt(b));
  else way = await mapped(slerp(a.z, b.z, at).map((value) => value * truncation), lean(a.label, b.label));
  const repeated = layers ? Float32Array.from({ length: layers * w }, (_, i) => way[i % w]) : way.slice(0, w);
  const planes = await run(about.synthesis, { [about.input]: [repeated, layers ? [1, layers, w] : [1, w]] });
  const n = about.width * about.height, pixels = new Uint8ClampedArray(4 * n).fill(255);
  for (let i = 0; i < n; i++)
    for (let c = 0; c < 4; c++) {
      const from = about.channels === 1 ? (c < 3 ? 0 : -1) : c < about.channels ? c : -1;
      if (from >= 0) pixels[4 * i + c] = Math.round(255 * clip(planes[from * n + i] * 0.5 + 0.5, 0, 1));
    }
  return { pixels, size: [about.width, about.height], class: classes[a.row] ?? null };
}

/** The codes of styles that have no name, as far as they have painted: id to code. */
const codes = (ids) => Object.fromEntries(ids.filter((id) => known.has(id)).map((id) => [id, known.get(id)]));

const CALLS = { open, paint, drawn, codes };

self.onmessage = async ({ data: { id, call, settings, stop } }) => {
  if (stop) { stopped.add(stop); return; }
  const tick = async (done) => {
    self.postMessage({ id, done });
    await new Promise((next) => setTimeout(next)); // so that word of a stop can arrive
    if (stopped.delete(id)) throw new DOMException("Nobody waits for it any more.", "AbortError");
  };
  try {
    const result = await CALLS[call](settings, tick);
    self.postMessage({ id, result }, result.pixels ? [result.pixels.buffer] : []);
  } catch (error) {
    self.postMessage({ id, error: error.message, name: error.name });
  }
};
