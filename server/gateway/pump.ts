/** Bytes from one stream to another, never faster than they are taken. */
import { type IncomingMessage, type OutgoingMessage, validateHeaderName, validateHeaderValue } from 'node:http';

/**
 * Passes a body on, its trailers and its end too. What `from` does when it breaks is the caller's business. The function
 * that it returns stops it.
 */
export function pump(from: IncomingMessage, to: OutgoingMessage, onBytes: (bytes: number) => void): () => void {
  const onData = (piece: Buffer) => {
    onBytes(piece.length);
    if (!to.destroyed && !to.write(piece)) from.pause();
  };
  const onDrain = () => from.resume();
  const onEnd = () => {
    if (to.destroyed) return;
    if (from.rawTrailers.length > 0) to.addTrailers(pairsOf(from.rawTrailers));
    to.end();
  };
  from.on('data', onData).on('end', onEnd);
  to.on('drain', onDrain);
  return () => {
    from.off('data', onData).off('end', onEnd);
    to.off('drain', onDrain);
  };
}

/** What of the trailers can be written again: one parser takes what another would not send. */
function pairsOf(raw: readonly string[]): [name: string, value: string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = '', value = ''] = [raw[at], raw[at + 1]];
    if (isSendable(name, value)) pairs.push([name, value]);
  }
  return pairs;
}

function isSendable(name: string, value: string): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}
