import { Download, FileText } from "lucide-react";
import { useState } from "react";

import { Button } from "~/components/Button";
import { Choices } from "~/components/Fields";
import { JsonView } from "~/components/JsonView";
import { Tag } from "~/components/Status";

import { type Block, jsonOf, type Shown } from "./blocks";
import styles from "./content.module.css";
import { bytes } from "./text";
import { Inline, Text } from "./Text";

interface Properties {
  blocks: Shown[];
  label: string;
  /** Opens a resource that a result links to. */
  onOpen?: (uri: string) => void;
}

/** The parts of a result, each by its kind. */
export function Blocks({ blocks, label, onOpen }: Properties): React.JSX.Element {
  return (
    <ol className={styles.blocks} aria-label={label}>
      {blocks.map(({ block, notes }, index) => (
        <li key={index} className={styles.block}>
          <p className={styles.kind}>
            <Tag>{titleOf(block)}</Tag>
            {notes.map((note) => (
              <span key={note}>{note}</span>
            ))}
          </p>
          <One block={block} {...(onOpen === undefined ? {} : { onOpen })} />
        </li>
      ))}
    </ol>
  );
}

function titleOf(block: Block): string {
  switch (block.kind) {
    case "text":
      return "text";
    case "image":
    case "audio":
      return `${block.mimeType}, ${bytes(block.size)}`;
    case "link":
      return "link to a resource";
    case "resource":
      return block.mimeType ?? "resource";
    case "binary":
      return `${block.mimeType ?? "bytes"}, ${bytes(block.size)}`;
    case "unknown":
      return "of an unknown form";
  }
}

function One({ block, onOpen }: { block: Block; onOpen?: (uri: string) => void }): React.JSX.Element {
  switch (block.kind) {
    case "text":
      return <TextOrJson text={block.text} label="Text" />;
    case "image":
      return <img className={styles.image} src={block.source} alt={`The server's image, ${block.mimeType}`} />;
    case "audio":
      return <audio className={styles.audio} controls src={block.source} aria-label={`The server's sound, ${block.mimeType}`} />;
    case "link":
      return <ResourceLink block={block} {...(onOpen === undefined ? {} : { onOpen })} />;
    case "resource":
      return (
        <>
          <p className={styles.uri}>
            <Inline text={block.uri} />
          </p>
          <TextOrJson text={block.text} label={block.uri} />
        </>
      );
    case "binary":
      return <Binary block={block} />;
    case "unknown":
      return <JsonView value={block.value} label="Part of the result" />;
  }
}

function TextOrJson({ text, label }: { text: string; label: string }): React.JSX.Element {
  const json = jsonOf(text);
  const [plain, setPlain] = useState(true);
  if (json === undefined) return <Text text={text} label={label} />;
  return (
    <>
      <Choices
        label="Show as"
        choices={[
          { value: "text", label: "As sent" },
          { value: "json", label: "JSON" },
        ]}
        value={plain ? "text" : "json"}
        onChange={(value) => setPlain(value === "text")}
      />
      {plain ? <Text text={text} label={label} /> : <JsonView value={json} label={label} />}
    </>
  );
}

function ResourceLink({ block, onOpen }: { block: Block & { kind: "link" }; onOpen?: (uri: string) => void }): React.JSX.Element {
  return (
    <div className={styles.link}>
      <FileText size={16} aria-hidden />
      <div className={styles.linkText}>
        <p>
          <Inline text={block.name} />
        </p>
        <p className={styles.uri}>
          <Inline text={block.uri} />
        </p>
        {block.description !== undefined && (
          <p className="muted">
            <Inline text={block.description} />
          </p>
        )}
        <p className="muted">{[block.mimeType, block.size === undefined ? undefined : bytes(block.size)].filter((part) => part !== undefined).join(", ")}</p>
      </div>
      {onOpen !== undefined && <Button onClick={() => onOpen(block.uri)}>Read</Button>}
    </div>
  );
}

function Binary({ block }: { block: Block & { kind: "binary" } }): React.JSX.Element {
  const save = (): void => {
    const content = Uint8Array.from(atob(block.base64.replaceAll(/\s/g, "")), (sign) => sign.charCodeAt(0));
    // never the type that a server names: it is a file to keep, not one to open
    const url = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
    const anchor = document.createElement("a");
    anchor.href = url;
    anchor.download = "content.bin";
    anchor.click();
    URL.revokeObjectURL(url);
  };
  return (
    <div className={styles.link}>
      <div className={styles.linkText}>
        {block.uri !== undefined && (
          <p className={styles.uri}>
            <Inline text={block.uri} />
          </p>
        )}
        <p>{bytes(block.size)} that are not text</p>
      </div>
      <Button icon={Download} onClick={save}>
        Save
      </Button>
    </div>
  );
}
