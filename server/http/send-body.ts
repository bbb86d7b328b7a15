import type { ServerResponse } from 'node:http';
import { finished, type Readable } from 'node:stream';
import { buffers } from '../buffers/index.ts';
import { ObjectMissingError } from '../storage/index.ts';

/** Sends all of an answer whose head is out. */
export function sendWhole(body: Buffer, response: ServerResponse): void {
  response.write(body, () => buffers.giveBack(body));
  response.end();
}

/**
 * Sends a body whose head is out. False: it ended before its time, and so did the answer; a client that was told the length
 * would wait for the rest. A client that goes away in the middle of a download is no fault of ours.
 */
export function sendBody(body: Readable, length: number, response: ServerResponse): Promise<boolean> {
  let sent = 0;
  let isShort = false;
  body.on('data', (piece: Buffer) => {
    sent += piece.length;
    // Once it has left, and not earlier, its buffer may be filled again.
    if (!response.write(piece, () => buffers.giveBack(piece))) body.pause();
  });
  response.on('drain', () => body.resume());
  body.once('end', () => {
    isShort = sent < length;
    if (isShort) response.destroy();
    else response.end();
  });
  body.once('error', (error) => {
    isShort = error instanceof ObjectMissingError;
    response.destroy();
  });
  return new Promise((resolve) => {
    finished(response, () => {
      body.destroy();
      resolve(!isShort);
    });
  });
}
