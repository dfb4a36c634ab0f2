// Numbers as impasto's Python side makes them, so that a seed and a photo give the same picture in a browser.

const M64 = (1n << 64n) - 1n, M128 = (1n << 128n) - 1n;
const MULTIPLIER = (2549297995355413924n << 64n) | 4865540595714422341n;

/** The stream numpy.random.Generator(PCG64(seed)): O'Neill 2014, XSL-RR of 128 bits, seeded by numpy's SeedSequence. */
export class Stream {
  #state = 0n; #step; #spare = null;

  constructor(seed) {
    const words = seeded(BigInt(seed)).map(BigInt);
    const pair = (at) => (words[at + 1] << 96n) | (words[at] << 64n) | (words[at + 3] << 32n) | words[at + 2];
    this.#step = ((pair(4) << 1n) | 1n) & M128;
    this.#advance();
    this.#state = (this.#state + pair(0)) & M128;
    this.#advance();
  }

  #advance() { this.#state = (this.#state * MULTIPLIER + this.#step) & M128; }

  #bits64() {
    this.#advance();
    const folded = ((this.#state >> 64n) ^ this.#state) & M64, turn = this.#state >> 122n;
    return ((folded >> turn) | (folded << (64n - turn))) & M64;
  }

  #bits32() {
    if (this.#spare !== null) { const kept = this.#spare; this.#spare = null; return kept; }
    const bits = this.#bits64();
    this.#spare = Number(bits >> 32n);
    return Number(bits & 0xffffffffn);
  }

  /** A number in 0..1, of 53 bits. */
  uniform() { return Number(this.#bits64() >> 11n) / 2 ** 53; }

  #uniform24() { return (this.#bits32() >>> 8) / 2 ** 24; }

  /** A number of N(0, 1) in single precision: the ziggurat of Marsaglia and Tsang 2000 with 256 layers. */
  normal() {
    for (;;) {
      const bits = this.#bits32(), layer = bits & 255, size = (bits >>> 9) & 0x7fffff;
      const x = Math.fround(size * ZIGGURAT.widths[layer] * (bits & 256 ? -1 : 1));
      if (size < ZIGGURAT.inside[layer]) return x;
      if (layer === 0) {
        for (;;) {
          const beyond = -Math.log1p(-this.#uniform24()) / TAIL, height = -Math.log1p(-this.#uniform24());
          if (2 * height > beyond * beyond) return Math.fround((size >> 8) & 1 ? -TAIL - beyond : TAIL + beyond);
        }
      }
      const { heights } = ZIGGURAT;
      if ((heights[layer - 1] - heights[layer]) * this.#uniform24() + heights[layer] < Math.exp(-0.5 * x * x)) return x;
    }
  }
}

function seeded(entropy) {
  const words = [];
  for (let rest = entropy; rest > 0n || !words.length; rest >>= 32n) words.push(Number(rest & 0xffffffffn));
  const hasher = (constant, factor) => (value) => {
    value ^= constant;
    constant = Math.imul(constant, factor);
    value = Math.imul(value, constant);
    return (value ^ (value >>> 16)) >>> 0;
  };
  const mixed = (a, b) => {
    const value = Math.imul(a, 0xca01f9dd) - Math.imul(b, 0x4973f715) | 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  const first = hasher(0x43b0d7e5, 0x931e8875), pool = [0, 1, 2, 3].map((i) => first(words[i] ?? 0));
  for (let from = 0; from < 4; from++)
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mixed(pool[to], first(pool[from]));
  for (const word of words.slice(4)) for (let to = 0; to < 4; to++) pool[to] = mixed(pool[to], first(word));
  const last = hasher(0x8b51f9dd, 0x58f38ded);
  return Array.from({ length: 8 }, (_, i) => last(pool[i % 4]));
}

const TAIL = 3.6541528853610088, AREA = 0.00492867323397465;
const ZIGGURAT = (() => {
  const bell = (x) => Math.exp(-0.5 * x * x), scale = 2 ** 23;
  const widths = new Float32Array(256), heights = new Float32Array(256), inside = new Uint32Array(256);
  const base = AREA / bell(TAIL);
  widths[0] = base / scale; widths[255] = TAIL / scale;
  heights[0] = 1; heights[255] = bell(TAIL);
  inside[0] = (TAIL / base) * scale;
  for (let layer = 254, outer = TAIL; layer > 0; layer--) {
    const edge = Math.sqrt(-2 * Math.log(AREA / outer + bell(outer)));
    inside[layer + 1] = (edge / outer) * scale;
    widths[layer] = edge / scale;
    heights[layer] = bell(edge);
    outer = edge;
  }
  return { widths, heights, inside };
})();

/** What a seed's stream gives: float32 [size] of N(0, 1), then what decides the component and the class. */
export function draw(seed, size) {
  const stream = new Stream(seed), normals = Float32Array.from({ length: size }, () => stream.normal());
  return { normals, component: stream.uniform(), label: stream.uniform() };
}

/** A latent [size] of a Gaussian mixture: tables weights [K], means [K,size], roots [K,size,size]. */
export function placed({ weights, means, roots }, { normals, component }) {
  const size = normals.length, total = weights.reduce((sum, weight) => sum + weight, 0);
  let chosen = 0;
  for (let edge = weights[0]; chosen < weights.length - 1 && component * total >= edge;) edge += weights[++chosen];
  return Float32Array.from(normals, (_, row) => {
    let sum = means[chosen * size + row];
    const start = (chosen * size + row) * size;
    for (let i = 0; i <= row; i++) sum += roots[start + i] * normals[i];
    return sum;
  });
}

export const lerp = (a, b, share) => Float32Array.from(a, (value, i) => value + share * (b[i] - value));

/** Along the sphere (Shoemake 1985), lengths going over linearly. */
export function slerp(a, b, share) {
  const long = (v) => Math.hypot(...v), first = long(a), last = long(b);
  if (!first || !last) return lerp(a, b, share);
  const angle = Math.acos(clip(a.reduce((sum, value, i) => sum + value * b[i], 0) / (first * last), -1, 1));
  if (Math.sin(angle) < 1e-4) return lerp(a, b, share);
  const length = ((1 - share) * first + share * last) / Math.sin(angle);
  const from = (Math.sin((1 - share) * angle) / first) * length, to = (Math.sin(share * angle) / last) * length;
  return Float32Array.from(a, (value, i) => from * value + to * b[i]);
}

export const clip = (value, low, high) => Math.min(high, Math.max(low, value));

const FLOOR = 0.03, WIDEST = Math.sqrt(0.75), PATCHY = [0.01, 3];
export const BAND_FLOOR = 0.004, PLACES = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]];

/** Values and vectors (columns) of a symmetric 3x3 matrix given as rr, rg, rb, gg, gb, bb: Jacobi's rotations. */
function eigen(six) {
  const a = [[six[0], six[1], six[2]], [six[1], six[3], six[4]], [six[2], six[4], six[5]]];
  const v = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  for (let sweep = 0; sweep < 24; sweep++) {
    for (const [p, q] of [[0, 1], [0, 2], [1, 2]]) {
      if (a[p][q] === 0) continue;
      const angle = (a[q][q] - a[p][p]) / (2 * a[p][q]);
      const t = (angle < 0 ? -1 : 1) / (Math.abs(angle) + Math.hypot(angle, 1)), c = 1 / Math.hypot(t, 1), s = t * c;
      for (let k = 0; k < 3; k++) [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
      for (let k = 0; k < 3; k++) [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
      for (let k = 0; k < 3; k++) [v[k][p], v[k][q]] = [c * v[k][p] - s * v[k][q], s * v[k][p] + c * v[k][q]];
    }
  }
  return { values: [a[0][0], a[1][1], a[2][2]], vectors: v };
}

const rebuilt = (vectors, values) =>
  PLACES.map(([i, j]) => values.reduce((sum, value, k) => sum + vectors[i][k] * value * vectors[j][k], 0));

/** A symmetric matrix (six numbers) with its eigenvalues changed. */
export function powered(six, change) {
  const { values, vectors } = eigen(six);
  return rebuilt(vectors, values.map(change));
}

/** Mean and covariance (six numbers) of planes [3,n], each pixel by its opacity unless all are transparent. */
export function moments(planes, alpha) {
  const count = planes.length / 3, whole = !alpha || !alpha.some((value) => value > 0);
  const origin = [0, 1, 2].map((c) => planes[c * count + (count >> 1)]), first = [0, 0, 0], second = [0, 0, 0, 0, 0, 0];
  let total = 0;
  for (let i = 0; i < count; i++) {
    const weight = whole ? 1 : alpha[i];
    const r = planes[i] - origin[0], g = planes[count + i] - origin[1], b = planes[2 * count + i] - origin[2];
    total += weight;
    first[0] += weight * r; first[1] += weight * g; first[2] += weight * b;
    second[0] += weight * r * r; second[1] += weight * r * g; second[2] += weight * r * b;
    second[3] += weight * g * g; second[4] += weight * g * b; second[5] += weight * b * b;
  }
  const mean = first.map((sum) => sum / total);
  const covariance = PLACES.map(([i, j], k) => second[k] / total - mean[i] * mean[j]);
  return { mean: mean.map((value, c) => value + origin[c]), covariance };
}

/** The painter's photo_stats: 9 numbers (mean, spread) or 6 (mean, deviation). */
export function colorStats(planes, alpha, count) {
  const { mean, covariance } = moments(planes, alpha);
  if (count === 6) return Float32Array.from([...mean, ...[0, 3, 5].map((k) => Math.sqrt(Math.max(covariance[k], 0)))]);
  const lifted = covariance.map((value, k) => value + (k === 0 || k === 3 || k === 5 ? FLOOR * FLOOR : 0));
  return Float32Array.from([...mean, ...powered(lifted, (value) => Math.sqrt(Math.max(value, 0)))]);
}

/** A dreamt style: a place of the mixture within the bounds of real codes, its colours made such as a picture can have.
 * Of its `size` numbers the last `colors` are about colours, and `bands` before them about bands. */
export function dreamt(tables, seed, size, colors, bands = 0) {
  const [least, greatest] = [tables.bounds.subarray(0, size), tables.bounds.subarray(size)];
  const point = placed(tables, draw(seed, size)).map((value, i) => clip(value, least[i], greatest[i]));
  const strokes = size - colors - bands, varied = [], within = (x, floor) => clip(x, Math.log(floor), Math.log(WIDEST));
  let at = strokes;
  for (; at + 6 <= size - colors; at += 6) varied.push(...powered(point.subarray(at), (x) => Math.exp(within(x, BAND_FLOOR))));
  for (; at < size - colors; at++) varied.push(clip(Math.exp(point[at]), ...PATCHY));
  const mean = Array.from(point.subarray(size - colors, size - colors + 3), (x) => clip(1 / (1 + Math.exp(-x)), 0.01, 0.99));
  const room = mean.map((value) => value * (1 - value)), asked = point.subarray(size - colors + 3);
  let spread;
  if (colors === 9) {
    const { values, vectors } = eigen(asked);
    const variances = values.map((x) => Math.exp(2 * within(x, FLOOR)) - FLOOR * FLOOR);
    const channels = vectors.map((row) => row.reduce((sum, value, k) => sum + value * value * variances[k], 0));
    const share = Math.min(1, ...room.map((value, c) => value / Math.max(channels[c], 1e-12)));
    spread = rebuilt(vectors, variances.map((x) => Math.sqrt(share * Math.max(x, 0) + FLOOR * FLOOR)));
  } else {
    const wide = Array.from(asked, (x) => Math.exp(within(x, FLOOR)));
    const share = Math.min(1, ...wide.map((value, c) => Math.sqrt(room[c]) / value));
    spread = wide.map((value) => value * share);
  }
  return Float32Array.from([...point.subarray(0, strokes), ...varied, ...mean, ...spread]);
}

let carpet = null;
/** A window of the noise that painters start from: float32 [4,height,width] of cells; see runtime/grain.py. */
export function grain(channels, height, width, top, left) {
  const period = 128;
  if (!carpet || carpet.length < channels * period * period) {
    const stream = new Stream(0);
    carpet = Float32Array.from({ length: channels * period * period }, () => (stream.uniform() * 2 - 1) * Math.sqrt(3));
  }
  const out = new Float32Array(channels * height * width);
  for (let c = 0, at = 0; c < channels; c++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++, at++)
        out[at] = carpet[(c * period + ((top + y) % period)) * period + ((left + x) % period)];
  return out;
}
