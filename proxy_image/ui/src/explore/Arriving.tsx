import { useEffect, useRef } from "react";

import styles from "./explore.module.css";

/** Comes into view when it appears: what somebody just asked for. */
export function Arriving({ children }: { children: React.ReactNode }): React.JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // newer browsers return a promise, which must not become the effect's clean-up
    place.current?.scrollIntoView({ block: "start" });
  }, []);
  return (
    <div ref={place} className={styles.arriving}>
      {children}
    </div>
  );
}
