import { useMe } from "~/api/queries";
import { Select } from "~/components/Fields";

/** The route that a page is about: the one in its URL, else the first. Empty: there is none. */
export function useRoutePath(wanted: string | undefined): string {
  const routes = useMe().data?.routes ?? [];
  return wanted ?? routes[0]?.path ?? "";
}

export function RouteSelect({ value, onChange }: { value: string; onChange: (path: string) => void }): React.JSX.Element | null {
  const routes = useMe().data?.routes ?? [];
  if (routes.length < 2) return null;
  return <Select label="Route" value={value} onChange={onChange} options={routes.map(({ path }) => ({ value: path, label: path }))} />;
}
