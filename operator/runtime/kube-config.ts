/** The one part of the library that is used; a bundle is made of what this names. */
export { KubeConfig } from '@kubernetes/client-node';
