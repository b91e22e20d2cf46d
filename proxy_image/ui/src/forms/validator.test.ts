import { describe, expect, it } from "vitest";
import { check, FormValidator, pathText } from "./validator";

const ORDER = {
  type: "object",
  required: ["customer", "items"],
  properties: {
    customer: { $ref: "#/$defs/Customer" },
    items: {
      type: "array",
      minItems: 1,
      items: { type: "object", required: ["sku"], properties: { sku: { type: "string", minLength: 1 }, count: { type: "integer", minimum: 1 } } },
    },
    priority: { enum: ["low", "high"] },
    payment: {
      oneOf: [
        { type: "object", required: ["kind", "iban"], properties: { kind: { const: "transfer" }, iban: { type: "string", pattern: "^[A-Z]{2}" } } },
        { type: "object", required: ["kind", "number"], properties: { kind: { const: "card" }, number: { type: "string" } } },
      ],
    },
    note: { anyOf: [{ type: "string" }, { type: "null" }] },
  },
  additionalProperties: false,
  $defs: { Customer: { type: "object", required: ["name"], properties: { name: { type: "string" }, mail: { type: "string", format: "email" } } } },
};
const GOOD = { customer: { name: "Ada" }, items: [{ sku: "a" }] };

function told(value: unknown): string[] {
  return check(ORDER, value).problems.map(({ path, message }) => `${pathText(path)} ${message}`);
}

describe("check", () => {
  it.each([
    ["nothing wrong", GOOD, []],
    ["a missing member, at the member", { items: [{ sku: "a" }] }, ["customer is required"]],
    ["a missing member below a reference", { customer: {}, items: [{ sku: "a" }] }, ["customer.name is required"]],
    [
      "an element of a list",
      { ...GOOD, items: [{ sku: "a" }, { sku: "", count: 0 }] },
      ["items[1].sku string is too short (0 < 1)", "items[1].count 0 is less than 1"],
    ],
    ["an empty list", { ...GOOD, items: [] }, ["items array has too few items (0 < 1)"]],
    ["a wrong type", { ...GOOD, items: "a" }, ["items must be an array"]],
    ["a choice", { ...GOOD, priority: "urgent" }, ["priority must be one of low, high"]],
    ["a format", { ...GOOD, customer: { name: "Ada", mail: "nowhere" } }, ["customer.mail must be of the format email"]],
    [
      "the branch of a union that its constant names",
      { ...GOOD, payment: { kind: "transfer", iban: "12" } },
      ["payment.iban must match the pattern of the schema"],
    ],
    ["another branch", { ...GOOD, payment: { kind: "card" } }, ["payment.number is required"]],
    ["a member that the schema does not know", { ...GOOD, colour: "red" }, ["colour is not known here"]],
  ])("tells %s", (_, value, expected) => {
    expect(told(value)).toEqual(expected);
  });

  it("treats undefined members as missing", () => {
    expect(told({ ...GOOD, customer: { name: undefined } })).toEqual(["customer.name is required"]);
  });

  it.each([
    ["a pattern that is none", { properties: { a: { type: "string", pattern: "(" } } }, { a: "x" }],
    ["a reference to nowhere", { properties: { a: { $ref: "#/$defs/gone" } } }, { a: "x" }],
  ])("says that %s makes a schema unusable", (_, schema, value) => {
    const { problems, unusable } = check(schema, value);
    expect(problems).toEqual([]);
    expect(unusable).toMatch(/./);
  });
});

describe("FormValidator", () => {
  const validator = new FormValidator(ORDER);

  it("puts errors at the fields", () => {
    const { errorSchema } = validator.validateFormData({ customer: { name: "Ada" }, items: [{ sku: "a" }, {}] }, {});
    expect(errorSchema).toEqual({ items: { 1: { sku: { __errors: ["is required"] } } } });
  });

  it("puts errors at members with strange names", () => {
    const schema = { type: "object", required: ["a.b", "it's"], properties: {} };
    const { errorSchema } = new FormValidator(schema).validateFormData({}, {});
    expect(Object.keys(errorSchema)).toEqual(["a.b", "it's"]);
  });

  it.each([
    [{ $ref: "#/$defs/Customer" }, { name: "Ada" }, true],
    [{ $ref: "#/$defs/Customer" }, {}, false],
    [{ type: "string" }, undefined, false],
  ])("knows whether %j fits %j", (schema, value, fits) => {
    expect(validator.isValid(schema as never, value, ORDER as never)).toBe(fits);
  });
});
