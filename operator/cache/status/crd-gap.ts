/**
 * What the installed CRD lacks of the status that we report: it is older than we are. The API server refuses a status
 * with a field that it does not know as a whole, so what it knows is reported without the rest.
 */
import type { Logger } from 'pino';
import type { ApiError } from '../../runtime/index.ts';

export interface CrdGapInit {
  readonly logger: Logger;
  /** After which it is tried whether the CRD is up to date by now. */
  readonly retryMs: number;
}

export class CrdGap {
  readonly #init: CrdGapInit;
  readonly #told = new Set<string>();
  #fields: readonly string[] = [];
  #until = 0;

  constructor(init: CrdGapInit) {
    this.#init = init;
  }

  /** Places of the status that are left out for now, such as `storages[].movedObjects`. */
  get fields(): readonly string[] {
    return performance.now() < this.#until ? this.#fields : [];
  }

  /** Takes from the API server's refusal which field it does not know: it names one at a time. False if none is new. */
  learn(refusal: ApiError): boolean {
    const before = this.fields;
    this.#fields = [...new Set([...before, ...undeclared(refusal.message)])].sort();
    this.#until = performance.now() + this.#init.retryMs;
    for (const field of this.#fields.filter((it) => !this.#told.has(it))) {
      this.#told.add(field);
      this.#init.logger.error({ field: `status.${field}` }, 'the installed CRD is too old: it does not know a field');
    }
    return this.#fields.length > before.length;
  }
}

/** Places in a message such as `.status.storages[name="disk"].objects: field not declared in schema`. */
function undeclared(message: string): string[] {
  return [...message.matchAll(/\.status\.([^\s:]+): field not declared in schema/g)].map(([, place = '']) =>
    place.replace(/\[[^\]]*\]/g, '[]'),
  );
}
