/** What the demo is at: below the fold, on its way, there, or not to be shown. */
export type GradioAppStatus = "waiting" | "loading" | "ready" | "error";

/** The events of <gradio-app>, by name. */
export interface GradioAppEventMap {
  /** The demo is laid out and can be used. */
  render: CustomEvent<null>;
  /** Another status begins; `stage` is the Space's, if known. */
  status: CustomEvent<{ status: GradioAppStatus; stage: string | null }>;
  /** The demo's height changed, in CSS pixels. */
  height: CustomEvent<{ height: number }>;
  /** It cannot be shown; `status` is HTTP's, 0 when nobody answered. Does not bubble. */
  error: CustomEvent<{ message: string; status: number }>;
}

/** The attributes of <gradio-app>. A boolean one is on when it is there, unless it says `false`. */
export interface GradioAppAttributes {
  /** A demo's address, instead of `space`. */
  src?: string;
  /** `owner/name`, on the portal that the script came from. */
  space?: string;
  /** Another portal to look `space` up on. */
  host?: string;
  /** Of a link that its owner shares, for a Space that is closed. */
  token?: string;
  /** What the demo may ask the reader for, as an iframe's `allow`. */
  allow?: string;
  theme_mode?: "system" | "light" | "dark";
  /** A CSS length; 300px without it. */
  initial_height?: string;
  /** The same, for demos that never tell their height. */
  height?: string;
  eager?: boolean | "" | "true" | "false";
  container?: boolean | "" | "true" | "false";
  info?: boolean | "" | "true" | "false";
  autoscroll?: boolean | "" | "true" | "false";
  control_page_title?: boolean | "" | "true" | "false";
}

/** A running demo inside a page. Its attributes are properties too: assigned as they are, read as attributes are. */
export interface GradioAppElement extends HTMLElement {
  get src(): string | null;
  set src(value: GradioAppAttributes["src"] | null);
  get space(): string | null;
  set space(value: GradioAppAttributes["space"] | null);
  get host(): string | null;
  set host(value: GradioAppAttributes["host"] | null);
  get token(): string | null;
  set token(value: GradioAppAttributes["token"] | null);
  get allow(): string | null;
  set allow(value: GradioAppAttributes["allow"] | null);
  get theme_mode(): string | null;
  set theme_mode(value: GradioAppAttributes["theme_mode"] | null);
  get initial_height(): string | null;
  set initial_height(value: GradioAppAttributes["initial_height"] | null);
  get height(): string | null;
  set height(value: GradioAppAttributes["height"] | null);
  get eager(): string | null;
  set eager(value: GradioAppAttributes["eager"] | null);
  get container(): string | null;
  set container(value: GradioAppAttributes["container"] | null);
  get info(): string | null;
  set info(value: GradioAppAttributes["info"] | null);
  get autoscroll(): string | null;
  set autoscroll(value: GradioAppAttributes["autoscroll"] | null);
  get control_page_title(): string | null;
  set control_page_title(value: GradioAppAttributes["control_page_title"] | null);
  readonly status: GradioAppStatus | "";
  addEventListener<K extends keyof GradioAppEventMap>(
    type: K,
    listener: (this: GradioAppElement, event: GradioAppEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "gradio-app": GradioAppElement;
  }
}
