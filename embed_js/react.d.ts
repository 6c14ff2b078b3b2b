// <gradio-app> in JSX, for React 19: `import type {} from "@portico/embed/react"` once.
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { GradioAppAttributes, GradioAppElement, GradioAppEventMap } from "./gradio.js";

type GradioAppEvents = { [Name in keyof GradioAppEventMap as `on${Name}`]?: (event: GradioAppEventMap[Name]) => void };

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "gradio-app": DetailedHTMLProps<HTMLAttributes<GradioAppElement>, GradioAppElement> &
        GradioAppAttributes &
        GradioAppEvents;
    }
  }
}
