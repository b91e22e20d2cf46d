import { asProblem } from "~/api/problem";
import { Page } from "~/components/Page";
import { ProblemPanel } from "~/components/ProblemPanel";

export function PageFault({ error, reset }: { error: unknown; reset: () => void }): React.JSX.Element {
  return (
    <Page title="Error">
      <ProblemPanel problem={asProblem(error)} retry={reset} />
    </Page>
  );
}
