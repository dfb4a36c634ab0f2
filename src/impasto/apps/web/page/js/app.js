// The page: open the painter, take photos in, go from tab to tab.

import { painter } from "./config.js";
import { Invent } from "./invent.js";
import { Photo, sample, THUMB } from "./photo.js";
import { Studio } from "./studio.js";
import { $, card, roving, show, trouble } from "./ui.js";

const HERO = 6;

async function start() {
  const engine = await new (await import(painter)).Painter().open();
  $("where").textContent = $("promise").textContent = engine.promise;
  let drawn = null;
  const sampled = () => (drawn ??= sample());
  const studio = new Studio(engine);
  const paint = async (photo, style) => { turn("paint"); await studio.open(photo, style); };
  const take = async (file) => { try { await paint(await Photo.of(file)); } catch (error) { trouble(error); } };
  const invent = new Invent(engine, {
    paint,
    dreamt: async (style) => { turn("paint"); studio.add(style); if (!studio.photo) await studio.open(await sampled()); },
    photo: async () => studio.photo ?? sampled(),
  });

  function turn(name) {
    for (const tab of ["paint", "invent"]) {
      $(tab).hidden = tab !== name;
      $(`tab-${tab}`).setAttribute("aria-selected", tab === name);
      $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
    }
  }
  for (const name of ["paint", "invent"]) $(`tab-${name}`).onclick = () => { turn(name); if (name === "invent") invent.open(); };
  roving(document.querySelector(".tabs"));

  $("pick").onclick = $("new").onclick = () => $("photo-file").click();
  $("photo-file").onchange = () => { if ($("photo-file").files[0]) take($("photo-file").files[0]); $("photo-file").value = ""; };
  $("sample").onclick = async () => paint(await sampled());
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file) take(file);
  });
  // Dropped on the strip it is a painting to learn from, anywhere else a photo.
  const onStrip = (event) => $("strip").contains(event.target) && studio.photo;
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("veil").hidden = false;
    $("veil").firstElementChild.textContent = onStrip(event) ? "Drop to use it as a style" : "Drop to paint it";
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("veil").hidden = true; });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("veil").hidden = true;
    const file = event.dataTransfer.files[0];
    if (file) onStrip(event) ? studio.addPainting(file) : take(file);
  });
  document.body.dataset.ready = "true";

  // What it can do, shown before a word is read: the sample in a few styles.
  const photo = await sampled(), some = engine.styles.slice(0, HERO);
  $("gallery").replaceChildren(...some.map((style) => card(style.name, style.title, style.artist, () => paint(photo, style.name))));
  for (const made of $("gallery").children) { show(made.querySelector("canvas"), photo.scaled(THUMB), true); made.removeAttribute("aria-pressed"); }
  for await (const { style, bitmap } of engine.thumbnails(photo, THUMB * 1.5, { style: some.map((one) => one.name) })) {
    const canvas = $("gallery").querySelector(`[data-style="${CSS.escape(style)}"] canvas`);
    if (canvas) show(canvas, bitmap);
  }
}

start().catch(trouble);
