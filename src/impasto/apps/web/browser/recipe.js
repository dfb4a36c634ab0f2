// A recipe in a picture that the browser painted, for 'impasto again': what runtime/recipe.py reads, in an XMP packet.

const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const bytes = (text) => new TextEncoder().encode(text);
const big = (value) => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255);

function packet(recipe) {
  // Letters beyond ASCII are written as JSON's escapes.
  const text = JSON.stringify(recipe).replace(/[\u007f-\uffff]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
  return bytes(`<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="${rdf}">`
    + `<rdf:Description rdf:about="" xmlns:rdf="${rdf}" xmlns:impasto="urn:impasto:recipe/"><impasto:recipe>${escaped(text)}</impasto:recipe>`
    + "</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end=\"w\"?>");
}

function crc(data) {
  let value = -1;
  for (const byte of data) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}

function base64(code) {
  return btoa(Array.from(new Uint8Array(code.buffer, code.byteOffset, code.byteLength), (byte) => String.fromCharCode(byte)).join(""));
}

const LONGEST_MASK = 32768; // letters, as runtime/recipe_masks.py has it

/** What is told of a mask brushed here, which never was a file, and the mask itself where it is short enough. */
async function toldMask(canvas) {
  if (!canvas) return [null, {}];
  const data = new Uint8Array(await (await new Promise((done) => canvas.toBlob(done, "image/png"))).arrayBuffer());
  // A page that is not served safely has no digests: any name will do that no other mask has.
  const digest = crypto.subtle ? new Uint8Array(await crypto.subtle.digest("SHA-256", data)) : crypto.getRandomValues(new Uint8Array(32));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""), held = base64(data);
  return [{ paint: { file: "brushed.png", sha256 } }, held.length > LONGEST_MASK ? {} : { masks: { [sha256]: held } }];
}

/** The picture, a PNG or JPEG, with its recipe; codes are those of styles that have no name, by id. */
export async function withRecipe(blob, site, { styles, weights, strength, stroke, detail, colors, size, mask }, codes) {
  const total = weights.reduce((sum, weight) => sum + weight, 0), about = { strength, keep_colors: colors, stroke: String(stroke), detail };
  const [place, held] = await toldMask(mask);
  const told = packet({
    ...held,
    format: 1, impasto: site.impasto, command: "stylize", model: site.style.name, model_sha256: site.style.sha256,
    styles: styles.map(({ id, title }, i) => ({ style: codes[id] ? title : id, weight: weights[i] / total, ...(codes[id] && { code: base64(codes[id]) }) })),
    settings: {
      ...about, size: size ? Number(size) : null, quality: null, strip: false, palette: null, engine: "onnxruntime", precision: "fp32",
      mask: place,
    },
  });
  const head = new Uint8Array(await blob.arrayBuffer());
  if (blob.type === "image/png") {
    const data = new Uint8Array([...bytes("iTXtXML:com.adobe.xmp"), 0, 0, 0, 0, 0, ...told]), end = 33; // after the signature and IHDR
    return new Blob([head.subarray(0, end), new Uint8Array([...big(data.length - 4), ...data, ...big(crc(data))]), head.subarray(end)], { type: blob.type });
  }
  const name = bytes("http://ns.adobe.com/xap/1.0/\0"), length = 2 + name.length + told.length;
  const segment = new Uint8Array([0xff, 0xe1, length >> 8, length & 255, ...name, ...told]);
  const start = head[3] === 0xe0 ? 4 + (head[4] << 8) + head[5] : 2; // after JFIF's own
  return new Blob([head.subarray(0, start), segment, head.subarray(start)], { type: blob.type });
}
