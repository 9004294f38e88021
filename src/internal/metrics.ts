import * as Context from "effect/Context"

/** Makes the observer that counts the calls of one side. Only programs that switch metrics on contain it. */
export type Counting = (context: Context.Context<never>, side: "client" | "server") => object

/** The function that counts calls. A program without metrics has no such function. */
export const counting: Context.Reference<Counting | undefined> = Context.Reference<Counting | undefined>(
  "@callisto/rpc/Observability/counting",
  { defaultValue: () => undefined }
)
