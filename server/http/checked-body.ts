/** Bodies whose form is known are checked on their way to the storage: what is wrong with one ends it, and nothing is stored. */
import type { Body } from '../cache/index.ts';

/** Looks at a body piece by piece. Both throw `FormatError`. */
export interface BodyChecker {
  write(piece: Uint8Array): void;
  end(): void;
}

export async function* checkedBody(body: Body, checker: BodyChecker): AsyncGenerator<Uint8Array> {
  for await (const piece of body) {
    checker.write(piece);
    yield piece;
  }
  checker.end();
}

/** For small bodies: the check sees all of it at once. */
export function wholeChecker(check: (bytes: Buffer) => void): BodyChecker {
  const pieces: Uint8Array[] = [];
  return {
    write: (piece) => pieces.push(piece),
    end: () => check(Buffer.concat(pieces)),
  };
}
