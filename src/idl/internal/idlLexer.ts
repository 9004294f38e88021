/**
 * From the bytes of an IDL file to tokens: decoding, comments, and the preprocessor.
 *
 * Nothing here throws, and each loop ends: what macros and includes add is taken from one {@link Budget}.
 */
import { Suggestions } from "./idlNearest.ts"
import type { Place, Problem } from "./idlSyntax.ts"

/** The largest file that is read, in bytes or characters. */
export const maximumSize: number = 16 * 1024 * 1024

/** The same for a file and all that it imports and includes. */
export const maximumSizeOfAll: number = 64 * 1024 * 1024

/** The most tokens that one import reads, counted where macros and includes are expanded. */
export const maximumTokens = 2_000_000

/** The most tokens that macros make, and the most characters that includes add, from files of so many characters. */
export const maximumExpansion = (size: number): number => Math.min(8_000_000, 200_000 + 16 * size)
const maximumIncluded = (size: number): number => Math.min(64 * 1024 * 1024, 4 * 1024 * 1024 + 32 * size)

const maximumIncludeDepth = 32
const maximumName = 255
const maximumMacroDepth = 64
const maximumQuoted = 4096

/** The most problems that are listed for one file, and for all. */
export const maximumProblems = 100
export const maximumProblemsOfAll = 1000

// ----------------------------------------------------------------------------
// text
// ----------------------------------------------------------------------------

const decodeAs = (label: string, bytes: Uint8Array, fatal = false): string =>
  new TextDecoder(label, { fatal }).decode(bytes)

/** The text of a file in UTF-16 with mark, in UTF-8, or else in Windows-1252. */
export const decode = (bytes: Uint8Array): string => {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return decodeAs("utf-16le", bytes)
  try {
    return decodeAs("utf-8", bytes, true)
  } catch {
    return decodeAs("windows-1252", bytes)
  }
}

/** Line ends as LF. Quotes and dashes of word processors become plain ones. No line changes its length. */
const clean = (text: string): string =>
  text.replace(/\r\n?/g, "\n").replace(/[“”]/g, '"').replace(/[‘’]/g, "'").replace(/[–—]/g, "-")

/** A list of problems that keeps the first hundred of each file, and the first thousand. */
export class Problems {
  readonly all: Array<Problem> = []
  readonly suggestions: Suggestions = new Suggestions()
  private readonly counts = new Map<string, number>()
  private isFull = false

  add(severity: "error" | "warning", { column, file, line }: Place, message: string): void {
    if (this.isFull) return
    const more = (where: string, count: number): void => {
      const message = `${where}: more than ${count} problems. Correct those above first.`
      this.all.push({ severity: "error", file, line, column, message })
    }
    const count = (this.counts.get(file) ?? 0) + 1
    this.counts.set(file, count)
    if (count > maximumProblems + 1) return
    this.isFull = this.all.length >= maximumProblemsOfAll
    if (this.isFull) more("files", maximumProblemsOfAll)
    else if (count > maximumProblems) more("file", maximumProblems)
    else this.all.push({ severity, file, line, column, message })
  }
}

/** What all files of one import may spend together, and what they have spent. */
export interface Budget {
  /** The characters of all files that were read. */
  size: number
  tokens: number
  expanded: number
  included: number
}

// ----------------------------------------------------------------------------
// tokens
// ----------------------------------------------------------------------------

/** `Bad` is what C has no token for; its text says what is wrong. */
export type TokenKind = "Name" | "Number" | "String" | "Character" | "Punctuator" | "Bad" | "End"

/** A token and its place. A token of a macro has the place where the macro is used. */
export interface Token extends Place {
  readonly kind: TokenKind
  readonly text: string
  /** Whether it is the first of its line. */
  readonly isFirst: boolean
  /** Whether white space stands in front of it. */
  readonly isSpaced: boolean
  /** The comment directly in front of it, as it is written. */
  readonly comment: string | undefined
  /** Whether it names a macro that stands in its own expansion. */
  readonly isPainted: boolean
}

