// "Try it" on a Space's API page: runs an endpoint over the page's websocket, and shows how it goes and what comes of it.

const FILE = { _type: "gradio.FileData" };
const ENDS = new Set(["result", "error", "cancelled"]);
const MAX_TRIES = 5;
const STATES = { pending: "Calling …", waking: "Waking the app …", queued: "Waiting …", running: "Running …" };
const UNREACHABLE =
  "The portal cannot be reached over a websocket: something on the way may not let it pass. " +
  "The code for Python, JavaScript and curl works without.";

class Refused extends Error {}

/** Fetch, or say in words why not. */
async function ask(url, options) {
  const answer = await fetch(url, options);
  if (answer.ok) return answer;
  let why = `The Space answered ${answer.status}.`;
  try {
    const said = await answer.json();
    why = said.message ?? said.detail ?? said.error ?? why;
  } catch {
    // not JSON: the status says it
  }
  throw new Refused(typeof why === "string" ? why : JSON.stringify(why));
}

/** The page's one websocket, over which all of its runs go; opened when it is needed, and again when it breaks off. */
class Socket {
  constructor(url) {
    this.url = url;
    this.runs = new Map(); // by the name that we give them
    this.names = 0;
  }

  /** Resolves when it is open. */
  open() {
    this.opening ??= new Promise((resolve, reject) => {
      const socket = new WebSocket(this.url);
      socket.onopen = () => resolve(socket);
      socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
      socket.onclose = () => {
        this.opening = undefined;
        reject(new Refused(UNREACHABLE));
        this.takeUp();
      };
    });
    return this.opening;
  }

  hear(message) {
    // Without a name it is about the caller, and so about all.
    const { id, run: called } = message;
    const isOf = (run) => (id === undefined ? called === undefined || run.run === called : run.name === id);
    for (const run of [...this.runs.values()].filter(isOf)) {
      run.tries = 0;
      if (message.event_id) Object.assign(run, { run: message.run, event: message.event_id });
      run.hears(message);
      if (ENDS.has(message.type)) this.end(run);
    }
  }

  /** Follow further what was under way when the socket broke off. */
  async takeUp() {
    for (const run of [...this.runs.values()]) {
      run.tries += 1;
      if (!run.run || run.tries > MAX_TRIES) {
        run.hears({ type: "error", message: UNREACHABLE });
        this.end(run);
      }
    }
    if (!this.runs.size) return;
    const tries = Math.max(...[...this.runs.values()].map((run) => run.tries));
    await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** tries));
    try {
      const socket = await this.open();
      for (const { run, event } of this.runs.values())
        socket.send(JSON.stringify({ type: "resume", run, event_id: event }));
    } catch {
      // it is tried again when this one has closed
    }
  }

  end(run) {
    this.runs.delete(run.name);
    run.ended();
  }

  /** Run an endpoint; `hears` gets every message. Resolves when it has ended. */
  async start(endpoint, data, hears) {
    const socket = await this.open();
    const name = `try-${++this.names}`;
    await new Promise((ended) => {
      this.runs.set(name, { name, hears, ended, tries: 0 });
      socket.send(JSON.stringify({ endpoint, data, id: name }));
    });
  }

  /** Give up whatever `hears` hears of. */
  async cancel(hears) {
    const run = [...this.runs.values()].find((one) => one.hears === hears);
    if (!run) return;
    const named = run.run ? { run: run.run } : { id: run.name };
    (await this.open()).send(JSON.stringify({ type: "cancel", ...named }));
  }
}

function* filesIn(value) {
  if (Array.isArray(value)) for (const one of value) yield* filesIn(one);
  else if (value && typeof value === "object") {
    if (value.meta?._type === FILE._type && typeof value.path === "string") yield value;
    else for (const one of Object.values(value)) yield* filesIn(one);
  }
}

class Trial {
  constructor(form, socket) {
    this.form = form;
    this.socket = socket;
    this.of = (name) => form.querySelector(`[data-${name}]`);
    this.hears = (message) => this.hear(message);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    this.of("cancel").addEventListener("click", () => this.cancel());
  }

  say(text, isBad = false) {
    const status = this.of("status");
    if (status.textContent !== text) status.textContent = text; // what is the same is not read out again
    status.classList.toggle("field-error", isBad);
  }

  seconds() {
    const seconds = (performance.now() - this.began) / 1000;
    return seconds < 0.1 ? "less than 0.1 s" : `${seconds.toFixed(1)} s`;
  }

