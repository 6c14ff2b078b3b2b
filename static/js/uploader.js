// Files on their way into a commit: dropped, picked or unpacked, each with its progress, until the form is sent.

const root = document.querySelector("[data-uploader]");
const form = root.closest("form");
const list = root.querySelector("[data-upload-list]");
const panel = root.querySelector("[data-upload-panel]");
const total = root.querySelector("[data-upload-total]");
const problem = root.querySelector("[data-upload-error]");
const skippedNote = root.querySelector("[data-upload-skipped]");
const field = root.querySelector("[data-upload-id]");
const submit = form.querySelector("[data-upload-submit]");
const token = form.querySelector("[name=csrfmiddlewaretoken]").value;

const AT_ONCE = 3;
const SKIPPED = new Set(["__MACOSX", ".DS_Store", "Thumbs.db", "__pycache__", ".git", ".venv", "node_modules", ".ipynb_checkpoints"]);
const ARCHIVE = /\.(zip|tar|tar\.gz|tgz)$/i;

/** path -> {path, size, state: "waiting" | "sending" | "done" | "failed", row, file?, expand?, request?} */
const items = new Map();
const waiting = [];
const skipped = new Set();
let sending = 0;
let removing = 0;
let drawn = 0;
let opening = null;
let leaving = false;

for (const part of root.querySelectorAll("[data-needs-js]")) part.hidden = false;

function fail(message) {
  problem.textContent = message;
  problem.hidden = !message;
}

function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let power = 0;
  let value = bytes;
  while (value >= 1000 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  return `${power ? value.toFixed(1) : value} ${units[power]}`;
}

function address(path, expand) {
  const encoded = path.split("/").map(encodeURIComponent).join("/");
  return `/uploads/${field.value}/files/${encoded}${expand ? "?expand=1" : ""}`;
}

function open() {
  if (field.value) return Promise.resolve();
  opening ??= fetch("/uploads", { method: "POST", headers: { "X-CSRFToken": token } }).then(async (answer) => {
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      opening = null;
      throw new Error(told.message ?? told.error ?? "The upload could not be begun. Reload the page and try again.");
    }
    field.value = told.id;
  });
  return opening;
}

/** Once a frame, however many files there are: each of them changes the sums. */
function summarise() {
  submit.disabled = true;
  drawn ||= requestAnimationFrame(showSums);
}

function showSums() {
  drawn = 0;
  const all = [...items.values()];
  const done = all.filter((item) => item.state === "done");
  const failed = all.filter((item) => item.state === "failed").length;
  const busy = all.length - done.length - failed;
  const bytes = done.reduce((sum, item) => sum + item.size, 0);
  panel.hidden = all.length === 0;
  total.textContent =
    `${done.length} of ${all.length} files, ${size(bytes)}` + (busy ? ", uploading …" : "") + (failed ? `, ${failed} failed` : "");
  skippedNote.hidden = skipped.size === 0;
  skippedNote.textContent = `Left out: ${[...skipped].slice(0, 8).join(", ")}${skipped.size > 8 ? " …" : ""}`;
  submit.disabled = leaving || busy > 0 || removing > 0 || (form.hasAttribute("data-upload-required") && done.length === 0);
}

function draw(item) {
  item.row ??= document.createElement("li");
  const name = document.createElement("span");
  name.className = "path";
  name.textContent = item.path;
  const note = document.createElement("span");
  note.className = "help";
  note.textContent = item.state === "done" ? size(item.size) : { waiting: "waiting", sending: "0 %", failed: "failed" }[item.state];
  const actions = document.createElement("span");
  actions.className = "cluster";
  if (item.state === "failed" && item.file) {
    const retry = document.createElement("button");
    retry.type = "button";
    retry.className = "button button-small";
    retry.textContent = "Retry";
    retry.setAttribute("aria-label", `Retry ${item.path}`);
    retry.addEventListener("click", () => queue(item));
    actions.append(retry);
  }
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "button button-small button-quiet";
  remove.textContent = "Remove";
  remove.setAttribute("aria-label", `Remove ${item.path}`);
  remove.addEventListener("click", () => drop(item));
  actions.append(remove);
  item.row.replaceChildren(name, note, actions);
  if (item.state === "sending" || item.state === "waiting") {
    item.bar = document.createElement("progress");
    item.bar.max = 1;
    item.bar.value = 0;
    item.bar.setAttribute("aria-label", `Progress of ${item.path}`);
    item.note = note;
    item.row.append(item.bar);
  }
  if (item.error) {
    const error = document.createElement("span");
    error.className = "field-error";
    error.textContent = item.error;
    item.row.append(error);
  }
  if (!item.row.isConnected) list.append(item.row);
  summarise();
}

async function takeOut(path) {
  removing += 1;
  summarise();
  try {
    await fetch(address(path), { method: "DELETE", headers: { "X-CSRFToken": token } });
  } catch {
    fail(`${path} could not be taken out again: the connection broke. Reload the page and look at the list.`);
  }
  removing -= 1;
  summarise();
}

function drop(item) {
  items.delete(item.path);
  item.row.remove();
  const place = waiting.indexOf(item);
  if (place >= 0) waiting.splice(place, 1);
  // One that failed may stand in the place of an earlier one that did not.
  if (item.state === "done" || (item.state === "failed" && field.value)) takeOut(item.path);
  // One that is wholly sent may be taken any moment: it is taken out when its answer is there.
  if (item.state === "sending" && !item.sent) item.request?.abort();
  summarise();
}

function queue(item) {
  item.state = "waiting";
  item.error = "";
  waiting.push(item);
  draw(item);
  pump();
}

