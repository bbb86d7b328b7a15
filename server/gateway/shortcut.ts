/** Lets a long answer pass by the parser, once that has read the head and what came with it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { divert } from './line.ts';

/** Below, a connection that can be used again is worth more. */
const LEAST_BYTES = 2 ** 20;

export interface ShortcutInit {
  /** Ends the pump that has begun with the answer. */
  readonly stop: () => void;
  readonly onBytes: (bytes: number) => void;
}

/** Begins by itself, behind the pump, where it can be. What it returns tells whether all has been passed on by this way. */
export function shortcut(answer: IncomingMessage, to: ServerResponse, { stop, onBytes }: ShortcutInit): () => boolean {
  const { headers, socket } = answer;
  let left = headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : 0;
  let isDiverted = false;
  const onData = (piece: Buffer) => {
    left -= piece.length;
    if (left < LEAST_BYTES) answer.off('data', onData);
    // What was read but not passed on yet would be overtaken.
    if (left < LEAST_BYTES || answer.readableLength > 0 || socket.readableLength > 0) return;
    isDiverted = divert(socket, to, left, (bytes) => {
      left -= bytes;
      onBytes(bytes);
    });
    if (isDiverted) stop();
    answer.off('data', onData);
  };
  if (left >= LEAST_BYTES) answer.on('data', onData);
  return () => isDiverted && left === 0;
}
