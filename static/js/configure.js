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

/** @param {HTMLElement} root @param {string} script @param {[string, string][]} attributes */
function snippet(root, script, attributes) {
  const { url = "", title = "" } = root.dataset;
  const all = attributes.map(([name, value]) => ` ${name}="${escaped(value)}"`).join("");
  return (
    `<script type="module" src="${escaped(script)}"></` +
    `script>\n<gradio-app${all}>\n  <a href="${escaped(url)}">${escaped(title)}</a>\n</gradio-app>`
  );
}

/** @param {HTMLElement} root */
function configure(root) {
  const { space = "", url = "", allow = "", height = "", script = "", nativeScript = "" } = root.dataset;
  const preview = root.querySelector("[data-preview]");
  const shown = document.getElementById(root.dataset.snippet ?? "");
  const shownNative = document.getElementById(root.dataset.native ?? "");
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let later;

  const update = () => {
    /** @type {[string, string][]} */
    const attributes = [["space", space], ...(height ? [/** @type {[string, string]} */ (["height", height])] : [])];
    const looks = chosen(root);
    attributes.push(...looks, ["allow", allow]);
    if (shown) shown.textContent = snippet(root, script, attributes);
    if (shownNative) shownNative.textContent = snippet(root, nativeScript, [["src", url], ...looks]);
    clearTimeout(later);
    later = setTimeout(() => {
      const element = document.createElement("gradio-app");
      element.setAttribute("eager", "true"); // it is looked at, wherever the panel is scrolled to
      for (const [name, value] of attributes) element.setAttribute(name, value);
      preview?.replaceChildren(element);
    }, WAIT_MS);
  };

  root.addEventListener("toggle", async () => {
    if (!(root instanceof HTMLDetailsElement) || !root.open || preview?.childElementCount) return;
    await import(script);
    update();
  });
  root.addEventListener("input", update);
}

for (const root of document.querySelectorAll("[data-configure]")) if (root instanceof HTMLElement) configure(root);

export {};
