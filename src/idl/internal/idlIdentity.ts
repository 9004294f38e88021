/**
 * UUIDs and versions as they stand in attributes.
 */

/** The UUID in the parentheses of `uuid`: bare, quoted or in braces. */
export const parseUuid = (text: string | undefined): string | undefined =>
  /^[\s"{(]*([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})[\s"})]*$/i.exec(text ?? "")?.[1]?.toLowerCase()

/** `3`, `1.10`: a major and a minor version. */
export const parseVersion = (text: string | undefined): readonly [major: number, minor: number] | undefined => {
  const [, major, minor = "0"] = /^\s*(\d{1,5})(?:\.(\d{1,5}))?\s*$/.exec(text ?? "") ?? []
  if (major === undefined || Number(major) > 0xffff || Number(minor) > 0xffff) return undefined
  return [Number(major), Number(minor)]
}

/** Writes a version. */
export const formatVersion = ([major, minor]: readonly [number, number], separator = "."): string =>
  `${major}${separator}${minor}`
