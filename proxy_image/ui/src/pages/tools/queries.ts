import { keepPreviousData, type UseInfiniteQueryResult, useInfiniteQuery, useQuery, type UseQueryResult } from "@tanstack/react-query";

import { get } from "~/api/client";
import type { ToolDetail, Tools } from "~/api/types";

const PAGE = 250;

export interface Wanted {
  q: string;
  route: string;
  server: string;
}

/** The tools that this caller may see, page by page. */
export function useTools(wanted: Wanted): UseInfiniteQueryResult<{ pages: Tools[] }> {
  return useInfiniteQuery({
    queryKey: ["tools", wanted],
    queryFn: ({ pageParam, signal }) => get<Tools>("tools", { parameters: { ...wanted, offset: pageParam, limit: PAGE }, signal }),
    initialPageParam: 0,
    getNextPageParam: (last, pages) => {
      const here = pages.reduce((sum, page) => sum + page.items.length, 0);
      return last.items.length > 0 && here < last.total ? here : undefined;
    },
    placeholderData: keepPreviousData,
    refetchInterval: false,
    staleTime: 5_000,
  });
}

export function useTool(route: string, name: string): UseQueryResult<ToolDetail> {
  return useQuery({ queryKey: ["tool", route, name], queryFn: ({ signal }) => get<ToolDetail>("tool", { parameters: { route, name }, signal }) });
}
