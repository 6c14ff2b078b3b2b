// <gradio-app> as React and Vue write, change, move and remove it; the test calls `window.react` and `window.vue`.
import { StrictMode, useEffect, useRef } from "react";
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import { createApp, h, nextTick, reactive } from "vue";

function Demo({ demo, heard }) {
  const element = useRef(null);
  useEffect(() => {
    const tell = () => heard(demo.id);
    const current = element.current;
    current.addEventListener("render", tell);
    return () => current.removeEventListener("render", tell);
  });
  return <gradio-app ref={element} id={demo.id} space={demo.space} theme_mode={demo.theme} container={demo.container} />;
}

/** Shows these demos in `place` with React, anew at each call. */
export function react(place) {
  const root = createRoot(place);
  const heard = [];
  const show = (demos) =>
    flushSync(() =>
      root.render(
        <StrictMode>
          {demos.map((demo) => (
            <Demo key={demo.id} demo={demo} heard={(id) => heard.push(id)} />
          ))}
        </StrictMode>,
      ),
    );
  return { show, heard, end: () => flushSync(() => root.unmount()) };
}

/** The same with Vue. */
export function vue(place) {
  const state = reactive({ demos: [] });
  const heard = [];
  const app = createApp({
    render: () =>
      state.demos.map((demo) =>
        h("gradio-app", {
          key: demo.id,
          id: demo.id,
          space: demo.space,
          theme_mode: demo.theme,
          container: demo.container,
          onRender: () => heard.push(demo.id),
        }),
      ),
  });
  app.mount(place);
  const show = (demos) => {
    state.demos = demos;
    return nextTick();
  };
  return { show, heard, end: () => app.unmount() };
}

Object.assign(window, { react, vue });