/** White space, control characters, and what web pages and word processors put between words. */
const isBlank = (code: number): boolean => code <= 32 || code === 0xa0 || code === 0x200b || code === 0xfeff

const isDigit = (code: number): boolean => code >= 48 && code <= 57

/** Letters outside of ASCII too, so that a foreign name is one name. */
const isLetter = (code: number): boolean =>
  code >= 97 && code <= 122 || code >= 65 && code <= 90 || code === 95 || code === 36 || code >= 0xc0 && isForeign(code)

const isForeign = (code: number): boolean => /\p{L}/u.test(String.fromCharCode(code))

const number = /0[xX]\w*|(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?\w*/y
const punctuator = /\.\.\.?|<<|>>|<=|>=|==|!=|&&|\|\||->|##|[-+*/%&|^~!<>=?:;,.()[\]{}#]/y

/** Splits one text into tokens. Comments and white space stand between them. */
class Lexer {
  private readonly file: string
  private readonly text: string
  private at = 0
  private line = 1
  private lineStart = 0
  private unread: Token | undefined
  private unclosed: Place | undefined

  constructor(file: string, text: string) {
    this.file = file
    this.text = text
  }

  next(): Token {
    const unread = this.unread
    if (unread !== undefined) {
      this.unread = undefined
      return unread
    }
    const { text } = this
    let isFirst = this.at === 0
    let isSpaced = false
    let comment: string | undefined
    let commentLine = 0
    for (; this.at < text.length; isSpaced = true) {
      const code = text.charCodeAt(this.at)
      if (code === 10) {
        this.at++
        this.newLine()
        isFirst = true
      } else if (code === 32 || code === 9) this.at++
      else if (code === 92 && /^\\[ \t]*\n/.test(text.slice(this.at, this.at + 16))) {
        this.at = text.indexOf("\n", this.at) + 1
        this.newLine()
      } else if (code === 47 && text.charCodeAt(this.at + 1) === 47) {
        const isOwn = isFirst
        const begin = this.at
        const end = text.indexOf("\n", begin)
        this.at = end < 0 ? text.length : end
        const own = text.slice(begin, this.at)
        comment = !isOwn
          ? undefined
          : comment?.startsWith("//") && commentLine === this.line - 1 && comment.length < 4096
          ? `${comment}\n${own}`
          : own
        commentLine = this.line
      } else if (code === 47 && text.charCodeAt(this.at + 1) === 42) {
        const begin = this.at
        const end = text.indexOf("*/", begin + 2)
        if (end < 0) this.unclosed = this.place()
        comment = isFirst ? text.slice(begin, end < 0 ? text.length : end + 2) : undefined
        const stop = end < 0 ? text.length : end + 2
        for (let at = text.indexOf("\n", begin); at >= 0 && at < stop; at = text.indexOf("\n", at + 1)) {
          this.at = at + 1
          this.newLine()
        }
        this.at = stop
        commentLine = this.line
      } else if (isBlank(code)) this.at++
      else break
    }
    if (this.line > commentLine + 1) comment = undefined
    const { column, file, line } = this.place()
    const [kind, value] = this.token()
    return { kind, text: value, file, line, column, isFirst, isSpaced, comment, isPainted: false }
  }

  /** The rest of the line of a directive. */
  rest(): Array<Token> {
    const tokens: Array<Token> = []
    for (;;) {
      const token = this.next()
      if (token.isFirst || token.kind === "End") {
        this.unread = token
        return tokens
      }
      tokens.push(token)
    }
  }

  /** Where a comment begins that does not end. It is told once. */
  takeUnclosed(): Place | undefined {
    const { unclosed } = this
    this.unclosed = undefined
    return unclosed
  }

  private newLine(): void {
    this.line++
    this.lineStart = this.at
  }

  private place(): Place {
    return { file: this.file, line: this.line, column: this.at - this.lineStart + 1 }
  }

  private take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)?.[0]
    if (found !== undefined) this.at += found.length
    return found
  }

  private token(): readonly [TokenKind, string] {
    const { text } = this
    const begin = this.at
    if (begin >= text.length) return ["End", ""]
    const character = text[begin]!
    const quote = character === "L" ? text[begin + 1]! : character
    if (quote === '"' || quote === "'") {
      if (character === "L") this.at++
      if (!this.quoted(quote)) {
        const what = quote === "'" ? "character" : "string"
        return ["Bad", `${what}: not closed on its line, expected ${quote}. Close it, or remove it.`]
      }
      return [quote === "'" ? "Character" : "String", text.slice(begin, this.at)]
    }
    const code = text.charCodeAt(begin)
    if (isLetter(code)) {
      do {
        this.at++
      } while (isLetter(text.charCodeAt(this.at)) || isDigit(text.charCodeAt(this.at)))
      const { at } = this
      return at - begin <= maximumName
        ? ["Name", text.slice(begin, at)]
        : ["Bad", `name: ${at - begin} characters, expected at most ${maximumName}. Shorten it.`]
    }
    const digits = isDigit(code) || code === 46 ? this.take(number) : undefined
    if (digits !== undefined) return ["Number", digits]
    const sign = this.take(punctuator)
    if (sign !== undefined) return ["Punctuator", sign]
    const point = text.codePointAt(begin)!
    this.at += point > 0xffff ? 2 : 1
    return ["Bad", `text: got the character ${JSON.stringify(String.fromCodePoint(point))}, expected IDL. Remove it.`]
  }

  private quoted(quote: string): boolean {
    for (this.at++; this.at < this.text.length; this.at++) {
      const character = this.text[this.at]
      if (character === quote) {
        this.at++
        return true
      }
      if (character === "\n") return false
      if (character === "\\") {
        this.at++
        if (this.text[this.at] === "\n") {
          this.line++
          this.lineStart = this.at + 1
        }
      }
    }
    this.at = this.text.length
    return false
  }
}

