import type { Prompt, Resource, ResourceTemplateType } from "@modelcontextprotocol/client";
import { useQuery, type UseQueryResult } from "@tanstack/react-query";

import { ApiProblem } from "~/api/problem";

import { connection } from "./connections";
import { faultOf } from "./fault";

export interface Resources {
  resources: Resource[];
  templates: ResourceTemplateType[];
}

/** The resources and templates of a route, as any client lists them. */
export function useResources(route: string): UseQueryResult<Resources> {
  return useQuery({
    queryKey: ["resources", route],
    enabled: route !== "",
    queryFn: ({ signal }) =>
      told(async () => {
        const { client } = await connection(route);
        const [{ resources }, { resourceTemplates }] = await Promise.all([
          client.listResources(undefined, { signal }),
          client.listResourceTemplates(undefined, { signal }),
        ]);
        return { resources, templates: resourceTemplates };
      }),
  });
}

export function usePrompts(route: string): UseQueryResult<Prompt[]> {
  return useQuery({
    queryKey: ["prompts", route],
    enabled: route !== "",
    queryFn: ({ signal }) =>
      told(async () => {
        const { client } = await connection(route);
        return (await client.listPrompts(undefined, { signal })).prompts;
      }),
  });
}

/** Errors of MCP in the form that pages show. */
async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const fault = faultOf(error);
    throw new ApiProblem(fault.kind === "signIn" ? 401 : 400, fault.title, fault.detail);
  }
}
