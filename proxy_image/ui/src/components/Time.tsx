import { UNKNOWN, relative } from "~/lib/format";
import { useNow } from "~/lib/now";

/** How long ago; the time itself is in its title. */
export function Time({ at }: { at: string | null | undefined }): React.JSX.Element {
  const now = useNow();
  if (at === null || at === undefined || Number.isNaN(Date.parse(at))) return <span>{UNKNOWN}</span>;
  return (
    <time dateTime={at} title={new Date(at).toLocaleString()}>
      {relative(at, now)}
    </time>
  );
}
