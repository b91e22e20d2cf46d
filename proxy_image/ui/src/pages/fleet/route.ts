import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "~/app/root";
import { texts } from "~/lib/search";

export const fleetRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/",
  validateSearch: texts("q", "show", "sort"),
  component: lazyRouteComponent(() => import("./FleetPage"), "FleetPage"),
});
