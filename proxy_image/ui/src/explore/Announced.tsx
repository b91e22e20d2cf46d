import { announced, type Verdict } from "./announcement";
import type { Outcome } from "./useRequest";

/** What screen readers are told of a request. It is there before anything is said, as some do not speak of regions that come with their text. */
export function Announced({ outcome, verdict }: { outcome: Outcome; verdict?: Verdict | undefined }): React.JSX.Element {
  return (
    <p className="visually-hidden" role="status">
      {announced(outcome, verdict)}
    </p>
  );
}
