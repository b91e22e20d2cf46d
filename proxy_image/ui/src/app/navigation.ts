import { Activity, FileDiff, FileText, History, KeyRound, MessageSquareText, Server, Wrench, type LucideIcon } from "lucide-react";

import type { Me } from "~/api/types";

export interface NavigationItem {
  /** The page's path in the router. */
  to: string;
  label: string;
  icon: LucideIcon;
  /** Pressed after `g`. */
  key: string;
  /** Whether this gateway and caller have it; left out: always. */
  shown?: (me: Me) => boolean;
}

export interface NavigationGroup {
  label: string;
  items: NavigationItem[];
}

/** The menu. Adding a page is a line here, one in `router.tsx`, and a folder under `pages/`. */
export const NAVIGATION: NavigationGroup[] = [
  {
    label: "Servers",
    items: [
      { to: "/", label: "Fleet", icon: Server, key: "f" },
      { to: "/definitions", label: "Definitions", icon: FileDiff, key: "d", shown: (me) => me.features.pinning },
    ],
  },
  {
    label: "Offered",
    items: [
      { to: "/tools", label: "Tools", icon: Wrench, key: "t" },
      { to: "/resources", label: "Resources", icon: FileText, key: "r" },
      { to: "/prompts", label: "Prompts", icon: MessageSquareText, key: "p" },
    ],
  },
  {
    label: "Gateway",
    items: [
      { to: "/traffic", label: "Traffic", icon: Activity, key: "l", shown: (me) => me.features.traffic },
      { to: "/sessions", label: "Sessions", icon: KeyRound, key: "s" },
      { to: "/swaps", label: "Swaps", icon: History, key: "w" },
    ],
  },
];

export function shownGroups(me: Me): NavigationGroup[] {
  return NAVIGATION.map((group) => ({ ...group, items: group.items.filter((item) => item.shown?.(me) ?? true) })).filter((group) => group.items.length > 0);
}
