import { Card } from "~/components/Page";

import { Announced } from "./Announced";
import { Arriving } from "./Arriving";
import { OutcomeView, type OutcomeProperties } from "./OutcomeView";

/** A request's outcome as a card of its own: brought into view as it comes, and told to screen readers. */
export function OutcomeCard({ title, ...rest }: OutcomeProperties & { title: string }): React.JSX.Element {
  const { outcome, verdict } = rest;
  return (
    <>
      <Announced outcome={outcome} verdict={verdict} />
      {outcome.state !== "idle" && (
        <Arriving of={outcome.state}>
          <Card title={title}>
            <OutcomeView {...rest} />
          </Card>
        </Arriving>
      )}
    </>
  );
}
