import { useMe } from "~/api/queries";
import type { ToolPolicy } from "~/api/types";
import { Facts } from "~/components/Facts";
import { Card } from "~/components/Page";
import { Status, Tag } from "~/components/Status";
import { duration } from "~/lib/format";

/** What holds when this caller calls the tool. */
export function Policy({ policy }: { policy: ToolPolicy }): React.JSX.Element {
  const caller = useMe().data?.caller ?? null;
  const facts: [string, React.ReactNode][] = [["Why", policy.reason === "" ? "No policy speaks of it" : policy.reason]];
  if (policy.decidedBy.length > 0) facts.push(["Decided by", <Names key="by" names={policy.decidedBy} />]);
  facts.push(["Time limit", duration(policy.timeoutSeconds)]);
  facts.push([
    "Rate limits",
    policy.rateLimits.length === 0
      ? "none"
      : policy.rateLimits.map(({ name, limit, per }) => `${limit}${per.length === 0 ? "" : ` per ${per.join(" and ")}`} (${name})`).join(", "),
  ]);
  if (policy.cacheSeconds !== null) facts.push(["Results are kept", `for ${duration(policy.cacheSeconds)}`]);
  if (policy.idempotent) facts.push(["Repeated", "when its answer is lost, as it is idempotent"]);
  if (policy.pinning !== "off")
    facts.push([
      "Definition",
      policy.approved === true ? "approved" : policy.pinning === "enforce" ? "not approved: it cannot be called" : "not approved, and called all the same",
    ]);
  return (
    <Card
      title={`As ${caller === null ? "any caller" : caller.name}`}
      beside={policy.allowed ? <Status tone="ok">Allowed</Status> : <Status tone="bad">Denied</Status>}
    >
      <Facts facts={facts} />
    </Card>
  );
}

function Names({ names }: { names: string[] }): React.JSX.Element {
  return (
    <>
      {names.map((name) => (
        <Tag key={name}>{name}</Tag>
      ))}
    </>
  );
}
