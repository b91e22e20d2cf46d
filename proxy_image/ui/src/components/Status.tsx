import { CircleCheck, CircleDashed, CircleX, Info, TriangleAlert, type LucideIcon } from "lucide-react";

import styles from "./Status.module.css";

export type Tone = "ok" | "warn" | "bad" | "idle" | "info";

const SHAPES: Record<Tone, LucideIcon> = { ok: CircleCheck, warn: TriangleAlert, bad: CircleX, idle: CircleDashed, info: Info };

/** A state by shape and by word; the colour only helps. */
export function Status({ tone, children, title, plain = false }: { tone: Tone; children: React.ReactNode; title?: string | undefined; plain?: boolean }): React.JSX.Element {
  const Shape = SHAPES[tone];
  return (
    <span className={`${styles.status} ${styles[tone]} ${plain ? styles.plain : ""}`} title={title}>
      <Shape size={13} strokeWidth={2.4} aria-hidden />
      {children}
    </span>
  );
}

/** A short fact without a judgement. */
export function Tag({ children, title }: { children: React.ReactNode; title?: string | undefined }): React.JSX.Element {
  return (
    <span className={styles.tag} title={title}>
      {children}
    </span>
  );
}
