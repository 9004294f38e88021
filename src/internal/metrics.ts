import * as Context from "effect/Context"

/** Makes the observer that counts the calls of one side. Only programs that switch metrics on contain it. */
export type Counting = (context: Context.Context<never>, side: "client" | "server") => object

/** The function that counts calls. A program without metrics has no such function. */
export const counting: Context.Reference<Counting | undefined> = Context.Reference<Counting | undefined>(
  "@callisto/rpc/Observability/counting",
  { defaultValue: () => undefined }
)

/** What an endpoint refuses for the sake of security. */
export type Refused = "login" | "message"

/** Counts one of them, by the name of its provider. */
export type CountRefused = (context: Context.Context<never>, refused: Refused, provider: string) => void

/** The function that counts what endpoints refuse. A program without metrics has no such function. */
export const countingRefused: Context.Reference<CountRefused | undefined> = Context.Reference<CountRefused | undefined>(
  "@callisto/rpc/Observability/countingRefused",
  { defaultValue: () => undefined }
)
