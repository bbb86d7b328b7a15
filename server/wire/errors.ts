/** An address, a network or a flag about them that cannot be used; the message is for the person who wrote it. */
export class AddressError extends Error {
  override readonly name = 'AddressError';
}