/** The tokens of a piece of text; all have one place. */
export const tokensOf = (text: string, { column, file, line }: Place): Array<Token> => {
  const lexer = new Lexer(file, text)
  const tokens: Array<Token> = []
  for (let token = lexer.next(); token.kind !== "End"; token = lexer.next()) {
    tokens.push({ ...token, file, line, column, isFirst: false })
  }
  return tokens
}

/** How tokens stand in the text: without comments, and with one blank for white space. */
export const joined = (tokens: ReadonlyArray<Token>): string =>
  tokens.map((token, index) => index > 0 && (token.isSpaced || token.isFirst) ? ` ${token.text}` : token.text).join("")

// ----------------------------------------------------------------------------
// the preprocessor
// ----------------------------------------------------------------------------

interface Macro {
  readonly name: string
  /** Their names, each with its place in the list. */
  readonly parameters: ReadonlyMap<string, number> | undefined
  readonly isVariadic: boolean
  readonly body: ReadonlyArray<Token>
  readonly place: Place
  isActive: boolean
}

/** A list of tokens that is read before the text goes on. */
interface Frame {
  readonly tokens: ReadonlyArray<Token>
  readonly macro: Macro | undefined
  at: number
}

/** `#if` and what stands behind it: whether its lines count, whether one branch did, whether all of it is left out. */
interface Condition {
  readonly place: Place
  readonly isOutside: boolean
  isTaken: boolean
  isOn: boolean
  hasElse: boolean
}

/** What the preprocessor makes of a file. */
export interface Preprocessed {
  readonly tokens: ReadonlyArray<Token>
  /** The macros without parameters that are defined at the end, expanded. */
  readonly defines: ReadonlyArray<{ readonly name: string; readonly body: ReadonlyArray<Token>; readonly place: Place }>
}

