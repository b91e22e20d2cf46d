import { isObject, type Json } from "~/forms/json";

/** One part of a result as it is shown. Everything in it came from a server: text is text, and `source` a data: URL. */
export type Block =
  | { kind: "text"; text: string }
  | { kind: "image" | "audio"; source: string; mimeType: string; size: number }
  | { kind: "link"; uri: string; name: string; description: string | undefined; mimeType: string | undefined; size: number | undefined }
  | { kind: "resource"; uri: string; mimeType: string | undefined; text: string }
  | { kind: "binary"; uri: string | undefined; mimeType: string | undefined; base64: string; size: number }
  | { kind: "unknown"; value: Json };

export interface Shown {
  block: Block;
  /** `annotations.audience` and `priority`, in words. */
  notes: string[];
}

const IMAGE = /^image\/(png|jpeg|gif|webp|avif|bmp|svg\+xml|x-icon)$/;
const AUDIO = /^audio\/[a-z0-9.+-]+$/;
const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

/** `content` of a tool's result or a prompt's message (2026-07-28, ContentBlock); what has another form is shown as JSON. */
export function blocksOf(content: unknown): Shown[] {
  const parts: unknown[] = Array.isArray(content) ? content : content === undefined ? [] : [content];
  return parts.map((part) => ({ block: blockOf(part), notes: notesOf(part) }));
}

/** `contents` of a read (ResourceContents). */
export function contentsOf(contents: unknown): Shown[] {
  if (!Array.isArray(contents)) return [];
  return contents.map((part: unknown) => ({ block: resourceOf(part) ?? unknown(part), notes: [] }));
}

function blockOf(part: unknown): Block {
  if (!isObject(part)) return unknown(part);
  switch (part.type) {
    case "text":
      return typeof part.text === "string" ? { kind: "text", text: part.text } : unknown(part);
    case "image":
      return media("image", IMAGE, part) ?? unknown(part);
    case "audio":
      return media("audio", AUDIO, part) ?? unknown(part);
    case "resource_link":
      return linkOf(part) ?? unknown(part);
    case "resource":
      return resourceOf(part.resource) ?? unknown(part);
    default:
      return unknown(part);
  }
}

function media(kind: "image" | "audio", types: RegExp, part: Record<string, unknown>): Block | undefined {
  const { data, mimeType } = part;
  if (typeof data !== "string" || typeof mimeType !== "string" || !BASE64.test(data)) return undefined;
  if (!types.test(mimeType)) return { kind: "binary", uri: undefined, mimeType, base64: data, size: sizeOf(data) };
  return { kind, source: `data:${mimeType};base64,${data.replaceAll(/\s/g, "")}`, mimeType, size: sizeOf(data) };
}

function linkOf(part: Record<string, unknown>): Block | undefined {
  const { uri, name, title } = part;
  if (typeof uri !== "string") return undefined;
  return {
    kind: "link",
    uri,
    name: text(title) ?? text(name) ?? uri,
    description: text(part.description),
    mimeType: text(part.mimeType),
    size: typeof part.size === "number" ? part.size : undefined,
  };
}

function resourceOf(part: unknown): Block | undefined {
  if (!isObject(part) || typeof part.uri !== "string") return undefined;
  const { uri, blob } = part;
  const mimeType = text(part.mimeType);
  if (typeof part.text === "string") return { kind: "resource", uri, mimeType, text: part.text };
  if (typeof blob !== "string" || !BASE64.test(blob)) return undefined;
  if (mimeType !== undefined && IMAGE.test(mimeType)) return media("image", IMAGE, { data: blob, mimeType });
  if (mimeType !== undefined && AUDIO.test(mimeType)) return media("audio", AUDIO, { data: blob, mimeType });
  return { kind: "binary", uri, mimeType, base64: blob, size: sizeOf(blob) };
}

function notesOf(part: unknown): string[] {
  const annotations = isObject(part) ? part.annotations : undefined;
  if (!isObject(annotations)) return [];
  const { audience, priority } = annotations;
  const notes: string[] = [];
  if (Array.isArray(audience) && audience.length > 0) notes.push(`for ${audience.map(String).join(" and ")}`);
  if (typeof priority === "number") notes.push(`priority ${priority}`);
  return notes;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function unknown(value: unknown): Block {
  return { kind: "unknown", value: value as Json };
}

/** Bytes that base64 text stands for. */
export function sizeOf(base64: string): number {
  const signs = base64.replaceAll(/\s/g, "");
  return Math.floor((signs.replace(/=+$/, "").length * 3) / 4);
}

/** A text that is JSON with members or elements, so that it can be shown as such. */
export function jsonOf(value: string): Json | undefined {
  if (!/^\s*[[{]/.test(value)) return undefined;
  try {
    return JSON.parse(value) as Json;
  } catch {
    return undefined;
  }
}
