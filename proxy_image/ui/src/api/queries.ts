import { queryOptions, useQuery, type UseQueryResult } from "@tanstack/react-query";

import { isLive, useLive } from "~/lib/live";

import { get } from "./client";
import { ApiProblem } from "./problem";
import type { Definitions, Fleet, Me, ServerDetail, Sessions, Swaps } from "./types";

export const REFRESH_MS = 3_000;

/** Whether a credential was refused from the beginning: to ask again, unasked, would only take away the form in which another is being typed. */
const isRefused = ({ state: { data, error } }: { state: { data: unknown; error: unknown } }): boolean =>
  data === undefined && error instanceof ApiProblem && error.unauthenticated;

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => get<Me>("me", { signal }),
  staleTime: 10_000,
  refetchInterval: (query) => (isLive() && !isRefused(query) ? 30_000 : false),
  refetchOnWindowFocus: (query) => !isRefused(query),
  refetchOnReconnect: (query) => !isRefused(query),
});

/** What somebody without a credential is told: how to sign in. */
export const nobodyQuery = queryOptions({
  queryKey: ["nobody"],
  queryFn: ({ signal }) => get<Me>("me", { signal, credential: null }),
  staleTime: 60_000,
});

export function useMe(): UseQueryResult<Me> {
  return useQuery(meQuery);
}

/** A query of the inspector's API that refreshes while the page is visible and live. */
export function useLiveQuery<T>(key: readonly unknown[], path: string, parameters?: Record<string, string | number | null | undefined>, everyMs = REFRESH_MS): UseQueryResult<T> {
  const live = useLive();
  return useQuery({
    queryKey: [...key, parameters],
    queryFn: ({ signal }) => get<T>(path, { signal, ...(parameters === undefined ? {} : { parameters }) }),
    refetchInterval: live ? everyMs : false,
  });
}

export const useFleet = (): UseQueryResult<Fleet> => useLiveQuery<Fleet>(["fleet"], "fleet");
export const useSessions = (): UseQueryResult<Sessions> => useLiveQuery<Sessions>(["sessions"], "sessions");
export const useDefinitions = (): UseQueryResult<Definitions> => useLiveQuery<Definitions>(["definitions"], "definitions");
export const useSwaps = (): UseQueryResult<Swaps> => useLiveQuery<Swaps>(["swaps"], "swaps");
export const useServer = (namespace: string, name: string): UseQueryResult<ServerDetail> =>
  useLiveQuery<ServerDetail>(["server", namespace, name], `servers/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`);
