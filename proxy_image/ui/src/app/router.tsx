import { createRouter } from "@tanstack/react-router";

import { definitionsRoute } from "~/pages/definitions/route";
import { fleetRoute } from "~/pages/fleet/route";
import { promptsRoute } from "~/pages/prompts/route";
import { resourcesRoute } from "~/pages/resources/route";
import { serverRoute } from "~/pages/server/route";
import { sessionsRoute } from "~/pages/sessions/route";
import { swapsRoute } from "~/pages/swaps/route";
import { toolsRoute } from "~/pages/tools/route";
import { trafficRoute } from "~/pages/traffic/route";

import { rootRoute } from "./root";

/** Every page: its folder under `pages/` exports its route, which is listed here; `navigation.ts` lists what the menu shows. */
const routeTree = rootRoute.addChildren([fleetRoute, serverRoute, toolsRoute, resourcesRoute, promptsRoute, trafficRoute, sessionsRoute, definitionsRoute, swapsRoute]);

export const router = createRouter({
  routeTree,
  basepath: "/ui",
  defaultPreload: "intent",
  defaultPreloadStaleTime: 0,
  scrollRestoration: false,
  trailingSlash: "never",
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
