/** The description of the API, and whether an answer is what it says. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import type { Reply } from './raw-http.ts';

export const FILE = new URL('../../server/http/openapi.yaml', import.meta.url);
const METHODS = ['get', 'put', 'post', 'delete'] as const;

type Json = Readonly<Record<string, unknown>>;

export interface Operation {
  readonly id: string;
  /** In capitals. */
  readonly method: string;
  /** With `{…}` for what it is asked of. */
  readonly path: string;
  readonly tags: readonly string[];
  readonly responses: Readonly<Record<string, Json>>;
}

export class OpenApi {
  readonly document: Json;
  readonly operations: readonly Operation[];
  readonly #ajv = new Ajv2020({
    strictTypes: false,
    formats: {
      'date-time': /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
      uuid: /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
    },
  });

  constructor(text = readFileSync(FILE, 'utf8')) {
    this.document = parse(text) as Json;
    this.operations = Object.entries(this.document.paths as Record<string, Json>).flatMap(([path, item]) =>
      METHODS.filter((method) => method in item).map((method) => {
        const { operationId, tags, responses } = item[method] as Json;
        return { id: operationId, method: method.toUpperCase(), path, tags, responses } as Operation;
      }),
    );
  }

  operation(id: string): Operation {
    const found = this.operations.find((it) => it.id === id);
    assert.ok(found, id);
    return found;
  }

  /** Fails where an answer is none of those that are described, down to a field that is not told of. */
  check({ id, responses }: Operation, { status, text, headers }: Reply): void {
    const response = responses[status];
    assert.ok(response, `${id}: ${status} ${text}`);
    const content = (this.#resolve(response).content ?? {}) as Readonly<Record<string, { schema: Json }>>;
    const [type, body] = Object.entries(content)[0] ?? [];
    if (type === undefined || body === undefined) {
      assert.equal(text, '', id);
      return;
    }
    assert.equal(headers['content-type']?.split(';')[0], type, id);
    const values: unknown[] = type.includes('json')
      ? (type.includes('ndjson') ? text.trimEnd().split('\n') : [text]).map((line) => JSON.parse(line))
      : [text];
    const isRight = this.#ajv.compile(this.#whole(body.schema));
    for (const value of values)
      assert.ok(isRight(value), `${id}: ${this.#ajv.errorsText(isRight.errors)}: ${JSON.stringify(value)}`);
  }

  #resolve(value: Json): Json {
    if (typeof value.$ref !== 'string') return value;
    const { $ref, ...beside } = value;
    const found = $ref
      .split('/')
      .slice(1)
      .reduce((at: Json, name) => at[name] as Json, this.document);
    assert.ok(found, $ref);
    return { ...found, ...beside };
  }

  /** A schema with all that it refers to in it, which allows no field that it does not name. */
  #whole(schema: Json): Json {
    const { allOf = [], ...own } = this.#resolve(schema);
    const inside = (value: unknown) => this.#whole(value as Json);
    const parts = (allOf as Json[]).map(inside);
    const propertiesOf = (it: Json) => Object.entries((it.properties ?? {}) as Json);
    const properties = [...parts.flatMap(propertiesOf), ...propertiesOf(own).map(([name, it]) => [name, inside(it)])];
    const required = [...parts, own].flatMap((it) => (it.required ?? []) as string[]);
    return {
      ...own,
      ...(properties.length > 0 && {
        properties: Object.fromEntries(properties),
        required,
        additionalProperties: false,
      }),
      ...(own.items !== undefined && { items: inside(own.items) }),
      ...(own.anyOf !== undefined && { anyOf: (own.anyOf as Json[]).map(inside) }),
    };
  }
}
