/** Requests put together and broken at random, from a seed that brings the same ones again. */
import net from 'node:net';
import type { PIECES } from '../tables/door-requests.ts';

/** Bytes that parsers trip over. */
const ODD = [
  '\0',
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  ' ',
  '\t',
  ':',
  '/',
  '//',
  '%',
  '%00',
  '?',
  '#',
  '[',
  '\\',
  '\x7f',
  '\xff',
  '"',
  ';',
  ',',
];
/** A peer that neither answers nor closes is left after so long; nothing is asserted of it. */
const PATIENCE_MS = 250;

/** mulberry32: small, and the same everywhere. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Fuzzer {
  readonly #random: () => number;
  /** Grows by what was answered as nothing before was. */
  readonly #corpus: string[];
  readonly #pieces: typeof PIECES | undefined;
  readonly #seen = new Set<string>();

  /** @param pieces from which requests are put together, beside what is in the corpus */
  constructor(seed: number, corpus: readonly string[], pieces?: typeof PIECES) {
    this.#random = randomOf(seed);
    this.#corpus = [...corpus];
    this.#pieces = pieces;
  }

  /** Some bytes for a connection, as latin1. */
  next(): string {
    const pieces = this.#chance(0.5) ? this.#pieces : undefined;
    let text = pieces === undefined ? this.#pick(this.#corpus) : this.#assemble(pieces);
    if (this.#chance(0.2)) text += this.#pick(this.#corpus);
    for (let changes = Math.floor(this.#random() * 4); changes > 0; changes--) text = this.#change(text);
    return text;
  }

  /** Picks one of several with the same chance. */
  choose(from: readonly string[]): string {
    return this.#pick(from);
  }

  /** Keeps what made a door say something new. */
  learn(door: string, input: string, answer: string): void {
    const sign = `${door} ${[...answer.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map((match) => match[1]).join(' ')}`;
    if (this.#seen.has(sign)) return;
    this.#seen.add(sign);
    this.#corpus.push(input);
  }

  #assemble({ methods, targets, headers, bodies, versions }: typeof PIECES): string {
    const line = `${this.#pick(methods)} ${this.#pick(targets)} ${this.#chance(0.8) ? 'HTTP/1.1' : this.#pick(versions)}`;
    const more = this.#chance(0.3) ? this.#pick(headers) : '';
    return `${line}\r\n${this.#pick(headers)}${more}\r\n${this.#pick(bodies)}`;
  }

  #change(text: string): string {
    const at = Math.floor(this.#random() * (text.length + 1));
    const end = Math.min(text.length, at + Math.floor(this.#random() * 20));
    switch (Math.floor(this.#random() * 6)) {
      case 0:
        return text.slice(0, at) + this.#pick(ODD) + text.slice(at);
      case 1:
        return text.slice(0, at) + this.#pick(ODD) + text.slice(end);
      case 2:
        return text.slice(0, at) + text.slice(end);
      case 3:
        return text.slice(0, at) + text.slice(at, end).repeat(2 + Math.floor(this.#random() * 50)) + text.slice(end);
      case 4:
        return text.slice(0, at);
      default:
        return text.slice(0, at) + String.fromCharCode(Math.floor(this.#random() * 256)) + text.slice(at + 1);
    }
  }

  #chance(part: number): boolean {
    return this.#random() < part;
  }

  #pick(from: readonly string[]): string {
    return from[Math.floor(this.#random() * from.length)] ?? '';
  }
}

/** Writes `input` to a door and hears what it says, until it closes or says nothing for a moment. */
export function poke(port: number, input: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(input, 'latin1'));
    let text = '';
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text += piece;
    });
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => resolve(text));
  });
}
