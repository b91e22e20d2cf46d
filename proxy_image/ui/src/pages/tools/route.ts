import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "~/app/root";
import { texts } from "~/lib/search";

/** `q`, `route`, `server`: what the list shows; `tool` of the route `at`: what was chosen. */
export const toolsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/tools",
  validateSearch: texts("q", "route", "server", "tool", "at"),
  component: lazyRouteComponent(() => import("./ToolsPage"), "ToolsPage"),
});
