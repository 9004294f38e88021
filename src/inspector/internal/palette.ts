/**
 * The states of a call as a person sees them: their names and their colours.
 */

/** A state that is drawn: a client waits while its server runs; then the call has ended in one of four ways. */
export type Shade = "waiting" | "running" | "replied" | "cancelled" | "aborted" | "lost"

/** A colour on light and on dark ground. As text on `ground` each has a contrast of at least 4.5. */
export interface Colour {
  readonly light: string
  readonly dark: string
}

/** The colours of the states. Neighbours differ in lightness too, for people who do not tell the hues apart. */
export const palette: { readonly [S in Shade]: Colour } = {
  waiting: { light: "#8a5a00", dark: "#e0af4f" },
  running: { light: "#0b63c5", dark: "#6db0ff" },
  replied: { light: "#16743c", dark: "#58c983" },
  cancelled: { light: "#6a4bb0", dark: "#b79cf5" },
  aborted: { light: "#b3261e", dark: "#ff8a80" },
  lost: { light: "#5a6270", dark: "#a3adba" }
}

/** The background of the colours. */
export const ground: Colour = { light: "#ffffff", dark: "#14171c" }
