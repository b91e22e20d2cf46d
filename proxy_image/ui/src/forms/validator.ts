import { type Schema, type SchemaDraft, Validator } from "@cfworker/json-schema";
import {
  type CustomValidator,
  ErrorSchemaBuilder,
  type ErrorTransformer,
  type FormContextType,
  type GenericObjectType,
  ROOT_SCHEMA_PREFIX,
  type RJSFSchema,
  type RJSFValidationError,
  type ValidationData,
  type ValidatorType,
  withIdRefPrefix,
  type UiSchema,
} from "@rjsf/utils";
import { argumentsOf } from "./arguments";
import { type JsonSchema, withoutUndefined } from "./json";
import { type Problem, problemsOf } from "./problems";

const DRAFTS: [RegExp, SchemaDraft][] = [
  [/draft-04/, "4"],
  [/draft-0[67]/, "7"],
  [/2019-09/, "2019-09"],
];
const ROOT = "https://inspector.invalid/form";

export interface Checked {
  problems: Problem[];
  /** Why the schema itself can't be used (an invalid pattern, a reference to nowhere): nothing was checked then. */
  unusable?: string;
}

/** JSON Schema 2020-12 is MCP's default where `$schema` says nothing (SEP-1613). */
export function draftOf(schema: JsonSchema): SchemaDraft {
  const uri = typeof schema.$schema === "string" ? schema.$schema : "";
  return DRAFTS.find(([pattern]) => pattern.test(uri))?.[1] ?? "2020-12";
}

/** Checks a value against a schema by interpretation: the page's policy allows no compiled code. Never raises. */
export function check(schema: JsonSchema, value: unknown): Checked {
  try {
    const validator = new Validator(structuredClone(schema) as Schema, draftOf(schema), false);
    const result = validator.validate(withoutUndefined(value) ?? null);
    return { problems: result.valid ? [] : problemsOf(result.errors) };
  } catch (error) {
    return { problems: [], unusable: error instanceof Error ? error.message : String(error) };
  }
}

/** What the form library needs of a validator, which always checks against the tool's own schema. */
export class FormValidator<F extends FormContextType = GenericObjectType> implements ValidatorType<unknown, RJSFSchema, F> {
  /** `own`: the schema as the server declared it; what the form shows may be simpler. */
  constructor(private readonly own: JsonSchema) {}

  validateFormData(
    formData: unknown,
    _schema: RJSFSchema,
    _custom?: CustomValidator<unknown, RJSFSchema, F>,
    transform?: ErrorTransformer<unknown, RJSFSchema, F>,
    uiSchema?: UiSchema<unknown, RJSFSchema, F>,
  ): ValidationData<unknown> {
    // as it will be sent: without what was left empty
    const { problems } = check(this.own, argumentsOf(formData, this.own));
    const errors = problems.map(formError);
    const builder = new ErrorSchemaBuilder();
    // By path and not by toErrorSchema: names with dots in them have fields too.
    for (const { path, message } of problems) builder.addErrors(message, path.map(String));
    return { errors: transform ? transform(errors, uiSchema) : errors, errorSchema: builder.ErrorSchema };
  }

  /** Does data fit a part of the schema? The library asks this to choose the branch of a union. */
  isValid(schema: RJSFSchema, formData: unknown, rootSchema: RJSFSchema): boolean {
    try {
      const part = withIdRefPrefix(structuredClone(withoutUndefined(schema)) as RJSFSchema) as Schema;
      const validator = new Validator({ ...part, $id: ROOT }, draftOf(rootSchema), true);
      validator.addSchema(structuredClone(withoutUndefined(rootSchema)) as Schema, ROOT_ID);
      return validator.validate(withoutUndefined(formData) ?? null).valid;
    } catch {
      return false;
    }
  }

  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- as the library declares it
  rawValidation<Result = unknown>(_schema: RJSFSchema, formData?: unknown): { errors?: Result[]; validationError?: Error } {
    const { problems, unusable } = check(this.own, formData ?? {});
    return unusable ? { validationError: new Error(unusable) } : { errors: problems as Result[] };
  }
}

const ROOT_ID = new URL(ROOT_SCHEMA_PREFIX, ROOT).href;

function formError({ path, message, keyword }: Problem): RJSFValidationError {
  const property = `.${path.join(".")}`;
  return { name: keyword, message, property, stack: `${pathText(path)} ${message}`.trim() };
}

/** A path as people write it: `filters[0].field`. */
export function pathText(path: readonly (string | number)[]): string {
  return path.map((name, index) => (typeof name === "number" ? `[${name}]` : index ? `.${name}` : name)).join("");
}
