// The photo: read, scaled for previews; and a sample, drawn here.

import { element } from "./ui.js";

/** Long sides, in pixels: while something moves, at rest, and of the styles' thumbnails. */
export const QUICK = 384, FINE = 1024, THUMB = 144;

export class Photo {
  #scaled = new Map();

  constructor(file, bitmap, name) {
    Object.assign(this, { file, bitmap, name, width: bitmap.width, height: bitmap.height });
    this.clear = !/jpe?g/.test(file.type) && hasHoles(this.scaled(64));
  }

  /** Raises an Error, one sentence, where the browser cannot read the file. */
  static async of(file, name = file.name ?? "photo") {
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    } catch {
      throw new Error(`${name || "That"} is not a picture that this browser can read: use a JPEG, PNG or WebP.`);
    }
    return new Photo(file, bitmap, name.replace(/\.[^.]*$/, "") || "photo");
  }

  sizeAt(side) {
    const ratio = Math.min(1, side / Math.max(this.width, this.height));
    return [Math.max(1, Math.round(this.width * ratio)), Math.max(1, Math.round(this.height * ratio))];
  }

  /** A canvas with the long side no longer than this; halved step by step, which keeps fine patterns from flickering. */
  scaled(side) {
    if (!this.#scaled.has(side)) {
      const [width, height] = this.sizeAt(side);
      let from = this.bitmap;
      for (;;) {
        const canvas = element("canvas", { width: Math.max(width, from.width >> 1), height: Math.max(height, from.height >> 1) });
        const pen = canvas.getContext("2d");
        pen.imageSmoothingQuality = "high";
        pen.drawImage(from, 0, 0, canvas.width, canvas.height);
        from = canvas;
        if (canvas.width === width && canvas.height === height) break;
      }
      this.#scaled.set(side, from);
    }
    return this.#scaled.get(side);
  }

  /** The same as a file. */
  async blob(side) {
    const canvas = this.scaled(side);
    return new Promise((done) => canvas.toBlob(done, this.clear ? "image/png" : "image/jpeg", 0.93));
  }
}

function hasHoles(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 3; i < data.length; i += 4) if (data[i] < 255) return true;
  return false;
}

/** A bay in the evening, the same every time. */
export async function sample() {
  const width = 1280, height = 860, canvas = element("canvas", { width, height }), pen = canvas.getContext("2d");
  let state = 7;
  const random = () => { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; return state / 2 ** 32; };
  const fade = (y0, y1, ...colors) => {
    const made = pen.createLinearGradient(0, y0, 0, y1);
    colors.forEach((color, i) => made.addColorStop(i / (colors.length - 1), color));
    return made;
  };
  pen.fillStyle = fade(0, 520, "#27487f", "#7d8fb8", "#e8b08c", "#f8d9a0");
  pen.fillRect(0, 0, width, height);
  const sun = pen.createRadialGradient(860, 410, 20, 860, 410, 330);
  sun.addColorStop(0, "#fff6d0"); sun.addColorStop(0.16, "#ffe2a0e0"); sun.addColorStop(1, "#ffb06000");
  pen.fillStyle = sun;
  pen.fillRect(0, 0, width, 560);
  for (let i = 0; i < 90; i++) {
    const far = random(), y = 60 + 300 * far;
    pen.fillStyle = `hsla(${20 + 18 * far}, 70%, ${88 - 14 * far}%, ${0.1 + 0.12 * random()})`;
    pen.beginPath();
    pen.ellipse(random() * width, y, 40 + 150 * random(), 5 + 14 * random() * (1.3 - far), -0.05, 0, 7);
    pen.fill();
  }
  [[470, 90, "#8a86a8"], [500, 70, "#5f6f8f"], [522, 46, "#3b566b"]].forEach(([base, rise, color], row) => {
    pen.fillStyle = color;
    pen.beginPath();
    pen.moveTo(0, 540);
    for (let x = 0; x <= width; x += 8) {
      const slope = Math.sin(x / 170 + row * 2.1) + 0.5 * Math.sin(x / 61 + row) + 0.16 * Math.sin(x / 17 + row * 5);
      pen.lineTo(x, base - rise * (0.7 + slope * 0.5));
    }
    pen.lineTo(width, 540);
    pen.fill();
  });
  pen.fillStyle = fade(530, height, "#e9b98c", "#6d86a8", "#24466f", "#16304f");
  pen.fillRect(0, 530, width, height);
  for (let i = 0; i < 900; i++) {
    const y = 534 + 330 * random() ** 1.6, near = (y - 530) / 330, glow = Math.abs(860 + 60 * (random() - 0.5)) < 1280 && random() < 0.35;
    const x = glow ? 860 + (random() - 0.5) * (60 + 240 * near) : random() * width;
    pen.fillStyle = glow ? `rgba(255, 226, 160, ${0.5 - 0.3 * near})` : `rgba(${random() < 0.5 ? "16, 38, 70" : "150, 180, 210"}, 0.22)`;
    pen.fillRect(x, y, 14 + 60 * near * random(), 1.5 + 4 * near);
  }
  const leaf = (x, y, size, hue, light) => {
    pen.fillStyle = `hsl(${hue}, 42%, ${light}%)`;
    pen.beginPath();
    pen.ellipse(x, y, size, size * 0.62, random() * 3, 0, 7);
    pen.fill();
  };
  pen.fillStyle = "#22301f";
  pen.beginPath();
  pen.moveTo(0, 690);
  pen.bezierCurveTo(180, 640, 300, 760, 520, height);
  pen.lineTo(0, height);
  pen.fill();
  pen.strokeStyle = "#2a1e17";
  pen.lineCap = "round";
  [[120, 700, 16], [236, 742, 11]].forEach(([x, y, wide]) => {
    pen.lineWidth = wide;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.quadraticCurveTo(x - 18, y - 170, x + 26, y - 320);
    pen.stroke();
    for (let i = 0; i < 520; i++) {
      const turn = random() * 7, far = Math.sqrt(random());
      leaf(x + 26 + Math.cos(turn) * far * 130, y - 340 + Math.sin(turn) * far * 105, 5 + 9 * random(), 60 + 60 * random(), 16 + 26 * random());
    }
  });
  for (let i = 0; i < 700; i++) leaf(random() * 500, 720 + random() * 140, 4 + 8 * random(), 40 + 70 * random(), 14 + 22 * random());
  const boat = (x, y, size) => {
    pen.fillStyle = "#3c2118";
    pen.beginPath();
    pen.moveTo(x - size, y); pen.quadraticCurveTo(x, y + size * 0.5, x + size * 1.1, y - size * 0.06); pen.fill();
    pen.fillStyle = "#f6e7cd";
    pen.beginPath();
    pen.moveTo(x, y - size * 2.2); pen.quadraticCurveTo(x + size, y - size, x + size * 0.9, y - size * 0.2); pen.lineTo(x, y - size * 0.15); pen.fill();
    pen.fillStyle = "#c8553d";
    pen.beginPath();
    pen.moveTo(x - size * 0.1, y - size * 2); pen.lineTo(x - size * 0.8, y - size * 0.2); pen.lineTo(x - size * 0.1, y - size * 0.15); pen.fill();
  };
  boat(620, 640, 58);
  boat(1060, 566, 20);
  const file = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  return Photo.of(file, "sample.jpg");
}
