import { Link } from "@tanstack/react-router";
import { Compass } from "lucide-react";

import { Empty } from "~/components/Empty";
import { Page } from "~/components/Page";

export function NotFound(): React.JSX.Element {
  return (
    <Page title="Not found">
      <Empty icon={Compass} title="There is no such page">
        <Link to="/">Back to the fleet</Link>
      </Empty>
    </Page>
  );
}
