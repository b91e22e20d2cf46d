import type { LucideIcon } from "lucide-react";
import type { ButtonHTMLAttributes } from "react";

import styles from "./Button.module.css";

interface ButtonProperties extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: "primary" | "plain" | "danger";
  icon?: LucideIcon;
}

export function Button({ kind = "plain", icon: Icon, className = "", children, type = "button", ...rest }: ButtonProperties): React.JSX.Element {
  return (
    <button type={type} className={`${styles.button} ${styles[kind]} ${className}`} {...rest}>
      {Icon !== undefined && <Icon size={14} aria-hidden />}
      {children}
    </button>
  );
}

/** How a link looks that stands among buttons. */
export const BUTTON_CLASS = `${styles.button} ${styles.plain} ${styles.link}`;

interface IconButtonProperties extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, "children"> {
  icon: LucideIcon;
  label: string;
}

export function IconButton({ icon: Icon, label, className = "", ...rest }: IconButtonProperties): React.JSX.Element {
  return (
    <button type="button" className={`${styles.icon} ${className}`} aria-label={label} title={label} {...rest}>
      <Icon size={16} aria-hidden />
    </button>
  );
}