/** The text of a file that is included, or `undefined`. */
export type Include = (name: string, place: Place) => { readonly name: string; readonly text: string } | undefined

/** Runs the preprocessor over one file. */
export const preprocess = (
  name: string,
  text: string,
  include: Include,
  problems: Problems,
  budget: Budget
): Preprocessed => new Preprocessor(name, text, include, problems, budget).run()

class Preprocessor {
  private readonly files: Array<Lexer>
  private readonly include: Include
  private readonly problems: Problems
  private readonly budget: Budget
  private readonly macros = new Map<string, Macro>()
  private readonly conditions: Array<Condition> = []
  private frames: Array<Frame> = []
  /** How many lists of tokens are expanded by themselves, one in another. */
  private depth = 0

  constructor(name: string, text: string, include: Include, problems: Problems, budget: Budget) {
    this.files = [new Lexer(name, clean(text))]
    this.include = include
    this.problems = problems
    this.budget = budget
    const place = { file: name, line: 1, column: 1 }
    this.define({ name: "__midl", parameters: undefined, isVariadic: false, body: tokensOf("801", place), place })
  }

  run(): Preprocessed {
    const tokens: Array<Token> = []
    for (;;) {
      const token = this.next()
      if (token.kind === "Bad") {
        this.error(token, token.text)
        continue
      }
      if (token.kind !== "End" && ++this.budget.tokens > maximumTokens) {
        this.error(token, `file: more than ${maximumTokens} tokens with its includes and macros. Split the file.`)
        tokens.push({ ...token, kind: "End", text: "" })
        break
      }
      tokens.push(token)
      if (token.kind === "End") break
    }
    for (const { place } of this.conditions) this.error(place, "#if: no #endif, expected one. Add it, or remove #if.")
    const defines: Array<{ name: string; body: ReadonlyArray<Token>; place: Place }> = []
    for (const macro of this.macros.values()) {
      if (macro.parameters !== undefined || macro.body.length === 0 || macro.name === "__midl") continue
      macro.isActive = true
      defines.push({ name: macro.name, body: this.expanded(macro.body), place: macro.place })
      macro.isActive = false
    }
    return { tokens, defines }
  }

  private error(place: Place, message: string): void {
    this.problems.add("error", place, message)
  }

  private define(macro: Omit<Macro, "isActive">): void {
    this.macros.delete(macro.name)
    this.macros.set(macro.name, { ...macro, isActive: false })
  }

  // --------------------------------------------------------------------------
  // macros
  // --------------------------------------------------------------------------

  /** The next token before macros are expanded. */
  private raw(): Token {
    while (this.frames.length > 0) {
      const frame = this.frames[this.frames.length - 1]!
      if (frame.at < frame.tokens.length) return frame.tokens[frame.at++]!
      this.frames.pop()
      if (frame.macro !== undefined) frame.macro.isActive = false
    }
    if (this.depth > 0) return end
    for (;;) {
      const lexer = this.files[this.files.length - 1]!
      const token = lexer.next()
      if (token.kind === "End") {
        const unclosed = lexer.takeUnclosed()
        if (unclosed !== undefined) this.error(unclosed, "comment: not closed, expected */. Close it.")
        if (this.files.length === 1) return token
        this.files.pop()
      } else if (token.isFirst && token.text === "#") this.directive(token, lexer)
      else if (this.conditions.length === 0 || this.conditions[this.conditions.length - 1]!.isOn) return token
    }
  }

