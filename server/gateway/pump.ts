/** Bytes from one stream to another, never faster than they are taken. */
import type { IncomingMessage, OutgoingMessage } from 'node:http';
import { pairsOf } from './headers.ts';

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
    const trailers = pairsOf(from.rawTrailers);
    if (trailers.length > 0) to.addTrailers(trailers.map(([, name, value]): [string, string] => [name, value]));
    to.end();
  };
  from.on('data', onData).on('end', onEnd);
  to.on('drain', onDrain);
  return () => {
    from.off('data', onData).off('end', onEnd);
    to.off('drain', onDrain);
  };
}
