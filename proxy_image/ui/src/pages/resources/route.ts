import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "~/app/root";
import { texts } from "~/lib/search";

/** `q`: what the list shows of a `route`; the resource `uri` or the `template` that was chosen. */
export const resourcesRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/resources",
  validateSearch: texts("q", "route", "uri", "template"),
  component: lazyRouteComponent(() => import("./ResourcesPage"), "ResourcesPage"),
});
