/** Whatever goes wrong with a cache says which cache it is, once. */
export async function naming<T>(cache: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // The error itself, so that whoever maps it by class or code still can.
    if (error instanceof Error) error.message = `cache ${cache}: ${error.message}`;
    throw error;
  }
}
