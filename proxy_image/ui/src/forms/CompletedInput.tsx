import type { BaseInputTemplateProps } from "@rjsf/utils";
import { createContext, useState } from "react";

import { visible } from "~/content/text";
import { type Completion, othersOf, suggested, useCompleted } from "~/mcp/completion";

/** Of the form around: who proposes values, and what it holds now. Null: nobody does. */
export const Completing = createContext<{ completion: Completion; data: unknown } | null>(null);

interface Properties {
  input: BaseInputTemplateProps;
  completion: Completion;
  data: unknown;
  /** The form library's field; it shows `examples` of a schema as the browser's own list of suggestions. */
  field: React.ComponentType<BaseInputTemplateProps>;
}

/** A text field with what the server proposes for it, asked as soon as somebody is there: a combobox of the browser (`<datalist>`). */
export function CompletedInput({ input, completion, data, field: Field }: Properties): React.JSX.Element {
  const [wanted, setWanted] = useState(false);
  const value = typeof input.value === "string" ? input.value : "";
  const { data: found, error } = useCompleted(completion, input.name, value, othersOf(data, input.name), wanted);
  // never empty, so that nothing below moves while somebody types or reaches for a button
  const told = error !== null ? `No suggestions: ${error.message}` : found === undefined ? "The server suggests values." : suggested(found);
  return (
    <div className="form-completed" onFocus={() => setWanted(true)} onBlur={() => setWanted(false)}>
      <Field {...input} schema={{ ...input.schema, examples: error === null ? (found?.values ?? []) : [] }} />
      <p className="form-suggestions" role="status">
        {visible(told)}
      </p>
    </div>
  );
}
