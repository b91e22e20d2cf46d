import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "~/app/root";
import { texts } from "~/lib/search";

/** `q`: what the list shows of a `route`; the `prompt` that was chosen. */
export const promptsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/prompts",
  validateSearch: texts("q", "route", "prompt"),
  component: lazyRouteComponent(() => import("./PromptsPage"), "PromptsPage"),
});
