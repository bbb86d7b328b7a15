/** Rows of results, and the table that shows them. */

export interface Row {
  /** What is measured, with its unit. */
  readonly what: string;
  readonly ours: number;
  /** None where the wanted number is an absolute one. */
  readonly baseline?: { readonly name: string; readonly value: number };
  /** Ours by the baseline's, in such a way that more is better. */
  readonly ratio?: number;
  readonly wanted?: Wanted;
  /** Latencies and what else belongs to the number. */
  readonly note?: string;
}

export interface Wanted {
  readonly text: string;
  readonly met: boolean;
}

/** A number that should be `bound` or more. */
export function atLeast(value: number, bound: number, aim?: number): Wanted {
  return { text: aim === undefined ? `>= ${bound}` : `>= ${bound} (aim ${aim})`, met: value >= bound };
}

/** A number that should be `bound` or less. */
export function atMost(value: number, bound: number, aim?: number): Wanted {
  return { text: aim === undefined ? `<= ${bound}` : `<= ${bound} (aim ${aim})`, met: value <= bound };
}

/** A row about speeds: more is better. */
export function speedRow(
  what: string,
  ours: number,
  baseline: { name: string; value: number },
  want: { least: number; aim?: number } | undefined,
  note?: string,
): Row {
  const ratio = ours / baseline.value;
  return {
    what,
    ours,
    baseline,
    ratio,
    ...(want && { wanted: atLeast(ratio, want.least, want.aim) }),
    ...(note !== undefined && { note }),
  };
}

/** p50 and p99, and whether the slow answers are near the usual ones. */
export function latencyNote(sample: Readonly<Record<string, number>>): string {
  return `p50 ${number(sample.p50Ms)} ms, p99 ${number(sample.p99Ms)} ms`;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(at)] ?? Number.NaN, sorted[Math.ceil(at)] ?? Number.NaN];
  return low + (high - low) * (at - Math.floor(at));
}

/** Three digits are all that a bench knows. */
export function number(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '?';
  if (value >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

/** The rows as a Markdown table, so that docs/performance.md takes it as it is. */
export function renderTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.what,
    number(row.ours),
    row.baseline === undefined ? '' : `${row.baseline.name}: ${number(row.baseline.value)}`,
    row.ratio === undefined ? '' : row.ratio.toFixed(2),
    row.wanted?.text ?? '',
    row.wanted === undefined ? '' : row.wanted.met ? 'ok' : 'missed',
    row.note ?? '',
  ]);
  const table = [['scenario', 'ours', 'baseline', 'ratio', 'wanted', '', 'also'], ...cells];
  const widths = table[0]?.map((_, column) => Math.max(3, ...table.map((line) => line[column]?.length ?? 0))) ?? [];
  const render = (line: readonly string[]) =>
    `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = table;
  return [render(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...body.map(render)].join('\n');
}
