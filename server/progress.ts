/** How far a command has come: a bar on a terminal, a line now and then elsewhere. */
const WIDTH = 30;
const BAR_MS = 100;
const LINE_MS = 10_000;

export class Progress {
  readonly #terminal: boolean;
  readonly #title: string;
  #drawnAt: number;

  constructor(title: string, terminal: boolean) {
    this.#title = title;
    this.#terminal = terminal;
    this.#drawnAt = terminal ? Number.NEGATIVE_INFINITY : Date.now();
  }

  show(done: number, total: number): void {
    const now = Date.now();
    if (now - this.#drawnAt < (this.#terminal ? BAR_MS : LINE_MS) && (done < total || !this.#terminal)) return;
    this.#drawnAt = now;
    if (!this.#terminal) {
      process.stderr.write(`${this.#title}: ${done} of ${total} objects\n`);
      return;
    }
    const filled = total === 0 ? WIDTH : Math.min(WIDTH, Math.round((done / total) * WIDTH));
    const bar = `${'='.repeat(filled)}${' '.repeat(WIDTH - filled)}`;
    process.stderr.write(`\r${this.#title} [${bar}] ${done}/${total}\x1b[K`);
  }

  /** Takes the bar away. */
  end(): void {
    if (this.#terminal) process.stderr.write('\r\x1b[K');
  }
}
