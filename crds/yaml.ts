import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  Scalar,
  visit,
  type YAMLError,
} from 'yaml';
import type { Path } from './path.ts';

/** Something that is wrong with a text as YAML. */
export interface YamlIssue {
  line: number;
  message: string;
}

/** One document of a file: its plain value, and the lines that its parts stand on. */
export interface YamlDocument {
  value: unknown;
  line: number;
  issues: YamlIssue[];
  /** The line of a field, or of the nearest thing around it that the text holds. */
  lineOf(path: Path): number;
}

/**
 * The library's own messages quote the text around a mistake, which may be a key or a token, so each code has a
 * sentence here instead.
 */
const sentences: Readonly<Partial<Record<YAMLError['code'], string>>> = {
  ALIAS_PROPS: 'an alias (*name) can have neither tag nor anchor',
  BAD_ALIAS: 'an alias (*name) without an anchor (&name) before it',
  BAD_COLLECTION_TYPE: 'a tag that does not fit the value after it',
  BAD_DIRECTIVE: 'a line that begins with % here is a directive that YAML does not know',
  BAD_DQ_ESCAPE: 'an escape (\\) that YAML does not know: double it, or use single quotes',
  BAD_INDENT: 'wrong indentation: fields of one mapping begin in the same column',
  BAD_SCALAR_START: 'a text that begins with this character needs quotes',
  BLOCK_AS_IMPLICIT_KEY: 'two fields on one line, or a value that contains ": " and needs quotes',
  BLOCK_IN_FLOW: 'a value in several lines inside {} or []',
  DUPLICATE_KEY: 'this field appears twice in one mapping: keep one',
  KEY_OVER_1024_CHARS: 'a field name of more than 1024 characters: is a quote or a colon missing?',
  MISSING_CHAR: 'a character is missing: a colon, a quote, a comma or a closing bracket',
  MULTILINE_IMPLICIT_KEY: 'a field name that goes over several lines: is a colon missing in the line before?',
  NON_STRING_KEY: 'a field name must be a text',
  RESOURCE_EXHAUSTION: 'the document is nested too deeply',
  TAB_AS_INDENT: 'a tab in the indentation: YAML wants spaces',
  TAG_RESOLVE_FAILED: 'a tag (!name) that is not known here',
};

/** Splits a text into its documents. Mistakes are listed, never thrown; empty documents are left out. */
export function parseYaml(text: string): YamlDocument[] {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, {
    lineCounter: lines,
    prettyErrors: false,
    merge: true,
    stringKeys: true,
    logLevel: 'silent',
  });
  const documents = Array.isArray(parsed) ? parsed : [];
  return documents.map((document) => readDocument(document, lines)).filter(holdsSomething);
}

function holdsSomething(document: YamlDocument): boolean {
  return document.issues.length > 0 || (document.value !== null && document.value !== undefined);
}

function readDocument(document: Document.Parsed, lines: LineCounter): YamlDocument {
  const lineAt = (offset: number | undefined): number => Math.max(1, lines.linePos(offset ?? 0).line);
  const line = lineAt(document.contents?.range?.[0] ?? document.range[0]);
  const lineOf = (path: Path): number => lineAt(offsetOf(document, path) ?? document.contents?.range?.[0]);
  const issues = [...document.errors, ...document.warnings].map((error) => ({
    line: lineAt(error.pos[0]),
    message: `not valid YAML: ${sentences[error.code] ?? 'the text cannot be read from here on'}`,
  }));
  if (issues.length > 0) return { value: undefined, line, issues, lineOf };
  issues.push(...ambiguousWords(document, lineAt));
  try {
    return { value: document.toJS({ maxAliasCount: 100 }), line, issues, lineOf };
  } catch {
    issues.push({ line, message: 'not valid YAML: too many aliases (*name), or an alias inside its own anchor' });
    return { value: undefined, line, issues, lineOf };
  }
}

/** kubectl reads YAML 1.1, where these words are booleans; here they are texts. Quotes settle it for both. */
const booleansOfYaml11 = /^(y|Y|n|N|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$/;

function ambiguousWords(document: Document.Parsed, lineAt: (offset: number | undefined) => number): YamlIssue[] {
  const issues: YamlIssue[] = [];
  visit(document, {
    Scalar(_key, node) {
      if (node.type !== Scalar.PLAIN || typeof node.value !== 'string' || !booleansOfYaml11.test(node.value)) return;
      const line = lineAt(node.range?.[0]);
      issues.push({ line, message: `put quotes around ${node.value}: without them kubectl reads true or false` });
    },
  });
  return issues;
}

function offsetOf(document: Document.Parsed, path: Path): number | undefined {
  let node: Node | null | undefined = document.contents;
  let offset = node?.range?.[0];
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    const found = child(node, step);
    if (!found) return offset;
    offset = found.offset ?? offset;
    node = found.node;
  }
  return offset;
}

function child(
  node: Node | null | undefined,
  step: string | number,
): { node: Node | undefined; offset: number | undefined } | undefined {
  if (isMap(node)) {
    const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step));
    if (!pair || !isNode(pair.key)) return undefined;
    return { node: isNode(pair.value) ? pair.value : undefined, offset: pair.key.range?.[0] };
  }
  if (!isSeq(node) || typeof step !== 'number') return undefined;
  const item = node.items[step];
  return isNode(item) ? { node: item, offset: item.range?.[0] } : undefined;
}
