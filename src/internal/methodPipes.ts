/**
 * The pipes of a method.
 */

type ByName<Element> = { readonly [name: string]: Element }

/** The pipes of a method in their order; `undefined` where it has none. */
export const pipesOf = <Element>(
  { inPipe, outPipe }: { readonly inPipe: ByName<Element>; readonly outPipe: ByName<Element> }
): ReadonlyArray<{ readonly name: string; readonly isIn: boolean; readonly element: Element }> | undefined => {
  const pipes = [
    ...Object.entries(inPipe).map(([name, element]) => ({ name, element, isIn: true })),
    ...Object.entries(outPipe).map(([name, element]) => ({ name, element, isIn: false }))
  ]
  return pipes.length === 0 ? undefined : pipes
}
