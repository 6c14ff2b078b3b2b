// "Try it" on a Space's API page: calls an endpoint as curl would, in both steps, and shows what comes of it.

const FILE = { _type: "gradio.FileData" };

class Refused extends Error {}

/** The headers of every call; with a token where the Space asks for one. */
function headers(more = {}) {
  const token = document.getElementById("api-token")?.value.trim();
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

/** Fetch, or say in words why not. */
async function ask(url, options) {
  const answer = await fetch(url, { ...options, headers: headers(options.headers), credentials: "omit" });
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

async function upload(run, files, signal) {
  const body = new FormData();
  for (const file of files) body.append("files", file);
  const paths = await (await ask(`${run}/upload`, { method: "POST", body, signal })).json();
  return paths.map((path, n) => ({ path, orig_name: files[n].name, size: files[n].size, meta: FILE }));
}

/** What a field holds, as the endpoint takes it. */
async function valueOf(field, run, signal) {
  switch (field.dataset.kind) {
    case "boolean":
      return field.checked;
    case "number":
      return field.value === "" ? null : field.valueAsNumber;
    case "file": {
      if (!field.files.length) return null;
      const found = await upload(run, [...field.files], signal);
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

/** Server-sent events, one after the other (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
async function* events(answer) {
  let rest = "";
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + chunk).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split(/\r?\n/);
      const of = (name) =>
        lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trimStart());
      yield { event: of("event")[0] ?? "message", data: of("data").join("\n") };
    }
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
  constructor(form) {
    this.form = form;
    this.run = form.dataset.run;
    this.of = (name) => form.querySelector(`[data-${name}]`);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    this.of("cancel").addEventListener("click", () => this.stop?.abort());
  }

  say(text, isBad = false) {
    const status = this.of("status");
    status.textContent = text;
    status.classList.toggle("field-error", isBad);
  }

  show(data) {
    const result = this.of("result");
    result.hidden = false;
    result.textContent = JSON.stringify(data, null, 2);
    const list = this.of("files");
    list.replaceChildren(
      ...[...filesIn(data)].map((file) => {
        const link = document.createElement("a");
        link.href = `${this.run}/file=${encodeURI(file.path)}`;
        link.download = "";
        link.textContent = file.orig_name ?? file.path.split("/").pop();
        const item = document.createElement("li");
        item.append(link);
        return item;
      }),
    );
    list.hidden = !list.childElementCount;
  }

  async start() {
    const began = performance.now();
    const seconds = () => `${((performance.now() - began) / 1000).toFixed(1)} s`;
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.busy(true);
    this.say("Calling …");
    this.of("result").hidden = this.of("files").hidden = true;
    try {
      const data = [];
      for (const field of this.form.querySelectorAll("[data-kind]")) data.push(await valueOf(field, this.run, signal));
      const call = `${this.run}/call/${this.form.dataset.endpoint.split("/").map(encodeURIComponent).join("/")}`;
      const options = { method: "POST", body: JSON.stringify({ data }), signal };
      const said = await (await ask(call, { ...options, headers: { "Content-Type": "application/json" } })).json();
      this.say("Running …");
      const stream = await ask(`${call}/${encodeURIComponent(said.event_id)}`, { signal });
      for await (const { event, data: text } of events(stream)) {
        if (event === "generating") {
          this.show(JSON.parse(text));
          this.say(`Running, ${seconds()} …`);
        } else if (event === "complete") {
          this.show(JSON.parse(text));
          this.say(`Done in ${seconds()}.`);
          return;
        } else if (event === "error") {
          throw new Refused(`The app raised an error${text && text !== "null" ? `: ${text}` : "."}`);
        }
      }
      throw new Refused("The app ended before it had answered.");
    } catch (error) {
      if (signal.aborted) this.say(`Cancelled after ${seconds()}.`);
      else this.say(error instanceof Refused ? error.message : "The Space cannot be reached. Try again.", true);
    } finally {
      this.busy(false);
    }
  }

  busy(is) {
    this.form.querySelector("[type=submit]").disabled = is;
    this.of("cancel").hidden = this.of("progress").hidden = !is;
    this.form.setAttribute("aria-busy", String(is));
  }
}

for (const form of document.querySelectorAll("form[data-try]")) new Trial(form);
