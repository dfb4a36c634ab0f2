// Small things that every part of the page uses.

export const $ = (id) => document.getElementById(id);

export function element(tag, fields = {}, ...children) {
  const made = Object.assign(document.createElement(tag), fields);
  made.append(...children);
  return made;
}

let hiding;
/** Tell a person one sentence. */
export function say(sentence) {
  $("toast").textContent = sentence;
  $("toast").hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { $("toast").hidden = true; }, 3000 + 60 * sentence.length);
}

/** Say what went wrong, unless it was only that nobody waits for it any more. */
export function trouble(error) {
  if (error?.name === "AbortError") return;
  console.warn(error);
  const lost = error instanceof TypeError && /fetch|network|load failed/i.test(error.message);
  say(lost ? "The painter does not answer: see whether 'impasto serve' still runs." : error?.message || "Something went wrong.");
}

/** Make the buttons of a group one stop of the Tab key; arrow keys go from one to the next. */
export function roving(group) {
  const items = () => [...group.querySelectorAll("button")];
  const settle = (chosen) => items().forEach((item) => { item.tabIndex = item === chosen ? 0 : -1; });
  group.addEventListener("keydown", (event) => {
    const all = items(), at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    all[(to + all.length) % all.length].focus();
  });
  group.addEventListener("focusin", (event) => settle(event.target.closest("button")));
  new MutationObserver(() => { if (!items().some((item) => item.tabIndex === 0)) settle(items()[0]); })
    .observe(group, { childList: true });
}

/** Draw a picture on a canvas of the page, which takes its size; one that `waits` is to be replaced soon. */
export function show(canvas, picture, waits = false) {
  canvas.classList.toggle("waits", waits);
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
}

/** A style to press: a picture, its name and who made it. */
export function card(id, title, note, press) {
  const canvas = element("canvas", { width: 4, height: 3, ariaHidden: "true" });
  const made = element("button", { className: "card", type: "button", onclick: press, title: note ? `${title}, ${note}` : title },
    canvas, element("span", { className: "name", textContent: title }), element("small", { textContent: note }));
  made.dataset.style = id;
  made.setAttribute("aria-pressed", "false");
  return made;
}

/** Hand a file to the person. */
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** One run at a time: a new call waits for the one that runs, and drops those that wait already. */
export function newest(work) {
  let running = false, waiting = null;
  return async function call(...args) {
    if (running) { waiting = args; return; }
    running = true;
    try { await work(...args); } catch (error) { trouble(error); } finally {
      running = false;
      if (waiting) { const next = waiting; waiting = null; call(...next); }
    }
  };
}
