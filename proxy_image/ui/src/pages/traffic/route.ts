import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "~/app/root";
import { texts } from "~/lib/search";

/** What the table shows, and the exchange `id` that was chosen. */
export const trafficRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/traffic",
  validateSearch: texts("q", "method", "server", "outcome", "id"),
  component: lazyRouteComponent(() => import("./TrafficPage"), "TrafficPage"),
});