  private next(): Token {
    for (;;) {
      const token = this.raw()
      if (token.kind !== "Name" || token.isPainted) return token
      const macro = this.macros.get(token.text)
      if (macro === undefined || this.budget.expanded > maximumExpansion(this.budget.size)) return token
      if (macro.isActive) return { ...token, isPainted: true }
      let args: ReadonlyArray<ReadonlyArray<Token>> = []
      if (macro.parameters !== undefined) {
        const open = this.raw()
        if (open.text !== "(") {
          if (open.kind !== "End" || this.depth > 0) this.frames.push({ tokens: [open], macro: undefined, at: 0 })
          return token
        }
        const found = this.arguments(token, macro)
        if (found === undefined) return token
        args = found
      }
      const body = this.substituted(macro, args, token)
      if (!this.spend(body, token)) return token
      macro.isActive = true
      this.frames.push({ tokens: body, macro, at: 0 })
    }
  }

  /** Takes what an expansion makes from the budget. Long texts cost more. */
  private spend(tokens: ReadonlyArray<Token>, place: Place): boolean {
    let count = 1
    for (const { text } of tokens) count += 1 + (text.length >> 6)
    return this.charge(count, place)
  }

  private charge(count: number, place: Place): boolean {
    const { budget } = this
    const maximum = maximumExpansion(budget.size)
    if (budget.expanded > maximum) return false
    budget.expanded += count
    if (budget.expanded <= maximum) return true
    this.error(place, `macro: more than ${maximum} tokens, expected fewer. Macros from here on stay unexpanded.`)
    return false
  }

  private arguments(token: Token, macro: Macro): ReadonlyArray<ReadonlyArray<Token>> | undefined {
    const { isVariadic, name, parameters } = macro
    const count = parameters!.size
    const args: Array<Array<Token>> = [[]]
    for (let nesting = 0;;) {
      const next = this.raw()
      if (next.kind === "End") {
        this.error(token, `macro ${name}: no ")" behind its arguments, expected one. Add it.`)
        return undefined
      }
      if (next.text === ")" && nesting-- === 0) break
      if (next.text === "(") nesting++
      if (next.text === "," && nesting === 0 && !(isVariadic && args.length >= count)) args.push([])
      else args[args.length - 1]!.push(next)
    }
    for (const arg of args) if (!this.spend(arg, token)) return undefined
    if (isVariadic && args.length === count - 1) args.push([])
    if (args.length !== count && !(count === 0 && args[0]!.length === 0)) {
      this.error(token, `macro ${name}: got ${args.length} arguments, expected ${count}. Correct its use.`)
    }
    return args
  }

  private substituted(macro: Macro, args: ReadonlyArray<ReadonlyArray<Token>>, use: Token): ReadonlyArray<Token> {
    const { body, parameters } = macro
    const result: Array<Token> = []
    const put = (token: Token) => {
      const { column, file, line } = use
      const isHead = result.length === 0
      result.push({
        kind: token.kind,
        text: token.text,
        file,
        line,
        column,
        isFirst: isHead && use.isFirst,
        isSpaced: isHead ? use.isSpaced : token.isSpaced || token.isFirst,
        comment: isHead ? use.comment : undefined,
        isPainted: token.isPainted
      })
    }
    const argumentOf = (token: Token | undefined) => {
      const index = token?.kind === "Name" ? parameters?.get(token.text) : undefined
      return index === undefined ? undefined : args[index] ?? []
    }
    const full = new Map<ReadonlyArray<Token>, ReadonlyArray<Token>>()
    const quoted = new Map<ReadonlyArray<Token>, string>()
    /** Whether ## follows an argument that is empty. */
    let isLeftEmpty = false
    let room = maximumExpansion(this.budget.size) - this.budget.expanded
    for (let at = 0; at < body.length && room >= 0; at++) {
      const token = body[at]!
      const before = result.length
      if (token.text === "##" && at > 0 && at + 1 < body.length) {
        const right = argumentOf(body[++at]) ?? [body[at]!]
        const left = isLeftEmpty ? undefined : result.pop()
        if (left === undefined || right.length === 0) {
          if (left !== undefined) result.push(left)
          right.forEach(put)
        } else {
          const text = left.text + right[0]!.text
          if (text.length > maximumName) {
            this.error(
              use,
              `macro ${macro.name}: ## makes a token of ${text.length} characters, expected at most ${maximumName}. Make it shorter.`
            )
          } else if (this.charge(1 + (text.length >> 6), use)) {
            for (const pasted of tokensOf(text, use)) put({ ...pasted, isSpaced: left.isSpaced })
          }
          right.slice(1).forEach(put)
        }
        isLeftEmpty &&= right.length === 0
      } else if (token.text === "#" && argumentOf(body[at + 1]) !== undefined) {
        const arg = argumentOf(body[++at])!
        let text = quoted.get(arg)
        if (text === undefined) {
          quoted.set(arg, text = JSON.stringify(joined(arg.slice(0, maximumQuoted)).slice(0, maximumQuoted)))
        }
        put({ ...token, kind: "String", text })
      } else {
        const arg = argumentOf(token)
        isLeftEmpty = false
        if (arg === undefined) put(token)
        else if (body[at + 1]?.text === "##") {
          arg.forEach(put)
          isLeftEmpty = arg.length === 0
        } else {
          let expanded = full.get(arg)
          if (expanded === undefined) full.set(arg, expanded = this.expanded(arg))
          expanded.forEach(put)
        }
      }
      room -= result.length - before
    }
    return result
  }

