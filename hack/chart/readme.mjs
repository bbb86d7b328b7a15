// The table of values in the chart's README. What stands around it is written by hand.
const BEGIN = '<!-- values: made by hack/generate.mjs from values.yaml -->';
const END = '<!-- /values -->';

/** The page with a fresh table. @param {string} page @param {import('./values.mjs').Value[]} values */
export function withTable(page, values) {
  const [head, rest] = page.split(BEGIN);
  const tail = rest?.split(END)[1];
  if (tail === undefined) throw new Error(`the README of the chart lacks ${BEGIN} or ${END}`);
  const rows = values.map(({ path, initial, description }) =>
    row(`\`${path.join('.')}\``, `\`${JSON.stringify(initial)}\``, description),
  );
  const table = [row('value', 'default', 'meaning'), '|---|---|---|', ...rows].join('\n');
  return `${head}${BEGIN}\n${table}\n${END}${tail}`;
}

function row(...cells) {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