/** Without its file: to try it again would not help. */
function refuse(item, message) {
  Object.assign(item, { state: "failed", error: message, file: null });
  draw(item);
}

function pump() {
  while (sending < AT_ONCE && waiting.length) send(waiting.shift());
}

function finished(item, error) {
  sending -= 1;
  item.request = null;
  if (items.get(item.path) === item) {
    item.state = error ? "failed" : "done";
    item.error = error ?? "";
    draw(item);
  }
  pump();
  summarise();
}

async function send(item) {
  sending += 1;
  item.state = "sending";
  try {
    await open();
  } catch (error) {
    finished(item, error.message);
    return;
  }
  const request = new XMLHttpRequest();
  item.request = request;
  request.open("PUT", address(item.path, item.expand));
  request.setRequestHeader("X-CSRFToken", token);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.addEventListener("progress", ({ loaded, total: whole }) => {
    item.sent = loaded === whole;
    if (!item.bar) return;
    item.bar.value = whole ? loaded / whole : 0;
    item.note.textContent = loaded === whole && item.expand ? "unpacking …" : `${whole ? Math.round((100 * loaded) / whole) : 0} %`;
  });
  request.addEventListener("error", () => finished(item, "The connection broke. Nothing of this file was kept; try it again."));
  request.addEventListener("abort", () => finished(item, "Stopped."));
  request.addEventListener("load", () => {
    let told = {};
    try {
      told = JSON.parse(request.responseText);
    } catch {
      // not ours, as an error page of a proxy: told by its status below
    }
    if (request.status !== 200) {
      finished(item, told.message ?? told.error ?? `It was not taken (${request.status}${request.status === 413 ? ": too large" : ""}).`);
      return;
    }
    if (items.get(item.path) !== item) {
      for (const file of told.files) if (!items.has(file.path)) takeOut(file.path);
      finished(item);
      return;
    }
    if (item.expand) {
      items.delete(item.path);
      item.row.remove();
      finished(item);
      for (const file of told.files) draw(known({ path: file.path, size: file.size, state: "done" }));
      return;
    }
    item.size = told.files[0].size;
    finished(item);
  });
  request.send(item.file);
}

function known(item) {
  const before = items.get(item.path);
  before?.row?.remove();
  before?.request?.abort();
  items.set(item.path, item);
  return item;
}

function add(path, file, expand) {
  const parts = path.split("/");
  const leftOut = parts.find((part) => SKIPPED.has(part));
  if (leftOut) {
    skipped.add(leftOut);
    summarise();
    return;
  }
  const item = known({ path, size: file.size, file, expand });
  if (file.size <= Number(root.dataset.maxBytes)) queue(item);
  else refuse(item, `Too large: it has ${size(file.size)}, and a file may have ${root.dataset.maxSize}. Nothing of it was sent.`);
}

/** A single folder that was dropped or picked is the demo itself: its own name is left out. An archive within a folder
 * is one of the demo's files. */
function addAll(files) {
  fail("");
  const tops = new Set(files.map(({ path }) => path.split("/")[0]));
  const inOne = tops.size === 1 && files.every(({ path }) => path.includes("/"));
  for (const { path, file } of files) {
    add(inOne ? path.slice(path.indexOf("/") + 1) : path, file, !path.includes("/") && ARCHIVE.test(path));
  }
  if (!files.length) fail("There were no files in that.");
}

function readAll(reader) {
  return new Promise((resolve, reject) => {
    const found = [];
    const next = () =>
      reader.readEntries((batch) => {
        if (!batch.length) resolve(found);
        else {
          found.push(...batch);
          next();
        }
      }, reject);
    next();
  });
}

async function walk(entry, prefix = "") {
  const path = prefix + entry.name;
  if (SKIPPED.has(entry.name)) {
    skipped.add(entry.name);
    return [];
  }
  if (entry.isFile) return [{ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) }];
  const entries = await readAll(entry.createReader());
  return (await Promise.all(entries.map((child) => walk(child, `${path}/`)))).flat();
}

// The whole page takes files: beside the zone the browser would open them and leave the page.
const brings = (event) => event.dataTransfer.types.includes("Files");
const show = (over) => document.body.classList.toggle("dropping", over);

window.addEventListener("dragover", (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  show(true);
});
window.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) show(false);
});
window.addEventListener("drop", async (event) => {
  show(false);
  if (!brings(event)) return;
  event.preventDefault();
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...event.dataTransfer.files].map((file) => ({ path: file.name, file }));
  try {
    addAll(entries.length ? (await Promise.all(entries.map((entry) => walk(entry)))).flat() : plain);
  } catch {
    fail("The browser could not read everything that was dropped. Try “Choose a folder”, or an archive.");
  }
});
for (const picker of root.querySelectorAll("[data-pick]")) {
  picker.addEventListener("change", () => {
    addAll([...picker.files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
    picker.value = "";
  });
}

form.addEventListener("submit", () => {
  leaving = true;
  submit.disabled = true;
  submit.textContent = "Committing …";
});
window.addEventListener("pageshow", () => {
  leaving = false;
  summarise();
});
window.addEventListener("beforeunload", (event) => {
  if (!leaving && items.size) event.preventDefault();
});

// The form came back with something to mend: what was uploaded is still there.
if (field.value) {
  fetch(`/uploads/${field.value}`)
    .then((answer) => (answer.ok ? answer.json() : { files: [] }))
    .then(({ files }) => {
      if (!files.length) field.value = "";
      for (const file of files) draw(known({ path: file.path, size: file.size, state: "done" }));
    });
}
summarise();
