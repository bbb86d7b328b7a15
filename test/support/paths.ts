/** Paths that have to do with each other. */
import { makePath, type TestPath } from './nars.ts';

/** A path that refers to others. */
export function refer(name: string, ...to: readonly TestPath[]): TestPath {
  return makePath({ name, references: to.map((it) => `${it.hashPart}-${it.name}`) });
}

/** Another path with the same NAR, thus the same object. */
export function twin(name: string, of: TestPath): TestPath {
  const { hashPart, storePath } = makePath({ name });
  return { ...of, name, hashPart, storePath, narinfo: of.narinfo.replaceAll(of.storePath, storePath) };
}
