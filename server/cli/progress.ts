/** How far a command is: a bar on a terminal, a line every now and then elsewhere. */
const WIDTH = 30;
const BAR_MS = 100;
const LINE_MS = 5_000;

export class Progress {
  readonly #terminal: boolean;
  readonly #lines: boolean;
  #drawnAt = Number.NEGATIVE_INFINITY;

  /** @param lines whether to write lines where there is no terminal */
  constructor(terminal: boolean, lines: boolean) {
    this.#terminal = terminal;
    this.#lines = lines;
  }

  show(what: string, done: number, total: number): void {
    const now = performance.now();
    if (now - this.#drawnAt < (this.#terminal ? BAR_MS : LINE_MS) && done < total) return;
    if (!this.#terminal && !this.#lines) return;
    this.#drawnAt = now;
    if (!this.#terminal) {
      process.stderr.write(`${what} ${done}/${total}\n`);
      return;
    }
    const filled = total === 0 ? WIDTH : Math.round((Math.min(done, total) / total) * WIDTH);
    process.stderr.write(`\r${what} [${'='.repeat(filled)}${' '.repeat(WIDTH - filled)}] ${done}/${total}\x1b[K`);
  }

  /** Makes room for other lines. */
  clear(): void {
    if (this.#terminal) process.stderr.write('\r\x1b[K');
  }
}
