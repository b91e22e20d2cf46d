/** An address that may stand in a link: http and https alone; `javascript:` and others are null. */
export function webAddress(text: string | null | undefined): string | null {
  if (text === null || text === undefined) return null;
  try {
    const url = new URL(text);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}
