// A painted picture's bands given the covariances that a painting's have, planes [channels,height,width] whose sides are
// multiples of STEP unless said otherwise; see runtime/pyramid.py and runtime/bands.py.

import { BAND_FLOOR, PLACES, clip, moments, powered } from "./numbers.js";
import { scaledClear } from "./scaling.js";

const LEVELS = 3, STEP = 1 << LEVELS, REACH = 32, LOW_FLOOR = 0.03, LARGEST_GAIN = 8, ROUNDS = 2, STRIP = 1 << 18;
const NUMBERS = 6 * (LEVELS + 1) + 1, CONTRAST_FLOOR = 0.015, POWERS = [0.4, 1.5], EVENED = 2;
const DIRECT = 600_000, TRIAL = 1 << 18, COLORS = 9, UNIT = [1, 0, 0, 0, 1, 0, 0, 0, 1], NONE = [0, 0, 0];

export const halves = (size) => size.map((side) => side >> 1);
const full = (six) => [0, 1, 2, 1, 3, 4, 2, 4, 5].map((k) => six[k]);
const product = (a, b) => UNIT.map((_, k) => [0, 1, 2].reduce((sum, i) => sum + a[k - (k % 3) + i] * b[3 * i + (k % 3)], 0));
const limited = (matrix) => {
  const size = Math.sqrt(matrix.reduce((sum, value) => sum + value * value, 0) / 3 + 1e-12);
  return matrix.map((value) => value * Math.min(LARGEST_GAIN / size, 1));
};

/** Half as large, smoothed with (1,3,3,1)/8 each way. */
export function halved(x, [width, height]) {
  const out = new Float32Array(x.length / 4), row = new Float32Array(width);
  for (let plane = 0, at = 0; plane < x.length; plane += width * height)
    for (let y = 0; y < height; y += 2) {
      const b = plane + y * width, c = b + width, a = y ? b - width : b, d = y + 2 < height ? c + width : c;
      for (let i = 0; i < width; i++) row[i] = 0.375 * (x[b + i] + x[c + i]) + 0.125 * (x[a + i] + x[d + i]);
      for (let i = 0; i < width; i += 2, at++)
        out[at] = 0.375 * (row[i] + row[i + 1]) + 0.125 * (row[i && i - 1] + row[Math.min(i + 2, width - 1)]);
    }
  return out;
}

/** `out` with `share` times what is half as large added, which is brought to its size: between pixels linear. */
export function raised(out, small, [width, height], share = 1) {
  const row = new Float32Array(width);
  for (let plane = 0, at = 0; plane < small.length; plane += width * height)
    for (let y = 0; y < 2 * height; y++) {
      const near = plane + (y >> 1) * width, far = plane + clip((y >> 1) + (y & 1 ? 1 : -1), 0, height - 1) * width;
      for (let i = 0; i < width; i++) row[i] = share * (0.75 * small[near + i] + 0.25 * small[far + i]);
      for (let i = 0; i < width; i++, at += 2) {
        out[at] += 0.75 * row[i] + 0.25 * row[i && i - 1];
        out[at + 1] += 0.75 * row[i] + 0.25 * row[Math.min(i + 1, width - 1)];
      }
    }
  return out;
}

/** Bands from fine to coarse, then the rest; `x` is used up. */
function split(x, size) {
  const bands = [];
  for (let level = 0; level < LEVELS; level++, size = halves(size)) {
    const small = halved(x, size);
    bands.push(raised(x, small, halves(size), -1));
    x = small;
  }
  return [...bands, x];
}

export function mixed(x, m, offset) {
  const n = x.length / 3, out = new Float32Array(x.length);
  for (let i = 0; i < n; i++) {
    const r = x[i], g = x[n + i], b = x[2 * n + i];
    for (let c = 0, at = i; c < 3; c++, at += n) out[at] = m[3 * c] * r + m[3 * c + 1] * g + m[3 * c + 2] * b + offset[c];
  }
  return out;
}

/** The planes whose bands are these, each multiplied by its gain. */
const joined = (bands, size, { matrices, offset }) => bands.map((band, k) => mixed(band, matrices[k], k === LEVELS ? offset : NONE))
  .reduceRight((small, band, k) => raised(band, small, size.map((side) => side >> (k + 1))));

/** Planes of any size, continued to the right and down to multiples of some pixels; and the size of that. */
export const withEdge = (planes, size, multiple) => edged(planes, size, 0, size[1], multiple);

/** Rows of planes of any size, likewise. */
function edged(planes, [width, height], first = 0, last = height, multiple = STEP) {
  const size = [width, last - first].map((side) => Math.ceil(side / multiple) * multiple);
  const out = new Float32Array((planes.length / (width * height)) * size[0] * size[1]);
  for (let plane = 0, at = 0; plane < planes.length; plane += width * height)
    for (let y = 0; y < size[1]; y++, at += size[0]) {
      const start = plane + Math.min(first + y, last - 1) * width;
      out.set(planes.subarray(start, start + width), at);
      out.fill(planes[start + width - 1], at + width, at + size[0]);
    }
  return [out, size];
}

/** The inverse of (covariance + floor^2)^(1/2); all but the last band have mean 0, more or less. */
function whitening(band, share, level) {
  const { mean, covariance } = moments(band, share), floor = level === LEVELS ? LOW_FLOOR : BAND_FLOOR;
  const second = covariance.map((value, k) => value + (level === LEVELS ? 0 : mean[PLACES[k][0]] * mean[PLACES[k][1]]));
  return full(powered(second.map((value, k) => value + (PLACES[k][0] === PLACES[k][1] ? floor * floor : 0)), (value) => 1 / Math.sqrt(value)));
}

