import { createRouter } from "@tanstack/react-router";

import { definitionsRoute } from "~/pages/definitions/route";
import { fleetRoute } from "~/pages/fleet/route";
import { serverRoute } from "~/pages/server/route";
import { sessionsRoute } from "~/pages/sessions/route";
import { swapsRoute } from "~/pages/swaps/route";

import { rootRoute } from "./root";

/** Every page: its folder under `pages/` exports its route, which is listed here; `navigation.ts` lists what the menu shows. */
const routeTree = rootRoute.addChildren([fleetRoute, serverRoute, sessionsRoute, definitionsRoute, swapsRoute]);

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
