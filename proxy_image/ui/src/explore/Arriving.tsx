import { useEffect, useRef } from "react";

import styles from "./explore.module.css";

/** Comes into view when it appears and each time that `of` changes: what somebody just asked for. Where it is seen already nothing moves. */
export function Arriving({ of, children }: { of: string; children: React.ReactNode }): React.JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    // what is longer than the window is seen from its beginning
    place.current?.scrollIntoView({ block: "nearest", behavior: calm ? "instant" : "smooth" });
  }, [of]);
  return (
    <div ref={place} className={styles.arriving}>
      {children}
    </div>
  );
}