  async upload(files) {
    const { run, upload } = this.form.dataset;
    const { signal } = this.stop;
    const paths = [];
    if (upload) {
      const csrf = this.form.querySelector("[name=csrfmiddlewaretoken]").value;
      const headers = { "X-CSRFToken": csrf, "Content-Type": "application/octet-stream" };
      for (const file of files) {
        const url = `${upload}?name=${encodeURIComponent(file.name)}`;
        paths.push(...(await (await ask(url, { method: "POST", headers, body: file, signal })).json()));
      }
    } else {
      const body = new FormData();
      for (const file of files) body.append("files", file);
      paths.push(...(await (await ask(`${run}/upload`, { method: "POST", body, signal, credentials: "omit" })).json()));
    }
    return paths.map((path, n) => ({ path, orig_name: files[n].name, size: files[n].size, meta: FILE }));
  }

  /** What a field holds, as the endpoint takes it. */
  async valueOf(field) {
    switch (field.dataset.kind) {
      case "boolean":
        return field.checked;
      case "number":
        return field.value === "" ? null : field.valueAsNumber;
      case "file": {
        if (!field.files.length) return null;
        this.say("Sending files …");
        const found = await this.upload([...field.files]);
        return field.multiple ? found : found[0];
      }
      case "json":
        try {
          return field.value.trim() ? JSON.parse(field.value) : null;
        } catch {
          field.focus();
          throw new Refused(`${field.labels[0].textContent.trim()}: this is not JSON.`);
        }
      default:
        return field.value;
    }
  }

  show(data) {
    const { run, file: page } = this.form.dataset;
    const result = this.of("result");
    result.hidden = false;
    result.textContent = JSON.stringify(data, null, 2);
    const list = this.of("files");
    list.replaceChildren(
      ...[...filesIn(data)].map((file) => {
        const link = document.createElement("a");
        if (page) {
          link.href = `${page}?path=${encodeURIComponent(file.path)}`;
          Object.assign(link, { target: "_blank", rel: "noopener" }); // on the Space's own host
        } else {
          link.href = `${run}/file=${file.path.split("/").map(encodeURIComponent).join("/")}`;
          link.download = "";
        }
        link.textContent = file.orig_name ?? file.path.split("/").pop();
        const item = document.createElement("li");
        item.append(link);
        return item;
      }),
    );
    list.hidden = !list.childElementCount;
  }

  hear(message) {
    switch (message.type) {
      case "status":
        this.say(STATES[message.status] ?? "Running …");
        break;
      case "queue":
        if (message.position) this.say(`Waiting, number ${message.position} of ${message.size} …`);
        break;
      case "progress":
        this.move(message.progress[0]);
        break;
      case "log": {
        const item = document.createElement("li");
        item.textContent = message.title ? `${message.title}: ${message.message}` : message.message;
        this.of("said").append(item);
        this.of("said").hidden = false;
        break;
      }
      case "partial":
        this.show(message.data);
        break;
      case "result":
        this.show(message.data);
        this.say(`Done in ${this.seconds()}.`);
        break;
      case "cancelled":
        this.say(`Cancelled after ${this.seconds()}.`);
        break;
      case "error":
        this.say(message.message, true);
        break;
    }
  }

  /** One of the app's own progress bars. */
  move(unit) {
    const bar = this.of("progress");
    if (typeof unit?.progress === "number") bar.value = unit.progress;
    else bar.removeAttribute("value");
    const steps = unit?.length ? `${unit.index} of ${unit.length} ${unit.unit ?? ""}`.trim() : "";
    this.of("detail").textContent = [unit?.desc, steps].filter(Boolean).join(": ");
  }

  async start() {
    this.began = performance.now();
    this.stop = new AbortController();
    this.busy(true);
    this.say(STATES.pending);
    this.move();
    this.of("said").replaceChildren();
    this.of("result").hidden = this.of("files").hidden = this.of("said").hidden = true;
    const { endpoint } = this.form.dataset;
    try {
      const data = [];
      for (const field of this.form.querySelectorAll("[data-kind]")) data.push(await this.valueOf(field));
      const given = endpoint.startsWith("/") ? endpoint : Number(endpoint);
      this.stop.signal.throwIfAborted();
      await this.socket.start(given, data, this.hears);
    } catch (error) {
      if (this.stop.signal.aborted) this.say(`Cancelled after ${this.seconds()}.`);
      else this.say(error instanceof Refused ? error.message : "The Space cannot be reached. Try again.", true);
    } finally {
      this.busy(false);
    }
  }

  async cancel() {
    this.stop.abort(); // files that are on their way
    try {
      await this.socket.cancel(this.hears);
    } catch {
      // it is told that the socket cannot be opened
    }
  }

  busy(is) {
    this.form.querySelector("[type=submit]").disabled = is;
    this.of("cancel").hidden = this.of("progress").hidden = this.of("detail").hidden = !is;
    this.form.setAttribute("aria-busy", String(is));
  }
}

const forms = document.querySelectorAll("form[data-try]");
if (forms.length) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new Socket(`${scheme}://${location.host}${forms[0].dataset.socket}`);
  for (const form of forms) new Trial(form, socket);
}
