import {
  ADDITIONAL_PROPERTY_FLAG,
  type ArrayFieldItemTemplateProps,
  type BaseInputTemplateProps,
  buttonId,
  errorId,
  type FieldErrorProps,
  type IconButtonProps,
  type MultiSchemaFieldTemplateProps,
  type TemplatesType,
  type TitleFieldProps,
  type WrapIfAdditionalTemplateProps,
} from "@rjsf/utils";
import getDefaultRegistry from "@rjsf/core/lib/getDefaultRegistry.js";
import { ArrowDown, ArrowUp, Copy, type LucideIcon, Plus, X } from "lucide-react";
import { isValidElement, use } from "react";

import { Button, IconButton } from "~/components/Button";

import { CompletedInput, Completing } from "./CompletedInput";

/** How the form library's fields look here. Titles and descriptions come from servers: they are text. */

const PlainInput = getDefaultRegistry().templates.BaseInputTemplate;

function iconButton(icon: LucideIcon, label: string) {
  return function FormIconButton({ id, onClick, disabled, className }: IconButtonProps): React.JSX.Element {
    return <IconButton id={id} icon={icon} label={label} onClick={onClick} disabled={disabled} className={className} />;
  };
}

function AddButton({ id, onClick, disabled, className }: IconButtonProps): React.JSX.Element {
  return (
    <Button id={id} icon={Plus} onClick={onClick} disabled={disabled} className={className}>
      Add
    </Button>
  );
}

function ArrayItem({ children, buttonsProps, hasToolbar, registry, index }: ArrayFieldItemTemplateProps): React.JSX.Element {
  const { ArrayFieldItemButtonsTemplate } = registry.templates;
  return (
    <div className="form-item" role="group" aria-label={`Element ${index + 1}`}>
      <div className="form-item-field">{children}</div>
      {hasToolbar && (
        <div className="form-item-buttons">
          <ArrayFieldItemButtonsTemplate {...buttonsProps} />
        </div>
      )}
    </div>
  );
}

function Input(properties: BaseInputTemplateProps): React.JSX.Element {
  const completing = use(Completing);
  const wrong = (properties.rawErrors?.length ?? 0) > 0;
  const input = { ...properties, autoComplete: "off", spellCheck: false, "aria-invalid": wrong };
  return completing === null ? <PlainInput {...input} /> : <CompletedInput {...completing} input={input} field={PlainInput} />;
}

function FieldErrors({ errors = [], fieldPathId }: FieldErrorProps): React.JSX.Element | null {
  if (errors.length === 0) return null;
  return (
    <ul id={errorId(fieldPathId)} className="form-errors">
      {errors.map((error, index) => (
        <li key={index}>{error}</li>
      ))}
    </ul>
  );
}

function Union({ selector, optionSchemaField, schema }: MultiSchemaFieldTemplateProps): React.JSX.Element {
  // the selector is labelled with the name of a field without a title
  const named = isValidElement<{ label?: string }>(selector) ? selector.props.label : undefined;
  const title = schema.title ?? named ?? "value";
  return (
    <div className="form-union">
      <label className="form-union-choice">
        <span>Kind of {title}</span>
        {selector}
      </label>
      {optionSchemaField}
    </div>
  );
}

function Title({ id, title, required }: TitleFieldProps): React.JSX.Element {
  return (
    <legend id={id}>
      {title}
      {required === true && <span className="required">*</span>}
    </legend>
  );
}

function Additional({
  id,
  classNames,
  disabled,
  label,
  onKeyRenameBlur,
  onRemoveProperty,
  readonly,
  schema,
  children,
  registry,
}: WrapIfAdditionalTemplateProps): React.JSX.Element {
  const plain = <div className={`form-group ${classNames ?? ""}`}>{children}</div>;
  if (!(ADDITIONAL_PROPERTY_FLAG in schema)) return plain;
  const { RemoveButton } = registry.templates.ButtonTemplates;
  return (
    <div className="form-member">
      <div className="form-member-name">
        <label htmlFor={`${id}-key`}>Name</label>
        <input id={`${id}-key`} type="text" className="form-control" defaultValue={label} key={label} onBlur={onKeyRenameBlur} autoComplete="off" />
      </div>
      {plain}
      <RemoveButton id={buttonId(id, "remove")} disabled={disabled || readonly} onClick={onRemoveProperty} registry={registry} />
    </div>
  );
}

export const templates: Partial<TemplatesType> = {
  ArrayFieldItemTemplate: ArrayItem,
  BaseInputTemplate: Input,
  FieldErrorTemplate: FieldErrors,
  MultiSchemaFieldTemplate: Union,
  TitleFieldTemplate: Title,
  WrapIfAdditionalTemplate: Additional,
  ButtonTemplates: {
    AddButton,
    CopyButton: iconButton(Copy, "Copy"),
    ClearButton: iconButton(X, "Clear"),
    MoveDownButton: iconButton(ArrowDown, "Move down"),
    MoveUpButton: iconButton(ArrowUp, "Move up"),
    RemoveButton: iconButton(X, "Remove"),
    SubmitButton: () => null,
  },
};
