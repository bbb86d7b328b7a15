// docs/api.md: the description in server/http/openapi.yaml as a page for people.

const BASE = '/api/v1/cache/{cache}';
const METHODS = ['get', 'post', 'put', 'delete'];

/** @param {any} api the parsed description @returns {string} */
export function toApiPage(api) {
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({
      request: `${method.toUpperCase()} ${path.replace(BASE, '') || '/'}`,
      ...item[method],
      parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map((it) => resolve(api, it)),
    })),
  );
  const parts = [
    '# The API',
    '<!-- Made by hack/generate.mjs from server/http/openapi.yaml. Change that and run: node hack/generate.mjs -->',
    `${api.info.summary} ${plain(api.info.description.split('\n\n')[0])} Requests below are written without that beginning, but for those that name it.`,
    ...api.info.description.split('\n\n').slice(1).map(plain),
    `Refusals that are not told of below: ${refusals(api)}`,
    'A server hands the whole description out as OpenAPI 3.1, at `/api/v1/openapi.yaml`, without a token.',
    '```sh\ncurl -H "Authorization: Bearer $TOKEN" \'https://cache.example.org/api/v1/cache/main/paths?search=hello&limit=10\'\n```',
    ...api.tags.flatMap((tag) =>
      section(
        api,
        tag,
        operations.filter((it) => it.tags.includes(tag.name)),
      ),
    ),
    '## Answers',
    ...Object.entries(api.components.schemas)
      .filter(([name, schema]) => schema.required && name !== 'NarInfoCreate')
      .map(([name, schema]) => table(api, name, schema)),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** The usual ones, by their numbers. */
function refusals(api) {
  const uses = Object.values(api.paths).flatMap((item) =>
    METHODS.flatMap((method) => Object.entries(item[method]?.responses ?? {})),
  );
  const usual = new Map(
    uses
      .filter(([status, it]) => it.$ref && status !== '200')
      .map(([status, it]) => [`${status} ${it.$ref}`, [status, resolve(api, it)]]),
  );
  return [...usual.values()]
    .sort(([a], [b]) => a - b)
    .map(([status, { description }]) => `${status}: ${plain(description)}`)
    .join(' ');
}

function section(api, { name, description }, operations) {
  const head = [`## ${name}`, linked(description)];
  // Clients know it by heart; people look it up where decisions are.
  if (name === 'Cachix' || name === 'Server')
    return [
      ...head,
      rows(
        ['request', 'what'],
        operations.map((it) => [code(it.request), sentence(it)]),
      ),
    ];
  return [...head, ...operations.flatMap((it) => operation(api, it))];
}

function operation(api, { request, summary, description, parameters, requestBody, responses }) {
  const asked = parameters.filter((it) => it.in === 'query').map((it) => item(api, it.name, it.schema, it.description));
  const body = requestBody && Object.values(requestBody.content)[0].schema;
  const sent = body ? fields(api, body).map(([name, schema]) => item(api, name, schema)) : [];
  return [
    `### \`${request}\``,
    `${summary}. ${plain(description ?? '')}`.trim(),
    ...(asked.length > 0 ? [`Query:\n\n${asked.join('\n')}`] : []),
    ...(sent.length > 0 ? [`Body, in JSON:\n\n${sent.join('\n')}`] : []),
    answers(api, responses),
  ];
}

/** Of refusals that many requests have, the number: the beginning of the page says what they are. */
function answers(api, responses) {
  const own = [];
  const common = [];
  for (const [status, response] of Object.entries(responses)) {
    if (response.$ref && status !== '200') common.push(status);
    else own.push(`${status}: ${answer(api, response)}`);
  }
  return `${own.join(' ')}${common.length > 0 ? ` Else ${common.join(', ')}.` : ''}`;
}

function answer(api, response) {
  const { description, content = {} } = resolve(api, response);
  const schema = Object.values(content)[0]?.schema;
  const names = schema ? namesIn(schema).filter((name) => api.components.schemas[name].required) : [];
  const links = names.map((name) => `[${name}](#${name.toLowerCase()})`);
  return `${plain(description).replace(/\.$/, '')}${links.length > 0 ? ` (${links.join(', ')})` : ''}.`;
}

function table(api, name, schema) {
  const { allOf = [], description } = schema;
  const list = nested(api, '', schema).map(([field, it]) => [code(field), typeOf(api, it), text(api, it)]);
  const others = allOf.flatMap(namesIn).map((other) => `All of [${other}](#${other.toLowerCase()}), and:`);
  return [
    `### ${name}`,
    ...(description ? [plain(description)] : []),
    ...others,
    rows(['field', 'type', 'meaning'], list),
  ].join('\n\n');
}

/** Its fields, and those of objects in it that have no name: `quota.maxBytes`, `storages[].name`. */
function nested(api, prefix, schema) {
  return fields(api, schema).flatMap(([name, it]) => {
    const items = it.items ?? it;
    const inner = !items.$ref && items.properties ? nested(api, `${prefix}${name}${it.items ? '[]' : ''}.`, items) : [];
    return [[`${prefix}${name}`, it], ...inner];
  });
}

function fields(api, schema) {
  return Object.entries(resolve(api, schema).properties ?? {});
}

function item(api, name, schema, description = '') {
  const { minimum, maximum, default: standard } = resolve(api, schema);
  const words = [plain(description), text(api, schema)].filter(Boolean);
  if (maximum !== undefined) words.push(`From ${minimum} to ${maximum}.`);
  if (standard !== undefined) words.push(`Default: \`${standard}\`.`);
  return [`- \`${name}\`, ${typeOf(api, schema)}`, words.join(' ')].filter(Boolean).join(': ');
}

function text(api, schema) {
  return plain(resolve(api, schema).description ?? '');
}

function typeOf(api, schema) {
  const [name] = schema.$ref ? namesIn(schema) : [];
  const whole = resolve(api, schema);
  if (whole.enum) return whole.enum.map(code).join(', ');
  if (whole.const !== undefined) return code(JSON.stringify(whole.const));
  if (name && whole.required) return `[${name}](#${name.toLowerCase()})`;
  if (whole.anyOf) return whole.anyOf.map((it) => typeOf(api, it)).join(' or ');
  if (whole.type === 'array') return `list of ${typeOf(api, whole.items)}`;
  if (whole.type === 'object' && whole.properties?.tag)
    return code(
      `{tag: ${(whole.properties.tag.enum ?? [whole.properties.tag.const]).join(' | ')}${whole.properties.contents ? ', contents: number' : ''}}`,
    );
  const types = [whole.type].flat();
  const words = { string: whole.format === 'date-time' ? 'date' : 'text', integer: 'number', boolean: 'true or false' };
  return types.map((type) => words[type] ?? type).join(' or ');
}

/** Names of the schemas that a schema is, or is a list or a choice of. */
function namesIn(schema) {
  if (schema.$ref) return [schema.$ref.split('/').at(-1)];
  if (schema.items) return namesIn(schema.items);
  if (schema.anyOf) return schema.anyOf.flatMap(namesIn);
  return Object.values(schema.properties ?? {}).flatMap((it) => (it.type === 'array' || it.$ref ? namesIn(it) : []));
}

function resolve(api, it) {
  if (!it.$ref) return it;
  const [, ...names] = it.$ref.split('/');
  const { $ref: _, ...beside } = it;
  return { ...names.reduce((at, name) => at[name], api), ...beside };
}

const sentence = ({ summary, description }) => `${summary}. ${plain(description ?? '')}`.trim();
const code = (text) => `\`${text}\``;
const plain = (text) => text.trim().replace(/\s*\n\s*/g, ' ');
const linked = (text) => plain(text).replace('protocol-cachix.md', '[protocol-cachix.md](protocol-cachix.md)');

function rows(head, list) {
  const line = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), `${'|---'.repeat(head.length)}|`, ...list.map(line)].join('\n');
}
