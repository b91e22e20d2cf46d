import { QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";

import { meQuery } from "~/api/queries";
import { onCredential } from "~/api/credential";
import { ApiProblem } from "~/api/problem";

import { router } from "./router";

const client = new QueryClient({
  queryCache: new QueryCache({
    onError: (error, query) => {
      // a key was taken away or a token has expired: ask who we are, which leads to the sign-in
      if (error instanceof ApiProblem && error.unauthenticated && query.queryKey[0] !== "me") void client.invalidateQueries({ queryKey: meQuery.queryKey });
    },
  }),
  defaultOptions: {
    queries: {
      retry: (failures, error) => failures < 2 && error instanceof ApiProblem && (error.status === 0 || error.status >= 502),
      retryDelay: 500,
      networkMode: "always", // a gateway on this machine answers without any network
      refetchOnWindowFocus: true,
    },
  },
});

// nothing of one caller is shown to the next
onCredential(() => {
  void client.cancelQueries();
  client.removeQueries({ predicate: (query) => query.queryKey[0] !== "me" && query.queryKey[0] !== "nobody" });
  void client.resetQueries({ queryKey: meQuery.queryKey });
});

export function App(): React.JSX.Element {
  return (
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  );
}
