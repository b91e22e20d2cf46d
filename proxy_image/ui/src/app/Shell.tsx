import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { Keyboard, LogOut, Menu, Monitor, Moon, Pause, Play, Sun, UserRound } from "lucide-react";
import { useEffect, useRef, useState } from "react";

import { setCredential, getCredential } from "~/api/credential";
import { asProblem } from "~/api/problem";
import { useMe } from "~/api/queries";
import type { Me } from "~/api/types";
import { Button, IconButton } from "~/components/Button";
import { Loading } from "~/components/Loading";
import { ProblemPanel } from "~/components/ProblemPanel";
import { setLive, useLive } from "~/lib/live";
import { nextTheme, setTheme, useTheme } from "~/lib/theme";

import { Dialog } from "~/components/Dialog";

import { Brand } from "./Brand";
import { shownGroups } from "./navigation";
import styles from "./Shell.module.css";
import { ShortcutList } from "./ShortcutList";
import { focusSearch, useShortcuts } from "./shortcuts";
import { SignIn } from "./SignIn";

/** What stands around every page; asks who is there first. */
export function Shell(): React.JSX.Element {
  const me = useMe();
  if (me.data !== undefined && !(me.data.required && me.data.caller === null) && !(me.isError && asProblem(me.error).unauthenticated)) {
    return <Frame me={me.data} unreachable={me.isError} />;
  }
  if (me.isPending) return <Loading label="Asking the gateway" full />;
  const problem = me.isError ? asProblem(me.error) : null;
  if (problem !== null && !problem.unauthenticated) {
    return (
      <main className={styles.alone}>
        <ProblemPanel problem={problem} retry={() => void me.refetch()} />
      </main>
    );
  }
  return <SignIn refused={getCredential() === null ? null : problem} />;
}

function Frame({ me, unreachable }: { me: Me; unreachable: boolean }): React.JSX.Element {
  const [menu, setMenu] = useState(false);
  const [help, setHelp] = useState(false);
  const main = useRef<HTMLElement>(null);
  const theme = useTheme();
  const navigate = useNavigate();
  const groups = shownGroups(me);
  const pages = Object.fromEntries(groups.flatMap((group) => group.items).map((item) => [`g ${item.key}`, () => void navigate({ to: item.to })]));
  useShortcuts({ ...pages, "/": focusSearch, "?": () => setHelp(true), t: () => setTheme(nextTheme(theme)) });
  useArrival(main);
  return (
    <div className={styles.frame}>
      <button type="button" className={styles.skip} onClick={() => main.current?.focus()}>
        Skip to content
      </button>
      <header className={styles.bar}>
        <IconButton icon={Menu} label="Menu" className={styles.menuButton} onClick={() => setMenu(true)} />
        <Brand name={me.proxy.name} />
        <div className={styles.tools}>
          <LiveSwitch />
          <ThemeSwitch />
          <IconButton icon={Keyboard} label="Keyboard shortcuts" className={styles.wide} onClick={() => setHelp(true)} />
          <Caller me={me} />
        </div>
      </header>
      <nav className={styles.side} aria-label="Pages">
        <Links me={me} />
        <Foot me={me} />
      </nav>
      <main ref={main} tabIndex={-1} className={styles.main} id="content">
        {unreachable && (
          <p className={styles.lost} role="status">
            The gateway does not answer. What you see is what it said last.
          </p>
        )}
        <Outlet />
      </main>
      <Dialog open={menu} onClose={() => setMenu(false)} label="Menu" side>
        <nav aria-label="Pages">
          <Links me={me} chosen={() => setMenu(false)} />
        </nav>
        <Button
          icon={Keyboard}
          className={styles.keys}
          onClick={() => {
            setMenu(false);
            setHelp(true);
          }}
        >
          Keyboard shortcuts
        </Button>
        <Foot me={me} />
      </Dialog>
      <Dialog open={help} onClose={() => setHelp(false)} label="Keyboard shortcuts">
        <ShortcutList groups={groups} />
      </Dialog>
    </div>
  );
}

/** A page that was gone to is told to screen readers, and Tab goes on from its beginning. */
function useArrival(main: React.RefObject<HTMLElement | null>): void {
  const path = useRouterState({ select: (state) => state.location.pathname });
  const last = useRef(path);
  useEffect(() => {
    if (last.current === path) return;
    last.current = path;
    main.current?.scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [path, main]);
}

function Links({ me, chosen }: { me: Me; chosen?: () => void }): React.JSX.Element {
  return (
    <div className={styles.groups}>
      {shownGroups(me).map((group) => (
        <div key={group.label}>
          <h2 className={styles.group}>{group.label}</h2>
          <ul>
            {group.items.map((item) => (
              <li key={item.to}>
                <Link to={item.to} className={styles.link} activeProps={{ className: styles.here }} activeOptions={{ exact: item.to === "/" }} {...(chosen === undefined ? {} : { onClick: chosen })}>
                  <item.icon size={16} aria-hidden />
                  {item.label}
                </Link>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </div>
  );
}

function Foot({ me }: { me: Me }): React.JSX.Element {
  const { version, revision, workers, replicas } = me.proxy;
  return (
    <dl className={styles.foot}>
      <dt>Version</dt>
      <dd>{version}</dd>
      {revision !== null && (
        <>
          <dt>Revision</dt>
          <dd className="mono" title={revision}>
            {revision.slice(0, 12)}
          </dd>
        </>
      )}
      {replicas !== null && replicas > 1 && (
        <>
          <dt>Replicas</dt>
          <dd>{replicas}</dd>
        </>
      )}
      <dt>Workers</dt>
      <dd>{workers}</dd>
    </dl>
  );
}

function LiveSwitch(): React.JSX.Element {
  const live = useLive();
  return (
    <button type="button" className={styles.live} aria-pressed={live} onClick={() => setLive(!live)} title={live ? "Pages refresh by themselves: stop that" : "Refresh pages by themselves"}>
      {live ? <Pause size={14} aria-hidden /> : <Play size={14} aria-hidden />}
      <span className={styles.pulse} data-live={live} aria-hidden />
      <span>{live ? "Live" : "Paused"}</span>
    </button>
  );
}

const THEMES = { system: { icon: Monitor, label: "Theme: as the system" }, light: { icon: Sun, label: "Theme: light" }, dark: { icon: Moon, label: "Theme: dark" } };

function ThemeSwitch(): React.JSX.Element {
  const theme = useTheme();
  return <IconButton icon={THEMES[theme].icon} label={THEMES[theme].label} onClick={() => setTheme(nextTheme(theme))} />;
}

function Caller({ me }: { me: Me }): React.JSX.Element {
  if (me.caller === null) return <span className={`${styles.caller} ${styles.wide}`}>No sign-in needed</span>;
  return (
    <>
      <span className={styles.caller} title={me.caller.issuer ?? undefined}>
        <UserRound size={14} aria-hidden />
        {me.caller.name}
        {me.operator && <span className={styles.role}>operator</span>}
      </span>
      <IconButton icon={LogOut} label="Sign out" onClick={() => setCredential(null)} />
    </>
  );
}
