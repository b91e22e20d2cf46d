/** Values as people read them. Pure; unknown is an en dash. */

export const UNKNOWN = "–";

/** `0.42 ms`, `12 ms`, `1.3 s`. */
export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 60_000) return `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s`;
  return duration(value / 1000);
}

/** `850`, `12.4k`, `3.1M`. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  if (value < 10_000) return value.toLocaleString("en");
  if (value < 999_950) return `${(value / 1000).toFixed(1)}k`;
  return `${(value / 1_000_000).toFixed(1)}M`;
}

/** A part of a whole: `0 %`, `< 0.1 %`, `2.5 %`. */
export function share(part: number, whole: number): string {
  if (whole <= 0) return UNKNOWN;
  if (part === 0) return "0 %";
  const percent = (100 * part) / whole;
  return percent < 0.1 ? "< 0.1 %" : `${percent.toFixed(percent < 10 ? 1 : 0)} %`;
}

/** `45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`, `1.5 y`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  if (days >= 365) return `${(days / 365).toFixed(1)} y`;
  if (days >= 14) return `${days} d`;
  return hours % 24 === 0 ? `${days} d` : `${days} d ${hours % 24} h`;
}

/** How long ago, or in how long. */
export function relative(at: string | null | undefined, now: number): string {
  const then = at === null || at === undefined ? NaN : Date.parse(at);
  if (Number.isNaN(then)) return UNKNOWN;
  const seconds = (now - then) / 1000;
  if (Math.abs(seconds) < 2) return "now";
  return seconds > 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
}

/** `namespace/name` in its parts; what has no slash has no namespace. */
export function splitId(id: string): { namespace: string; name: string } {
  const at = id.indexOf("/");
  return at < 0 ? { namespace: "", name: id } : { namespace: id.slice(0, at), name: id.slice(at + 1) };
}

/** `serverInfo` → `Server info`. */
export function words(name: string): string {
  const spaced = name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").replace(/[_-]+/g, " ").toLowerCase();
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
