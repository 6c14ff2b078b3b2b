// <gradio-app> as React and Vue write, change, move and remove it; the test calls `window.react` and `window.vue`.
import { StrictMode } from "react";
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import { createApp, h, nextTick, reactive } from "vue";

/** Shows these demos in `place` with React, anew at each call. */
export function react(place) {
  const root = createRoot(place);
  const heard = [];
  const show = (demos) =>
    flushSync(() =>
      root.render(
        <StrictMode>
          {demos.map(({ id, space, theme, container }) => {
            const said = { space, theme_mode: theme, container, onrender: () => heard.push(id) };
            return <gradio-app key={id} id={id} {...said} />;
          })}
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
