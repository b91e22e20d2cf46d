import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "~/app/root";
import { texts } from "~/lib/search";

export const sessionsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/sessions",
  validateSearch: texts("q", "of"),
  component: lazyRouteComponent(() => import("./SessionsPage"), "SessionsPage"),
});
