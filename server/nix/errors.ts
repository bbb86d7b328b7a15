/** What is wrong with a text or a stream that claims to be in one of Nix's formats. */
export class FormatError extends Error {
  readonly code = 'bad-format';
  /** The field or format that is wrong, in Nix's own words: `NarHash`, `StorePath`, `NAR`. */
  readonly field: string;

  /** `message` is one line of printable ASCII that names the field: it may be sent to a client as it is. */
  constructor(field: string, message: string) {
    super(message);
    this.name = 'FormatError';
    this.field = field;
  }
}

// Enough to recognise a store path by, short enough for a log line.
const SHOWN_LENGTH = 80;

/**
 * Quotes text of unknown origin for an error message: printable ASCII, cut after 80 characters.
 * Never give it a secret.
 */
export function shown(text: string): string {
  const cut = text.length > SHOWN_LENGTH ? `${text.slice(0, SHOWN_LENGTH)}...` : text;
  return `'${cut.replace(/[^ -~]/g, '?')}'`;
}
