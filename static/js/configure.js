// "Change how it looks": the attributes of <gradio-app>, ticked, with the snippet and a preview that follow.
/* types are checked by embed_js/tsconfig.json */

const WAIT_MS = 300;

/** @param {string} text */
function escaped(text) {
  return text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] ?? c);
}

/**
 * The attributes that differ from what the element does without them.
 * @param {HTMLElement} root
 * @returns {[string, string][]}
 */
function chosen(root) {
  /** @type {[string, string][]} */
  const found = [];
  for (const field of root.querySelectorAll("[data-attribute]")) {
    if (!(field instanceof HTMLInputElement || field instanceof HTMLSelectElement)) continue;
    const name = field.dataset.attribute ?? "";
    const usual = field.dataset.usual ?? "";
    const value = field instanceof HTMLInputElement && field.type === "checkbox" ? String(field.checked) : field.value;
    if (value && value !== usual && field.checkValidity()) found.push([name, field.type === "number" ? `${value}px` : value]);
  }
  return found;
}

/** @param {HTMLElement} root */
function source(root) {
  const { script = "", version = "", integrity = "" } = root.dataset;
  const pinned = root.querySelector("[data-pinned]");
  const is_pinned = pinned instanceof HTMLInputElement && pinned.checked;
  return is_pinned
    ? `${escaped(version)}" integrity="${escaped(integrity)}" crossorigin="anonymous`
    : escaped(script);
}

/**
 * @param {HTMLElement} root
 * @param {string} source an address, escaped, with what belongs to it
 * @param {[string, string][]} attributes
 * @param {boolean} is_native Gradio's own element leaves what stands in it where it is
 */
function snippet(root, source, attributes, is_native = false) {
  const { url = "", title = "" } = root.dataset;
  const link = `<a href="${escaped(url)}">${escaped(title)}</a>`;
  const all = attributes.map(([name, value]) => ` ${name}="${escaped(value)}"`).join("");
  return (
    `<script type="module" src="${source}"></` +
    `script>\n<gradio-app${all}>\n  ${is_native ? `<noscript>${link}</noscript>` : link}\n</gradio-app>`
  );
}

/** @param {HTMLElement} root */
function configure(root) {
  const { space = "", url = "", allow = "", height = "", script = "", nativeScript = "" } = root.dataset;
  const { first = "", border = "", info = "" } = root.dataset; // in pixels
  const preview = root.querySelector("[data-preview]");
  const panel = root.closest("[popover]");
  const shown = document.getElementById(root.dataset.snippet ?? "");
  const shownNative = document.getElementById(root.dataset.native ?? "");
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let later;
  let measured = 0;

  /** @returns {[string, string][]} */
  const attributes = () => {
    const ticked = chosen(root);
    /** @type {[string, string][]} */
    let first = height ? [["height", height]] : [];
    if (ticked.some(([name]) => name === "initial_height")) first = [];
    else if (measured) first = [["initial_height", `${measured}px`]];
    return [["space", space], ...first, ...ticked, ["allow", allow]];
  };

  const write = () => {
    const all = attributes();
    // Where the demo's own height is reserved, before the script has come as well, nothing jumps when the demo comes.
    const of = Object.fromEntries(all);
    const around = of.container === "false" ? 0 : Number(border) + (of.info === "false" ? 0 : Number(info));
    const place = parseInt(of.initial_height ?? of.height ?? first) + around;
    if (shown) shown.textContent = snippet(root, source(root), [...all, ["style", `display:block;min-height:${place}px`]]);
    if (shownNative)
      shownNative.textContent = snippet(root, escaped(nativeScript), [["src", url], ...chosen(root)], true);
  };

  const update = () => {
    write();
    clearTimeout(later);
    later = setTimeout(() => {
      const element = document.createElement("gradio-app");
      element.setAttribute("eager", "true"); // it is looked at, wherever the panel is scrolled to
      for (const [name, value] of attributes()) element.setAttribute(name, value);
      preview?.replaceChildren(element);
    }, WAIT_MS);
  };

  // While the panel is open the demo is drawn unseen, and the snippet reserves the height that it takes in the end: it
  // may still be starting, or grow.
  const measure = async () => {
    await import(script);
    const element = document.createElement("gradio-app");
    for (const [name, value] of Object.entries({ space, height, eager: "true" })) element.setAttribute(name, value);
    const unseen = document.createElement("div");
    unseen.className = "embed-unseen";
    unseen.inert = true;
    unseen.append(element);
    let told = 0;
    let is_rendered = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let settled;
    const look = () => {
      clearTimeout(settled);
      if (!told || !is_rendered) return;
      settled = setTimeout(() => {
        measured = told;
        write();
      }, WAIT_MS);
    };
    element.addEventListener("height", (event) => {
      if (event instanceof CustomEvent) told = event.detail.height;
      look();
    });
    element.addEventListener("render", () => {
      is_rendered = true;
      look();
    });
    element.addEventListener("error", () => unseen.remove());
    if (panel?.matches(":popover-open")) panel.append(unseen);
  };

  panel?.addEventListener("toggle", (event) => {
    if (!(event instanceof ToggleEvent)) return;
    if (event.newState === "open" && !measured) measure();
    else panel.querySelector(".embed-unseen")?.remove();
  });
  root.addEventListener("toggle", async () => {
    if (!(root instanceof HTMLDetailsElement) || !root.open || preview?.childElementCount) return;
    await import(script);
    update();
  });
  root.addEventListener("input", update);
}

for (const root of document.querySelectorAll("[data-configure]")) if (root instanceof HTMLElement) configure(root);

export {};
