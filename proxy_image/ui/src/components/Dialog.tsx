import { X } from "lucide-react";
import { useEffect, useId, useRef } from "react";

import { IconButton } from "./Button";
import styles from "./Dialog.module.css";

interface Properties {
  open: boolean;
  onClose: () => void;
  label: string;
  /** At the left edge, as a menu. */
  side?: boolean;
  children: React.ReactNode;
}

/** A modal <dialog>: the browser keeps the focus within, Esc closes it, and the focus returns. */
export function Dialog({ open, onClose, label, side = false, children }: Properties): React.JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const element = dialog.current;
    if (element === null) return;
    if (open && !element.open) element.showModal();
    if (!open && element.open) element.close();
  }, [open]);
  return (
    <dialog
      ref={dialog}
      className={`${styles.dialog} ${side ? styles.side : ""}`}
      aria-labelledby={heading}
      onClose={onClose}
      onClick={(event) => {
        if (event.target === dialog.current) onClose(); // the backdrop
      }}
    >
      {open && (
        <div className={styles.inner}>
          <header className={styles.head}>
            <h2 id={heading}>{label}</h2>
            <IconButton icon={X} label="Close" onClick={onClose} />
          </header>
          {children}
        </div>
      )}
    </dialog>
  );
}