/** The mean square of a finest band in cells of STEP x STEP pixels. */
function energies(band, [width, height]) {
  const across = width / STEP, out = new Float32Array((across * height) / STEP), part = 1 / (3 * STEP * STEP);
  for (let plane = 0; plane < band.length; plane += width * height)
    for (let y = 0, at = plane; y < height; y++)
      for (let x = 0, cell = Math.floor(y / STEP) * across; x < width; x++, at++) out[cell + Math.floor(x / STEP)] += part * band[at] * band[at];
  return out;
}

/** Logarithms of local contrast, where the band will be so much stronger on the whole. */
const contrasts = (energy, scale) => energy.map((value) => 0.5 * Math.log(scale * value + CONTRAST_FLOOR ** 2));

/** What makes a finest band as patchy as it should be, see Gains in runtime/pyramid.py; `second` is the sum of squares of
 * its spread. */
function evenness(energy, share, patchy, second) {
  const total = share ? share.reduce((sum, value) => sum + value, 0) : 0, part = (k) => (total > 0 ? share[k] / total : 1 / energy.length);
  const mean = (values) => values.reduce((sum, value, k) => sum + part(k) * value, 0);
  const scale = Math.min(Math.max(0, second / 3 - BAND_FLOOR ** 2) / Math.max(mean(energy), 1e-12), LARGEST_GAIN ** 2);
  const found = contrasts(energy, scale), level = mean(found), own = Math.sqrt(mean(found.map((value) => (value - level) ** 2)) + 1e-6);
  return { scale, level, power: patchy > 0 ? clip(patchy / own, ...POWERS) - 1 : 0 };
}

/** Bands of planes in 0..1, the finest one's local contrast raised to a power. */
function even(bands, size, { power, level, scale }) {
  if (!power) return bands;
  let gains = contrasts(energies(bands[0], size), scale).map((value) => clip(Math.exp(power * (value - level)), 1 / EVENED, EVENED));
  for (let step = LEVELS, at = size.map((side) => side / STEP); step; step--, at = at.map((side) => 2 * side)) {
    gains = raised(new Float32Array(4 * gains.length), gains, at);
  }
  for (let k = 0, n = gains.length; k < bands[0].length; k++) bands[0][k] *= gains[k % n];
  return bands;
}

/** What gives a painted picture, of any size, the bands that a code asks for; its alpha says how much a pixel counts. */
export function gainsOf(painted, given, alpha, code) {
  const colors = code.length - COLORS, wanted = code.subarray(colors - NUMBERS, colors);
  const [planes, size] = edged(painted, given), bands = split(planes.map((value) => clip(value, 0, 1)), size), shares = [alpha && edged(alpha, given)[0]];
  for (let level = 0, at = size; level < LEVELS; level++, at = halves(at)) shares.push(alpha && halved(shares[level], at));
  const second = full(wanted).reduce((sum, value) => sum + value * value, 0);
  const low = moments(bands[LEVELS], shares[LEVELS]).mean;
  const gains = { matrices: bands.map(() => UNIT), offset: NONE, ...evenness(energies(bands[0], size), shares[LEVELS], wanted[NUMBERS - 1], second) };
  even(bands, size, gains);
  for (let round = 0, seen = bands; round < ROUNDS; round++) {
    if (round) seen = split(joined(bands, size, gains).map((value) => clip(value, 0, 1)), size);
    const own = seen.map((band, k) => whitening(band, shares[k], k));
    gains.matrices = gains.matrices.map((matrix, k) => limited(product(product(full(wanted.subarray(6 * k)), own[k]), matrix)));
    gains.offset = NONE.map((_, c) => code[colors + c] - low.reduce((sum, value, i) => sum + gains.matrices[LEVELS][3 * c + i] * value, 0));
  }
  return gains;
}

/** A painted picture, of any size, with its bands so: in 0..1. */
export function banded(painted, [width, height], gains) {
  const out = new Float32Array(painted.length), rows = Math.max(8 * STEP, STEP * Math.floor(STRIP / width / STEP));
  for (let first = 0; first < height; first += rows) {
    const last = Math.min(first + rows, height), above = Math.max(0, Math.floor((first - REACH) / STEP) * STEP);
    const [part, seen] = edged(painted, [width, height], above, Math.min(height, Math.ceil((last + REACH) / STEP) * STEP));
    const bands = even(split(part.map((value) => clip(value, 0, 1)), seen), seen, gains), made = joined(bands, seen, gains);
    for (let c = 0; c < 3; c++)
      for (let y = first; y < last; y++)
        for (let x = 0, at = (c * height + y) * width, from = (c * seen[1] + y - above) * seen[0]; x < width; x++) out[at + x] = clip(made[from + x], 0, 1);
  }
  return out;
}

/** What `brush`, (planes, size) => painted planes, paints with the bands that the code asks for: up to DIRECT pixels the
 * painting itself is measured, beyond that a smaller one, painted first. */
export async function heldTo(code, brush, planes, size, alpha) {
  const pixels = size[0] * size[1], share = Math.min(1, Math.sqrt(TRIAL / pixels));
  if (pixels <= DIRECT) {
    const painted = await brush(planes, size);
    return banded(painted, size, gainsOf(painted, size, alpha, code));
  }
  const to = size.map((side) => Math.max(1, Math.round(side * share))), [small, clear] = scaledClear(planes, alpha, size, to);
  const gains = gainsOf(await brush(small, to), to, clear, code);
  return banded(await brush(planes, size), size, gains);
}