  /** Tokens with their macros expanded, by themselves. */
  private expanded(tokens: ReadonlyArray<Token>): ReadonlyArray<Token> {
    if (!tokens.some((token) => token.kind === "Name" && this.macros.has(token.text))) return tokens
    if (this.depth >= maximumMacroDepth) {
      this.error(
        tokens[0]!,
        `macro: more than ${maximumMacroDepth} uses in arguments of others, expected fewer. Nest them less.`
      )
      return tokens
    }
    const outer = this.frames
    this.frames = [{ tokens, macro: undefined, at: 0 }]
    this.depth++
    const result: Array<Token> = []
    for (let token = this.next(); token.kind !== "End"; token = this.next()) result.push(token)
    this.depth--
    this.frames = outer
    return result
  }

  // --------------------------------------------------------------------------
  // directives
  // --------------------------------------------------------------------------

  private directive(hash: Token, lexer: Lexer): void {
    const [head, ...rest] = lexer.rest()
    const { conditions } = this
    const top = conditions[conditions.length - 1]
    const isOn = top === undefined || top.isOn
    switch (head?.text) {
      case "if":
      case "ifdef":
      case "ifndef": {
        const isTaken = isOn && this.condition(head, rest)
        conditions.push({ place: hash, isOutside: !isOn, isTaken, isOn: isTaken, hasElse: false })
        return
      }
      case "elif":
      case "else":
      case "endif":
        if (top === undefined) {
          return this.error(
            hash,
            `#${head.text}: no #if in front of it, expected one. Add it, or remove #${head.text}.`
          )
        }
        if (head.text === "endif") {
          conditions.pop()
          return
        }
        if (top.hasElse) this.error(hash, `#${head.text}: stands behind #else, expected #endif. Remove it.`)
        top.isOn = !top.isOutside && !top.isTaken && !top.hasElse &&
          (head.text === "else" || this.condition(head, rest))
        top.isTaken ||= top.isOn
        top.hasElse ||= head.text === "else"
        return
    }
    if (!isOn || head === undefined) return
    switch (head.text) {
      case "pragma":
      case "line":
      case "ident":
        return
      case "define":
        return this.defineFrom(head, rest)
      case "undef":
        this.macros.delete(rest[0]?.text ?? "")
        return
      case "include":
        return this.includeFrom(head, rest)
      case "error":
        return this.error(hash, `#error: ${shortened(joined(rest))}. Remove it, or the condition that leads to it.`)
      case "warning":
        return this.problems.add("warning", hash, `#warning: ${shortened(joined(rest))}.`)
      default:
        if (head.kind === "Number") return
        this.problems.add("warning", hash, `#${head.text}: no known directive. The line is left out.`)
    }
  }

