import "./forms.css";

// by file: the package as a whole brings a validator that compiles code
import Form from "@rjsf/core/lib/components/Form.js";
import type { RJSFSchema, RJSFValidationError, UiSchema } from "@rjsf/utils";
import { useId, useMemo, useState } from "react";

import { Choices } from "~/components/Fields";
import type { Completion } from "~/mcp/completion";

import { argumentsOf, parseArguments } from "./arguments";
import { Completing } from "./CompletedInput";
import type { JsonObject, JsonSchema } from "./json";
import { formSchema } from "./schema";
import { templates } from "./theme";
import { check, FormValidator, pathText } from "./validator";

interface Properties {
  /** As the server declared it. */
  schema: JsonSchema;
  /** What it starts with. */
  initial?: JsonObject;
  onSubmit: (values: JsonObject) => void;
  /** Who proposes values for its texts. */
  completion?: Completion | null;
  /** Below the fields: the buttons, of which one submits. */
  children: React.ReactNode;
}

type Mode = "form" | "json";
const UI: UiSchema = {
  "ui:globalOptions": { copyable: false, enableMarkdownInDescription: false, enableMarkdownInHelp: false },
  "ui:title": "",
  "ui:description": "",
};
const DEFAULTS = { arrayMinItems: { populate: "requiredOnly" }, emptyObjectFields: "populateAllDefaults", allOf: "populateDefaults" } as const;

/** Values for a JSON Schema, by fields or as JSON text; both are checked against the schema before they are submitted. */
export function SchemaForm({ schema, initial = {}, onSubmit, completion = null, children }: Properties): React.JSX.Element {
  const [mode, setMode] = useState<Mode>("form");
  const [data, setData] = useState<unknown>(initial);
  const [text, setText] = useState("");
  const choose = (next: Mode): void => {
    if (next === "json") setText(JSON.stringify(argumentsOf(data, schema), null, 2));
    if (next === "form") {
      const parsed = parseArguments(text);
      if ("arguments" in parsed) setData(parsed.arguments);
    }
    setMode(next);
  };
  return (
    <div className="schema-form">
      <div className="schema-form-mode">
        <Choices
          label="Write arguments as"
          choices={[
            { value: "form", label: "Form" },
            { value: "json", label: "JSON" },
          ]}
          value={mode}
          onChange={choose}
        />
      </div>
      {mode === "form" ? (
        <Completing value={completion === null ? null : { completion, data }}>
          <Fields schema={schema} data={data} onChange={setData} onSubmit={onSubmit}>
            {children}
          </Fields>
        </Completing>
      ) : (
        <JsonText schema={schema} text={text} onChange={setText} onSubmit={onSubmit}>
          {children}
        </JsonText>
      )}
    </div>
  );
}

interface FieldsProperties extends Omit<Properties, "initial" | "completion"> {
  data: unknown;
  onChange: (data: unknown) => void;
}

function Fields({ schema, data, onChange, onSubmit, children }: FieldsProperties): React.JSX.Element {
  const shown = useMemo(() => formSchema(schema) as RJSFSchema, [schema]);
  const validator = useMemo(() => new FormValidator(schema), [schema]);
  const prefix = useId().replaceAll(":", "");
  const [problems, setProblems] = useState<RJSFValidationError[]>([]);
  const unusable = useMemo(() => check(schema, {}).unusable, [schema]);
  const empty = Object.keys((shown.properties as object | undefined) ?? {}).length === 0 && shown.oneOf === undefined && shown.anyOf === undefined;
  return (
    <Form
      schema={shown}
      uiSchema={UI}
      validator={validator}
      formData={data}
      idPrefix={prefix}
      templates={templates}
      experimental_defaultFormStateBehavior={DEFAULTS}
      noHtml5Validate
      showErrorList={false}
      focusOnFirstError
      useFallbackUiForUnsupportedType
      onChange={(event) => onChange(event.formData)}
      onError={setProblems}
      onSubmit={(event) => {
        setProblems([]);
        onSubmit(argumentsOf(event.formData, schema));
      }}
    >
      {empty && <p className="muted">It takes no arguments.</p>}
      {unusable !== undefined && <p className="schema-form-note">Nothing is checked here, as the schema cannot be used: {unusable}</p>}
      <Problems problems={problems.map(({ stack }) => stack)} />
      {children}
    </Form>
  );
}

function JsonText({
  schema,
  text,
  onChange,
  onSubmit,
  children,
}: Omit<Properties, "initial" | "completion"> & { text: string; onChange: (text: string) => void }): React.JSX.Element {
  const id = useId();
  const [told, setTold] = useState<string[]>([]);
  const submit = (event: React.SyntheticEvent): void => {
    event.preventDefault();
    const parsed = parseArguments(text);
    const problems =
      "problem" in parsed ? [parsed.problem] : check(schema, parsed.arguments).problems.map(({ path, message }) => `${pathText(path)} ${message}`.trim());
    setTold(problems);
    if (problems.length === 0 && "arguments" in parsed) onSubmit(parsed.arguments);
  };
  return (
    <form onSubmit={submit} noValidate>
      <label htmlFor={id} className="control-label">
        Arguments
      </label>
      <textarea
        id={id}
        className="form-control schema-form-text"
        rows={Math.min(24, Math.max(6, text.split("\n").length + 1))}
        value={text}
        spellCheck={false}
        autoCapitalize="off"
        aria-invalid={told.length > 0}
        aria-describedby={told.length > 0 ? `${id}-problems` : undefined}
        onChange={(event) => onChange(event.target.value)}
      />
      <Problems id={`${id}-problems`} problems={told} />
      {children}
    </form>
  );
}

function Problems({ id, problems }: { id?: string; problems: string[] }): React.JSX.Element | null {
  if (problems.length === 0) return null;
  return (
    <div className="schema-form-problems" role="alert" id={id}>
      <p>{problems.length === 1 ? "One value is wrong:" : `${problems.length} values are wrong:`}</p>
      <ul>
        {problems.map((problem, index) => (
          <li key={index}>{problem}</li>
        ))}
      </ul>
    </div>
  );
}
