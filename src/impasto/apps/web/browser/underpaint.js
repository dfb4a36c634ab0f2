// From coarse to fine: what a smaller painting adds to the photo lies under the larger one; see runtime/underpaint.py.

import { halved, halves, mixed, raised, withEdge } from "./pyramid.js";

const LARGEST = 1_600_000, LEAST = 32, COLORS = 9, MEAN = 3;

/** The code of the same painting at half its size: `table` [D,D+1] is a matrix and an offset. */
export function coarser(table, code) {
  const row = code.length + 1;
  return code.map((_, i) => code.reduce((sum, value, k) => sum + table[i * row + k] * value, table[i * row + row - 1]));
}

/** What brings a photo's colours to those of a code: a matrix and an offset. */
function tintOf(stats, code) {
  const [a, b, c, d, e, f] = stats.subarray(MEAN), k = [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b];
  const scale = a * k[0] + b * k[1] + c * k[2], full = [0, 1, 2, 1, 3, 4, 2, 4, 5];
  const inverse = full.map((at) => k[at] / scale), wanted = full.map((at) => code[code.length - COLORS + MEAN + at]);
  const matrix = full.map((_, at) => [0, 1, 2].reduce((sum, i) => sum + wanted[at - (at % 3) + i] * inverse[3 * i + (at % 3)], 0));
  const offset = [0, 1, 2].map((at) => code[code.length - COLORS + at] - [0, 1, 2].reduce((sum, i) => sum + matrix[3 * at + i] * stats[i], 0));
  return [matrix, offset];
}

/** What is painted in place of planes of any size, and its colours; `paint` is (planes, size, alpha, code, stats) => painted
 * planes in 0..1, and `under` { levels, ground, table }. */
export async function laid(under, planes, size, alpha, stats, code, paint) {
  let steps = 1;
  while (Math.floor((size[0] * size[1]) / 4 ** steps) > LARGEST) steps++;
  if (!under.levels || Math.min(...size) >> steps < LEAST) return [planes, stats];
  let [small, to] = withEdge(planes, size, 1 << steps), clear = alpha && withEdge(alpha, size, 1 << steps)[0], less = code;
  const whole = to;
  for (let step = 0; step < steps; step++, to = halves(to)) {
    [small, clear, less] = [halved(small, to), clear && halved(clear, to), coarser(under.table, less)];
  }
  const [seen, colors] = await laid({ ...under, levels: under.levels - 1 }, small, to, clear, stats, less, paint);
  const tint = tintOf(stats, code), plain = mixed(small, ...tint), painted = await paint(seen, to, clear, less, colors);
  let added = Float32Array.from(painted, (value, i) => under.ground * (value - plain[i]));
  for (let step = 0; step < steps; step++, to = to.map((side) => 2 * side)) added = raised(new Float32Array(4 * added.length), added, to);
  const out = mixed(planes, ...tint);
  for (let plane = 0, at = 0; plane < added.length; plane += whole[0] * whole[1])
    for (let y = 0; y < size[1]; y++)
      for (let x = 0; x < size[0]; x++, at++) out[at] += added[plane + y * whole[0] + x];
  return [out, code.slice(-COLORS)];
}
