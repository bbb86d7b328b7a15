/** A page of the documentation as its readers use it: they save its manifests, and paste its commands. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { root } from '../../../hack/lib/places.mjs';
import { runToEnd } from '../run.ts';
import type { World } from './world.ts';

/** What a page names relative to the clone. */
const NAMED = ['charts', 'examples'];
const HEADING = /^#{1,6} (.*)$/;
/** The line by which a manifest says under which name it is saved. */
const FILE_NAME = /^# ([\w.-]+\.yaml)\n/;

interface Block {
  readonly heading: string;
  readonly language: string;
  readonly text: string;
}

export class Page {
  readonly name: string;
  readonly #blocks: readonly Block[];

  /** @param name of a file, as in `docs/install.md` */
  constructor(name: string) {
    this.name = name;
    this.#blocks = blocksOf(fs.readFileSync(path.join(root, name), 'utf8'));
  }

  /** The commands between a heading and the next one of any level; throws when there are none. */
  commands(heading: string): string {
    return this.#under(heading, 'sh')
      .map(({ text }) => text)
      .join('');
  }

  /** The manifests of a section that have a name of a file, by that name. */
  manifests(heading: string): ReadonlyMap<string, string> {
    const named = this.#blocks.filter((block) => block.heading === heading && block.language === 'yaml');
    return new Map(
      named.flatMap(({ text }): [string, string][] => {
        const name = FILE_NAME.exec(text)?.[1];
        return name === undefined ? [] : [[name, text]];
      }),
    );
  }

  #under(heading: string, language: string): readonly Block[] {
    const found = this.#blocks.filter((block) => block.heading === heading && block.language === language);
    if (found.length === 0)
      throw new Error(`${this.name} has no block \`\`\`${language} under the heading "${heading}", which a test runs`);
    return found;
  }
}

function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let heading = '';
  let open: { language: string; lines: string[] } | undefined;
  for (const line of markdown.split('\n')) {
    const fence = /^```(\w*)$/.exec(line);
    if (open && fence) {
      blocks.push({ heading, language: open.language, text: open.lines.map((it) => `${it}\n`).join('') });
      open = undefined;
    } else if (open) open.lines.push(line);
    else if (fence) open = { language: fence[1] ?? '', lines: [] };
    else heading = HEADING.exec(line)?.[1] ?? heading;
  }
  return blocks;
}

/** A reader at their terminal: in a folder with what the page names, with the story's namespace as their own. */
export class Reader {
  readonly #world: World;
  readonly #page: Page;
  readonly #folder: string;

  private constructor(world: World, page: Page, folder: string) {
    this.#world = world;
    this.#page = page;
    this.#folder = folder;
  }

  static async at(world: World, page: Page): Promise<Reader> {
    const reader = new Reader(world, page, fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-page-')));
    for (const name of NAMED) fs.symlinkSync(path.join(root, name), path.join(reader.#folder, name));
    fs.writeFileSync(reader.#kubeconfig, await world.kubectl(['config', 'view', '--raw', '--flatten']), {
      mode: 0o600,
    });
    await reader.#sh(`kubectl config set-context --current --namespace=${world.namespace}`);
    return reader;
  }

  /** Saves what a section wants saved, and pastes its commands; what they print. */
  async follow(heading: string): Promise<string> {
    for (const [name, text] of this.#page.manifests(heading)) fs.writeFileSync(path.join(this.#folder, name), text);
    return this.#sh(this.#page.commands(heading));
  }

  leave(): void {
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }

  get #kubeconfig(): string {
    return path.join(this.#folder, 'kubeconfig');
  }

  async #sh(commands: string): Promise<string> {
    const env = { ...this.#world.env, KUBECONFIG: this.#kubeconfig };
    const { code, stdout, stderr } = await runToEnd(['sh', '-euc', commands], { env, cwd: this.#folder });
    // Without what it printed: that may be a token.
    if (code !== 0) throw new Error(`${this.#page.name}, pasted:\n${commands}\nended with ${code}:\n${stderr}`);
    return stdout;
  }
}