  private defineFrom(head: Token, rest: ReadonlyArray<Token>): void {
    const [name, ...body] = rest
    if (name?.kind !== "Name") return this.error(name ?? head, "#define: no name, expected one. Add it.")
    for (const token of body) if (token.kind === "Bad") return this.error(token, token.text)
    let parameters: Map<string, number> | undefined
    let isVariadic = false
    if (body[0]?.text === "(" && !body[0].isSpaced) {
      const end = body.findIndex((token) => token.text === ")")
      if (end < 0) return this.error(name, `#define ${name.text}: no ")" behind its parameters, expected one. Add it.`)
      const names = body.slice(1, end).map((token) => token.text).filter((text) => text !== ",")
      isVariadic = names[names.length - 1] === "..."
      if (isVariadic) names[names.length - 1] = "__VA_ARGS__"
      parameters = new Map(names.map((name, index) => [name, index]))
      body.splice(0, end + 1)
    }
    this.define({ name: name.text, parameters, isVariadic, body, place: name })
  }

  private includeFrom(head: Token, rest: ReadonlyArray<Token>): void {
    const tokens = rest[0]?.kind === "Name" ? this.expanded(rest) : rest
    const name = /^["<](.*)[">]$/.exec(joined(tokens))?.[1]
    if (!name) return this.error(head, '#include: got no file name, expected "name" or <name>. Add it.')
    const found = this.include(name, head)
    if (found === undefined) return
    const { budget } = this
    if (this.files.length > maximumIncludeDepth) {
      return this.error(
        head,
        `#include: more than ${maximumIncludeDepth} files in each other, expected fewer. Remove the cycle.`
      )
    }
    budget.included += found.text.length + 256
    const maximum = maximumIncluded(budget.size)
    if (budget.included > maximum) {
      return this.error(head, `#include: more than ${maximum} characters in all, expected fewer. Include less.`)
    }
    this.files.push(new Lexer(found.name, clean(found.text)))
  }

  private condition(head: Token, rest: ReadonlyArray<Token>): boolean {
    if (head.text === "ifdef" || head.text === "ifndef") {
      const name = rest[0]
      if (name?.kind === "Name") return this.macros.has(name.text) === (head.text === "ifdef")
      this.error(head, `#${head.text}: no name, expected one. Add it.`)
      return false
    }
    const tokens: Array<Token> = []
    for (let at = 0; at < rest.length; at++) {
      const token = rest[at]!
      if (token.text !== "defined") tokens.push(token)
      else {
        const isOpen = rest[at + 1]?.text === "("
        const name = rest[isOpen ? at += 2 : ++at]
        if (isOpen) at++
        tokens.push({ ...token, kind: "Number", text: this.macros.has(name?.text ?? "") ? "1" : "0" })
      }
    }
    const value = evaluated(this.expanded(tokens))
    if (value !== undefined) return value !== 0n
    this.error(
      head,
      `#${head.text}: cannot evaluate "${shortened(joined(rest))}", expected a constant expression. It counts as 0.`
    )
    return false
  }
}

const end: Token = {
  kind: "End",
  text: "",
  file: "",
  line: 0,
  column: 0,
  isFirst: false,
  isSpaced: false,
  comment: undefined,
  isPainted: false
}

/** Text as a message shows it. */
export const shortened = (text: string): string => text.length > 60 ? `${text.slice(0, 60)}...` : text

// ----------------------------------------------------------------------------
// numbers and operators
// ----------------------------------------------------------------------------

/** Reads an integer; `undefined` if the text is no integer. */
export const integerOf = (text: string): bigint | undefined => {
  const match =
    /^(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)(?:[uU]|[lL]{1,2}|[uU][lL]{1,2}|[lL]{1,2}[uU]|[uU]?[iI](?:8|16|32|64))?$/
      .exec(text.length > 80 ? "" : text)
  const digits = match?.[1]
  if (digits === undefined) return undefined
  if (!/^0\d/.test(digits)) return BigInt(digits)
  return /^[0-7]+$/.test(digits) ? BigInt(`0o${digits}`) : undefined
}

