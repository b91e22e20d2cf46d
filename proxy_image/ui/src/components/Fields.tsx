import { Search } from "lucide-react";

import { useSingleKeys } from "~/lib/singleKeys";

import styles from "./Fields.module.css";

/** The page's search; `/` goes to it. */
export function SearchField({ label, value, onChange }: { label: string; value: string; onChange: (value: string) => void }): React.JSX.Element {
  const singleKeys = useSingleKeys();
  return (
    <div className={styles.search}>
      <Search size={15} aria-hidden />
      <input
        type="search"
        aria-label={label}
        placeholder={label}
        value={value}
        autoComplete="off"
        spellCheck={false}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") onChange("");
        }}
      />
      {singleKeys && <kbd aria-hidden>/</kbd>}
    </div>
  );
}

interface Choice<T extends string> {
  value: T;
  label: React.ReactNode;
  count?: number;
}

/** One of a few, as buttons in a row. */
export function Choices<T extends string>({ label, choices, value, onChange }: { label: string; choices: Choice<T>[]; value: T; onChange: (value: T) => void }): React.JSX.Element {
  return (
    <div role="group" aria-label={label} className={styles.choices}>
      {choices.map((choice) => (
        <button key={choice.value} type="button" className={styles.choice} aria-pressed={choice.value === value} onClick={() => onChange(choice.value)}>
          {choice.label}
          {choice.count !== undefined && <span className={styles.count}>{choice.count.toLocaleString("en")}</span>}
        </button>
      ))}
    </div>
  );
}

/** A labelled <select>. */
export function Select({ label, value, onChange, options }: { label: string; value: string; onChange: (value: string) => void; options: { value: string; label: string }[] }): React.JSX.Element {
  return (
    <label className={styles.select}>
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
    </label>
  );
}

export function Toolbar({ children }: { children: React.ReactNode }): React.JSX.Element {
  return <div className={styles.toolbar}>{children}</div>;
}
