// Pictures at other sizes, planes [channels,height,width] of floats: as Pillow resizes, and as runtime/guided.py brings
// a painting up to the size of its photo.

import { clip } from "./numbers.js";

const sinc = (x) => (x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1);
/** Kernels as [support, weight]. */
export const LANCZOS = [3, (x) => (x < 3 ? sinc(x) * sinc(x / 3) : 0)];
const LINEAR = [1, (x) => Math.max(0, 1 - x)];
const CUBIC = [2, (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0)];
const LUMA = [0.299, 0.587, 0.114];

function taps(from, to, [support, kernel], first, last) {
  const ratio = from / to, scale = Math.max(1, ratio), reach = support * scale;
  return Array.from({ length: last - first }, (_, i) => {
    const centre = (first + i + 0.5) * ratio, start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const weights = Array.from({ length: end - start }, (_, k) => kernel(Math.abs((start + k - centre + 0.5) / scale)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { start, weights: weights.map((weight) => weight / sum) };
  });
}

/** The rows from `first` to `last` of planes at another size. */
export function resized(planes, channels, [width, height], [toWidth, toHeight], kernel = LANCZOS, first = 0, last = toHeight) {
  const across = taps(width, toWidth, kernel, 0, toWidth), down = taps(height, toHeight, kernel, first, last), rows = last - first;
  const top = down[0].start, bottom = down[rows - 1].start + down[rows - 1].weights.length, high = bottom - top;
  const narrow = new Float32Array(channels * high * toWidth), out = new Float32Array(channels * rows * toWidth);
  for (let c = 0, at = 0; c < channels; c++)
    for (let y = top; y < bottom; y++)
      for (let x = 0, row = (c * height + y) * width; x < toWidth; x++, at++) {
        const { start, weights } = across[x];
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * planes[row + start + i];
        narrow[at] = sum;
      }
  for (let c = 0, at = 0; c < channels; c++)
    for (let y = 0; y < rows; y++) {
      const { start, weights } = down[y], row = (c * high + start - top) * toWidth;
      for (let x = 0; x < toWidth; x++, at++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * narrow[row + i * toWidth + x];
        out[at] = sum;
      }
    }
  return out;
}

/** The same, whole, in 0..1, which Lanczos leaves at edges. */
export const scaled = (planes, from, to) =>
  from[0] === to[0] && from[1] === to[1] ? planes : resized(planes, 3, from, to).map((value) => clip(value, 0, 1));

/** The same of planes and their alpha, each pixel by its opacity: what lies under transparent ones does not bleed. */
export function scaledClear(planes, alpha, from, to) {
  const small = scaled(planes, from, to), n = to[0] * to[1];
  if (!alpha) return [small, null];
  const clear = resized(alpha, 1, from, to), weighted = resized(planes.map((value, i) => value * alpha[i % alpha.length]), 3, from, to);
  return [small.map((value, i) => (clear[i % n] > 1 / 512 ? clip(weighted[i] / clear[i % n], 0, 1) : value)), clear.map((value) => clip(value, 0, 1))];
}

/** Each value from those around it, across and down, within `reach`; at the edges the edge counts again. */
function around(planes, [width, height], reach, weigh, start = 0) {
  const step = (from, length, gap) => {
    const out = new Float32Array(from.length).fill(start);
    for (let base = 0; base < from.length; base += length * gap)
      for (let place = 0; place < length; place++)
        for (let k = -reach; k <= reach; k++)
          weigh(out, base + place * gap, from, base + Math.min(length - 1, Math.max(0, place + k)) * gap, gap, k);
    return out;
  };
  return step(step(planes, width, 1), height, width);
}
const summed = (weights) => (out, to, from, beside, count, k) => {
  const weight = weights[k + (weights.length >> 1)];
  for (let i = 0; i < count; i++) out[to + i] += weight * from[beside + i];
};
const extreme = (end) => (out, to, from, beside, count) => {
  for (let i = 0; i < count; i++) out[to + i] = end(out[to + i], from[beside + i]);
};
const mean = (planes, size) => around(planes, size, 2, summed([0.2, 0.2, 0.2, 0.2, 0.2]));

/** A mask blurred by a Gaussian. */
export function blurred(plane, size, deviation) {
  const reach = Math.ceil(3 * deviation), bell = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-0.5 * ((i - reach) / deviation) ** 2));
  const total = bell.reduce((sum, value) => sum + value, 0);
  return around(plane, size, reach, summed(bell.map((value) => value / total)));
}

export const stretched = (plane, from, to) => (from[0] === to[0] && from[1] === to[1] ? plane : resized(plane, 1, from, to, LINEAR));

