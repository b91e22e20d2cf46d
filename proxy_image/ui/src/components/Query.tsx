import type { UseQueryResult } from "@tanstack/react-query";

import { asProblem } from "~/api/problem";

import { Loading } from "./Loading";
import { ProblemPanel } from "./ProblemPanel";

/** A query's three states. Data that is there stays while a refresh fails, below what went wrong. */
export function Query<T>({ query, label, children }: { query: UseQueryResult<T>; label: string; children: (data: T) => React.ReactNode }): React.JSX.Element {
  const problem = query.isError ? <ProblemPanel problem={asProblem(query.error)} retry={() => void query.refetch()} /> : null;
  if (query.data === undefined) return problem ?? <Loading label={label} />;
  return (
    <>
      {problem}
      {children(query.data)}
    </>
  );
}
