/** Texts of statements for PostgreSQL: `$1` for `?`, values as literals, names in quotes. */
import type { SqlValue, Statement } from '../sql.ts';

/** Texts are constants of this program, so there are some dozens of them. */
const translated = new Map<string, string>();

/** `?` as `$1`, `$2` ... No text holds a `?` that is not a place for a value. */
export function numbered(text: string): string {
  let known = translated.get(text);
  if (known === undefined) {
    let count = 0;
    known = text.replaceAll('?', () => `$${++count}`);
    translated.set(text, known);
  }
  return known;
}

/** Statements with their values written out, since a text of several statements takes no parameters. */
export function literalText(statements: readonly Statement[]): string {
  return statements.map(literal).join('');
}

function literal([text, ...values]: Statement): string {
  const pieces = text.split('?');
  if (pieces.length !== values.length + 1) throw new Error(`${values.length} values for: ${text}`);
  return `${pieces.map((piece, index) => (index === 0 ? piece : quoteValue(values[index - 1] ?? null) + piece)).join('')};`;
}

/**
 * PostgreSQL's literals (sql-syntax-lexical.html). Each session sets standard_conforming_strings, so that in a text
 * only the quote is special. A literal of a text has no type until its place gives it one, as a parameter has none.
 */
export function quoteValue(value: SqlValue): string {
  if (value === null) return 'NULL';
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new Error('not a number that PostgreSQL has');
    // With a space: a minus behind a minus would begin a comment.
    return value < 0 || Object.is(value, -0) ? ` ${value}` : String(value);
  }
  if (typeof value === 'string') return quoteText(value);
  return quoteText(`{${value.map((item) => (typeof item === 'number' ? String(item) : quoteItem(item))).join(',')}}`);
}

function quoteText(text: string): string {
  if (text.includes('\0')) throw new Error('a NUL in a value');
  return `'${text.replaceAll("'", "''")}'`;
}

/** An item of an array literal (arrays.html, 8.15.6): in double quotes only these and the backslash are special. */
function quoteItem(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** A name of a schema, table or channel. */
export function quoteName(name: string): string {
  if (name === '' || name.includes('\0')) throw new Error('not a name that PostgreSQL has');
  return `"${name.replaceAll('"', '""')}"`;
}
