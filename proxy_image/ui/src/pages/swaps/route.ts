import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "~/app/root";

export const swapsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/swaps",
  component: lazyRouteComponent(() => import("./SwapsPage"), "SwapsPage"),
});