/** The binary operators of C by how tightly they bind. */
export const precedences: ReadonlyMap<string, number> = new Map(
  [["||"], ["&&"], ["|"], ["^"], ["&"], ["==", "!="], ["<", ">", "<=", ">="], ["<<", ">>"], ["+", "-"], ["*", "/", "%"]]
    .flatMap((operators, index) => operators.map((operator) => [operator, index + 1] as const))
)

/** The value of a condition. Names are 0, as in C. */
const evaluated = (tokens: ReadonlyArray<Token>): bigint | undefined => {
  let at = 0
  let depth = 0
  const bit = (value: boolean) => value ? 1n : 0n
  const apply = (operator: string, a: bigint, b: bigint): bigint | undefined => {
    switch (operator) {
      case "||":
        return bit(a !== 0n || b !== 0n)
      case "&&":
        return bit(a !== 0n && b !== 0n)
      case "|":
        return a | b
      case "^":
        return a ^ b
      case "&":
        return a & b
      case "==":
        return bit(a === b)
      case "!=":
        return bit(a !== b)
      case "<":
        return bit(a < b)
      case ">":
        return bit(a > b)
      case "<=":
        return bit(a <= b)
      case ">=":
        return bit(a >= b)
      case "<<":
        return a << (b & 63n)
      case ">>":
        return a >> (b & 63n)
      case "+":
        return a + b
      case "-":
        return a - b
      case "*":
        return a * b
      default:
        // Behind && or || a division by 0 must not spoil the whole.
        return b === 0n ? 0n : operator === "/" ? a / b : a % b
    }
  }
  const unary = (): bigint | undefined => {
    const token = tokens[at++]
    if (token?.kind === "Number") return integerOf(token.text)
    if (token?.kind === "Character") return BigInt(token.text.codePointAt(1) ?? 0)
    if (token?.kind === "Name") {
      if (tokens[at]?.text !== "(") return 0n
      // The macro comes from a header that is missing. Windows programs are in each family of its partitions.
      for (let nesting = 0; at < tokens.length; at++) {
        if (tokens[at]!.text === "(") nesting++
        if (tokens[at]!.text === ")" && --nesting === 0) break
      }
      at++
      return bit(token.text === "WINAPI_FAMILY_PARTITION")
    }
    if (token === undefined || ++depth > 200) return undefined
    let value: bigint | undefined
    if (token.text === "(") {
      value = conditional()
      if (tokens[at++]?.text !== ")") return undefined
    } else {
      const operand = unary()
      if (operand === undefined) return undefined
      value = token.text === "!"
        ? bit(operand === 0n)
        : token.text === "-"
        ? -operand
        : token.text === "~"
        ? ~operand
        : token.text === "+"
        ? operand
        : undefined
    }
    depth--
    return value
  }
  const binary = (least: number): bigint | undefined => {
    let left = unary()
    for (;;) {
      const operator = tokens[at]?.text ?? ""
      const precedence = precedences.get(operator)
      if (left === undefined || precedence === undefined || precedence < least) return left
      at++
      const right = binary(precedence + 1)
      if (right === undefined) return undefined
      const value = apply(operator, left, right)
      left = value === undefined ? undefined : BigInt.asIntN(64, value)
    }
  }
  const conditional = (): bigint | undefined => {
    const test = binary(1)
    if (tokens[at]?.text !== "?" || ++depth > 200) return test
    at++
    const yes = conditional()
    if (tokens[at++]?.text !== ":") return undefined
    const no = conditional()
    depth--
    return test === undefined ? undefined : test !== 0n ? yes : no
  }
  const value = conditional()
  return at === tokens.length ? value : undefined
}
