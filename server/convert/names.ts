/** Makes the names of a seed fit ours, always in the same way, and remembers what became of each. */
export class Names {
  readonly #taken = new Set<string>();
  readonly #made = new Map<string, string>();
  readonly #fit: (wanted: string) => string;
  readonly #maxLength: number;

  constructor(fit: (wanted: string) => string, maxLength: number) {
    this.#fit = fit;
    this.#maxLength = maxLength;
  }

  /** A valid name that nobody else has. */
  make(wanted: string): string {
    const base = this.#fit(wanted);
    let name = base;
    for (let count = 2; this.#taken.has(name); count += 1) {
      const suffix = String(count);
      name = base.slice(0, this.#maxLength - suffix.length) + suffix;
    }
    this.#taken.add(name);
    if (!this.#made.has(wanted)) this.#made.set(wanted, name);
    return name;
  }

  /** What a name became, for references to it. */
  find(wanted: string): string | undefined {
    return this.#made.get(wanted);
  }

  /** The only name that was made, if there is only one. */
  get only(): string | undefined {
    return this.#taken.size === 1 ? [...this.#taken][0] : undefined;
  }
}

const CACHE_NAME_LENGTH = 45;
const STORAGE_NAME_LENGTH = 15;
const LABEL_LENGTH = 63;

function label(wanted: string, maxLength: number, fallback: string): string {
  const dashed = wanted
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-/, '');
  return dashed.slice(0, maxLength).replace(/-$/, '') || fallback;
}

export function cacheNames(): Names {
  const fit = (wanted: string): string => {
    const name = label(wanted, CACHE_NAME_LENGTH, 'cache');
    if (name === 'api') return 'api-cache';
    // It is the name of a Service too, which begins with a letter.
    return /^[a-z]/.test(name) ? name : label(`cache-${name}`, CACHE_NAME_LENGTH, 'cache');
  };
  return new Names(fit, CACHE_NAME_LENGTH);
}

export function storageNames(): Names {
  const fit = (wanted: string): string => {
    const plain = wanted.toLowerCase().replace(/[^a-z0-9]/g, '') || 'disk';
    const name = (/^[a-z]/.test(plain) ? plain : `s${plain}`).slice(0, STORAGE_NAME_LENGTH);
    return name === 'db' ? 'dbdisk' : name;
  };
  return new Names(fit, STORAGE_NAME_LENGTH);
}

export function labelNames(fallback: string): Names {
  return new Names((wanted) => label(wanted, LABEL_LENGTH, fallback), LABEL_LENGTH);
}
