/**
 * What the installed CRD lacks of the status that we report: it is older than we are. The API server refuses a status
 * with a field that it does not know as a whole, so what it knows is reported without the rest.
 */
import type { ApiError } from '../runtime/index.ts';

export class CrdGap {
  /** After which it is tried whether the CRD is up to date by now. */
  readonly #retryMs: number;
  #fields: readonly string[] = [];
  #until = 0;

  constructor(retryMs: number) {
    this.#retryMs = retryMs;
  }

  /** Places of the status that are left out for now, such as `storages[].movedObjects`. */
  get fields(): readonly string[] {
    return performance.now() < this.#until ? this.#fields : [];
  }

  /** Takes from the API server's refusal which fields it does not know. @returns whether that is news */
  learn(refusal: ApiError): boolean {
    const fields = [...new Set([...this.fields, ...undeclared(refusal.message)])].sort();
    const isNews = fields.join() !== this.#fields.join();
    this.#fields = fields;
    this.#until = performance.now() + this.#retryMs;
    return isNews;
  }

  /** A whole status was taken. */
  close(): void {
    this.#fields = [];
  }
}

/** Places in a message such as `.status.storages[name="disk"].objects: field not declared in schema`. */
function undeclared(message: string): string[] {
  return [...message.matchAll(/\.status\.([^\s:]+): field not declared in schema/g)].map(([, place = '']) =>
    place.replace(/\[[^\]]*\]/g, '[]'),
  );
}
