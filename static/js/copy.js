// Copy buttons: [data-copy] names the element whose text, or value, is copied.
/* types are checked by embed_js/tsconfig.json */

const SAID_FOR_MS = 2500;

/**
 * Copy `text`, also where the clipboard's own interface is withheld: pages served without TLS.
 * @param {string} text
 * @param {HTMLElement} near where a helper element may stand, inside the open popover
 * @returns {Promise<boolean>} whether it was copied
 */
async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    near.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}

/** Select the text, so that the visitor's own shortcut copies it. @param {HTMLElement} element */
function select(element) {
  if (element instanceof HTMLInputElement) element.select();
  else getSelection()?.selectAllChildren(element);
}

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-copy]");
  if (!(button instanceof HTMLButtonElement)) return;
  const source = document.getElementById(button.dataset.copy ?? "");
  if (!source) return;
  const text = source instanceof HTMLInputElement ? source.value : (source.textContent ?? "").trim();
  const copied = await copy(text, button.parentElement ?? document.body);
  button.focus();
  if (!copied) select(source);
  const label = (button.dataset.label ??= button.textContent ?? "");
  button.textContent = copied ? "Copied" : "Press Ctrl+C";
  const said = document.querySelector(`[data-copied="${CSS.escape(source.id)}"]`);
  if (said) said.textContent = copied ? "Copied to the clipboard." : "Selected. Press Control and C to copy.";
  setTimeout(() => {
    button.textContent = label;
    if (said) said.textContent = "";
  }, SAID_FOR_MS);
});

export {};
