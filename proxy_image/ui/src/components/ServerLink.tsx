import { Link } from "@tanstack/react-router";

import { splitId } from "~/lib/format";

import styles from "./ServerLink.module.css";

/** `namespace/name`, leading to the server's page. */
export function ServerLink({ id }: { id: string }): React.JSX.Element {
  const { namespace, name } = splitId(id);
  return (
    <Link to="/servers/$namespace/$name" params={{ namespace, name }} className={styles.link} title={id}>
      <span className={styles.namespace}>{namespace}/</span>
      {name}
    </Link>
  );
}