/** How the painting's colours follow the photo's around each pixel: nine planes, painting by photo, then one of R2. */
function slopes(guide, painting, size) {
  const n = size[0] * size[1], products = new Float32Array(16 * n);
  const pairs = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]];
  pairs.forEach(([a, b], k) => { for (let i = 0; i < n; i++) products[k * n + i] = guide[a * n + i] * guide[b * n + i]; });
  for (let k = 0; k < 9; k++) for (let i = 0; i < n; i++) products[(6 + k) * n + i] = painting[Math.trunc(k / 3) * n + i] * guide[(k % 3) * n + i];
  for (let c = 0; c < 3; c++) for (let i = 0; i < n; i++) products[15 * n + i] += painting[c * n + i] ** 2;
  const together = mean(products, size), [ours, theirs] = [mean(painting, size), mean(guide, size)], found = new Float32Array(10 * n);
  const [T, flat] = [together, 0.0004];
  for (let i = 0; i < n; i++) { // plain numbers: arrays of three for each pixel would take most of the time
    const g = theirs[i], h = theirs[n + i], k = theirs[2 * n + i];
    const a = T[i] - g * g + flat, b = T[n + i] - g * h, c = T[2 * n + i] - g * k;
    const d = T[3 * n + i] - h * h + flat, e = T[4 * n + i] - h * k, f = T[5 * n + i] - k * k + flat;
    const A = d * f - e * e, B = c * e - b * f, C = b * e - c * d, D = a * f - c * c, E = b * c - a * e, F = a * d - b * b;
    const whole = a * A + b * B + c * C;
    let spread = T[15 * n + i] + 0.0001, explained = 0;
    for (let channel = 0; channel < 3; channel++) {
      const p = ours[channel * n + i], at = 3 * channel * n + i;
      const x = T[6 * n + at] - p * g, y = T[7 * n + at] - p * h, z = T[8 * n + at] - p * k;
      found[at] = (A * x + B * y + C * z) / whole;
      found[n + at] = (B * x + D * y + E * z) / whole;
      found[2 * n + at] = (C * x + E * y + F * z) / whole;
      explained += found[at] * x + found[n + at] * y + found[2 * n + at] * z;
      spread -= p * p;
    }
    const share = (found[9 * n + i] = clip(explained / spread, 0, 1));
    for (let plane = 0; plane < 9; plane++) found[plane * n + i] *= Math.min(2 * share, 1);
  }
  return mean(found, size);
}

/** What gives rows of a painting at the photo's size: (photo rows, first, last) => planes; see runtime/working.py. */
export function brought(small, painted, size, to, detail) {
  const alike = size[0] === to[0] && size[1] === to[1], larger = size[0] > to[0] || size[1] > to[1];
  const lean = alike || larger ? null : slopes(small, painted, size);
  const [low, high] = lean ? [[Math.min, 2], [Math.max, -1]].map(([end, start]) => around(painted, size, 1, extreme(end), start)) : [];
  const most = Math.min(1, to[1] / size[1] - 1), steep = (t) => t * t * (3 - 2 * t);
  const least = size[0] < to[0] ? size : to, reduced = least.map((side) => Math.max(1, Math.ceil(side / 2)));
  let below = null;
  if (detail > 0) {
    const n = reduced[0] * reduced[1], theirs = scaled(small, size, reduced), ours = scaled(painted, size, reduced);
    below = Float32Array.from({ length: n }, (_, i) => LUMA.reduce((sum, weight, c) => sum + weight * (theirs[c * n + i] - ours[c * n + i]), 0));
  }
  return (own, first, last) => {
    const n = (last - first) * to[0], up = (planes, count, kernel, from = size) => resized(planes, count, from, to, kernel, first, last);
    const out = up(painted, 3, lean ? CUBIC : LANCZOS);
    if (lean) {
      const [under, over, guide, slope] = [up(low, 3, LINEAR), up(high, 3, LINEAR), up(small, 3, CUBIC), up(lean, 10, LINEAR)];
      for (let c = 0, at = 0; c < 3; c++)
        for (let i = 0; i < n; i++, at++) {
          const span = Math.max(over[at] - under[at], 1e-6), way = clip((out[at] - under[at]) / span, 0, 1), push = most * (1 - slope[9 * n + i]);
          out[at] = under[at] + span * (way + push * (steep(steep(way)) - way));
          for (let k = 0; k < 3; k++) out[at] += slope[(3 * c + k) * n + i] * (own[k * n + i] - guide[k * n + i]);
        }
    }
    if (!alike) for (let at = 0; at < out.length; at++) out[at] = clip(out[at], 0, 1);
    if (below) {
      const under = up(below, 1, CUBIC, reduced);
      for (let i = 0; i < n; i++) {
        const change = detail * (LUMA.reduce((sum, weight, c) => sum + weight * (own[c * n + i] - out[c * n + i]), 0) - under[i]);
        for (let c = 0; c < 3; c++) out[c * n + i] = clip(out[c * n + i] + change, 0, 1);
      }
    }
    return out;
  };
}

/** The painting's light and dark with the photo's colours, in place; see runtime/pixels/color.py. */
export function keepColors(painted, photo) {
  const n = painted.length / 3, luma = (planes, i) => LUMA[0] * planes[i] + LUMA[1] * planes[n + i] + LUMA[2] * planes[2 * n + i];
  for (let i = 0; i < n; i++) {
    const light = clip(luma(painted, i), 0, 1), grey = luma(photo, i), chroma = [0, 1, 2].map((c) => photo[c * n + i] - grey);
    const up = Math.max(...chroma, 1e-6), down = Math.max(...chroma.map((value) => -value), 1e-6);
    const share = Math.min(1, (1 - light) / up, light / down);
    chroma.forEach((value, c) => { painted[c * n + i] = clip(light + value * share, 0, 1); });
  }
}
