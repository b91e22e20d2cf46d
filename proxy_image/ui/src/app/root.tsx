import { createRootRoute } from "@tanstack/react-router";

import { NotFound } from "./NotFound";
import { PageFault } from "./PageFault";
import { Shell } from "./Shell";

/** The parent of every page's route; imported by the pages' `route.ts`. */
export const rootRoute = createRootRoute({ component: Shell, notFoundComponent: NotFound, errorComponent: PageFault });
