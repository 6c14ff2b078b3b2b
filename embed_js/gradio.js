/**
 * The <gradio-app> element: a running demo inside anybody's page.
 *
 *     <script type="module" src="https://portal.example/embed/gradio.js"></script>
 *     <gradio-app space="ada/hello"><a href="https://ada-hello.spaces.example/">Hello</a></gradio-app>
 *
 * The demo lives in a frame of its own origin, within a shadow root: neither page's styles reach the other.
 * This file is one module without imports, so that a plain <script> may load it as well.
 * Attributes and events are described for authors in docs/user/embedding.md.
 */
(() => {
  "use strict";

  if (customElements.get("gradio-app")) return;

  /**
   * What the portal says of a Space (GET /embed/spaces/<owner>/<name>). Of a private one that this page may not show,
   * `space` and `embeddable` alone.
   * @typedef {object} Description
   * @property {string} space `owner/name`
   * @property {string} url the demo's own address
   * @property {string} page the Space's page on the portal
   * @property {string} title
   * @property {string} sdk gradio, streamlit, static or python
   * @property {string} stage as the Hub's SpaceStage
   * @property {boolean} embeddable false when its owner turned embedding off
   */

  /** Where this script came from: `currentScript` is null in a module, where only the stack knows. */
  const OWN_ADDRESS =
    /** @type {HTMLScriptElement | null} */ (document.currentScript)?.src ||
    /https?:\/\/[^\s()]+?(?=:\d+:\d+)/.exec(new Error().stack ?? "")?.[0] ||
    location.href;
  /** By version, too: /embed/gradio-<its digest>.js. */
  const SCRIPTS = /** @type {const} */ ('script[src*="/embed/gradio"]');

  const SANDBOX =
    "allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox allow-downloads" +
    " allow-modals allow-storage-access-by-user-activation";
  const ALLOW = "clipboard-write; fullscreen; autoplay";

  const LOOK_UP_MS = 20_000;
  const LOAD_MS = 90_000;
  /** How soon a reader who sees the demo is told that it was deleted or withdrawn meanwhile. */
  const CHECK_MS = 20_000;
  /** How long a loaded page has to say its first word, and then to send its size, before it is shown as it is. */
  const FIRST_WORD_MS = 300;
  const SIZE_MS = 3_000;
  /** Layouts shrink for a moment while they settle: only what lasts this long is followed. */
  const SHRINK_MS = 150;
  /** Growth by the same step at once, this often in a row, may be the echo of the frame's own growth. */
  const ECHO_MS = 500;
  const ECHOES = 3;
  const QUIET_MS = 1_000;
  const LEAST_PX = 40;
  const MOST_PX = 20_000;
  const NEAR = "300px";

  // iframe-resizer 4, as the script within Gradio's page speaks it: the parent sends INIT when the frame has loaded
  // and whenever the child says READY (it says nothing when its script came from the cache, and ignores a second
  // INIT); from then on the child sends `PREFIX id:height:width:type`. The fields of INIT, by position: id, margin,
  // sizeWidth, log, interval, enablePublicMethods, autoResize, bodyMargin, heightCalculationMethod, background,
  // padding, tolerance, inPageLinks, resizeFrom. Empty ones leave the page as it is.
  const READY = "[iFrameResizerChild]Ready";
  const PREFIX = "[iFrameSizer]";
  const ID = "portico";
  const INIT = `${PREFIX}${ID}:0:false:false:32:true:true::bodyOffset:::0:false:child`;
  const NOT_A_SIZE = /^(autoResize|close|pageInfo|pageInfoStop|scrollTo|scrollToOffset|message|inPageLink|mouse\w+)$/;

  /** @type {Record<string, string>} */
  const WAITING = {
    SLEEPING: "Waking the demo…",
    APP_STARTING: "The demo is starting…",
    BUILDING: "The demo is being built…",
  };
  /** Stages without anything to show; after a failed build, an earlier one may still run.
   * @type {Record<string, string>} */
  const DOWN = {
    PAUSED: "This demo is paused.",
    STOPPED: "This demo is stopped.",
    NO_APP_FILE: "This demo has no files yet.",
    RUNTIME_ERROR: "This demo is not running: it stopped with an error.",
    DELETING: "This demo was deleted.",
  };

  const STYLE = `
:host { display: block !important; box-sizing: border-box !important; height: auto !important;
  min-height: 0 !important; max-height: none !important; padding: 0 !important; border: 0 !important;
  overflow: visible !important; columns: auto !important; color-scheme: light dark; }
:host([hidden]) { display: none !important; }
.box { all: initial; display: block; color-scheme: inherit; overflow: hidden; background: Canvas; color: CanvasText;
  font: 15px/1.5 system-ui, sans-serif; }
.box.bordered { border: 1px solid color-mix(in srgb, CanvasText 18%, Canvas); border-radius: 8px; }
.view { position: relative; }
iframe { display: block; width: 100%; height: 100%; border: 0; color-scheme: inherit; }
.loading iframe { opacity: 0; }
.cover { position: absolute; inset: 0; display: flex; flex-direction: column; align-items: center;
  justify-content: center; gap: 12px; padding: 16px; box-sizing: border-box; overflow: auto; text-align: center;
  background: Canvas; }
.bones { width: min(100%, 360px); display: grid; gap: 10px; }
.bones i { height: 14px; border-radius: 7px; background: color-mix(in srgb, CanvasText 12%, Canvas);
  animation: breathe 1.6s ease-in-out infinite; }
.bones i:nth-child(2) { width: 80%; }
.bones i:nth-child(3) { width: 55%; }
@keyframes breathe { 50% { opacity: 0.45; } }
@media (prefers-reduced-motion: reduce) { .bones i { animation: none; } }
p { margin: 0; }
button { font: inherit; padding: 6px 16px; border: 1px solid currentColor; border-radius: 6px; background: Canvas;
  color: CanvasText; cursor: pointer; }
a { color: inherit; }
:is(a, button):focus-visible { outline: 2px solid Highlight; outline-offset: 2px; }
.info { padding: 6px 12px; font-size: 13px; line-height: 19px; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; border-top: 1px solid color-mix(in srgb, CanvasText 12%, Canvas);
  color: color-mix(in srgb, CanvasText 72%, Canvas); }
[hidden] { display: none !important; }`;

  /** @type {CSSStyleSheet | undefined} */
  let sheet;

  /**
   * @template {keyof HTMLElementTagNameMap} T
   * @param {T} tag
   * @param {string} [className]
   * @param {(Node | string)[]} children
   */
  function make(tag, className = "", ...children) {
    const element = document.createElement(tag);
    element.className = className;
    element.append(...children);
    return element;
  }

  /** @param {string} value a CSS length; a bare number counts pixels */
  const length = (value) => (/^\d+(\.\d+)?$/.test(value) ? `${value}px` : value);

  /**
   * @param {string} address
   * @returns {URL} never one that would run script in the page itself, as `javascript:` does
   */
  function webAddress(address) {
    const url = new URL(address, document.baseURI);
    if (!/^https?:$/.test(url.protocol)) throw new TypeError("not a web address");
    return url;
  }

  /** Why a demo cannot be shown, in words for the visitor. */
  class Unavailable extends Error {
    /**
     * @param {string} message
     * @param {number} status HTTP's, or 0 when nobody answered
     * @param {string} [page] where to read more
     */
    constructor(message, status, page) {
      super(message);
      this.status = status;
      this.page = page;
    }
  }

  class GradioApp extends HTMLElement {
    static observedAttributes = [
      "src", "space", "host", "token", "theme_mode", "allow", "eager", "initial_height", "height", "container", "info",
      "control_page_title", "autoscroll",
    ];

    #view = make("div", "view");
    #text = make("p");
    #retry = make("button", "", "Try again");
    #more = make("a", "", "Open its page");
    #bones = make("div", "bones", make("i"), make("i"), make("i"));
    #cover = make("div", "cover", this.#bones, this.#text, this.#retry, this.#more);
    #info = make("p", "info");
    #box = make("div", "box", this.#view, this.#info);

    /** @type {AbortController | undefined} */
    #run;
    /** @type {IntersectionObserver | undefined} */
    #observer;
    /** @type {HTMLIFrameElement | undefined} */
    #frame;
    /** @type {Description | undefined} */
    #description;
    #origin = "";
    /** What the demo last asked for, 0 before. */
    #height = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #later;
    /** The last growth: by how much, how often in a row, when, and from what height; and a step known as an echo. */
    #step = 0;
    #steps = 0;
    #grew = 0;
    #from = 0;
    #echo = 0;
    #spoke = false;
    /** The demo tells its height itself: what the portal's script measures is not wanted. */
    #tells = false;
    #rendered = false;
    #due = false;
    #status = "";

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open", delegatesFocus: true });
      if (!sheet) {
        sheet = new CSSStyleSheet();
        sheet.replaceSync(STYLE);
      }
      root.adoptedStyleSheets = [sheet];
      root.append(this.#box);
      this.#view.append(this.#cover);
      this.#cover.setAttribute("role", "status");
      this.#bones.setAttribute("aria-hidden", "true");
      this.#more.target = "_blank";
      this.#more.rel = "noopener";
      this.#retry.type = "button";
      this.#retry.addEventListener("click", () => this.#start());
    }

    /** `waiting` (below the fold), `loading`, `ready` or `error`. */
    get status() {
      return this.#status;
    }

    connectedCallback() {
      window.addEventListener("message", this.#heard);
      this.#begin();
    }

    disconnectedCallback() {
      window.removeEventListener("message", this.#heard);
      this.#stop();
    }

    /** With `moveBefore` the frame lives on, and so must everything else. */
    connectedMoveCallback() {}

    /**
     * @param {string} name
     * @param {string | null} before
     * @param {string | null} after
     */
    attributeChangedCallback(name, before, after) {
      if (before === after || !this.isConnected) return;
      if (["src", "space", "host", "token", "theme_mode", "allow"].includes(name)) this.#begin();
      else if (name === "eager" && this.#status === "waiting") this.#begin();
      else this.#dress();
    }

    /** @param {string} name @param {boolean} otherwise */
    #flag(name, otherwise) {
      const value = this.getAttribute(name);
      return value === null ? otherwise : value.toLowerCase() !== "false";
    }

    /** @param {string} type @param {object} [detail] */
    #tell(type, detail) {
      // An `error` that bubbled would reach the handlers that pages keep for their own scripts' errors.
      this.dispatchEvent(new CustomEvent(type, { bubbles: type !== "error", composed: true, detail }));
    }

    /** @param {string} status @param {string} [text] @param {string} [page] */
    #enter(status, text = "", page = "") {
      const failed = status === "error";
      this.#view.classList.toggle("loading", status !== "ready");
      this.#cover.hidden = status === "ready";
      this.#bones.hidden = failed;
      this.#retry.hidden = !failed;
      this.#more.hidden = !page;
      if (page) this.#more.href = page;
      this.#text.textContent = text;
      const changed = this.#status !== status;
      this.#status = status;
      if (changed) this.#tell("status", { status, stage: this.#description?.stage ?? null });
    }

    /** Start once the visitor is near. What is set in one go, as frameworks do, costs one start. */
    #begin() {
      this.#stop();
      this.#dress();
      this.#enter("waiting");
      if (this.#due) return;
      this.#due = true;
      queueMicrotask(() => {
        this.#due = false;
        if (!this.isConnected) return;
        if (this.#flag("eager", false)) return void this.#start();
        this.#observer = new IntersectionObserver(
          (entries) => {
            if (entries.some((entry) => entry.isIntersecting)) this.#start();
          },
          { rootMargin: NEAR },
        );
        this.#observer.observe(this);
      });
    }

    #stop() {
      this.#run?.abort();
      this.#observer?.disconnect();
      clearTimeout(this.#later);
      this.#frame?.remove();
      this.#run = this.#observer = this.#frame = this.#description = undefined;
      this.#height = this.#step = this.#echo = 0;
      this.#spoke = this.#tells = this.#rendered = false;
      this.#origin = "";
    }

    async #start() {
      this.#stop();
      const run = (this.#run = new AbortController());
      this.#dress();
      this.#enter("loading", "Loading the demo…");
      try {
        const address = await this.#address(run.signal);
        if (!run.signal.aborted) this.#open(address, run);
      } catch (error) {
        if (!run.signal.aborted) this.#fail(error);
      }
    }

    /** @param {unknown} error */
    #fail(error) {
      const known = error instanceof Unavailable ? error : new Unavailable("This demo cannot be reached right now.", 0);
      this.#run?.abort();
      this.#frame?.remove();
      this.#frame = undefined;
      this.#enter("error", known.message, known.page);
      this.#dress();
      this.#tell("error", { message: known.message, status: known.status });
    }

    /**
     * The portal that `space` is looked up on: `host`, else the one whose script stands before the element.
     * @returns {URL}
     */
    #portal() {
      const host = this.getAttribute("host");
      if (host) return webAddress(host.includes("//") ? host : `https://${host}`);
      const before = [.../** @type {NodeListOf<HTMLScriptElement>} */ (document.querySelectorAll(SCRIPTS))].filter(
        (script) => script.compareDocumentPosition(this) & Node.DOCUMENT_POSITION_FOLLOWING,
      );
      return webAddress(before.pop()?.src ?? OWN_ADDRESS);
    }

    /**
     * @param {AbortSignal} signal
     * @returns {Promise<URL>} the demo's own address
     */
    async #address(signal) {
      const src = this.getAttribute("src");
      if (src) return webAddress(src);
      const found = await this.#describe(signal);
      this.#enter("loading", WAITING[found.stage] ?? "Loading the demo…");
      return webAddress(found.url);
    }

    /**
     * Ask the portal about the Space.
     * @param {AbortSignal} signal
     */
    async #describe(signal) {
      const space = this.getAttribute("space")?.trim();
      if (!space) throw new Unavailable("Nothing to show: give <gradio-app> a “space” or a “src”.", 0);
      const [owner = "", name = "", rest] = space.split("/");
      if (!owner || !name || rest !== undefined) throw new Unavailable(`“${space}” is not of the form owner/name.`, 0);
      const portal = this.#portal();
      const address = new URL(`/embed/spaces/${encodeURIComponent(owner)}/${encodeURIComponent(name)}`, portal);
      const token = this.getAttribute("token");
      if (token) address.searchParams.set("token", token);
      const answer = await fetch(address, {
        credentials: "omit",
        signal: AbortSignal.any([signal, AbortSignal.timeout(LOOK_UP_MS)]),
      });
      if (answer.status === 404)
        throw new Unavailable(`There is no public Space “${space}”: it is private, renamed or deleted.`, 404);
      if (answer.status === 403) throw new Unavailable("The token of this demo has expired, or was revoked.", 403);
      if (answer.status === 410) throw new Unavailable("This demo was withdrawn by the moderators.", 410);
      if (!answer.ok) throw new Unavailable("This demo cannot be reached right now.", answer.status);
      const found = /** @type {Description} */ (await answer.json());
      if (!found.embeddable) throw new Unavailable("Its owner does not allow this demo in this page.", 403, found.page);
      this.#description = found;
      this.#dress();
      const down = DOWN[found.stage];
      if (down) throw new Unavailable(down, 503, found.page);
      return found;
    }

    /** Whether the demo that is seen is still there; that nobody answers says nothing. @param {AbortSignal} signal */
    async #check(signal) {
      const { top, bottom } = this.getBoundingClientRect();
      if (document.hidden || bottom < 0 || top > innerHeight) return;
      try {
        await this.#describe(signal);
      } catch (error) {
        const is_said = error instanceof Unavailable && (error.page || [403, 404, 410].includes(error.status));
        if (is_said && !signal.aborted) this.#fail(error);
      }
    }

    /** @param {URL} address @param {AbortController} run */
    #open(address, run) {
      const theme = (this.getAttribute("theme_mode") ?? "").toLowerCase();
      const sdk = this.#description?.sdk;
      if (sdk === "streamlit") {
        address.searchParams.set("embed", "true");
        if (/^(light|dark)$/.test(theme)) address.searchParams.set("embed_options", `${theme}_theme`);
      } else if (/^(light|dark|system)$/.test(theme)) address.searchParams.set("__theme", theme);

      const frame = make("iframe");
      frame.title = this.#description?.title || this.getAttribute("space") || address.host;
      frame.allow = [ALLOW, this.getAttribute("allow")].filter(Boolean).join("; ");
      frame.setAttribute("sandbox", SANDBOX);
      const late = setTimeout(() => this.#fail(new Unavailable("This demo took too long to answer.", 504)), LOAD_MS);
      run.signal.addEventListener("abort", () => clearTimeout(late));
      frame.addEventListener("load", () => {
        clearTimeout(late);
        frame.contentWindow?.postMessage(INIT, address.origin);
        setTimeout(() => {
          if (run.signal.aborted) return;
          if (this.#spoke) setTimeout(() => run.signal.aborted || this.#render(), SIZE_MS);
          else if (sdk === "gradio") this.#enter("ready"); // the page that says the demo is starting: not yet the demo
          else this.#render();
        }, FIRST_WORD_MS);
      });
      const checks = setInterval(() => this.#description && this.#check(run.signal), CHECK_MS);
      run.signal.addEventListener("abort", () => clearInterval(checks));
      this.#origin = address.origin;
      this.#frame = frame;
      frame.src = address.href;
      this.#view.prepend(frame);
    }

    #render() {
      if (this.#rendered) return;
      this.#rendered = true;
      this.#enter("ready");
      this.#tell("render");
    }

    /** Hear the page in the frame, and nobody else. @param {MessageEvent} event */
    #heard = (event) => {
      const page = this.#frame?.contentWindow;
      if (!page || event.source !== page || event.origin !== this.#origin) return;
      const data = event.data;
      if (data === READY) {
        this.#spoke = this.#tells = true;
        page.postMessage(INIT, this.#origin);
      } else if (typeof data === "string" && data.startsWith(`${PREFIX}${ID}:`)) {
        this.#spoke = this.#tells = true;
        const [, height = "", , type = ""] = data.slice(PREFIX.length).split(":");
        if (type === "scrollTo") this.#scrollTo();
        else if (!NOT_A_SIZE.test(type)) this.#resize(Number(height));
        // Gradio turns the automatic sizes off, and sends its own, once the demo is laid out.
        if (type === "autoResize" || type === "size") this.#render();
      } else if (data?.type === "portico:height") {
        if (!data.measured) this.#tells = true;
        else if (this.#tells) return;
        this.#resize(Number(data.height));
      }
    };

    /** A dialog has opened at the demo's top. Only the visitor who is busy in the demo is taken there. */
    #scrollTo() {
      if (document.activeElement === this && this.getBoundingClientRect().top < 0) this.#scroll("start");
    }

    /** @param {ScrollLogicalPosition} block */
    #scroll(block) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.#view.scrollIntoView({ block, behavior: calm ? "auto" : "smooth" });
    }

    /** @param {number} height in CSS pixels */
    #resize(height) {
      clearTimeout(this.#later);
      if (!(height > 0) || !this.#view.offsetWidth) return; // what is not displayed measures nothing
      const pixels = Math.min(Math.max(Math.ceil(height), LEAST_PX), MOST_PX);
      const now = this.#view.offsetHeight;
      if (pixels > now) this.#grow(pixels, now);
      else if (pixels < now) this.#later = setTimeout(() => this.#take(pixels), SHRINK_MS);
      else this.#take(pixels);
      const watching = this.#rendered && document.activeElement === this;
      if (pixels > now && watching && this.#flag("autoscroll", false)) this.#scroll("end");
    }

    /**
     * Content as high as the frame and a bit (`100vh` and a margin) grows with it, by the same step, for ever. Lines
     * of a text may come as evenly: but when one is not followed, the next come all the same. So after some steps the
     * frame waits for quiet and grows once more; what then comes at once is the echo, and the steps are taken back.
     * @param {number} pixels
     * @param {number} now
     */
    #grow(pixels, now) {
      const step = pixels - now;
      const is_like = (/** @type {number} */ other) => Math.abs(step - other) < 2;
      if (this.#echo && is_like(this.#echo)) return;
      if (!is_like(this.#step) || performance.now() - this.#grew > ECHO_MS) [this.#steps, this.#from] = [0, now];
      this.#step = step;
      const take = () => {
        this.#steps += 1;
        this.#grew = performance.now();
        this.#take(pixels);
      };
      if (this.#steps < ECHOES) take();
      else if (this.#steps === ECHOES) this.#later = setTimeout(take, QUIET_MS);
      else {
        this.#echo = step;
        this.#take(this.#from);
      }
    }

    /** @param {number} pixels */
    #take(pixels) {
      if (pixels === this.#height) return;
      this.#height = pixels;
      this.#dress();
      this.#tell("height", { height: pixels });
    }

    /** Everything attributes say that needs no new start. */
    #dress() {
      const found = this.#description;
      const container = this.#flag("container", true);
      const given = this.getAttribute("height") || this.getAttribute("initial_height") || "300px";
      this.#view.style.height = this.#height ? `${this.#height}px` : length(given);
      const theme = (this.getAttribute("theme_mode") ?? "").toLowerCase();
      this.#box.style.colorScheme = /^(light|dark)$/.test(theme) ? theme : "light dark";
      this.#box.classList.toggle("bordered", container);
      // Before it is known what the line says, its place is kept: nothing below jumps when it comes.
      const is_told = found || (this.hasAttribute("space") && this.#status !== "error");
      this.#info.hidden = !(container && this.#flag("info", true) && is_told);
      this.#info.textContent = "\u00a0";
      if (found) {
        const link = make("a", "", found.title || found.space);
        link.href = found.page;
        link.target = "_blank";
        link.rel = "noopener";
        this.#info.replaceChildren(link, " · Hosted on Portico");
        if (this.#flag("control_page_title", false) && found.title) document.title = found.title;
      }
    }
  }

  // As properties too: React and Vue leave out an attribute that is false, but assign it where there is a property.
  for (const name of GradioApp.observedAttributes) {
    Object.defineProperty(GradioApp.prototype, name, {
      /** @this {GradioApp} */
      get() {
        return this.getAttribute(name);
      },
      /** @this {GradioApp} @param {unknown} value */
      set(value) {
        if (value === null || value === undefined) this.removeAttribute(name);
        else this.setAttribute(name, String(value));
      },
    });
  }
  customElements.define("gradio-app", GradioApp);
})();
