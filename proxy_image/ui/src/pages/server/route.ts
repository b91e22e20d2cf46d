import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "~/app/root";

export const serverRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/servers/$namespace/$name",
  component: lazyRouteComponent(() => import("./ServerPage"), "ServerPage"),
});
